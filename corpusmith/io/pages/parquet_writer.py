"""Write pages as the rows of one Parquet or Arrow file, under one schema made of all of them.

The schema is known before the first row is written (the pages wait in a compressed temporary file), so a key may be
null in the first million pages and text later. Keys that a page lacks are null. Numbers widen from integer to float
where no digit is lost; a page that fits no schema in common with those before it is refused. An object without keys,
which Parquet cannot hold, becomes null where no page of the shard has a key in it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 1 << 20
BATCHES_IN_GROUP = 4
ZSTD_LEVEL = 3
MAX_COLUMNS = 10_000
MAX_DEPTH = 64

_EXACT_IN_FLOAT = 1 << 53
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Shape:
    """What values of one place in all pages so far have in common; `kind` is `null` before the first value."""

    kind: str = "null"
    fields: dict[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    exact: bool = True
    """Whether all integers so far are exact as floats."""

    @property
    def size(self) -> int:
        """How many columns the shape has, nested ones included."""
        return 1 + sum(child.size for child in (*self.fields.values(), *filter(None, (self.item,))))

    @property
    def has_empty(self) -> bool:
        """Whether there is an object without keys in it."""
        if self.kind == "object" and not self.fields:
            return True
        return any(child.has_empty for child in (*self.fields.values(), *filter(None, (self.item,))))


_KINDS = {bool: "boolean", int: "integer", float: "float", str: "text", list: "list", dict: "object"}
_SCALARS = {"null": pa.null(), "boolean": pa.bool_(), "integer": pa.int64(), "float": pa.float64(), "text": pa.string()}


def widen(shape: Shape, value: Any, where: str = "page", depth: int = 0) -> Shape:
    """The shape with a value added; the same object where nothing changes. ValueError where nothing fits both."""
    if value is None:
        return shape
    kind = _KINDS[type(value)]
    if kind == "object":
        _agree(shape, kind, where)
        return _widen_object(shape, value, where, depth)
    if kind == "list":
        _agree(shape, kind, where)
        before = shape.item or Shape()
        item = before
        for child in value:
            item = widen(item, child, f"{where}[]", _deeper(where, depth))
        return shape if shape.item is item else Shape(kind, item=item)
    if kind == "integer":
        if not -_INT64 <= value < _INT64:
            raise ValueError(f"{where}: an integer of more than 64 bits does not fit a column")
        exact = shape.exact and -_EXACT_IN_FLOAT <= value <= _EXACT_IN_FLOAT
        if shape.kind == "float" and exact:
            return shape
        _agree(shape, kind, where)
        return shape if shape.kind == kind and shape.exact == exact else Shape(kind, exact=exact)
    if kind == "float" and shape.kind == "integer" and shape.exact:
        return Shape(kind)
    _agree(shape, kind, where)
    return shape if shape.kind == kind else Shape(kind)


def _widen_object(shape: Shape, value: dict[str, Any], where: str, depth: int) -> Shape:
    fields = shape.fields
    deeper = _deeper(where, depth)
    for key, child in value.items():
        before = fields.get(key)
        after = widen(before or Shape(), child, f"{where}.{key}", deeper)
        if after is not before:
            fields = dict(fields) if fields is shape.fields else fields
            fields[key] = after
    return shape if shape.kind == "object" and fields is shape.fields else Shape("object", fields=fields)


def _agree(shape: Shape, kind: str, where: str) -> None:
    if shape.kind not in ("null", kind):
        raise ValueError(f"{where}: {kind} where earlier pages of the shard have {shape.kind}: no column holds both")


def _deeper(where: str, depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise ValueError(f"{where[:80]}...: nested more than {MAX_DEPTH} deep")
    return depth + 1


def _arrow_type(shape: Shape) -> pa.DataType:
    if shape.kind == "list":
        return pa.list_(_arrow_type(shape.item or Shape()))
    if shape.kind == "object":
        if not shape.fields:
            return pa.null()
        return pa.struct([pa.field(name, _arrow_type(child)) for name, child in shape.fields.items()])
    return _SCALARS[shape.kind]


def _without_empty(shape: Shape, value: Any) -> Any:
    """The value with null for objects of which no page has a key."""
    if isinstance(value, dict):
        return {key: _without_empty(shape.fields[key], child) for key, child in value.items()} if shape.fields else None
    if isinstance(value, list):
        return [_without_empty(shape.item or Shape(), child) for child in value]
    return value


class TableSchema:
    """The schema of all pages of a shard; grows with `admit`, then `write_table` uses it."""

    def __init__(self) -> None:
        self._shape = Shape("object")

    def admit(self, line: bytes) -> None:
        """Make room for a page that is a line of JSON; ValueError, with nothing changed, where it fits no column."""
        shape = widen(self._shape, _exact_loads(line))
        if shape is not self._shape:
            if (size := shape.size) > MAX_COLUMNS:
                raise ValueError(f"with this page the shard would have {size} columns; at most {MAX_COLUMNS} are made")
            self._shape = shape

    def arrow(self) -> pa.Schema:
        """The schema; one empty column `text` where no page has a key."""
        fields = self._shape.fields or {"text": Shape("text")}
        return pa.schema([pa.field(name, _arrow_type(child)) for name, child in fields.items()])

    def batches(self, lines: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """The pages of lines that were admitted, about BATCH_BYTES of JSON in a batch."""
        schema, has_empty = self.arrow(), self._shape.has_empty
        pages: list[Any] = []
        held = 0
        for line in lines:
            page = orjson.loads(line)
            pages.append(_without_empty(self._shape, page) or {} if has_empty else page)
            held += len(line)
            if held >= BATCH_BYTES:
                yield pa.RecordBatch.from_pylist(pages, schema=schema)
                pages, held = [], 0
        if pages:
            yield pa.RecordBatch.from_pylist(pages, schema=schema)


def _exact_loads(line: bytes) -> Any:
    """A line's value; ValueError where a number of it would silently change."""
    value = orjson.loads(line)
    if _holds_big_float(value):
        value = json.loads(line)
    return value


def _holds_big_float(value: Any) -> bool:
    if type(value) is float:
        return abs(value) >= _INT64
    if type(value) is dict:
        return any(map(_holds_big_float, value.values()))
    return type(value) is list and any(map(_holds_big_float, value))


def write_table(sink: Any, name: str, schema: TableSchema, lines: Iterable[bytes]) -> None:
    """Write admitted lines to an open file: an Arrow stream under a name that ends in `.arrow`, else Parquet.

    Equal lines give equal bytes under the same pyarrow. Parquet pages are compressed by zstd and carry checksums.
    """
    file = pa.PythonFile(sink, mode="w")
    if name.endswith(".arrow"):
        with pa.ipc.new_stream(file, schema.arrow()) as stream:
            for batch in schema.batches(lines):
                stream.write_batch(batch)
        return
    with pq.ParquetWriter(
        file, schema.arrow(), compression="zstd", compression_level=ZSTD_LEVEL, write_page_checksum=True
    ) as table:
        batches = schema.batches(lines)
        while group := list(itertools.islice(batches, BATCHES_IN_GROUP)):
            rows = pa.Table.from_batches(group)
            table.write_table(rows, row_group_size=rows.num_rows)
