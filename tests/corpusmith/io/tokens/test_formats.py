"""The four token formats behind one door: equal rows in, equal rows out, and what the field's own readers see."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tarfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError, ShardError
from corpusmith.io.tokens import mds, wds
from corpusmith.io.tokens.flat_binary import BinTokens
from corpusmith.io.tokens.rows import ShardEntry, TokenRows, storage_dtype
from corpusmith.io.tokens.shards import FORMATS, open_token_shards, write_token_shard

UINT16 = np.dtype(np.uint16)
rows_lists = st.lists(st.lists(st.integers(0, 65535), min_size=1, max_size=12), min_size=1, max_size=7)


def write(folder: pathlib.Path, format_name: str, shards: list[TokenRows], dtype: np.dtype[Any] = UINT16) -> None:
    """A whole data set with the index of its folder."""
    entries, manifest = [], []
    for number, rows in enumerate(shards, start=1):
        _, entry = write_token_shard(str(folder), number, rows, format_name=format_name, dtype=dtype)
        entries.append(entry)
        manifest.append(ShardEntry(shard=wds.shard_name(number), num_sequences=len(rows)))
    if format_name == "wds":
        wds.write_manifest(str(folder / "manifest.jsonl"), manifest)
    if format_name == "mds":
        mds.write_index(str(folder), [entry for entry in entries if entry])


def read(folder: pathlib.Path) -> list[list[int]]:
    data = open_token_shards(str(folder))
    return [row.tokens.tolist() for entry in data.entries for row in data.read(entry.shard)]


@settings(deadline=None, max_examples=25)
@given(st.lists(rows_lists, min_size=1, max_size=3))
def test_equal_rows_come_back_from_every_format(tmp_path_factory: pytest.TempPathFactory, shards: list[Any]) -> None:
    for format_name in FORMATS:
        folder = tmp_path_factory.mktemp(format_name)
        write(folder, format_name, [TokenRows.of(rows) for rows in shards])
        data = open_token_shards(str(folder))
        assert data.format == format_name
        assert [entry.num_sequences for entry in data.entries] == [len(rows) for rows in shards]
        assert read(folder) == [row for rows in shards for row in rows]
        last = data.entries[-1]
        for start in range(last.num_sequences + 1):
            tail = [row.tokens for row in data.read(last.shard, start)]
            assert [tokens.tolist() for tokens in tail] == shards[-1][start:]
            assert all(tokens.dtype == np.uint32 for tokens in tail)


@pytest.mark.parametrize("format_name", FORMATS)
def test_ids_of_17_bits_come_back_and_do_not_fit_into_16(tmp_path: pathlib.Path, format_name: str) -> None:
    rows = TokenRows.of([[1, 70000], [3]])
    write(tmp_path / "wide", format_name, [rows], np.dtype(np.uint32))
    assert read(tmp_path / "wide") == [[1, 70000], [3]]
    if format_name in ("mds", "bin"):
        with pytest.raises(InputError, match="70000 does not fit into 16 bits"):
            write(tmp_path / "narrow", format_name, [rows])
        assert not list((tmp_path / "narrow").glob("*")) if (tmp_path / "narrow").exists() else True


@pytest.mark.parametrize(
    ("dtype", "num_ids", "expected"),
    [("auto", 65536, "uint16"), ("auto", 65537, "uint32"), ("uint16", 65536, "uint16"), ("uint32", 9, "uint32")],
)
def test_16_bits_hold_65536_ids(dtype: str, num_ids: int, expected: str) -> None:
    assert storage_dtype(dtype, num_ids) == np.dtype(expected)


def test_a_vocabulary_too_large_for_16_bits_is_refused() -> None:
    with pytest.raises(InputError, match="65536 do not fit into 16 bits"):
        storage_dtype("uint16", 65537)
    with pytest.raises(InputError, match="unknown dtype"):
        storage_dtype("uint8", 5)


@pytest.mark.parametrize("format_name", ["wds", "mds", "parquet"])
def test_provenance_comes_back_with_each_row(tmp_path: pathlib.Path, format_name: str) -> None:
    metas = [{"source": "wiki", "pages": ["a", "b"]}, {"source": "büch", "pages": []}]
    rows = TokenRows.of([[1, 2], [3]], names=["s#0", "s#1"], metas=metas)
    write(tmp_path, format_name, [rows])
    data = open_token_shards(str(tmp_path))
    found = [row.meta for row in data.read(data.entries[0].shard)]
    assert [{key: meta[key] for key in ("source", "pages")} for meta in found] == metas
    if format_name == "mds":
        assert [meta["id"] for meta in found] == ["s#0", "s#1"]
    if format_name == "wds":
        assert wds.count_members(str(tmp_path / "00000001.tar")) == 2


def test_equal_rows_give_equal_bytes(tmp_path: pathlib.Path) -> None:
    for format_name in FORMATS:
        for copy in ("one", "two"):
            write(tmp_path / copy / format_name, format_name, [TokenRows.of([[1, 2, 3], [4]])])
        one, two = ({p.name: p.read_bytes() for p in (tmp_path / c / format_name).iterdir()} for c in ("one", "two"))
        assert one == two


# --- what the field's readers do ---------------------------------------------------------------------------------


def test_nanogpt_maps_the_concatenation_of_all_bin_files(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "bin", [TokenRows.of([[1, 2, 3], [4, 5, 6]]), TokenRows.of([[7, 8, 9]])])
    train = tmp_path / "train.bin"
    train.write_bytes(b"".join(path.read_bytes() for path in sorted(tmp_path.glob("0*.bin"))))
    assert np.memmap(train, dtype=np.uint16, mode="r").tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    stream = BinTokens(str(train), sequence_length=4)
    assert stream.entries == [ShardEntry(shard="train", num_sequences=2)]
    assert [row.tokens.tolist() for row in stream.read("train", 1)] == [[5, 6, 7, 8]]


def test_megatron_reads_index_and_ids(tmp_path: pathlib.Path) -> None:
    """The steps of Megatron-LM's reader, word by word."""
    write(tmp_path, "bin", [TokenRows.of([[1, 2, 3], [4], [5, 6]])])
    with open(tmp_path / "00000001.idx", "rb") as stream:
        assert stream.read(9) == b"MMIDIDX\x00\x00"
        assert int.from_bytes(stream.read(8), "little") == 1
        assert stream.read(1) == b"\x08"  # uint16
        rows, marks = (int.from_bytes(stream.read(8), "little") for _ in range(2))
        offset = stream.tell()
    buffer = memoryview((tmp_path / "00000001.idx").read_bytes())
    lengths = np.frombuffer(buffer, dtype=np.int32, count=rows, offset=offset)
    pointers = np.frombuffer(buffer, dtype=np.int64, count=rows, offset=offset + lengths.nbytes)
    documents = np.frombuffer(buffer, dtype=np.int64, count=marks, offset=offset + lengths.nbytes + pointers.nbytes)
    assert (lengths.tolist(), pointers.tolist(), documents.tolist()) == ([3, 1, 2], [0, 6, 8], [0, 1, 2, 3])
    ids = np.memmap(tmp_path / "00000001.bin", mode="r")
    assert np.frombuffer(ids, dtype=np.uint16, count=2, offset=int(pointers[2])).tolist() == [5, 6]


