"""The drivers: `process.py` runs a YAML over page shards, `tokenize_shuffle.py` writes token shards.

Doors: `run_pipeline` (`ray_processing.process`), `tokenize_shuffle` (`ray_processing.tokenize_shuffle`).
`GLOBAL_FUNCTIONS` and the function `dedup_jsonl` (whose name hides its module's, as in DCLM) are re-exported for users'
code.
"""

from corpusmith.steps.global_steps import GLOBAL_FUNCTIONS
from ray_processing.dedup_jsonl import dedup_jsonl

__all__ = ["GLOBAL_FUNCTIONS", "dedup_jsonl"]
