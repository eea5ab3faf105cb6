"""Measure the CPU seconds of a command, and compare those of two commits; `tools/compare_commits.sh --time` calls it.

`measure` runs a command and notes its user and system seconds with those of all its descendants that end and are
waited for, orphans too on Linux. `show` reads the notes and the benchmarks' own rows (`--json`) of both commits and
prints medians and ratios. Judged are each benchmark's total and each of its rows of a tenth of a second or more
(`ours`); rows in other units of time (microseconds a page) are short measurements, so they are shown and judged by
their sum.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

#: a row of less says more about the machine than about a commit
SHORTEST_SECONDS = 0.1
SHORT_UNITS = ("µs/page", "s/MB")
TOTAL = "total"
PR_SET_CHILD_SUBREAPER = 36
# a daemon that outlives its command would be waited for without end
ORPHAN_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One line: seconds (or another unit) of each repeat, for both commits; `judged` if the limit holds for it."""

    name: str
    unit: str
    old: tuple[float, ...]
    new: tuple[float, ...]
    judged: bool

    @property
    def ratio(self) -> float:
        """Median of the new commit over that of the old one."""
        return statistics.median(self.new) / statistics.median(self.old)


# --- measure ----------------------------------------------------------------------------------------------------


def measure(command: Sequence[str]) -> tuple[int, float]:
    """Run a command; its exit code, and the CPU seconds of it and its descendants."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _children_seconds()
    code = subprocess.run(command, check=False).returncode
    _wait_for_orphans(time.monotonic() + ORPHAN_SECONDS)
    return code, _children_seconds() - before


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_orphans(until: float) -> None:
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)


# --- show -------------------------------------------------------------------------------------------------------


def read_timings(old: pathlib.Path, new: pathlib.Path, benchmark: str) -> list[Timing]:
    """The lines of one benchmark: its total, its rows in seconds, its other rows and their sum.

    A row that is missing from a repeat of either commit is left out, as is one without a number.
    """
    before, after = _read_repeats(old, benchmark), _read_repeats(new, benchmark)
    shared = [key for key in before[0] if all(key in repeat for repeat in (*before, *after))]
    timings = [
        Timing(
            name=name,
            unit=unit,
            old=tuple(repeat[name, unit] for repeat in before),
            new=tuple(repeat[name, unit] for repeat in after),
            judged=unit == "s" and statistics.median(repeat[name, unit] for repeat in before) >= SHORTEST_SECONDS,
        )
        for name, unit in shared
    ]
    sums = [
        _sum_of([timing for timing in timings if timing.unit == unit], unit)
        for unit in SHORT_UNITS
        if any(timing.unit == unit for timing in timings)
    ]
    return [*timings, *sums]


def _sum_of(timings: Sequence[Timing], unit: str) -> Timing:
    return Timing(
        name=f"sum of {len(timings)} rows",
        unit=unit,
        old=tuple(map(sum, zip(*(timing.old for timing in timings), strict=True))),
        new=tuple(map(sum, zip(*(timing.new for timing in timings), strict=True))),
        judged=True,
    )


def _read_repeats(folder: pathlib.Path, benchmark: str) -> list[dict[tuple[str, str], float]]:
    repeats = []
    for path in sorted(folder.glob(f"{benchmark}.*.total.json")):
        total = json.loads(path.read_text(encoding="utf-8"))
        rows = json.loads(path.with_name(path.name.replace(".total.", ".rows.")).read_text(encoding="utf-8"))["rows"]
        timed = {(row["name"], row["unit"]): row["ours"] for row in rows if _is_time(row)}
        repeats.append({(TOTAL, "s"): total["cpu_seconds"]} | timed)
    return repeats


def _is_time(row: dict[str, object]) -> bool:
    ours = row["ours"]
    return row["unit"] in ("s", *SHORT_UNITS) and isinstance(ours, int | float) and ours > 0


def render(benchmark: str, timings: Sequence[Timing], limit: float) -> str:
    """A line for each timing: both medians with their ranges, the ratio, and the verdict where there is one."""
    width = max(len(timing.name) for timing in timings)
    lines = [benchmark]
    for timing in timings:
        verdict = ("  WORSE" if timing.ratio > 1 + limit else "  ok") if timing.judged else ""
        lines.append(
            f"  {timing.name:<{width}}  old {_spread(timing.old)}  new {_spread(timing.new)} {timing.unit:<7}"
            f"  ratio {timing.ratio:5.3f}{verdict}"
        )
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):9.3f} ({min(values):.3f} to {max(values):.3f})"


def _run_measure(arguments: argparse.Namespace) -> int:
    code, seconds = measure(arguments.command)
    arguments.output.write_text(json.dumps({"cpu_seconds": seconds}) + "\n", encoding="utf-8")
    return code


def _run_show(arguments: argparse.Namespace) -> int:
    worse = False
    for benchmark in arguments.benchmarks:
        timings = read_timings(arguments.old, arguments.new, benchmark)
        sys.stdout.write(render(benchmark, timings, arguments.limit))
        worse |= any(timing.judged and timing.ratio > 1 + arguments.limit for timing in timings)
    return int(worse)


def main(argv: Sequence[str] | None = None) -> int:
    """`measure`: the command's exit code. `show`: 0, or 1 where a median that is judged is worse by the limit."""
    parser = argparse.ArgumentParser(prog="compare_times.py", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("measure", help="run a command and note its CPU seconds")
    verb.add_argument("--output", type=pathlib.Path, required=True, help="JSON file for the note")
    verb.add_argument("command", nargs="+", help="after --: the command")
    verb.set_defaults(run=_run_measure)
    verb = verbs.add_parser("show", help="medians and ratios of two folders of notes")
    verb.add_argument("--limit", type=float, default=0.05, help="how much worse a median may be (default 0.05)")
    verb.add_argument("old", type=pathlib.Path)
    verb.add_argument("new", type=pathlib.Path)
    verb.add_argument("benchmarks", nargs="+")
    verb.set_defaults(run=_run_show)
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
