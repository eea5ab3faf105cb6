"""Any archive: every compression, ARC, WACZ and WAT give the records that were put in, and damage is told."""

from __future__ import annotations

import bz2
import gzip
import io
import pathlib
import zipfile
from collections.abc import Callable

import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from raw_sources.archives.arc import parse_line, read_arc_file
from raw_sources.archives.open_archive import read_archive, read_archive_file
from raw_sources.archives.warc import Item, LostPart, WarcRecord
from raw_sources.archives.warc_writer import warc_record
from raw_sources.archives.wat import wat_page


def make_record(number: int, kind: str = "response") -> bytes:
    fields = [("WARC-Type", kind), ("WARC-Record-ID", f"<urn:x:{number}>")]
    return warc_record(fields, f"body {number} ".encode() * (number * 400 + 1))


RECORDS = [make_record(number) for number in range(6)]
BLOCKS: list[bytes | None] = [record.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n\r\n") for record in RECORDS]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "lz4": lambda content: lz4.frame.compress(content, content_checksum=True),
}


def blocks(found: list[Item]) -> list[bytes | None]:
    return [item.block for item in found if isinstance(item, WarcRecord)]


def lost(found: list[Item]) -> list[LostPart]:
    return [item for item in found if isinstance(item, LostPart)]


def read(content: bytes) -> list[Item]:
    return list(read_archive_file(io.BytesIO(content), ("response", "warcinfo")))


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("one_member", [False, True])
def test_every_compression_gives_the_records_that_were_put_in(name: str, one_member: bool) -> None:
    pack = COMPRESSIONS[name]
    content = pack(b"".join(RECORDS)) if one_member else b"".join(map(pack, RECORDS))
    found = read(content)
    assert blocks(found) == BLOCKS
    assert lost(found) == []


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_damaged_member_costs_its_own_record_alone(name: str) -> None:
    members = [COMPRESSIONS[name](record) for record in RECORDS]
    broken = bytearray(members[2])
    broken[len(broken) // 2] ^= 0xFF
    found = read(b"".join([*members[:2], bytes(broken), *members[3:]]))
    assert blocks(found) == BLOCKS[:2] + BLOCKS[3:]
    (part,) = lost(found)
    assert part.offset == len(members[0]) + len(members[1])
    assert part.raw.startswith(bytes(broken)[:32])


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_file_that_ends_inside_a_member_says_so(name: str) -> None:
    members = [COMPRESSIONS[name](record) for record in RECORDS]
    found = read(b"".join(members)[:-9])
    assert blocks(found) == BLOCKS[:-1]
    assert "ends inside a" in lost(found)[0].reason


@pytest.mark.parametrize("packed", [False, True])
def test_zstd_with_a_dictionary_in_its_first_frame_is_read(packed: bool) -> None:
    dictionary = zstd.train_dict([make_record(number % 7) + bytes([number % 256]) * 40 for number in range(400)], 4096)
    content = dictionary.dict_content
    content = zstd.compress(content) if packed else content
    frame = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
    found = read(frame + b"".join(zstd.compress(record, zstd_dict=dictionary) for record in RECORDS))
    assert blocks(found) == BLOCKS
    assert lost(found) == []


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b\x08", b"BZh9", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"]))
def test_any_bytes_are_read_to_their_end_without_an_exception(content: bytes, magic: bytes) -> None:
    found = read(magic + content)
    assert all(isinstance(item, WarcRecord | LostPart) for item in found)


# --- ARC -------------------------------------------------------------------------------------------------------------

HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>hi</p>"
VERSION_BLOCK = b"1 0 InternetArchive\nURL IP-address Archive-date Content-type Archive-length\n"


def arc_record(url: str, body: bytes, rest: str = "text/html") -> bytes:
    return f"{url} 192.0.2.1 20080430204825 {rest} {len(body)}\n".encode() + body + b"\n"


ARC = [
    arc_record("filedesc://a.arc", VERSION_BLOCK, "text/plain"),
    arc_record("http://a.example/one", HTTP),
    arc_record("http://a.example/with space", HTTP, "text/html; charset=utf-8"),
]