def test_climbmix_is_read_with_and_without_its_extra_columns(tmp_path: pathlib.Path) -> None:
    tokens = [[1, 2, 50256], [3]]
    full = pa.table({"tokens": tokens, "token_count": [3, 1], "cluster_id": [4, 9]})
    pq.write_table(full, tmp_path / "shard_0.tokenized.parquet")
    pq.write_table(pa.table({"tokens": pa.array(tokens, pa.large_list(pa.int32()))}), tmp_path / "shard_1.parquet")
    data = open_token_shards(str(tmp_path))
    assert [entry.shard for entry in data.entries] == ["shard_0.tokenized", "shard_1"]
    assert read(tmp_path) == tokens + tokens
    assert [row.meta for row in data.read("shard_0.tokenized")] == [{"cluster_id": 4}, {"cluster_id": 9}]


def test_ours_has_the_schema_of_climbmix(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "parquet", [TokenRows.of([[1, 2], [3]])])
    schema = pq.read_schema(tmp_path / "00000001.parquet")
    assert schema.names == ["tokens", "token_count"]
    assert schema.field("tokens").type.value_type == schema.field("token_count").type == pa.int64()


# --- refusals and damage -----------------------------------------------------------------------------------------


def test_a_count_that_is_not_the_lists_length_is_damage(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"tokens": [[1, 2]], "token_count": [3]}), tmp_path / "a.parquet")
    with pytest.raises(ShardError, match="token_count is 3, but it has 2"):
        read(tmp_path)


@pytest.mark.parametrize("tokens", [[["a"]], [1], [[None]], [[-1]], [[1 << 40]]])
def test_columns_that_are_no_token_ids_are_refused(tmp_path: pathlib.Path, tokens: list[Any]) -> None:
    pq.write_table(pa.table({"tokens": tokens}), tmp_path / "a.parquet")
    with pytest.raises((InputError, ShardError)):
        read(tmp_path)


def test_what_is_no_data_set_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.jsonl, index\.json"):
        open_token_shards(str(tmp_path))
    (tmp_path / "train.bin").write_bytes(bytes(8))
    with pytest.raises(InputError, match="how long"):
        open_token_shards(str(tmp_path))
    assert open_token_shards(str(tmp_path), sequence_length=2).entries[0].num_sequences == 2
    for name in FORMATS:
        folder = tmp_path / name
        write(folder, name, [TokenRows.of([[1]])])
        with pytest.raises(InputError, match="no shard 'other'"):
            list(open_token_shards(str(folder)).read("other"))


def test_the_index_file_names_its_folder(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "w", "wds", [TokenRows.of([[1]])])
    write(tmp_path / "m", "mds", [TokenRows.of([[1]])])
    assert open_token_shards(str(tmp_path / "w" / "manifest.jsonl")).format == "wds"
    assert open_token_shards(str(tmp_path / "m" / "index.json")).format == "mds"


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_damaged_bin_or_index_never_reads_beyond_the_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    write(folder, "bin", [TokenRows.of([[1, 2, 3], [4], [5, 6]])])
    path = folder / data.draw(st.sampled_from(["00000001.idx", "00000001.bin"]))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(InputError, ShardError):
        read(folder)


def test_negative_ids_of_a_webdataset_are_given_as_they_stand(tmp_path: pathlib.Path) -> None:
    content = json.dumps([5, -1]).encode()
    with tarfile.open(tmp_path / "00000001.tar", "w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    wds.make_manifest(str(tmp_path))
    data = open_token_shards(str(tmp_path), data_key="json")
    assert [row.tokens.tolist() for row in data.read("00000001")] == [[5, -1]]
