"""RegMix's released runs as an objective: a search among measured mixtures, judged by the rank of what it names.

`pool`: the candidates are the 768 mixtures at 1M parameters; a search sees the losses of those it asks for. `transfer`:
the candidates are the 256 mixtures that were also trained at 60M; a search sees losses at 1M and is judged at 60M. The
target is one loss (Pile-CC) or the mean of all 13.
"""

from __future__ import annotations

import csv
import io
import os
import pathlib
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError
from corpusmith.io import storage
from mixing.bench.surfaces import bench_space
from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.run_tables import read_runs
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.space import Space

PILE_CC = "metric/the_pile_pile_cc_val_loss"
POOL_FAMILIES = ("pool-cc", "pool-mean", "transfer-cc", "transfer-mean")
GRID_OF_TABLES = 2e-4


def default_folder() -> str:
    """Where the tables lie: below CORPUSMITH_SHARED, or below `shared` beside the checkout."""
    root = pathlib.Path(__file__).resolve().parents[2].parent / "shared"
    return str(pathlib.Path(os.environ.get("CORPUSMITH_SHARED", root)) / "mixing_data" / "regmix")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """The runs: weights (n, k) and losses (n, 13) of 512 + 256 at 1M, and of the same 256 at 60M."""

    groups: tuple[str, ...]
    losses: tuple[str, ...]
    weights: F64
    at_1m: F64
    at_60m: F64

    @property
    def shared(self) -> F64:
        """The mixtures that were trained at both sizes; shape (256, k)."""
        return self.weights[-len(self.at_60m) :]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredPool:
    """A search among measured mixtures: `seen` (n, t) is what a search is shown, `truth` (n,) ranks its answer."""

    space: Space
    objective: Objective
    seen: F64
    truth: F64

    def rows(self, weights: F64) -> list[int]:
        """The pool's row of each mixture."""
        assert self.space.pool is not None
        return [int(np.abs(self.space.pool - row).sum(axis=1).argmin()) for row in np.atleast_2d(weights)]

    def ranks(self, weights: F64) -> F64:
        """The rank of each mixture, 1 for the best."""
        order = np.argsort(np.argsort(self.truth, kind="stable"), kind="stable") + 1
        return np.asarray(order[self.rows(weights)], dtype=np.float64)


def read_tables(folder: str) -> Tables:
    """RegMix's tables.

    Raises:
        InputError: they are not there.
    """
    if not storage.exists(storage.join(folder, "train_mixture_1m.csv")):
        raise InputError(f"{folder}: no train_mixture_1m.csv; give the folder of RegMix's tables with --tables")
    groups = _header(storage.join(folder, "train_mixture_1m.csv"))
    losses = _header(storage.join(folder, "train_pile_loss_1m.csv"))
    objective = Objective(tasks=losses, better="lower")
    parts = {}
    for part, size in (("train", "1m"), ("test", "1m"), ("test", "60m")):
        pair = [storage.join(folder, f"{part}_{kind}_{size}.csv") for kind in ("mixture", "pile_loss")]
        parts[part, size] = read_runs(pair, groups, objective)
    train, test, larger = parts["train", "1m"], parts["test", "1m"], parts["test", "60m"]
    return Tables(
        groups=groups,
        losses=losses,
        weights=np.concatenate([train.weights, test.weights]),
        at_1m=np.concatenate([train.scores, test.scores]),
        at_60m=larger.scores,
    )


def _header(path: str) -> tuple[str, ...]:
    first = next(csv.reader(io.StringIO(storage.read_bytes(path).decode())))
    return tuple(first[1:])


def make_pool(tables: Tables, family: str, target: str | None = None, searched_at: str = "1m") -> MeasuredPool:
    """The pool of a family; `target` names one loss in place of the family's own, `searched_at` the table shown."""
    kind, _, blunt = family.partition("-")
    names = tables.losses if blunt == "mean" else (target or PILE_CC,)
    places = [tables.losses.index(name) for name in names]
    if kind == "pool":
        weights, seen, truth = tables.weights, tables.at_1m, tables.at_1m
    else:
        weights, truth = tables.shared, tables.at_60m
        seen = tables.at_60m if searched_at == "60m" else tables.at_1m[-len(truth) :]
    prior = tables.weights.mean(axis=0)
    space = bench_space(prior / prior.sum(), pool=weights)
    return MeasuredPool(
        space=space,
        objective=Objective(tasks=names, better="lower"),
        seen=seen[:, places],
        truth=truth[:, places].mean(axis=1),
    )