@pytest.mark.parametrize("pack", [b"".join, lambda parts: b"".join(map(gzip.compress, parts))])
def test_arc_reads_like_warc(pack: Callable[[list[bytes]], bytes]) -> None:
    found = read(pack(ARC))
    assert lost(found) == []
    records = [item for item in found if isinstance(item, WarcRecord)]
    assert [record.type for record in records] == ["warcinfo", "response", "response"]
    assert records[2].block == HTTP
    assert records[2].warcinfo == VERSION_BLOCK.decode().strip()
    assert records[2].headers == {
        "WARC-Type": "response",
        "WARC-Target-URI": "http://a.example/with space",
        "WARC-IP-Address": "192.0.2.1",
        "WARC-Date": "2008-04-30T20:48:25Z",
        "ARC-Content-Type": "text/html; charset=utf-8",
        "Content-Type": "application/http; msgtype=response",
        "Content-Length": str(len(HTTP)),
    }


def test_after_damage_an_arc_is_read_on_at_the_next_record() -> None:
    found = list(read_arc_file(io.BytesIO(ARC[0] + b"garbage here\n" + ARC[1]), ("response",)))
    assert [item.type if isinstance(item, WarcRecord) else "lost" for item in found] == ["warcinfo", "lost", "response"]


@pytest.mark.parametrize(
    ("line", "uri", "date", "media_type"),
    [
        ("http://a/ 1.2.3.4 20080430 text/html 5", "http://a/", "2008-04-30T00:00:00Z", "text/html"),
        ("http://a/ 1.2.3.4 200804302048251234 text/html 5", "http://a/", "2008-04-30T20:48:25Z", "text/html"),
        ("http://a/ 1.2.3.4 4a3f text/html 5", "http://a/", "4a3f", "text/html"),
        (
            "http://a/ 1.2.3.4 20080430204825 text/html 200 - - 0 f.arc 5",
            "http://a/",
            "2008-04-30T20:48:25Z",
            "text/html",
        ),
        ("http://a/ - 20080430204825 text/html 5", "http://a/", "2008-04-30T20:48:25Z", "text/html"),
    ],
)
def test_lines_of_both_versions_are_taken_apart(line: str, uri: str, date: str, media_type: str) -> None:
    fields = parse_line(line)
    assert fields is not None
    assert (fields["WARC-Target-URI"], fields["WARC-Date"], fields["ARC-Content-Type"]) == (uri, date, media_type)
    assert fields["Content-Length"] == "5"


@pytest.mark.parametrize("line", ["", "no record", "a b c d e", "http://a/ 1.2.3.4 date text/html five"])
def test_what_is_no_record_line_is_none(line: str) -> None:
    assert parse_line(line) is None


# --- WACZ ------------------------------------------------------------------------------------------------------------


def wacz(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as package:
        for name, content in members.items():
            package.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_archives_of_a_wacz_are_read_in_the_order_of_their_names(tmp_path: pathlib.Path, compression: int) -> None:
    path = tmp_path / "a.wacz"
    first, second = b"".join(map(gzip.compress, RECORDS[:3])), b"".join(RECORDS[3:])
    members = {
        "archive/b.warc": second,
        "archive/a.warc.gz": first,
        "pages/pages.jsonl": b"{}",
        "datapackage.json": b"",
    }
    path.write_bytes(wacz(members, compression))
    found = list(read_archive(str(path)))
    assert blocks([each.item for each in found]) == BLOCKS
    assert [each.member for each in found] == ["archive/a.warc.gz"] * 3 + ["archive/b.warc"] * 3


@pytest.mark.parametrize("content", [b"PK\x03\x04 no more", wacz({"other.txt": b""})])
def test_a_zip_that_is_no_wacz_is_one_lost_part(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "a.wacz"
    path.write_bytes(content)
    (found,) = read_archive(str(path))
    assert isinstance(found.item, LostPart)


# --- WAT -------------------------------------------------------------------------------------------------------------


def test_a_wat_record_gives_title_and_links() -> None:
    block = b"""{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {
        "Head": {"Title": " A \\n title "}, "Links": [
            {"path": "A@/href", "url": "/x", "text": "there"}, {"path": "IMG@/src", "url": "/i.png"}, 7,
            {"path": "A@/href"}
        ]}}}}}"""
    assert wat_page(block) == {
        "text": "A title", "title": "A title", "links": [{"url": "/x", "text": "there"}], "wat": True,
    }  # fmt: skip


@pytest.mark.parametrize("block", [b"{}", b"[]", b'{"Envelope": 3}', b'{"Envelope": {"Payload-Metadata": []}}'])
def test_a_wat_record_of_no_page_is_none(block: bytes) -> None:
    assert wat_page(block) is None
