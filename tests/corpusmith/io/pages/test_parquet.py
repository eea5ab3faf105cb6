"""Parquet and Arrow shards: the same pages as from JSON lines, one schema, and no row lost without a word."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import pathlib
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep
from corpusmith.errors import InputError
from corpusmith.io.pages import parquet, parquet_writer, shards
from corpusmith.io.pages.parquet_writer import TableSchema
from corpusmith.io.pages.shards import Page, Record, list_shards, open_shard_writer, read_records, read_shard
from corpusmith.run.stage import StagePlace

SUFFIXES = [".parquet", ".arrow"]
PAGES: list[Page] = [
    {"text": f"page {number} é" + " words" * 40, "url": f"http://example.org/{number}", "n": number}
    for number in range(300)
]


def written(path: pathlib.Path, pages: list[Page]) -> list[Page]:
    with open_shard_writer(str(path)) as writer:
        for page in pages:
            writer.write(page)
    return list(read_shard(str(path)))


def table(path: pathlib.Path, columns: dict[str, pa.Array], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def stream(path: pathlib.Path, batches: list[pa.RecordBatch]) -> str:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return str(path)


def errors(records: list[Record]) -> list[str]:
    return [record.error for record in records if record.error is not None]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_and_checksum_and_size_are_those_of_the_file(
    tmp_path: pathlib.Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_writer, "BATCH_BYTES", 5_000)
    path = tmp_path / f"a{suffix}"
    with open_shard_writer(str(path)) as writer:
        for page in PAGES:
            writer.write(page)
    records = list(read_records(str(path)))
    assert [record.page for record in records] == PAGES
    assert [(record.index, record.offset) for record in records] == [(number, number) for number in range(300)]
    assert [json.loads(record.raw) for record in records] == PAGES
    assert writer.records == len(PAGES)
    assert writer.bytes == path.stat().st_size
    assert writer.checksum == shards.file_checksum(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_pages_give_the_same_bytes_under_any_name(tmp_path: pathlib.Path, suffix: str) -> None:
    for name in ("a", "another"):
        written(tmp_path / f"{name}{suffix}", PAGES)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"another{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_shard_appears_whole_or_not_at_all(tmp_path: pathlib.Path, suffix: str) -> None:
    def fail() -> None:
        with open_shard_writer(str(tmp_path / f"a{suffix}")) as writer:
            writer.write(PAGES[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("pages", [[], [{}], [{"text": None}, {}]], ids=["no page", "no key", "only null"])
def test_shards_without_content_are_read_back(tmp_path: pathlib.Path, suffix: str, pages: list[Page]) -> None:
    assert written(tmp_path / f"a{suffix}", pages) == [{"text": None}] * len(pages)


def test_null_becomes_a_type_integer_becomes_float_and_missing_keys_are_null(tmp_path: pathlib.Path) -> None:
    pages: list[Page] = [
        {"a": None, "n": 1, "m": {}, "l": []},
        {"a": "text", "n": 0.5, "m": {"k": [{"x": None}]}, "l": [None, 3]},
        {"n": 2, "m": {"k": [{"x": True}, {}], "z": None}, "new": "here"},
    ]
    assert written(tmp_path / "a.parquet", pages) == [
        {"a": None, "n": 1.0, "m": {"k": None, "z": None}, "l": [], "new": None},
        {"a": "text", "n": 0.5, "m": {"k": [{"x": None}], "z": None}, "l": [None, 3], "new": None},
        {"a": None, "n": 2.0, "m": {"k": [{"x": True}, {"x": None}], "z": None}, "l": None, "new": "here"},
    ]


def test_an_object_of_which_no_page_has_a_key_is_null(tmp_path: pathlib.Path) -> None:
    pages: list[Page] = [{"text": "a", "m": {}, "l": [{}, None]}]
    assert written(tmp_path / "a.parquet", pages) == [{"text": "a", "m": None, "l": [None, None]}]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": "x"}, {"a": 1}, r"page\.a: integer where earlier pages of the shard have text"),
        ({"a": 1}, {"a": True}, r"page\.a: boolean"),
        ({"a": [1]}, {"a": 1}, r"page\.a: integer"),
        ({"m": {"k": [1]}}, {"m": {"k": ["x"]}}, r"page\.m\.k\[\]: text"),
        ({"a": {"k": 1}}, {"a": []}, r"page\.a: list"),
        ({"a": 2**53 + 1}, {"a": 0.5}, r"page\.a: float"),
        ({"a": 0.5}, {"a": 2**53 + 1}, r"page\.a: integer"),
        ({"a": 1}, {"a": 2**63}, "more than 64 bits"),
        ({"a": 0.5}, {"a": 10**25}, "more than 64 bits"),
        ({"a": "x"}, {"a": "\ud800"}, "surrogate"),
        ({"a": 1}, {"a": 1, "b": [0, "x"]}, r"page\.b\[\]: text"),
    ],
)
def test_a_page_that_fits_no_column_is_refused_alone_and_leaves_no_trace(
    tmp_path: pathlib.Path, first: Page, second: Page, message: str
) -> None:
    url = str(tmp_path / "a.parquet")
    with open_shard_writer(url) as writer:
        writer.write(first)
        with pytest.raises(ValueError, match=message):
            writer.write(second)
        writer.write(first)
    assert writer.records == 2
    assert list(read_shard(url)) == [first, first]


def test_a_float_beyond_64_bits_is_no_integer(tmp_path: pathlib.Path) -> None:
    assert written(tmp_path / "a.parquet", [{"a": 1e25}, {"a": 0.5}]) == [{"a": 1e25}, {"a": 0.5}]


def test_too_many_columns_or_levels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "MAX_COLUMNS", 5)
    schema = TableSchema()
    schema.admit(b'{"a": {"b": 1}, "c": [1]}')
    with pytest.raises(ValueError, match="would have 6 columns"):
        schema.admit(b'{"d": 1}')
    with pytest.raises(ValueError, match="nested more than"):
        schema.admit(b'{"a": {"b": null}, "z": ' + b"[" * 100 + b"]" * 100 + b"}")


JSON_VALUES = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def filled(value: Any, like: Any) -> bool:
    """Whether `like` is `value` with nothing but nulls added for missing keys, and null for objects without keys."""
    if isinstance(value, dict):
        if like is None:
            return all(child is None or child == {} for child in value.values())
        return isinstance(like, dict) and all(filled(value.get(key), child) for key, child in like.items())
    if isinstance(value, list):
        return isinstance(like, list) and len(value) == len(like) and all(map(filled, value, like))
    return bool(value == like)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=4), max_size=6))
def test_every_admitted_page_comes_back_with_nothing_but_nulls_added(pages: list[Page]) -> None:
    for suffix in SUFFIXES:
        schema = TableSchema()
        admitted = []
        for page in pages:
            try:
                schema.admit(orjson.dumps(page))
            except ValueError:
                continue
            admitted.append(page)
        sink = io.BytesIO()
        sink.close = lambda: None  # type: ignore[method-assign]
        parquet_writer.write_table(sink, f"a{suffix}", schema, [orjson.dumps(page) for page in admitted])
        found = [row.page for row in parquet.read_rows(io.BytesIO(sink.getvalue()), sink.getvalue()[:8])]
        assert len(found) == len(admitted)
        for page, row in zip(admitted, found, strict=True):
            assert row is not None
            assert filled(page, row)
            assert set(page) <= set(row)


def test_values_that_json_lacks_are_read_as_what_it_has(tmp_path: pathlib.Path) -> None:
    moment = datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.UTC)
    url = table(
        tmp_path / "a.parquet",
        {
            "when": pa.array([moment], pa.timestamp("us", "UTC")),
            "nano": pa.array([1], pa.timestamp("ns")),
            "day": pa.array([datetime.date(2024, 2, 29)]),
            "days": pa.array([[datetime.date(2024, 2, 29)]]),
            "sum": pa.array([decimal.Decimal("1.50")], pa.decimal128(6, 2)),
            "map": pa.array([[("k", 0.5), ("z", float("nan"))]], pa.map_(pa.string(), pa.float64())),
            "map of int": pa.array([[(1, "x")]], pa.map_(pa.int32(), pa.string())),
            "nan": pa.array([float("nan")]),
            "inf": pa.array([[float("inf"), 1.0]]),
            "bytes": pa.array(["é".encode()]),
            "dictionary": pa.array(["x"]).dictionary_encode(),
            "large": pa.array(["x"], pa.large_string()),
            "half": pa.array([1.5], pa.float16()),
        },
    )
    [record] = read_records(url)
    assert record.page == {
        "when": "2024-02-29 01:02:03.000000Z",
        "nano": "1970-01-01 00:00:00.000000001",
        "day": "2024-02-29",
        "days": ["2024-02-29"],
        "sum": "1.50",
        "map": {"k": 0.5, "z": None},
        "map of int": {"1": "x"},
        "nan": None,
        "inf": [None, 1.0],
        "bytes": "é",
        "dictionary": "x",
        "large": "x",
        "half": 1.5,
    }
    assert json.loads(record.raw) == record.page


@pytest.mark.parametrize("form", ["text", "bytes", "nested", "arrow"])
def test_a_row_that_is_not_utf8_is_set_aside_alone_with_its_bytes(tmp_path: pathlib.Path, form: str) -> None:
    values = pa.array([b"first", b"\xff\xfe", "é".encode()])
    column = values if form == "bytes" else values.view(pa.string())
    if form == "nested":
        column = pa.StructArray.from_arrays([column], ["k"])
    url = str(tmp_path / "a.data")
    if form == "arrow":
        stream(tmp_path / "a.data", [pa.record_batch({"text": column})])
    else:
        table(tmp_path / "a.data", {"text": column})
    records = list(read_records(url))
    assert [record.page is not None for record in records] == [True, False, True]
    assert records[1].error == "column text holds bytes that are not UTF-8"
    assert b"\xff\xfe" in records[1].raw
    assert records[2].raw.decode().count("é") == 1


def test_a_damaged_row_group_costs_one_record_and_the_others_are_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.parquet"
    table(
        path,
        {"text": pa.array([page["text"] for page in PAGES])},
        row_group_size=100,
        write_page_checksum=True,
        use_dictionary=False,
    )
    place = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset + place.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    records = list(read_records(str(path)))
    assert len(records) == 201
    [lost] = [record for record in records if record.error]
    assert lost.index == lost.offset == 100
    assert "row group 1, rows 100 to 199 are lost" in str(lost.error)
    assert [record.page for record in records if record.page] == [
        {"text": page["text"]} for number, page in enumerate(PAGES) if not 100 <= number < 200
    ]
    assert [record.index for record in records] == list(range(201))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 cut short", b"\xff\xff\xff\xff\x00", b'{"text": "a"}\n'])
def test_what_is_no_table_is_one_record(tmp_path: pathlib.Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert len(errors(list(read_records(str(tmp_path / f"a{suffix}"))))) == 1


def test_rows_before_the_end_of_a_truncated_arrow_file_are_kept(tmp_path: pathlib.Path) -> None:
    batches = [pa.RecordBatch.from_pylist(PAGES[start : start + 100]) for start in (0, 100, 200)]
    footed = tmp_path / "footed.arrow"
    with pa.OSFile(str(footed), "wb") as file, pa.ipc.new_file(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    assert list(read_shard(str(footed))) == PAGES
    for path in (footed, pathlib.Path(stream(tmp_path / "stream.arrow", batches))):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 6])
        records = list(read_records(str(path)))
        assert [record.page for record in records[:-1]] == PAGES[:200]
        assert records[-1].error is not None


@pytest.mark.parametrize("make", [pa.array, lambda values: pa.array(values).dictionary_encode()])
def test_no_flipped_bit_in_an_arrow_file_breaks_the_reader(tmp_path: pathlib.Path, make: Any) -> None:
    batches = [
        pa.record_batch({"text": make(["some text", "é", None, "more"]), "l": pa.array([[1], [2, 3], None, []])})
        for _ in range(2)
    ]
    path = tmp_path / "a.arrow"
    whole = pathlib.Path(stream(path, batches)).read_bytes()
    for place in range(8, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        for record in read_records(str(path)):
            assert (record.page is None) != (record.error is None)


def test_no_flipped_bit_in_a_parquet_file_breaks_the_reader_or_changes_a_row_group_unseen(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a.parquet"
    written(path, PAGES[:5])
    whole = path.read_bytes()
    for place in range(4, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        for record in read_records(str(path)):
            assert (record.page is None) != (record.error is None)


def test_rows_without_a_column_are_no_bomb(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.nulls(10)}).select([]), path)
    assert len(list(read_records(str(path)))) <= 1


def test_a_row_over_the_limit_is_set_aside(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = table(tmp_path / "a.parquet", {"text": pa.array(["x" * 20_000, "y"])})
    monkeypatch.setattr(shards, "MAX_LINE_BYTES", 10_000)
    records = list(read_records(url))
    assert "longer than 10000" in str(records[0].error)
    assert len(records[0].raw) == shards.KEPT_OF_OVERLONG_LINE
    assert records[1].page == {"text": "y"}


def test_hugging_face_folders_are_read_without_what_the_library_derived(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    table(tmp_path / "data" / "train-00000-of-00001.parquet", {"text": pa.array(["a"])})
    saved = tmp_path / "saved" / "train"
    saved.mkdir(parents=True)
    for name in ("data-00000-of-00001.arrow", "cache-1f.arrow", "other.arrow"):
        stream(saved / name, [pa.record_batch({"text": pa.array([name])})])
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    state: dict[str, Any] = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (saved / "state.json").write_text(json.dumps(state))
    (tmp_path / "loose").mkdir()
    for name in ("set-train.arrow", "cache-1f.arrow"):
        stream(tmp_path / "loose" / name, [pa.record_batch({"text": pa.array([name])})])
    found = list_shards(str(tmp_path))
    assert [shard.name for shard in found] == [
        "data/train-00000-of-00001.parquet",
        "loose/set-train.arrow",
        "saved/train/data-00000-of-00001.arrow",
    ]
    assert list(read_shard(found[2].url)) == [{"text": "data-00000-of-00001.arrow"}]
    (saved / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(InputError, match="flatten_indices"):
        list_shards(str(tmp_path))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_steps_run_over_tables_and_write_tables(tmp_path: pathlib.Path, suffix: str) -> None:
    pages: list[Page] = [
        {"text": "three short words", "url": "a"},
        {"text": "one", "url": "b"},
        {"text": None, "url": "c"},
    ]
    written(tmp_path / "in" / f"a{suffix}", pages)
    [shard] = list_shards(str(tmp_path / "in"))
    place = StagePlace(name="s", folder=str(tmp_path), output=str(tmp_path / "out"), errors=str(tmp_path / "errors"))
    step = LocalStep(index=0, func="page_length_filter", arguments={"length_type": "word", "min_length": 2})
    process_shard(LocalTask(place=place, shard=shard, identity="test", output=shard.name, steps=(step,), seed=0))
    assert list(read_shard(place.output_url(shard.name))) == pages[:1]
    [aside] = read_shard(place.error_url(step.key, shard.name))
    assert json.loads(aside["raw"]) == pages[2]
    assert aside["offset"] == 2
