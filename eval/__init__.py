"""Evaluation: task data, prompts, scoring, aggregation to CORE and EXTENDED, evaluation JSON, comparison of models.

Doors: `eval.scoring.suite_run.evaluate(model, tokenizer, suite)`, `eval.tasks.suites.load_suite(path)`,
`eval.results.aggregation.aggregate(icl)`, `eval.evaluate.evaluate_checkpoint(request)`,
`eval.database.evaluate_models(selection, settings)`, `eval.results.intervals.intervals(results)` and `compare(first,
second)`. Models: `eval.models.language_model` (the protocol), `eval.models.openlm`, `eval.models.huggingface`
(transformers). Scripts: `eval/eval_openlm_ckpt.py`, `eval/aggregated_metrics.py`; `eval.lm_eval_adapter` for
lm-evaluation-harness.
"""
