"""Tables of the experiment database: rows, joins by uuid, filters, columns, order.

Follows DCLM's `tools/expdb.py`: each folder below the database is a table, nested objects are dotted columns, links are
replaced by names, evaluations get their model's size and their data set. Departs from it in that a link that leads
nowhere keeps the name that was stored, columns stay in the order asked for, and `column==value` is exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError, did_you_mean
from corpusmith.expdb import references as expdb
from corpusmith.io import storage

SOURCE = "_source_json"
PARTITION = "partition_key_"
EVALS = "evals"
PARAMS, TOKENS = "hyperparameters.params", "hyperparameters.tokens"
#: compute of a training run in FLOPs: 6 per parameter and token
FLOPS = "flops"

Row = dict[str, Any]

_MODEL_COLUMNS = (TOKENS, PARAMS, "dataset_name", "dataset_uuid")


@dataclass(frozen=True, kw_only=True)
class View:
    """What of a table is wanted.

    `filters` are conditions as `references.parse_filter` reads them; `columns` are kept in this order (all by default);
    `leading_columns` are regular expressions whose columns come first; `sort_by` orders by a column, largest first.
    """

    table: str = "models"
    filters: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    leading_columns: tuple[str, ...] = ()
    sort_by: str | None = None
    max_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns in order, and rows, which may lack some of them."""

    columns: list[str]
    rows: list[Row]


def load_table(database: str, view: View) -> Table:
    """The rows of a table, joined, filtered, ordered.

    Raises:
        InputError: no such table, a column that no row has, or a bad filter or expression.
    """
    names = table_names(database)
    if view.table not in names:
        hint = did_you_mean(view.table, names) or f"; tables: {', '.join(names) or 'none'}"
        raise InputError(f"{database}: no table {view.table!r}{hint}")
    filters = [expdb.parse_filter(text) for text in view.filters]
    rows = _join(database, view.table, names)
    rows = [row for row in rows if all(condition.matches(row) for condition in filters)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if view.sort_by is not None:
        _check_columns((view.sort_by,), columns, rows)
        rows.sort(key=_descending(view.sort_by))
    if view.columns:
        _check_columns(view.columns, columns, rows)
        columns = list(dict.fromkeys(view.columns))
    columns = _leading(columns, view.leading_columns)
    return Table(columns=columns, rows=rows[: view.max_rows])


def table_names(database: str) -> list[str]:
    """Folders directly below the database that hold JSON files.

    Raises:
        InputError: no such folder.
    """
    if not storage.is_dir(database):
        raise InputError(f"{database}: no such folder; give --database_path")
    below = (storage.relative(info.url, database).split("/") for info in storage.list_files(database, (".json",)))
    return sorted({parts[0] for parts in below if len(parts) > 1})


def read_rows(database: str, table: str) -> list[Row]:
    """Flattened rows in order of their paths, with their path and the folders that they are in."""
    rows = []
    for path, document in expdb.read_table(database, table):
        row = expdb.flatten(document) | {SOURCE: path}
        folders = storage.relative(path, storage.join(database, table)).split("/")[:-1]
        rows.append(row | {f"{PARTITION}{number}": folder for number, folder in enumerate(folders, start=1)})
    return rows


def _join(database: str, table: str, names: Sequence[str]) -> list[Row]:
    """The rows of a table with what its links lead to."""
    rows = read_rows(database, table)
    if table == EVALS:
        return _join_evals(database, rows, names)
    linked = {
        column.removesuffix("_uuid")
        for row in rows
        for column in row
        if column.endswith("_uuid") and f"{column.removesuffix('_uuid')}s" in names
    }
    for name in sorted(linked):
        targets = _by_uuid(database, f"{name}s")
        for row in rows:
            target = targets.get(row.pop(f"{name}_uuid", None))
            if target is not None:
                row[f"{name}_name"] = target.get("name")
    return [_with_flops(row) for row in rows]


def _join_evals(database: str, rows: list[Row], names: Sequence[str]) -> list[Row]:
    """Evaluations with their model's size and data set and the data set's tokenizer; the first of each uuid."""
    models = _by_uuid(database, "models") if "models" in names else {}
    datasets = _by_uuid(database, "datasets") if "datasets" in names else {}
    joined: dict[Any, Row] = {}
    for row in rows:
        model = models.get(row.get("model_uuid"), {})
        row |= {column: model[column] for column in _MODEL_COLUMNS if column in model}
        dataset = datasets.get(row.get("dataset_uuid"), {})
        row |= {"tokenizer": dataset["tokenizer"]} if "tokenizer" in dataset else {}
        joined.setdefault(row.get("uuid") or row[SOURCE], _with_flops(row))
    return list(joined.values())


def _by_uuid(database: str, table: str) -> dict[Any, Row]:
    """The first row of each uuid."""
    found: dict[Any, Row] = {}
    for row in read_rows(database, table):
        if row.get("uuid"):
            found.setdefault(row["uuid"], row)
    return found


def _with_flops(row: Row) -> Row:
    """The row with its training compute, where it says parameters and tokens."""
    params, tokens = row.get(PARAMS), row.get(TOKENS)
    if isinstance(params, int | float) and isinstance(tokens, int | float):
        row[FLOPS] = 6.0 * params * tokens
    return row


def _check_columns(wanted: Sequence[str], columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse columns that no row has, unless there are no rows."""
    for column in wanted:
        if rows and column not in columns:
            raise InputError(f"no column {column!r}{did_you_mean(column, columns)}")


def _descending(column: str) -> Callable[[Mapping[str, Any]], tuple[int, float, str]]:
    """Numbers from the largest, then texts, then rows without the column."""

    def key(row: Mapping[str, Any]) -> tuple[int, float, str]:
        value = row.get(column)
        if isinstance(value, int | float):
            return 0, -float(value), ""
        return (2, 0.0, "") if value is None else (1, 0.0, str(value))

    return key


def _leading(columns: list[str], patterns: Sequence[str]) -> list[str]:
    """Columns that match a pattern first, in the order of the patterns."""
    first: list[str] = []
    for pattern in patterns:
        try:
            first += [column for column in columns if re.search(pattern, column)]
        except re.error as error:
            raise InputError(f"--leading_columns {pattern!r}: {error}") from error
    return list(dict.fromkeys([*first, *columns]))
