"""Damaged shards: what can be read is read, each loss is one record with place and reason, and limits hold."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep
from corpusmith.io import compression, storage
from corpusmith.io.compression import Content, Damage
from corpusmith.io.pages import shards
from corpusmith.io.pages.shards import Record, ShardRef, dump_page, read_records, read_shard
from corpusmith.run.stage import ShardRecord, StagePlace

PAGES = [{"n": number, "text": f"page {number} " + f"{number * 7919 % 10007} words " * 60} for number in range(300)]
LINES = b"".join(dump_page(page) + b"\n" for page in PAGES)


def zstd_checked(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd_checked}
both = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)


def records_of(path: pathlib.Path, data: bytes) -> list[Record]:
    path.write_bytes(data)
    found = list(read_records(str(path)))
    assert [record.index for record in found] == list(range(len(found)))
    assert all((record.page is None) != (record.error is None) for record in found)
    return found


def pages(records: list[Record]) -> list[dict[str, Any]]:
    return [record.page for record in records if record.page is not None]


def errors(records: list[Record]) -> list[str]:
    return [record.error for record in records if record.error is not None]


def broken(compress: Callable[[bytes], bytes], data: bytes) -> bytes:
    """A member whose first half decodes and whose second half is noise."""
    whole = compress(data)
    half = len(whole) // 2
    return whole[:half] + bytes((place * 251 + 7) % 256 for place in range(len(whole) - half))


@both
def test_reading_goes_on_at_the_next_member_and_the_gap_is_one_record(
    tmp_path: pathlib.Path, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(LINES) + broken(compress, LINES) + compress(LINES) + compress(LINES)
    records = records_of(tmp_path / "a.jsonl.zst", data)
    assert pages(records)[:300] == PAGES
    assert pages(records)[-600:] == PAGES * 2
    resumed = len(compress(LINES)) + len(broken(compress, LINES))
    lost = [error for error in errors(records) if "of the file" in error]
    assert len(lost) == 1
    assert f"at byte {len(compress(LINES))} of the file" in lost[0]
    assert lost[0].endswith(f"read on at byte {resumed}")


@both
def test_a_member_cut_short_before_another_costs_one_record(
    tmp_path: pathlib.Path, compress: Callable[[bytes], bytes]
) -> None:
    first = compress(LINES)
    records = records_of(tmp_path / "a.jsonl.zst", first[: len(first) // 2] + compress(LINES))
    assert pages(records)[-300:] == PAGES
    assert any(f"read on at byte {len(first) // 2}" in error for error in errors(records))


@both
def test_what_stands_before_a_damage_is_all_kept(
    tmp_path: pathlib.Path, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray(compress(LINES))
    whole[-5] ^= 1  # gzip's checksum (its last eight bytes hold it); zstd's (its last four) or the last block
    if compress is zstd_checked:
        whole[-5] ^= 1
        whole[-1] ^= 1
    for piece in (1 << 17, 1 << 24):
        monkeypatch.setattr(compression, "PIECE_BYTES", piece)
        records = records_of(tmp_path / "a.jsonl.zst", bytes(whole))
        assert pages(records) == PAGES
        assert len(records) == 301
        assert "hecksum" in errors(records)[0]


def test_zstd_blocks_before_a_damaged_block_are_kept(tmp_path: pathlib.Path) -> None:
    compressor = zstd.ZstdCompressor()
    blocks = [compressor.compress(dump_page(page) + b"\n", zstd.ZstdCompressor.FLUSH_BLOCK) for page in PAGES[:100]] + [
        compressor.flush()
    ]
    # the header of a block is three bytes; type 3 is reserved, so no decoder goes on
    blocks[60] = bytes([blocks[60][0] | 6]) + blocks[60][1:]
    records = records_of(tmp_path / "a.jsonl.zst", b"".join(blocks))
    assert pages(records) == PAGES[:60]
    assert len(records) == 61


def test_the_line_in_which_a_member_breaks_off_and_its_rest_in_the_next_are_one_record(tmp_path: pathlib.Path) -> None:
    cut = LINES.index(b"\n", 30_000) + 20
    first = zstd.ZstdCompressor()
    head = first.compress(LINES[:cut], zstd.ZstdCompressor.FLUSH_BLOCK)
    records = records_of(tmp_path / "a.jsonl.zst", head + b"\x07\xff\xff" + zstd.compress(LINES[cut:]))
    assert len(records) == 300
    assert len(errors(records)) == 1
    lost = next(record for record in records if record.error)
    whole = lost.raw.replace(b"\n", b"")
    assert json.loads(whole) == PAGES[lost.index]
    assert pages(records) == PAGES[: lost.index] + PAGES[lost.index + 1 :]


@pytest.mark.parametrize("garbage", [b"plain bytes", b"\0" * 10, b"\xff" * 300_000, b"\x28\xb5\x2f\xfd" * 1000])
def test_garbage_between_zstd_frames_is_one_record(tmp_path: pathlib.Path, garbage: bytes) -> None:
    frame = zstd.compress(LINES)
    records = records_of(tmp_path / "a.jsonl.zst", frame + garbage + frame + garbage)
    assert pages(records) == PAGES * 2
    assert len(errors(records)) == 2
    assert f"read on at byte {len(frame) + len(garbage)}" in errors(records)[0]
    assert errors(records)[1].endswith("nothing after it can be read")


@pytest.mark.parametrize("padding", [1, 512, 1 << 17, 300_001])
def test_zeros_after_gzip_members_are_padding_however_many(tmp_path: pathlib.Path, padding: int) -> None:
    data = gzip.compress(LINES) + bytes(padding) + gzip.compress(LINES) + bytes(padding)
    assert pages(records_of(tmp_path / "a.jsonl.gz", data)) == PAGES * 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_loses_no_page_outside_its_member_and_is_seen(data: st.DataObject) -> None:
    compress = data.draw(st.sampled_from(list(COMPRESS.values())))
    parts = [compress(LINES[start : start + 7000]) for start in range(0, 70_000, 7000)]
    hit = data.draw(st.integers(0, len(parts) - 1))
    flipped = bytearray(parts[hit])
    place = data.draw(st.integers(10, len(flipped) - 1))
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    parts[hit] = bytes(flipped)
    whole = b"".join(parts)
    assert any(isinstance(piece, Damage) for piece in Content(lambda: _file(whole)).pieces())
    content = [piece for piece in Content(lambda: _file(whole)).pieces() if isinstance(piece, bytes)]
    found = b"".join(content)
    assert found.startswith(LINES[: 7000 * hit])
    assert found.endswith(LINES[7000 * (hit + 1) : 70_000])


def _file(data: bytes) -> Any:
    return io.BytesIO(data)


class _Stream:
    """A file as some servers give it: no seeking, short reads."""

    def __init__(self, data: bytes) -> None:
        self._file = _file(data)

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._file.read(min(size, 3) if self._file.tell() < 9 else size)
        return found

    def seekable(self) -> bool:
        return False

    def close(self) -> None: ...

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None: ...


@both
def test_streams_that_cannot_seek_are_read_the_same(compress: Callable[[bytes], bytes]) -> None:
    data = compress(LINES) + broken(compress, LINES) + compress(LINES)
    seekable = list(Content(lambda: _file(data)).pieces())
    streamed = list(Content(lambda: _Stream(data)).pieces())  # type: ignore[arg-type, return-value]
    assert [piece for piece in streamed if isinstance(piece, Damage)] == [
        piece for piece in seekable if isinstance(piece, Damage)
    ]
    assert _joined(streamed) == _joined(seekable)


def _joined(pieces: list[bytes | Damage]) -> bytes:
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def test_members_that_announce_themselves_without_end_cost_bounded_work(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "MAX_CANDIDATES", 50)
    frame = zstd.compress(LINES)
    garbage = b"\x28\xb5\x2f\xfd\xff\xff" * 60
    records = records_of(tmp_path / "a.jsonl.zst", frame + garbage + frame)
    assert pages(records) == PAGES
    assert len(errors(records)) == 1


@pytest.mark.parametrize(
    "filler", [b"x", b"\n", b" \n", b"xxxxxxxxxxxxxxx\n"], ids=["line", "blank", "white", "errors"]
)
def test_a_bomb_without_pages_is_given_up_and_memory_stays_bounded(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, filler: bytes
) -> None:
    monkeypatch.setattr(shards, "MAX_LINE_BYTES", 1 << 18)
    monkeypatch.setattr(shards, "MAX_RATIO", 100)
    data = zstd.compress(dump_page(PAGES[0]) + b"\n" + filler * ((8 << 20) // len(filler)))
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(data)
    last: Record | None = None
    count = 0
    tracemalloc.start()
    for record in read_records(str(path)):
        last, count = record, count + 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last is not None
    assert "given up" in str(last.error)
    assert count == 2 or len(filler) > 2
    assert peak < 4 << 20


def test_a_shard_that_compresses_well_but_holds_pages_is_no_bomb(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "MAX_LINE_BYTES", 1 << 16)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstd.compress(b'{"text": "%s"}\n' % (b"x" * 1000) * 20_000))
    assert len(list(read_shard(str(path)))) == 20_000


# --- the damaged shards of the sample data ----------------------------------------------------------------------

KINDS_WITH_ERRORS = {"trailing_garbage", "truncated", "corrupt", "bomb"}


def truth(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    by_file = {row["file"]: row for row in rows}
    return {name: {**by_file[row.get("same_as", name)], **row} for name, row in by_file.items()}


def lines_set_aside(root: pathlib.Path, source: pathlib.Path, content: bytes) -> set[int]:
    """Numbers of the lines that are set aside when a shard runs through a step that reads the text of a page."""
    starts = [0, *(place + 1 for place, byte in enumerate(content) if byte == 0x0A)]
    place = StagePlace(name="s", folder=str(root / "s"), output=str(root / "out"), errors=str(root / "errors"))
    shard = ShardRef(name=source.name, url=str(source), identity="test", bytes=source.stat().st_size)
    step = LocalStep(index=0, func="page_length_filter", arguments={"length_type": "word", "min_length": 0})
    process_shard(LocalTask(place=place, shard=shard, identity="test", output=shard.name, steps=(step,), seed=0))
    aside: set[int] = set()
    for key in ("read", step.key, "write"):
        path = pathlib.Path(place.error_url(key, shard.name))
        for row in read_shard(str(path)) if path.exists() else ():
            assert row["shard"] == shard.name
            assert row["error"]
            aside.add(starts.index(row["offset"]))
    record = ShardRecord.from_json(storage.read_json(place.record_url(shard.name)))
    record.check(shard.name)
    assert record.counts.read == sum(not line.isspace() and line != b"" for line in content.split(b"\n"))
    return aside


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("malformed_lines.jsonl", "malformed_lines.jsonl"),
        ("malformed_lines.jsonl.gz", "malformed_lines.jsonl"),
        ("malformed_lines.jsonl.zst", "malformed_lines.jsonl"),
        ("invalid_utf8.jsonl.zst", ""),
    ],
)
def test_lines_of_the_sample_data_are_kept_or_set_aside_as_their_truth_says(
    shared_data: pathlib.Path, tmp_path: pathlib.Path, name: str, plain: str
) -> None:
    folder = shared_data / "data" / "pages" / "bad"
    content = (folder / plain).read_bytes() if plain else zstd.decompress((folder / name).read_bytes())
    aside = lines_set_aside(tmp_path, folder / name, content)
    for row in truth(folder)[name]["lines"]:
        if row["expect"] != "either":
            assert (row["line"] in aside) == (row["expect"] == "error"), row


def test_whole_files_of_the_sample_data_are_read_or_refused_as_their_truth_says(shared_data: pathlib.Path) -> None:
    folder = shared_data / "data" / "pages" / "bad"
    for name, row in truth(folder).items():
        if "lines" in row:
            continue
        found = [(record.page is not None, record.error) for record in read_records(str(folder / name))]
        good = sum(is_page for is_page, _ in found)
        assert good == row.get("pages", good), name
        expected = 1 if row["kind"] in KINDS_WITH_ERRORS else 0
        lost = [error for _, error in found if error and ("of the file" in error)]
        assert len(lost) == expected, name
        if row["kind"] not in ("truncated", "corrupt"):
            assert len(found) == good + expected, name


def test_a_truncated_or_flipped_frame_of_the_sample_data_gives_what_it_still_holds(shared_data: pathlib.Path) -> None:
    folder = shared_data / "data" / "pages" / "bad"
    whole = list(read_shard(str(folder / "plain_named_zst.jsonl.zst")))
    for name in ("truncated.jsonl.zst", "truncated.jsonl.gz"):
        found = list(read_records(str(folder / name)))
        assert pages(found) == whole[: len(found) - 1], name
        assert len(found) > 20, name
    flipped = list(read_records(str(folder / "bit_flip.jsonl.zst")))
    assert sum(page in whole for page in pages(flipped)) > 60
    assert "checksum" in str(flipped[-1].error)


@pytest.mark.parametrize("magic", [compression.BZIP2.magic, compression.LZ4.magic], ids=["bzip2", "lz4"])
def test_a_file_of_pages_is_never_taken_for_a_compression_in_which_only_archives_come(magic: bytes) -> None:
    content = magic + b"9 is how this text begins\n"
    with Content(lambda: io.BytesIO(content)) as found:
        assert list(found.pieces()) == [content]


def test_an_error_of_the_storage_is_no_damage() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 1 << 17:
                raise OSError("the disk is gone")
            return super().read(size)

    whole = zstd.compress(random.Random(0).randbytes(1 << 20))
    with Content(lambda: Broken(whole)) as found, pytest.raises(OSError, match="the disk is gone"):
        list(found.pieces())
