"""Evaluation: task data, prompts, scoring, aggregation to CORE and EXTENDED, evaluation JSON.

Doors: `eval.harness.evaluate(model, tokenizer, suite)`, `eval.tasks.load_suite(path)`,
`eval.aggregation.aggregate(icl)`, `eval.checkpoints.evaluate_checkpoint(request)`,
`eval.database.evaluate_models(selection)`. Scripts: `eval/eval_openlm_ckpt.py`, `eval/aggregated_metrics.py`.
"""
