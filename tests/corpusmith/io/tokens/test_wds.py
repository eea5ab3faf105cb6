"""Token shards: what is written is read, by us and by webdataset; bytes depend on the tokens alone."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import tarfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError, ShardError
from corpusmith.io.tokens import wds
from corpusmith.io.tokens.wds import ManifestEntry


def sequences(rows: int, length: int) -> wds.U32Array:
    return np.arange(rows * length, dtype=np.uint32).reshape(rows, length) % 50277


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(("rows", "length"), [(0, 5), (1, 2), (3, 2049), (300, 17)])
def test_what_is_written_is_read(tmp_path: pathlib.Path, rows: int, length: int) -> None:
    url = str(tmp_path / "00000001.tar")
    tokens_SL = sequences(rows, length)
    written = wds.write_wds_shard(url, tokens_SL)
    assert list(wds.read_wds_shard(url)) == tokens_SL.tolist()
    assert rows == wds.count_members(url)
    assert written.bytes == (tmp_path / "00000001.tar").stat().st_size


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), max_size=6))
def test_any_ids_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]) -> None:
    url = str(tmp_path_factory.mktemp("any") / "a.tar")
    wds.write_wds_shard(url, np.array(rows, dtype=np.uint32).reshape(-1, 3))
    assert list(wds.read_wds_shard(url)) == rows


def test_equal_tokens_give_equal_bytes_without_times(tmp_path: pathlib.Path) -> None:
    first = wds.write_wds_shard(str(tmp_path / "a.tar"), sequences(5, 9))
    second = wds.write_wds_shard(str(tmp_path / "b.tar"), sequences(5, 9))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (first.bytes, first.checksum) == (second.bytes, second.checksum)
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = archive.getmembers()
        assert {(member.mtime, member.uid, member.gid, member.uname, member.mode) for member in members} == {
            (0, 0, 0, "", 0o644)
        }
        content = archive.extractfile(members[0])
        assert content is not None
        assert content.read()[4:8] == bytes(4)


def test_keys_are_unique_even_for_equal_sequences(tmp_path: pathlib.Path) -> None:
    wds.write_wds_shard(str(tmp_path / "a.tar"), np.ones((3, 4), dtype=np.uint32))
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == ["00000000.json.gz", "00000001.json.gz", "00000002.json.gz"]


def test_the_standard_library_reads_the_tar_and_the_gzip(tmp_path: pathlib.Path) -> None:
    wds.write_wds_shard(str(tmp_path / "a.tar"), sequences(2, 30))
    assert (tmp_path / "a.tar").stat().st_size % 10240 == 0
    with tarfile.open(tmp_path / "a.tar", "r:") as archive:
        rows = [json.loads(gzip.decompress(archive.extractfile(m).read())) for m in archive]  # type: ignore[union-attr]
    assert rows == sequences(2, 30).tolist()


def test_webdataset_reads_our_tars(tmp_path: pathlib.Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    wds.write_wds_shard(str(tmp_path / "00000001.tar"), sequences(4, 11))
    samples = webdataset.WebDataset(str(tmp_path / "00000001.tar"), shardshuffle=False).decode()
    found = [(sample["__key__"], sample["json.gz"]) for sample in samples]
    assert found == [(f"{index:08d}", row) for index, row in enumerate(sequences(4, 11).tolist())]


@pytest.mark.parametrize(
    ("data_key", "encode"),
    [
        ("json.gz", lambda row: gzip.compress(json.dumps(row).encode())),
        ("json", lambda row: json.dumps(row).encode()),
        ("txt", lambda row: str(row).encode()),
    ],
)
def test_tars_of_other_writers_are_read(
    tmp_path: pathlib.Path, data_key: str, encode: Callable[[list[int]], bytes]
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for key in ("x" * 150, "two"):
            add_member(archive, f"./{key}.cls", b"7")
            add_member(archive, f"./{key}.{data_key}", encode([1, -2, len(key)]))
    assert list(wds.read_wds_shard(str(tmp_path / "a.tar"), data_key)) == [[1, -2, 150], [1, -2, 3]]


def test_an_unknown_data_key_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"json\.gz"):
        list(wds.read_wds_shard(str(tmp_path / "a.tar"), "pyd"))


@pytest.mark.parametrize("cut", [100, 512, 700, 1500])
def test_a_truncated_tar_is_damage_not_an_early_end(tmp_path: pathlib.Path, cut: int) -> None:
    wds.write_wds_shard(str(tmp_path / "a.tar"), sequences(3, 200))
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:cut])
    with pytest.raises(ShardError, match=r"a\.tar"):
        list(wds.read_wds_shard(str(tmp_path / "a.tar")))


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"[1, 2"), gzip.compress(b"{}"), gzip.compress(b"[1]")[:-4]]
)
def test_a_damaged_member_is_named(tmp_path: pathlib.Path, content: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add_member(archive, "k.json.gz", content)
    with pytest.raises(ShardError, match=r"k\.json\.gz"):
        list(wds.read_wds_shard(str(tmp_path / "a.tar")))


def test_code_in_a_txt_member_is_not_run(tmp_path: pathlib.Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add_member(archive, "k.txt", b"[__import__('os').getpid()]")
    with pytest.raises(ShardError):
        list(wds.read_wds_shard(str(tmp_path / "a.tar"), "txt"))


def test_manifest_lines_are_open_lms(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "manifest.jsonl")
    counts = {1: 8192, 2: 5}
    entries = [ManifestEntry(shard=wds.shard_name(n), num_sequences=count) for n, count in counts.items()]
    wds.write_manifest(url, entries)
    lines = '{"shard": "00000001", "num_sequences": 8192}\n{"shard": "00000002", "num_sequences": 5}\n'
    assert (tmp_path / "manifest.jsonl").read_text() == lines
    assert wds.read_manifest(url) == entries
    assert wds.count_tokens(url, 2049) == 8197 * 2049


def test_a_manifest_of_the_rust_tool_is_read_too(tmp_path: pathlib.Path) -> None:
    lines = '{"num_chunks": 3, "shard": "shard_00000000"}\n{"num_sequences": 1, "shard": "s1"}'
    (tmp_path / "m.jsonl").write_text(lines)
    assert wds.read_manifest(str(tmp_path / "m.jsonl")) == [
        ManifestEntry(shard="shard_00000000", num_sequences=3), ManifestEntry(shard="s1", num_sequences=1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line", ["x", "[]", '{"shard": "a"}', '{"num_sequences": 1}', '{"shard": "a", "num_sequences": -1}']
)
def test_a_bad_manifest_line_is_named(tmp_path: pathlib.Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text('{"shard": "a", "num_sequences": 1}\n' + line + "\n")
    with pytest.raises(InputError, match=r"m\.jsonl:2"):
        wds.read_manifest(str(tmp_path / "m.jsonl"))


def test_a_manifest_can_be_made_again(tmp_path: pathlib.Path) -> None:
    for number, rows in ((2, 1), (1, 4)):
        wds.write_wds_shard(str(tmp_path / f"{wds.shard_name(number)}.tar"), sequences(rows, 3))
    (tmp_path / "deeper").mkdir()
    wds.write_wds_shard(str(tmp_path / "deeper" / "x.tar"), sequences(1, 3))
    entries = wds.make_manifest(str(tmp_path))
    assert [(entry.shard, entry.num_sequences) for entry in entries] == [("00000001", 4), ("00000002", 1)]
    assert wds.read_manifest(str(tmp_path / "manifest.jsonl")) == entries


def test_a_folder_without_tars_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no"):
        wds.make_manifest(str(tmp_path))
