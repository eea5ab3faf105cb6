"""Searches for mixture weights, all methods on the seeds that are kept for reports (100 to 119): part E of the bench.

`ours` is the default search or what the row names, `other` the least that must hold; `goal` is what is aimed at. Then
follows the whole table with 95 % intervals, those that beat ours included, and the paired differences to it. The run
notes itself in docs/log.md. Needs RegMix's tables (`--source`, by default below CORPUSMITH_SHARED) and LightGBM.
"""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import json
import pathlib
import sys

import numpy as np

from benchmarks._bench import Row, make_parser, report
from corpusmith.errors import CorpusmithError
from mixing.bench.bench import Values, paired_rows, rows_of, run_bench
from mixing.bench.command import LOG, METHODS, note_run, paired_lines, table_lines
from mixing.bench.regmix_tables import default_folder
from mixing.bench.statistics import bootstrap
from mixing.search.mixtures.arrays import F64

SEEDS, QUICK_SEEDS = range(100, 120), range(4)
BUDGET = 112
NARROW, PAPER = "climb@24" + 11 * ":8", "climb@64:32:16"
#: with 13 losses each method fits 13 predictors, so there the trees are left out
ONE_LOSS, ALL_LOSSES = ("climb", "climb-robust", "climb-paper", "regmix", "random"), ("climb", "random")
POOLS = {"pool-cc": ONE_LOSS, "pool-mean": ALL_LOSSES, "transfer-cc": ONE_LOSS, "transfer-mean": ALL_LOSSES}
Found = dict[str, dict[str, Values]]


def value(found: Found, family: str, method: str) -> F64:
    """A method's values on a family."""
    return np.array(found[family][method].value)


def level(name: str, ours: float, must: float, goal: float | None, unit: str = "rho") -> Row:
    """A row that must reach `must` and should reach `goal`; ranks and seconds must stay below."""
    less = unit in ("rank", "s")
    met = ours <= must if less else ours >= must
    aim = "" if goal is None else f", aim {'<=' if less else '>='} {goal:g}"
    sign = "<=" if less else ">="
    ratio = ours / must if must else float(ours >= must)
    return Row(name=name, ours=ours, other=must, unit=unit, ratio=ratio, goal=f"{sign} {must:g}{aim}", met=met)


def difference(found: Found, family: str, first: str, second: str, must: float, goal: float | None) -> list[Row]:
    """The paired difference, and the lower end of its interval, which must lie above 0."""
    differences = value(found, family, first) - value(found, family, second)
    low, _ = bootstrap(differences)
    name = f"{family} {first} - {second}"
    return [
        level(f"{name}, mean", float(differences.mean()), must, goal),
        level(f"{name}, lower end", low, 0.0, None),
    ]


def surface_rows(found: Found) -> list[Row]:
    """E.5 rows 1 to 8 and 13, with G.4's in place of 1 to 3, and time."""
    rows = []
    for family, best, paper, aims in (
        ("law", 0.92, 0.90, (0.96, 0.92, 0.93)),
        ("skills", 0.80, 0.76, (0.87, 0.77, 0.82)),
    ):
        ours = value(found, family, "climb")
        rows.append(level(f"{family} climb, mean", float(ours.mean()), best, aims[0]))
        rows.append(level(f"{family} climb, 10 % quantile", float(np.quantile(ours, 0.1)), 0.0, aims[1]))
        rows.append(level(f"{family} {PAPER}, mean", float(value(found, family, PAPER).mean()), paper, aims[2]))
        rows += difference(found, family, NARROW, PAPER, -1.0 if family == "skills" else 0.0, 0.0)[:1]
    for family, random, literal, tuned in (("law", 0.08, 0.20, 0.10), ("skills", 0.25, 0.22, 0.15)):
        rows += difference(found, family, "climb", "random", random, None)
        rows += difference(found, family, "climb", "regmix", literal, None)
        rows += difference(found, family, "climb", "regmix-tuned", tuned, 0.3)
        rows += difference(found, family, "climb", "doremi", 0.0, None)
    for first in ("climb", "climb-robust"):
        pooled = np.concatenate(
            [value(found, family, first) - value(found, family, f"{first}-oneshot") for family in ("law", "skills")]
        )
        rows.append(level(f"{first} - its one-shot form, both families", float(pooled.mean()), 0.0, None))
    rows.append(
        level(
            "law climb-paper, mean (faithful: 0.55 to 0.88)",
            float(value(found, "law", "climb-paper").mean()),
            0.55,
            None,
        )
    )
    seconds = [second for family in ("law", "skills") for second in found[family]["climb"].seconds]
    rows.append(level("seconds of one search of 112, no LightGBM", float(np.median(seconds)), 2.0, None, "s"))
    trees = [second for family in ("law", "skills") for second in found[family]["climb-robust"].seconds]
    rows.append(level("seconds of one robust search of 112, LightGBM", float(np.median(trees)), 5.0, None, "s"))
    return rows


def pool_rows(found: Found) -> list[Row]:
    """E.5 rows 9 and 10."""
    rows = []
    for family, aim in (("pool-cc", 1.5), ("pool-mean", 2.0)):
        random = float(value(found, family, "random").mean())
        rows.append(
            level(
                f"{family} climb, mean rank", float(value(found, family, "climb").mean()), min(4.5, random), aim, "rank"
            )
        )
        measured = float(np.mean(found[family]["climb"].measured))
        rows.append(level(f"{family} climb, best measured", measured, min(4.5, random), 1.0, "rank"))
        rows.append(level(f"{family} random, mean rank (the harness: 4 to 12)", random, 12.0, None, "rank"))
    return rows


def main() -> int:
    """Search, print, write, note."""
    parser = make_parser(__doc__ or "")
    parser.set_defaults(source=default_folder())
    arguments = parser.parse_args()
    seeds = QUICK_SEEDS if arguments.quick else SEEDS
    label = f"{seeds[0]}:{seeds[-1] + 1}"
    methods = [*METHODS.split(","), PAPER, NARROW]
    try:
        found = run_bench(["law", "skills"], methods, seeds, BUDGET, tables=arguments.source, folder=".")
        pools: Found = {}
        for family, methods_there in POOLS.items():
            budget = BUDGET if family.startswith("pool") else BUDGET // 2
            pools |= run_bench([family], methods_there, seeds, budget, tables=arguments.source, folder=".")
    except CorpusmithError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    table = rows_of(found, label) + rows_of(pools, label)
    paired = paired_rows(found)
    report([*surface_rows(found), *pool_rows(pools)], arguments.json)
    sys.stdout.write("\n".join(["", *table_lines(table), *paired_lines(paired), ""]))
    if arguments.json:
        path = pathlib.Path(arguments.json)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"table": table, "paired": paired}, indent=2) + "\n")
    note_run(seeds, BUDGET, table, LOG)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
