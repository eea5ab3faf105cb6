"""Read a WARC file record by record: plain or compressed, whole or damaged.

Follows ISO 28500 (WARC 1.0, 1.1 and the drafts before). Departs from it where real archives do: header lines may end
in LF, a file may be one gzip member over all records, a target URI may stand in angle brackets (they are taken off),
names and types may be in any case (names come out as the standard spells them).

FastWARC, which is quicker, ends without a word at an empty gzip member and takes a file with bare line feeds for one
record; this reader accounts for every byte instead. What can't be read comes as a `LostPart`, in place: the rest of a
damaged member, or in a plain file all up to the next line that begins a record. A record costs about 40 µs with its
decompression, a small part of what extracting a page does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from corpusmith.io import position, storage
from raw_sources.archives.stream import ArchiveStream, DamagedError

MAX_HEADER_BYTES = 1 << 20
MAX_BLOCK_BYTES = 64 << 20
MAX_WARCINFO_BYTES = 1 << 20
HEAD_BYTES = 4096
LONG_BLOCK_HEAD_BYTES = 64 << 10

RECORD_START = re.compile(rb"WARC/\d+\.\d+[ \t\r]*\n", re.IGNORECASE)

_NAMES = {
    name.lower(): name
    for name in (
        "WARC-Type",
        "WARC-Record-ID",
        "WARC-Date",
        "Content-Length",
        "Content-Type",
        "WARC-Concurrent-To",
        "WARC-Block-Digest",
        "WARC-Payload-Digest",
        "WARC-IP-Address",
        "WARC-Refers-To",
        "WARC-Refers-To-Target-URI",
        "WARC-Refers-To-Date",
        "WARC-Target-URI",
        "WARC-Truncated",
        "WARC-Warcinfo-ID",
        "WARC-Filename",
        "WARC-Profile",
        "WARC-Identified-Payload-Type",
        "WARC-Segment-Origin-ID",
        "WARC-Segment-Number",
        "WARC-Segment-Total-Length",
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WarcRecord:
    """One record.

    `type` is in lower case, empty where the record names none. `block` holds the bytes after the header: for a
    response the HTTP message; None where the record's type was not asked for, or where the block is over
    `MAX_BLOCK_BYTES`. `offset` is the record's place in the file in bytes (compressed: that of its member). `warcinfo`
    is the text of the latest warcinfo record before it, None without one. `head` holds the first bytes of a block that
    was asked for and is too long to be read. `is_poison`: a worker died at this record.
    """

    type: str
    headers: Mapping[str, str]
    block: bytes | None
    length: int
    offset: int
    warcinfo: str | None
    head: bytes = b""
    is_poison: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LostPart:
    """A part of the file that can't be read: where it begins, why, and its first bytes as they stand in the file."""

    offset: int
    reason: str
    raw: bytes = b""


Item = WarcRecord | LostPart
#: reads the record that begins here: (stream, its offset, types whose blocks are wanted, latest warcinfo)
ReadRecord = Callable[[ArchiveStream, int, Collection[str], str | None], WarcRecord]


class Progress:
    """How many items of a file were read, told to who watches this worker before each is read."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._index = -1
        self._avoided = position.avoided(url)

    def begin(self) -> bool:
        """The next item begins; whether a worker died at it before."""
        self._index += 1
        position.report(self._url, self._index)
        return self._index in self._avoided


def read_warc(url: str, types: Collection[str] = ("response",)) -> Iterator[Item]:
    """All records of an archive in order, with the blocks of the `types` named, and all parts that are lost."""
    with storage.open_read(url) as file:
        yield from read_warc_file(file, types, Progress(url))


def read_warc_file(
    file: BinaryIO, types: Collection[str] = ("response",), progress: Progress | None = None
) -> Iterator[Item]:
    """As `read_warc`, from an open and seekable file."""
    yield from read_stream(ArchiveStream(file, RECORD_START), _read_record, types, progress or Progress(""))


def read_stream(
    stream: ArchiveStream, read_record: ReadRecord, types: Collection[str], progress: Progress
) -> Iterator[Item]:
    """The items of an archive of any format whose records `read_record` reads."""
    warcinfo: str | None = None
    while True:
        is_poison = progress.begin()
        offset = stream.offset
        try:
            stream.skip_blank_lines()
            if stream.at_end():
                return
            offset = stream.offset
            record = read_record(stream, offset, types, warcinfo)
        except DamagedError as error:
            yield LostPart(offset=error.offset, reason=error.reason, raw=stream.head_at(error.offset, HEAD_BYTES))
            if not stream.skip_damage(max(offset, error.offset)):
                return
            continue
        if record.type == "warcinfo":
            warcinfo = (record.block or b"").decode("utf-8", "replace").strip()
        yield replace(record, is_poison=True) if is_poison else record


def _read_record(stream: ArchiveStream, offset: int, types: Collection[str], warcinfo: str | None) -> WarcRecord:
    headers = _read_header(stream, offset)
    length_text = headers.get("Content-Length", "")
    if not (length_text.isascii() and length_text.isdigit() and len(length_text) < 16):
        raise DamagedError(offset, f"a record with the Content-Length {length_text[:40]!r}")
    length = int(length_text)
    kind = headers.get("WARC-Type", "").lower()
    return read_block(stream, offset, kind, headers, length, types, warcinfo)


def read_block(
    stream: ArchiveStream,
    offset: int,
    kind: str,
    headers: Mapping[str, str],
    length: int,
    types: Collection[str],
    warcinfo: str | None,
) -> WarcRecord:
    """The record whose header was read, with its block if that is wanted; DamagedError where it is not whole."""
    limit = MAX_WARCINFO_BYTES if kind == "warcinfo" else MAX_BLOCK_BYTES if kind in types else -1
    block: bytes | None = None
    head = b""
    try:
        if length <= limit:
            block = stream.read(length)
        else:
            if limit == MAX_BLOCK_BYTES:
                head = stream.peek(LONG_BLOCK_HEAD_BYTES)
            stream.skip(length)
        stream.settle()
    except DamagedError as error:
        raise DamagedError(offset, error.reason) from error
    return WarcRecord(
        type=kind, headers=headers, block=block, length=length, offset=offset, warcinfo=warcinfo, head=head
    )


def _read_header(stream: ArchiveStream, offset: int) -> dict[str, str]:
    head = stream.peek(32)
    if not RECORD_START.match(head):
        raise DamagedError(offset, f"no WARC record begins here: {head[:20]!r}")
    end = stream.find_end(MAX_HEADER_BYTES)
    if end is None:
        raise DamagedError(offset, f"a record header of more than {MAX_HEADER_BYTES} bytes")
    return parse_fields(stream.read(end).split(b"\n", 1)[1])


def parse_fields(lines: bytes) -> dict[str, str]:
    """The named fields of a WARC header; of fields with one name the first counts, folded lines are joined."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines.decode("utf-8", "replace").split("\n"):
        if line[:1] in (" ", "\t") and name and line.strip():
            fields[name] = f"{fields[name]} {line.strip()}".strip()
            continue
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key = key.strip()
        name = _NAMES.get(key.lower(), key)
        fields.setdefault(name, value.strip())
    target = fields.get("WARC-Target-URI", "")
    if target.startswith("<") and target.endswith(">"):
        fields["WARC-Target-URI"] = target[1:-1]
    return fields
