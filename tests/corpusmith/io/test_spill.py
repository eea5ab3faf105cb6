"""A spill file gives back the rows of each cell in their order, however many batches they were added in."""

from __future__ import annotations

import pathlib
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.io.spill import group_by_cell, open_spill, read_spill_cell, spill_rows, write_spill

SCHEMA = pa.schema([("value", pa.int64()), ("name", pa.binary(2))])
ROWS = st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3)), max_size=8)


def batch(rows: list[tuple[int, int]]) -> pa.RecordBatch:
    return pa.record_batch([[value for value, _ in rows], [b"ab" for _ in rows]], schema=SCHEMA)


@given(st.lists(ROWS, max_size=4))
@settings(deadline=None)
def test_rows_added_in_several_calls_come_back_by_cell(calls: list[list[tuple[int, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/a.arrow"
        with open_spill(url, SCHEMA, 4) as add:
            for rows in calls:
                add(batch(rows), pa.array([cell for _, cell in rows], pa.int64()))
        for cell in range(4):
            expected = [value for rows in calls for value, of in rows if of == cell]
            found = read_spill_cell(url, cell)
            assert found.column("value").to_pylist() == expected
            assert found.schema.remove_metadata() == SCHEMA


def test_rows_written_at_once_are_counted(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "a.arrow")
    rows = [(5, 1), (6, 0), (7, 1)]
    write_spill(url, group_by_cell(batch(rows), pa.array([cell for _, cell in rows]), 3))
    assert spill_rows(url) == [1, 2, 0]
    assert read_spill_cell(url, 1).column("value").to_pylist() == [5, 7]


def test_a_spill_that_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def fail() -> None:
        with open_spill(str(tmp_path / "a.arrow"), SCHEMA, 2):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
