"""Tables of finished runs: our Parquet, one CSV, or pairs of CSVs (weights and scores) as RegMix and Olmix write them.

Columns of weights are the groups' names, columns of scores the tasks'; ours carry `weight/` and `score/` before them.
The tables of a pair are joined by their first common column of `index`, `run`, `id`, `name`. Weights that were rounded
(RegMix: to 0.001) are normalised where they add up to 1 within 2 %.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpusmith.errors import InputError, did_you_mean
from corpusmith.io import storage
from mixing.search.mixtures.arrays import F64, I64
from mixing.search.mixtures.runs import Objective, Runs

WEIGHT, SCORE = "weight/", "score/"
_KEYS = ("index", "run", "id", "name")
_SUM_TOLERANCE = 0.02

Table = dict[str, list[Any]]


def write_runs(url: str, runs: Runs) -> None:
    """Write a table of runs as Parquet; equal runs give equal bytes with the same pyarrow."""
    columns: dict[str, Any] = {"id": runs.ids, "round": runs.rounds}
    columns |= {WEIGHT + name: runs.weights[:, index] for index, name in enumerate(runs.names)}
    columns |= {SCORE + task: runs.scores[:, index] for index, task in enumerate(runs.objective.tasks)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    storage.write_bytes(url, sink.getvalue())


def read_runs(urls: Sequence[str], names: Sequence[str], objective: Objective) -> Runs:
    """The runs of one table, or of a pair (weights, scores), in order of their round and row.

    Raises:
        InputError: a missing column, a cell that is no number, weights that do not add up to 1, rows that do not match.
    """
    tables = [_read(url) for url in urls]
    weights, weight_rows = _columns(tables[0], urls[0], names, WEIGHT, "group")
    scores, score_rows = _columns(tables[-1], urls[-1], objective.tasks, SCORE, "task")
    if len(tables) == 2:
        order = _join(tables, urls)
        scores = scores[order]
    if weight_rows != len(scores):
        raise InputError(f"{urls[0]} has {weight_rows} runs, {urls[-1]} has {score_rows}")
    totals = weights.sum(axis=1)
    off = np.flatnonzero((np.abs(totals - 1.0) > _SUM_TOLERANCE) | (weights < 0).any(axis=1))
    if len(off):
        raise InputError(
            f"{urls[0]}: row {off[0] + 1}: weights must be at least 0 and add up to 1, the sum is {totals[off[0]]:g}"
        )
    totals = np.where(np.abs(totals - 1.0) < 1e-9, 1.0, totals)
    rounds = _rounds(tables[0], len(weights))
    order = np.argsort(rounds, kind="stable")
    return Runs(
        names=tuple(names),
        objective=objective,
        weights=(weights / totals[:, None])[order],
        scores=scores[order],
        rounds=rounds[order],
    )


def _read(url: str) -> Table:
    data = storage.read_bytes(url)
    if url.endswith(".parquet"):
        try:
            table = pq.read_table(io.BytesIO(data))
        except pa.ArrowInvalid as error:
            raise InputError(f"{url}: not a Parquet file: {error}") from error
        return {name: table[name].to_pylist() for name in table.column_names}
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{url}: not a CSV file: {error}") from error
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise InputError(f"{url}: expected a line of column names and a line for each run")
    ragged = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if ragged is not None:
        raise InputError(f"{url}:{ragged}: {len(rows[ragged - 1])} cells, the first line has {len(rows[0])}")
    return {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}


def _columns(table: Table, url: str, names: Sequence[str], prefix: str, kind: str) -> tuple[F64, int]:
    """The named columns as numbers (rows, names)."""
    found = []
    for name in names:
        column = table.get(prefix + name, table.get(name))
        if column is None:
            raise InputError(f"{url}: no column for the {kind} {name!r}{did_you_mean(name, table)}")
        found.append([_number(cell, f"{url}: row {row}: {name}") for row, cell in enumerate(column, 1)])
    numbers = np.array(found, dtype=np.float64).T
    return numbers, len(numbers)


def _number(cell: Any, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a number, got {cell!r}") from error
    if not np.isfinite(value):
        raise InputError(f"{where}: {cell} is no score; leave runs that failed out of the table")
    return value


def _join(tables: Sequence[Table], urls: Sequence[str]) -> I64:
    """For each row of the first table the row of the second."""
    key = next((name for name in _KEYS if name in tables[0] and name in tables[1]), None)
    if key is None:
        raise InputError(f"{urls[0]} and {urls[1]} have none of the columns {', '.join(_KEYS)} in common")
    places = {str(value): place for place, value in enumerate(tables[1][key])}
    if len(places) < len(tables[1][key]):
        raise InputError(f"{urls[1]}: a value of the column {key!r} stands twice")
    lacking = next((value for value in tables[0][key] if str(value) not in places), None)
    if lacking is not None:
        raise InputError(f"{urls[1]}: no scores for {key} {lacking!r}; leave runs that failed out of both tables")
    return np.array([places[str(value)] for value in tables[0][key]], dtype=np.int64)


def _rounds(table: Table, count: int) -> I64:
    """The column `round` of our own tables; without it all runs are of the first round."""
    column = table.get("round")
    return np.zeros(count, dtype=np.int64) if column is None else np.array([int(value) for value in column])
