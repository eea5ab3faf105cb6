"""Task data and validation shards that evaluation needs and others publish.

Task files come from llm-foundry at one commit; the SHA-256 of each that we have seen is in `task_files.csv`. GPQA is
published as an encrypted archive, so that its questions stay off the open web: fetch it and convert it with
`python -m eval.tasks.gpqa`. `corpusmith assets fetch 'local_data/*'` brings all task files into the cache, where
evaluation looks for them.
"""

from __future__ import annotations

import csv
from pathlib import Path

from corpusmith.assets import Asset
from eval.tasks.perplexity_sets import PALOMA_SHARDS, VALIDATION_SHARDS, downstream_sets

LLM_FOUNDRY_COMMIT = "8c8dd48"
_TASK_FILES = Path(__file__).resolve().parents[1] / "task_files.csv"
_LLM_FOUNDRY = f"https://raw.githubusercontent.com/mosaicml/llm-foundry/{LLM_FOUNDRY_COMMIT}/scripts/eval/local_data"
_GPQA = "https://raw.githubusercontent.com/mlfoundations/dclm/main/eval/gpqa/dataset.zip"
_HUB = "https://huggingface.co/datasets/mlfoundations"
_VALIDATION_SHA256 = "68716cb8a326c8a2d15fab0bc77a6146139a9b20ba8b0003ddc6e053242a3d50"


def _asset(path: str, about: str, source: str, licence: str, sha256: str | None = None) -> Asset:
    """An asset by its path below the evaluation data."""
    folder, _, name = path.rpartition("/")
    return Asset(name=name, folder=folder, about=about, source=source, licence=licence, sha256=sha256)


def _task_files() -> dict[str, Asset]:
    with _TASK_FILES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        f"local_data/{row['file']}": _asset(
            f"local_data/{row['file']}",
            "rows of an evaluation task",
            f"{_LLM_FOUNDRY}/{row['file']}",
            "each task's own; see the source",
            row["sha256"] or None,
        )
        for row in rows
    }


def _held_out() -> dict[str, Asset]:
    """DCLM's validation shards, Paloma's and those of the tasks' texts."""
    found = {}
    for path in VALIDATION_SHARDS:
        source = f"{_HUB}/open_lm_example_data/resolve/main/validation_data/{path.rpartition('/')[2]}"
        found[path] = _asset(path, "DCLM's validation shard", source, "see the source", _VALIDATION_SHA256)
    for path in PALOMA_SHARDS:
        source = f"{_HUB}/paloma_validation/resolve/main/{path.rpartition('/')[2]}"
        found[path] = _asset(path, "Paloma, tokenized", source, "AI2 ImpACT; see the source")
    for name, path in downstream_sets().items():
        source = f"{_HUB}/{path.replace('/', '/resolve/main/', 1)}"
        found[path] = _asset(path, f"the texts of {name}, tokenized", source, "each task's own; see the source")
    return found


ASSETS: dict[str, Asset] = (
    _task_files()
    | {
        "gpqa/dataset.zip": _asset(
            "gpqa/dataset.zip", "GPQA, encrypted; python -m eval.tasks.gpqa converts it", _GPQA, "CC BY 4.0"
        )
    }
    | _held_out()
)
