"""What the benchmarks share: their flags, interleaved repeats in one run, the table and the JSON rows."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from corpusmith.command import Parser
from corpusmith.errors import CorpusmithError, InputError

if TYPE_CHECKING:
    from corpusmith.io.pages.shards import ShardRef

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("CORPUSMITH_SHARED", ROOT.parent / "shared"))
DEFAULT_SOURCE = SHARED / "data" / "pages"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One comparison: `ours` and `other` in `unit`, their ratio, and the goal for it where there is one."""

    name: str
    ours: float
    other: float
    unit: str
    ratio: float
    goal: str
    met: bool | None


def make_parser(description: str) -> argparse.ArgumentParser:
    """The flags that every benchmark has."""
    parser = Parser(description=description)
    parser.add_argument("--quick", action="store_true", help="one repeat on a quarter of the shards")
    parser.add_argument("--source", default=str(DEFAULT_SOURCE), help="folder of page shards")
    parser.add_argument("--json", help="write the rows, the machine and the versions to this file")
    return parser


def run(parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], Sequence[Row]]) -> int:
    """Parse the flags, measure, report; the exit code is 0, or the error's where there is nothing to measure."""
    arguments = parser.parse_args()
    try:
        rows = measure(arguments)
    except CorpusmithError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    report(rows, arguments.json)
    return 0


def page_shards(source: str, quick: bool) -> list[ShardRef]:
    """The page shards directly in a folder; every fourth for a quick run."""
    from corpusmith.io.pages.shards import list_shards

    shards = [shard for shard in list_shards(source) if "/" not in shard.name and shard.name != "truth.jsonl"]
    if not shards:
        raise InputError(f"{source}: no page shards directly in this folder; give --source")
    return shards[:: 4 if quick else 1]


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds for each contender per repeat, of this process's CPU unless `clock` tells others.

    All run once to warm up, then in turn.
    """
    for function in contenders.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            started = clock()
            function()
            seconds[name].append(clock() - started)
    return seconds


def spread(seconds: Sequence[float]) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"


def report(rows: Sequence[Row], json_path: str | None, versions: Mapping[str, str] | None = None) -> None:
    """Print the rows as a table, and write them as JSON where a path is given, with `versions` (of our libraries)."""
    width = max(len(row.name) for row in rows)
    for row in rows:
        verdict = "" if row.met is None else (" met" if row.met else " NOT met")
        goal = f"  goal {row.goal}{verdict}" if row.goal else ""
        sys.stdout.write(
            f"{row.name:<{width}}  ours {row.ours:8.3f} {row.unit}  other {row.other:8.3f} {row.unit}  "
            f"ratio {row.ratio:6.2f}{goal}\n"
        )
    if json_path:
        if versions is None:
            from corpusmith.run.stage import library_versions

            versions = library_versions()
        machine = {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()}
        document = {"rows": [asdict(row) for row in rows], "machine": machine, "versions": dict(versions)}
        pathlib.Path(json_path).write_text(json.dumps(document, indent=2) + "\n")
