"""The drivers: `process.py` runs a YAML over page shards, `tokenize_shuffle.py` writes token shards.

Doors: `run_pipeline` (`ray_processing.process`), `tokenize_shuffle` (`ray_processing.tokenize_shuffle`).
`GLOBAL_FUNCTIONS` is re-exported for users' code.
"""

from corpusmith.global_steps import GLOBAL_FUNCTIONS

__all__ = ["GLOBAL_FUNCTIONS"]
