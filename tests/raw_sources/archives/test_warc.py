"""The archive reader: records of whole files, and nothing lost without a word in damaged ones."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_sources.archives.warc import LostPart, WarcRecord, read_warc_file
from raw_sources.archives.warc_writer import gzip_member, warc_record


def make_record(number: int, body: bytes = b"text", kind: str = "response") -> bytes:
    fields = [
        ("WARC-Type", kind),
        ("WARC-Record-ID", f"<urn:x:{number}>"),
        ("WARC-Target-URI", f"http://a.example/{number}"),
    ]
    return warc_record(fields, body)


def read_all(content: bytes) -> list[WarcRecord | LostPart]:
    return list(read_warc_file(io.BytesIO(content)))


def blocks(found: list[WarcRecord | LostPart]) -> list[bytes | None]:
    return [item.block for item in found if isinstance(item, WarcRecord)]


def lost(found: list[WarcRecord | LostPart]) -> list[LostPart]:
    return [item for item in found if isinstance(item, LostPart)]


RECORDS = [make_record(number, f"body {number}".encode()) for number in range(5)]
BODIES: list[bytes | None] = [f"body {number}".encode() for number in range(5)]
MEMBERS = [gzip_member(record) for record in RECORDS]

CONTAINERS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": b"".join,
    "member per record": lambda records: b"".join(map(gzip_member, records)),
    "one member over all": lambda records: gzip.compress(b"".join(records), mtime=0),
    "members cut anywhere": lambda records: b"".join(
        gzip_member(b"".join(records)[at : at + 37]) for at in range(0, len(b"".join(records)), 37)
    ),
    "empty members between": lambda records: b"".join(gzip_member(record) + gzip_member(b"") for record in records),
    "bare line feeds": lambda records: b"".join(record.replace(b"\r\n", b"\n") for record in records),
    "zeros behind": lambda records: b"".join(map(gzip_member, records)) + b"\0" * 600,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_records(container: str) -> None:
    found = read_all(CONTAINERS[container](RECORDS))
    assert blocks(found) == BODIES
    assert lost(found) == []


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=6), st.sampled_from(sorted(CONTAINERS)))
def test_any_bodies_come_back(bodies: list[bytes], container: str) -> None:
    if container == "bare line feeds":
        bodies = [body.replace(b"\r", b"") for body in bodies]
    found = read_all(CONTAINERS[container]([make_record(number, body) for number, body in enumerate(bodies)]))
    assert blocks(found) == bodies
    assert lost(found) == []


def test_offset_is_that_of_the_gzip_member() -> None:
    found = read_all(b"".join(MEMBERS))
    assert [item.offset for item in found] == [sum(map(len, MEMBERS[:index])) for index in range(5)]


def test_offset_in_a_plain_file_is_that_of_the_record() -> None:
    found = read_all(b"".join(RECORDS))
    assert [item.offset for item in found] == [sum(map(len, RECORDS[:index])) for index in range(5)]


def test_empty_file_holds_nothing() -> None:
    assert read_all(b"") == []


def test_damaged_member_costs_one_record_only() -> None:
    broken = bytearray(MEMBERS[2])
    broken[len(broken) // 2] ^= 0xFF
    found = read_all(b"".join(MEMBERS[:2]) + bytes(broken) + b"".join(MEMBERS[3:]))
    assert blocks(found) == [BODIES[0], BODIES[1], BODIES[3], BODIES[4]]
    assert [part.offset for part in lost(found)] == [len(MEMBERS[0]) + len(MEMBERS[1])]


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_flipped_byte_in_gzip_never_passes_for_content(position: int, mask: int) -> None:
    content = bytearray(b"".join(MEMBERS))
    content[position % len(content)] ^= mask
    found = read_all(bytes(content))
    # a few bits decide nothing: time and system in the header, padding behind the data
    assert blocks(found) == BODIES or (lost(found) and set(blocks(found)) < set(BODIES))


def test_record_whose_member_has_a_wrong_checksum_is_lost_however_large_it_is() -> None:
    body = b"".join(b"%d," % number for number in range(300_000))
    member = bytearray(gzip_member(make_record(1, body)))
    member[-5] ^= 1  # the checksum stands in the last eight bytes
    found = read_all(MEMBERS[0] + bytes(member) + MEMBERS[1])
    assert blocks(found) == [BODIES[0], BODIES[1]]
    assert [part.offset for part in lost(found)] == [len(MEMBERS[0])]


@given(st.integers(min_value=1))
def test_a_cut_gzip_file_is_never_silent(cut: int) -> None:
    content = b"".join(MEMBERS)
    ends = [sum(map(len, MEMBERS[: index + 1])) for index in range(5)]
    end = cut % len(content)
    found = read_all(content[:end])
    whole = sum(stop <= end for stop in ends)
    assert blocks(found) == BODIES[:whole]
    assert len(lost(found)) == (end not in (0, *ends))


@given(st.integers(min_value=1))
def test_a_cut_plain_file_loses_its_last_record_and_says_so(cut: int) -> None:
    content = b"".join(RECORDS)
    end = cut % len(content)
    found = read_all(content[:end])
    bodies_end = [sum(map(len, RECORDS[: index + 1])) - 4 for index in range(5)]
    assert blocks(found) == BODIES[: sum(stop <= end for stop in bodies_end)]
    starts = [0, *(stop + 4 for stop in bodies_end)]
    in_a_record = any(start < end < stop for start, stop in zip(starts, bodies_end, strict=False))
    assert len(lost(found)) == in_a_record


def test_garbage_between_plain_records_is_one_lost_part() -> None:
    found = read_all(RECORDS[0] + b"The monkeys are coming!\r\nAnd more.\r\n\r\n" + RECORDS[1])
    assert blocks(found) == BODIES[:2]
    assert [part.offset for part in lost(found)] == [len(RECORDS[0])]


def test_bytes_behind_the_members_that_are_not_gzip_are_lost() -> None:
    found = read_all(b"".join(MEMBERS) + b"garbage")
    assert blocks(found) == BODIES
    assert [part.offset for part in lost(found)] == [sum(map(len, MEMBERS))]


@pytest.mark.parametrize("length", ["-5", "", "many", "1e3", "9" * 20])
def test_impossible_length_is_a_lost_record(length: str) -> None:
    bad = RECORDS[0].replace(b"Content-Length: 6", b"Content-Length: " + length.encode())
    found = read_all(bad + RECORDS[1])
    assert blocks(found) == [BODIES[1]]
    assert len(lost(found)) == 1


def test_latest_warcinfo_stands_with_each_record_stripped() -> None:
    first = make_record(8, b"software: one\r\n", "warcinfo")
    second = make_record(9, b"\r\nsoftware: two\r\n", "warcinfo")
    found = read_all(RECORDS[0] + first + RECORDS[1] + second + RECORDS[2])
    assert [item.warcinfo for item in found if isinstance(item, WarcRecord) and item.type == "response"] == [
        None,
        "software: one",
        "software: two",
    ]


def test_blocks_of_other_types_are_not_kept() -> None:
    found = read_all(make_record(1, b"GET /", "request") + RECORDS[0])
    assert [(item.type, item.block) for item in found if isinstance(item, WarcRecord)] == [
        ("request", None),
        ("response", b"body 0"),
    ]


def test_block_over_the_limit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raw_sources.archives.warc.MAX_BLOCK_BYTES", 10)
    found = read_all(make_record(1, b"x" * 11) + make_record(2, b"y" * 10))
    assert blocks(found) == [None, b"y" * 10]


def test_field_names_come_out_as_the_standard_spells_them() -> None:
    header = (
        b"warc/1.0\r\nwarc-type: RESPONSE\r\nWarc-Target-Uri: <http://a.example/>\r\n"
        b"X-Own: a\r\n  b\r\ncontent-length: 2\r\n\r\n"
    )
    (record,) = read_all(header + b"ok\r\n\r\n")
    assert isinstance(record, WarcRecord)
    assert record.type == "response"
    assert record.headers == {
        "WARC-Type": "RESPONSE",
        "WARC-Target-URI": "http://a.example/",
        "X-Own": "a b",
        "Content-Length": "2",
    }
