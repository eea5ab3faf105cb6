"""The held-out sets of DCLM's perplexity evaluations: where their shards lie below a folder of evaluation data."""

from __future__ import annotations

from pathlib import Path

from corpusmith.config import load_yaml
from corpusmith.io import storage

DOWNSTREAM_YAML = str(Path(__file__).resolve().parents[1] / "heavy_ppl.yaml")
VALIDATION_SHARDS = ("open_lm_val/shard_00000000.tar",)
PALOMA_SHARDS = tuple(f"paloma_val/{number:08d}.tar" for number in range(1, 5))


def downstream_sets(path: str = DOWNSTREAM_YAML) -> dict[str, str]:
    """Shard of each set of downstream perplexity by name; what the YAML lists, less GPQA."""
    tasks = load_yaml(path).data["icl_tasks"]
    uris = [task["dataset_uri"].removeprefix("local_data/").removesuffix(".jsonl") for task in tasks]
    return {
        storage.basename(uri): f"downstream_validation/{uri}/shard-0000000.tar" for uri in uris if "gpqa" not in uri
    }
