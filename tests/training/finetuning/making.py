"""What the tests of fine-tuning data share: the sample, the mask ids, rows and shards as files, the scripts."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from corpusmith.io.tokens import wds

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "finetuning" / "sample_instructions.jsonl"
MARK, PAD = 500, 501


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"finetuning_{name}", ROOT / "finetuning" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "finetuning"  # as `python -m` would have it: the path is set up already
    spec.loader.exec_module(module)
    return module


def sample_rows() -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()]


def write_rows(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def shards(folder: Path) -> list[list[list[int]]]:
    names = [entry.shard for entry in wds.read_manifest(str(folder / "manifest.jsonl"))]
    return [list(wds.read_wds_shard(str(folder / f"{name}.tar"), "txt")) for name in names]
