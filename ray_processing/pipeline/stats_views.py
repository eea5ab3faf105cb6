"""DCLM's stats files and `global_stats.jsonl` of a finished run, written from its records.

    stats/<shard>_stats.jsonl   rows as `baselines.core.processor` writes them: for each run of local steps
                                `process_setup`, a row for each step, `commit` after each stage, `process_finished`;
                                for each global step one row
    global_stats.jsonl          a row for each run of local steps and for each global step

They decide nothing: the records do. What records do not hold (when a shard was begun, how long loading took) is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from baselines.core.constants import COMMIT_KEY_NAME, PROCESS_END_KEY_NAME, PROCESS_SETUP_KEY_NAME
from corpusmith.io import storage
from corpusmith.io.pages.shards import TABLE_SUFFIXES
from corpusmith.run.run import StagePlan
from corpusmith.run.stage import ShardRecord, Stage
from ray_processing.pipeline.stages import LOCAL_STAGE

LOCAL_ROW = "local"
GLOBAL_STATS = "global_stats.jsonl"
DEFAULT_GLOBAL_KEY = "text"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What DCLM does in one go: stages of local steps with nothing but `commit` between them, or one global step.

    `name`: that of the stages' plans.
    """

    name: str
    stages: tuple[Stage, ...]

    @property
    def is_local(self) -> bool:
        """Whether its steps are local ones."""
        return self.name == LOCAL_STAGE


def chunks_of(plans: Sequence[StagePlan], stages: Sequence[Stage]) -> list[Chunk]:
    """Return the stages of a run, in DCLM's chunks; `plans` are theirs, in order."""
    chunks: list[Chunk] = []
    for plan, stage in zip(plans, stages, strict=True):
        if plan.name == LOCAL_STAGE and chunks and chunks[-1].is_local:
            chunks[-1] = Chunk(name=plan.name, stages=(*chunks[-1].stages, stage))
        else:
            chunks.append(Chunk(name=plan.name, stages=(stage,)))
    return chunks


def shard_of(unit: str) -> str:
    """The shard's name without endings, the same before and after processing: `sub/a_processed.jsonl.zst` → `sub/a`."""
    if unit.endswith(TABLE_SUFFIXES):
        stem, _, extension = unit.rpartition(".")
        return f"{stem.removesuffix('_processed')}.{extension}"
    return unit.replace("_processed.jsonl", ".jsonl").split(".jsonl", 1)[0]


def write_views(base: str, source_name: str, plans: Sequence[StagePlan], stages: Sequence[Stage]) -> None:
    """Replace the stats files and `global_stats.jsonl` of a run.

    Args:
        base: the folder of its results.
        source_name: of the YAML's source.
        plans: its stages as they were planned.
        stages: the same, finished.
    """
    chunks = chunks_of(plans, stages)
    folder = storage.join(base, "stats")
    storage.remove_tree(folder)
    by_url: dict[str, list[Row]] = {}
    for index, chunk in enumerate(chunks):
        records = [{shard_of(unit): record for unit, record in stage.records().items()} for stage in chunk.stages]
        last = index == len(chunks) - 1
        for shard in dict.fromkeys(name for found in records for name in found):
            mine = [found[shard] for found in records if shard in found]
            url = storage.join(folder, f"{shard}_stats.jsonl")
            rows = _local_rows(source_name, url, chunk, mine, last) if chunk.is_local else _global_rows(chunk, mine[0])
            by_url.setdefault(url, []).extend(rows)
    for url, shard_rows in by_url.items():
        _write_rows(url, shard_rows)
    _write_rows(storage.join(base, GLOBAL_STATS), [_global_stats_row(chunk) for chunk in chunks])


def _write_rows(url: str, rows: Sequence[Row]) -> None:
    storage.write_bytes(url, "".join(f"{json.dumps(row)}\n" for row in rows).encode("ascii"))


def _local_rows(
    source_name: str, stats_url: str, chunk: Chunk, records: Sequence[ShardRecord], last: bool
) -> Iterator[Row]:
    """The rows of a shard's way through local steps."""
    steps = [list(_step_rows(record)) for record in records]
    yield {
        "name": PROCESS_SETUP_KEY_NAME,
        "jsonl_load_secs": None,
        "stats_load_secs": None,
        "jsonl_path": records[0].unit,
        "source_name": source_name,
        "output_path": chunk.stages[-1].place.output_url(records[-1].outputs[0].name) if records[-1].outputs else None,
        "stats_output_path": stats_url,
        "workers": 1,
        "first_run": True,
        "graceful_continuation": False,
        "execution_start_time": None,
    }
    for number, rows in enumerate(steps):
        if number:
            yield _commit_row()
        yield from rows
    yield {
        "name": PROCESS_END_KEY_NAME,
        "total_secs": sum(_seconds(record) for record in records),
        "executed_steps": sum(map(len, steps)),
        "skipped_steps": 0,
        "commit_steps": len(records) - 1,
        "finished_processing": last,
        "execution_end_time": None,
    }
    yield _commit_row()


def _commit_row() -> Row:
    return {"name": COMMIT_KEY_NAME, "secs": None}


def _step_rows(record: ShardRecord) -> Iterator[Row]:
    """The rows of the steps that pages came to."""
    aggregates = record.details.get("aggregates", {})
    for step in record.details.get("steps", ()):
        pages = step["pages_in"]
        if pages:
            yield {
                "name": step["func"],
                "pages_in": pages,
                "pages_out": step["pages_out"],
                "secs": step["seconds"],
                "secs/page": step["seconds"] / pages,
                "errors": step["errors"],
                "removed": step["removed"],
                "kept": step["kept"],
                "split": step["split"],
                "total_secs": step["seconds"],
                "workers": 1,
                **aggregates.get(step["step"], {}),
            }


def _global_rows(chunk: Chunk, record: ShardRecord) -> Iterator[Row]:
    """The row of a global step; one that changed nothing of the shard says so."""
    step: Row = next(iter(record.details.get("steps", ())), {})
    changed = bool(step.get("removed") or step.get("errors") or step.get("units_removed"))
    yield {
        "name": step.get("func", chunk.name),
        "content_key": step.get("arguments", {}).get("content_key", DEFAULT_GLOBAL_KEY),
        "pages_in": step["pages_in"] if changed else "no_op",
        "pages_out": step["pages_out"] if changed else "no_op",
    }


def _seconds(record: ShardRecord) -> float:
    return float(record.details.get("seconds", 0.0))


def _global_stats_row(chunk: Chunk) -> Row:
    """The row of a chunk; `secs` sums the shards' seconds, `working_dir` is where its result stood."""
    working_dir = chunk.stages[-1].place.output.rstrip("/") + "/"
    seconds = sum(_seconds(record) for stage in chunk.stages for record in stage.records().values())
    if not chunk.is_local:
        return {"name": chunk.name, "secs": seconds, "working_dir": working_dir}
    failed = sorted({unit for stage in chunk.stages for unit in stage.missing()})
    return {
        "name": LOCAL_ROW,
        "secs": seconds,
        "num_successes": len(chunk.stages[-1].records()),
        "num_failures": len(failed),
        "pages_in": chunk.stages[0].counts().read,
        "pages_out": chunk.stages[-1].counts().kept,
        "working_dir": working_dir,
        "resumptions": 0,
        "failed_shards": failed,
    }
