"""`corpusmith mix bench`: searches on objectives whose optimum is known, with intervals.

Seeds 0 to 19 are for tuning, 100 to 119 and 200 to 219 for reports: a run on those notes itself in docs/log.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say

FAMILIES = "law,skills"
METHODS = (
    "climb,climb-oneshot,climb-robust,climb-robust-oneshot,climb-paper,regmix,regmix-tuned,olmix,mixmin,doremi,random,"
    "uniform,natural"
)
REPORTED = (range(100, 120), range(200, 220))
LOG = pathlib.Path(__file__).resolve().parents[2] / "docs" / "log.md"


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = make_parser(
        "corpusmith mix bench",
        "Run searches for mixture weights on known objectives, and show how near each comes to the optimum\n"
        "(0: equal weights, 1: the optimum; on RegMix's tables: the rank of the answer), with 95 % intervals.\n\n"
        f"methods: {METHODS.replace(',', ', ')}, gp-oneshot, climb-paper-oneshot;\n"
        "with rounds: climb@64:32:16; your own: module:Class\n"
        "families: law, skills, pile (needs RegMix's tables), pool-cc, pool-mean, transfer-cc, transfer-mean",
        "corpusmith mix bench --seeds 0:20 --methods climb,regmix-tuned,random --families law,skills",
    )
    parser.add_argument("--seeds", default="0:20", help="A:B, A to B - 1 (0:20)")
    parser.add_argument("--methods", default=METHODS, help="names, separated by commas (all)")
    parser.add_argument("--families", default=FAMILIES, help=f"names, separated by commas ({FAMILIES})")
    parser.add_argument("--budget", type=int, default=112, help="runs of a search (112)")
    parser.add_argument("--ablations", action="store_true", help="the paper's five ablations of the methods instead")
    parser.add_argument("--tables", help="folder of RegMix's tables (below CORPUSMITH_SHARED)")
    parser.add_argument("--modules", default=".", help="folder of the modules of your own strategies (.)")
    parser.add_argument("--json", help="write the rows to this file")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Search, print, write, note."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    from mixing.bench.ablations import run_ablations
    from mixing.bench.bench import paired_rows, rows_of, run_bench
    from mixing.bench.regmix_tables import default_folder

    seeds = parse_seeds(arguments.seeds)
    families, methods = _names(arguments.families), _names(arguments.methods)
    if arguments.budget < 8:
        raise InputError(f"--budget must be at least 8, got {arguments.budget}")
    tables = arguments.tables or default_folder()
    if arguments.ablations:
        rows = run_ablations(
            families, methods, seeds, arguments.budget, tables=tables, folder=arguments.modules, label=arguments.seeds
        )
        paired: list[dict[str, Any]] = []
    else:
        found = run_bench(families, methods, seeds, arguments.budget, tables=tables, folder=arguments.modules)
        rows, paired = rows_of(found, arguments.seeds), paired_rows(found)
    for line in [*table_lines(rows), *paired_lines(paired)]:
        say(line)
    if arguments.json:
        storage.write_json(arguments.json, {"rows": rows, "paired": paired, "budget": arguments.budget}, indent=2)
    note_run(seeds, arguments.budget, rows, LOG)


def parse_seeds(text: str) -> list[int]:
    """`A:B` as A to B - 1.

    Raises:
        InputError: another form, or none in between.
    """
    first, _, last = text.partition(":")
    if not first.isdigit() or not last.isdigit() or int(first) >= int(last):
        raise InputError(f"--seeds {text!r}: expected A:B with A below B, as in 0:20")
    return list(range(int(first), int(last)))


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InputError(f"expected names separated by commas, got {text!r}")
    return names


def table_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as a table."""
    labels = [_label(row) for row in rows]
    width = max(map(len, labels))
    lines = [f"{'':<{width}}    mean  95 % interval       10 %  median     s"]
    for label, row in zip(labels, rows, strict=True):
        tail = f"  {row['median']:6.3f}  {row['seconds']:5.2f}" if "seconds" in row else ""
        lines.append(
            f"{label:<{width}}  {row['mean']:6.3f}  [{row['low']:6.3f}, {row['high']:6.3f}]  {row['q10']:6.3f}{tail}"
        )
    return lines


def _label(row: dict[str, Any]) -> str:
    setting = f"{row['ablation']}: {row['setting']}  " if "ablation" in row else ""
    return f"{setting}{row['family']}  {row['method']}"


def paired_lines(paired: Sequence[dict[str, Any]]) -> list[str]:
    """The paired differences as a table."""
    if not paired:
        return []
    labels = [f"{row['family']}  {row['method']} - {row['other']}" for row in paired]
    width = max(map(len, labels))
    lines = ["", f"{'paired differences':<{width}}    mean  95 % interval       wins  Wilcoxon p"]
    for label, row in zip(labels, paired, strict=True):
        lines.append(
            f"{label:<{width}}  {row['mean']:+6.3f}  [{row['low']:+6.3f}, {row['high']:+6.3f}]  {row['wins']:5.2f}  "
            f"{row['p']:.2g}"
        )
    return lines


def note_run(seeds: Sequence[int], budget: int, rows: Sequence[dict[str, Any]], log: pathlib.Path) -> None:
    """Append a line to the log of decisions for a run on seeds that are kept for reports."""
    if not log.is_file() or not any(seed in block for seed in seeds for block in REPORTED):
        return
    figures = "; ".join(f"{_label(row)} {row['mean']:.3f} (10 %: {row['q10']:.3f})" for row in rows)
    line = f"- {datetime.date.today().isoformat()}, seeds {seeds[0]}:{seeds[-1] + 1}, budget {budget}: {figures}\n"
    storage.append_bytes(str(log), line.encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)
