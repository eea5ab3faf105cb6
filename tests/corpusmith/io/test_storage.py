"""Local storage: atomic writes, listing, errors."""

from __future__ import annotations

import pathlib

import pytest

from corpusmith.errors import InputError, StorageError
from corpusmith.io import storage


def test_a_file_appears_whole_when_the_block_ends(tmp_path: pathlib.Path) -> None:
    target = str(tmp_path / "deep" / "a.bin")
    with storage.atomic_write(target) as file:
        file.write(b"half")
        assert not storage.exists(target)
        file.write(b" whole")
    assert storage.read_bytes(target) == b"half whole"


def test_nothing_appears_and_nothing_is_left_when_the_block_raises(tmp_path: pathlib.Path) -> None:
    target = str(tmp_path / "a.bin")
    storage.write_bytes(target, b"old")

    def fail_halfway() -> None:
        with storage.atomic_write(target) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert storage.read_bytes(target) == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_listing_is_sorted_recursive_and_skips_dot_names(tmp_path: pathlib.Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/.hidden.txt", ".folder/c.txt", "a/y.bin"):
        storage.write_bytes(str(tmp_path / name), b"x")
    found = [storage.relative(info.url, str(tmp_path)) for info in storage.list_files(str(tmp_path), (".txt",))]
    assert found == ["a/z.txt", "b.txt"]


def test_ranges_and_stat(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "a")
    storage.write_bytes(url, b"0123456789")
    assert storage.read_range(url, 3, 4) == b"3456"
    assert storage.read_range(url, 8, 9) == b"89"
    assert storage.stat(url).size == 10


def test_missing_files_unknown_schemes_and_escapes_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        storage.read_bytes(str(tmp_path / "none"))
    with pytest.raises(InputError, match="no storage backend for nosuch://"):
        storage.read_bytes("nosuch://host/x")
    with pytest.raises(StorageError, match="would leave"):
        storage.join("root", "../etc/passwd")


def test_an_unwritable_folder_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write to"):
        storage.check_writable(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize(
    ("url", "parent", "name"), [("a/b/c", "a/b", "c"), ("a/", ".", "a"), ("/a", "/", "a"), ("s3://b/k/", "s3://b", "k")]
)
def test_parts_of_urls(url: str, parent: str, name: str) -> None:
    assert storage.parent(url) == parent
    assert storage.basename(url) == name


def test_leftovers_of_killed_writers_are_removed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f"{storage.TEMPORARY_PREFIX}1-x").write_bytes(b"")
    (tmp_path / "sub" / "kept").write_bytes(b"")
    storage.remove_leftovers(str(tmp_path))
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["kept"]


def test_appending_makes_the_file_and_adds_to_its_end(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "deep" / "log")
    storage.append_bytes(url, b"a\n")
    storage.append_bytes(url, b"b\n")
    assert storage.read_bytes(url) == b"a\nb\n"


def test_of_several_writers_one_creates(tmp_path: pathlib.Path) -> None:
    url = str(tmp_path / "deep" / "a")
    assert storage.create_new(url, b"first")
    assert not storage.create_new(url, b"second")
    assert storage.read_bytes(url) == b"first"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


def test_a_file_url_is_a_local_path(tmp_path: pathlib.Path) -> None:
    storage.write_bytes(f"file://{tmp_path}/a", b"x")
    (tmp_path / f"{storage.TEMPORARY_PREFIX}left").write_bytes(b"")
    storage.remove_leftovers(f"file://{tmp_path}")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
