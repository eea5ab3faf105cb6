"""Page shards: every record comes out, good or bad, whatever the container."""

from __future__ import annotations

import gzip
import itertools
import json
import pathlib

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import InputError, ShardError
from corpusmith.io.pages import shards
from corpusmith.io.pages.shards import (
    Record,
    dump_page,
    list_shards,
    open_shard_writer,
    read_records,
    read_shard,
    shard_stem,
)

PAGES = [{"text": f"page {number} " + "words " * 50, "url": f"http://example.org/{number}"} for number in range(200)]
LINES = b"".join(dump_page(page) + b"\n" for page in PAGES)


def write(path: pathlib.Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def good(records: list[Record]) -> list[dict[str, object]]:
    return [record.page for record in records if record.page is not None]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.zstd"])
def test_what_is_written_is_read_and_checksum_and_size_are_those_of_the_file(
    tmp_path: pathlib.Path, suffix: str
) -> None:
    url = str(tmp_path / f"a{suffix}")
    with open_shard_writer(url) as writer:
        for page in PAGES:
            writer.write(page)
    assert list(read_shard(url)) == PAGES
    assert writer.records == len(PAGES)
    assert writer.bytes == pathlib.Path(url).stat().st_size
    assert writer.checksum == shards.file_checksum(url)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_the_same_pages_give_the_same_bytes_under_any_name(tmp_path: pathlib.Path, suffix: str) -> None:
    for name in ("a", "another"):
        with open_shard_writer(str(tmp_path / f"{name}{suffix}")) as writer:
            for page in PAGES:
                writer.write(page)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"another{suffix}").read_bytes()


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_all_members_cut_anywhere_are_read(tmp_path: pathlib.Path, compress: object) -> None:
    cuts = [0, 1, 7777, 7778, 20000, len(LINES)]
    parts = [compress(LINES[start:end]) for start, end in itertools.pairwise(cuts)]  # type: ignore[operator]
    assert list(read_shard(write(tmp_path / "a.jsonl.zst", b"".join(parts)))) == PAGES


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_stream_that_ends_early_is_reported_after_the_pages_before_it(
    tmp_path: pathlib.Path, compress: object
) -> None:
    whole: bytes = compress(LINES)  # type: ignore[operator]
    second: bytes = compress(LINES)  # type: ignore[operator]
    records = list(read_records(write(tmp_path / "a.jsonl.gz", whole + second[: len(second) // 2])))
    assert good(records)[: len(PAGES)] == PAGES
    assert "ends early" in str(records[-1].error)
    assert sum(record.error is not None for record in records) == 1


def test_garbage_after_a_frame_costs_one_record_and_no_page(tmp_path: pathlib.Path) -> None:
    records = list(read_records(write(tmp_path / "a.jsonl.zst", zstd.compress(LINES) + b"garbage at the end")))
    assert good(records) == PAGES
    assert "damaged zstd frame" in str(records[-1].error)


def test_zero_padding_after_gzip_is_no_damage(tmp_path: pathlib.Path) -> None:
    assert list(read_shard(write(tmp_path / "a.jsonl.gz", gzip.compress(LINES) + bytes(512)))) == PAGES


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "cut',
        b"{'text': 1}",
        b"null",
        b"3",
        b'"text"',
        b"[]",
        b'{"a": NaN}',
        b'{"t": "\xff"}',
        b'{"a":1}{"b":2}',
    ],
)
def test_a_bad_line_is_one_record_with_its_bytes_and_offset(tmp_path: pathlib.Path, line: bytes) -> None:
    first = dump_page(PAGES[0])
    records = list(read_records(write(tmp_path / "a.jsonl", first + b"\n" + line + b"\n" + first)))
    assert [record.error is None for record in records] == [True, False, True]
    assert records[1].raw == line
    assert records[1].offset == len(first) + 1
    assert [record.index for record in records] == [0, 1, 2]


def test_blank_lines_are_no_records_and_bom_and_crlf_are_not_part_of_one(tmp_path: pathlib.Path) -> None:
    url = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"b":"\xe2\x80\xa8"}')
    assert list(read_shard(url)) == [{"a": 1}, {"b": "\u2028"}]


def test_a_line_over_the_limit_is_set_aside_and_the_next_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_LINE_BYTES", 300_000)
    huge = dump_page({"text": "x" * 400_000})
    records = list(read_records(write(tmp_path / "a.jsonl", huge + b"\n" + dump_page(PAGES[0]) + b"\n")))
    assert "longer than" in str(records[0].error)
    assert len(records[0].raw) < len(huge)
    assert records[1].page == PAGES[0]
    assert records[1].offset == len(huge) + 1


def test_lone_surrogates_survive(tmp_path: pathlib.Path) -> None:
    url = write(tmp_path / "a.jsonl", b'{"text": "\\ud800 x"}\n')
    [page] = read_shard(url)
    assert page == {"text": "\ud800 x"}
    assert json.loads(dump_page(page)) == page


def test_strict_reading_names_shard_and_offset(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ShardError, match=r"a\.jsonl: byte 9: "):
        list(read_shard(write(tmp_path / "a.jsonl", b'{"a": 1}\nnonsense\n')))


def test_listing_skips_bookkeeping_and_refuses_empty_folders(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        list_shards(str(tmp_path / "none"))
    with pytest.raises(InputError, match="no page shards"):
        list_shards(str(tmp_path))
    for name in ("b.jsonl", "sub/a.jsonl.zst", "stats/x.jsonl", "global_stats.jsonl", "readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, b"")
    assert [shard.name for shard in list_shards(str(tmp_path))] == ["b.jsonl", "sub/a.jsonl.zst"]


@pytest.mark.parametrize(("name", "stem"), [("s/a.jsonl.zst", "s/a"), ("a.b.jsonl", "a.b"), ("a.txt", "a")])
def test_stems(name: str, stem: str) -> None:
    assert shard_stem(name) == stem


@given(st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))), st.integers(1, 50))
def test_lines_are_cut_the_same_however_the_pieces_fall(lines: list[bytes], size: int) -> None:
    content = b"\n".join(lines)
    cutter = shards._LineCutter()
    found = []
    for start in range(0, len(content), size):
        found += list(cutter.feed(content[start : start + size]))
    if (last := cutter.finish()) is not None:
        found.append(last)
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line for line, _ in found] == expected
    assert sum(length for _, length in found) == len(content)


def test_damaged_shards_of_the_sample_data_are_read_or_refused_as_their_truth_says(shared_data: pathlib.Path) -> None:
    folder = shared_data / "data" / "pages" / "bad"
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] not in (
            "valid",
            "misnamed",
            "trailing_garbage",
            "empty_file",
            "empty_frame",
            "truncated",
            "corrupt",
        ):
            continue
        records = list(read_records(str(folder / row["file"])))
        if "pages" in row:
            assert len(good(records)) == row["pages"], row["file"]
        damaged = row["kind"] in ("trailing_garbage", "truncated", "corrupt")
        assert any(record.error for record in records) == damaged, row["file"]
