"""What the folder of a run, `<logs>/<name>/`, holds, by name. Loads no torch."""

from __future__ import annotations

PARAMS_NAME = "params.txt"
MODEL_CONFIG_NAME = "model_config.json"
#: What decides the order of the data; a run goes on only with the same.
DATA_ORDER_NAME = "data_order.json"
TRAIN_LOG = "train_log.jsonl"
OUT_LOG = "out.log"
CHECKPOINTS = "checkpoints"
#: In `CHECKPOINTS`: a line of losses per validation.
RESULTS_NAME = "results.jsonl"
FAILED_CHECKPOINTS = "checkpoints_failed"
#: The rolling checkpoint of `--save-every`; its files are numbered by step.
ROLLING_CHECKPOINTS = "checkpoints_rolling"
#: What a run leaves that stopped because its loss was NaN or exploded; numbered by step.
DIVERGED_CHECKPOINTS = "checkpoints_diverged"
