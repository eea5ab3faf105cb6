"""`baselines.core.file_utils`: what a line is, what an ending means, and that a file is replaced as a whole."""

from __future__ import annotations

import gzip
import json
import pathlib

import jsonlines
import pytest
from backports import zstd

from baselines.core import read_jsonl, write_jsonl
from baselines.core.file_utils import delete_file, is_compressed, is_exists, is_s3, list_dir, makedirs_if_missing


def test_endings_and_prefixes_are_case_sensitive() -> None:
    assert is_s3("s3://bucket/key")
    assert not is_s3("S3://bucket/key")
    assert [name for name in ("a.zst", "a.zstd", "a.gz", "a.GZ", "a.jsonl", "gz") if is_compressed(name)] == [
        "a.zst",
        "a.zstd",
        "a.gz",
    ]


def test_only_files_exist_and_only_files_are_deleted(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a"
    file.write_text("")
    assert is_exists(str(file))
    assert not is_exists(str(tmp_path))
    delete_file(str(file))
    with pytest.raises(FileNotFoundError):
        delete_file(str(file))
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        delete_file(str(tmp_path))


def test_a_listing_has_direct_children_without_hidden_ones(tmp_path: pathlib.Path) -> None:
    makedirs_if_missing(str(tmp_path / "b" / "inner"))
    makedirs_if_missing(str(tmp_path / "b" / "inner"))
    (tmp_path / "a.txt").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert list_dir(str(tmp_path)) == [str(tmp_path / "a.txt"), str(tmp_path / "b")]


def test_reading_is_lazy() -> None:
    lines = read_jsonl("no such file")
    with pytest.raises(FileNotFoundError):
        next(lines)


def test_lines_end_at_line_feeds_and_hold_any_value_but_null(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\u0085z"}\r\n3\n"s"\n[NaN, Infinity]\nfalse'.encode())
    first, *others = read_jsonl(str(path))
    assert first == {"a": "x\u2028y\u0085z"}
    assert others[:2] == [3, "s"]
    assert others[2][0] != others[2][0]
    assert others[2][1] == float("inf")
    assert others[3] is False
    path.write_bytes(b"")
    assert list(read_jsonl(str(path))) == []


@pytest.mark.parametrize("line", [b"", b"  ", b"\r", b"null", b"{", b"{'a': 1}"])
def test_what_is_no_value_is_an_invalid_line(line: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"1\n" + line + b"\n")
    lines = read_jsonl(str(path))
    assert next(lines) == 1
    with pytest.raises(jsonlines.InvalidLineError) as caught:
        next(lines)
    assert isinstance(caught.value, ValueError)


def test_bytes_that_are_not_utf8_raise(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'"\xff"\n')
    with pytest.raises(UnicodeDecodeError):
        list(read_jsonl(str(path)))


def test_all_frames_and_members_are_read(tmp_path: pathlib.Path) -> None:
    for name, compress in (("a.zst", zstd.compress), ("a.zstd", zstd.compress), ("a.jsonl.gz", gzip.compress)):
        (tmp_path / name).write_bytes(compress(b'{"a": 1}\n{"b"') + compress(b": 2}\n3"))
        assert list(read_jsonl(str(tmp_path / name))) == [{"a": 1}, {"b": 2}, 3]


def test_plain_files_are_written_as_json_dumps_gives_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(({"b": "é", "a": [1, 2]} for _ in range(2)), str(path))
    assert path.read_bytes() == b'{"b": "\\u00e9", "a": [1, 2]}\n' * 2
    write_jsonl([float("nan")], str(path), mode="a")
    assert path.read_bytes().endswith(b"}\nNaN\n")
    write_jsonl([], str(path))
    assert path.read_bytes() == b""


@pytest.mark.parametrize(("name", "expand"), [("a.zst", zstd.decompress), ("a.jsonl.gz", gzip.decompress)])
def test_compressed_files_end_without_newline_and_are_always_replaced(
    name: str, expand: object, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / name
    write_jsonl([1], str(path))
    write_jsonl([{"a": 1}, {"b": 2}], str(path), mode="a")
    assert expand(path.read_bytes()) == b'{"a": 1}\n{"b": 2}'  # type: ignore[operator]
    write_jsonl([], str(path))
    assert expand(path.read_bytes()) == b""  # type: ignore[operator]
    assert list(read_jsonl(str(path))) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_an_item_that_cannot_be_written_leaves_the_file_as_it_was(name: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / name
    write_jsonl([1], str(path))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_jsonl([2, {3}], str(path))
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == [name]


def test_a_local_folder_must_exist(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_jsonl([1], str(tmp_path / "missing" / "a.jsonl"))
    with pytest.raises(ValueError, match="mode"):
        write_jsonl([1], str(tmp_path / "a.jsonl"), mode="r")
    write_jsonl([1], str(tmp_path / "a.jsonl"), mode="x")
    with pytest.raises(FileExistsError):
        write_jsonl([1], str(tmp_path / "a.jsonl"), mode="x")
    assert json.loads((tmp_path / "a.jsonl").read_text()) == 1
