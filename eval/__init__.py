"""Evaluation: task data, prompts, scoring, aggregation to CORE and EXTENDED, evaluation JSON, comparison of models.

Doors: `eval.harness.evaluate(model, tokenizer, suite)`, `eval.tasks.load_suite(path)`,
`eval.aggregation.aggregate(icl)`, `eval.checkpoints.evaluate_checkpoint(request)`,
`eval.database.evaluate_models(selection, settings)`, `eval.intervals.intervals(results)` and `compare(first, second)`.
Models: `eval.models` (the protocol, OpenLM), `eval.hf_models` (transformers). Scripts: `eval/eval_openlm_ckpt.py`,
`eval/aggregated_metrics.py`; `eval.lm_eval_adapter` for lm-evaluation-harness.
"""
