"""Read an ARC file, the Internet Archive's format before WARC, as if it were WARC.

Follows the ARC description of 1996 (https://archive.org/web/researcher/ArcFileFormat.php), versions 1 and 2. Departs
from it as archives do: a file may lack its `filedesc` record, a URL or a media type may hold spaces, a date may have
any number of digits. The address stands between URL and date and is the anchor by which a line is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import BinaryIO

from raw_sources.archives.stream import ArchiveStream, DamagedError
from raw_sources.archives.warc import Item, Progress, WarcRecord, read_block, read_stream

MAX_LINE_BYTES = 64 << 10

#: a line that begins a record: URL, and a number at its end
RECORD_START = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]{1,30}:[^\n]{1,8000} -?\d{1,15}\r?\n")
#: the beginning of one, where a whole line is not at hand
FIRST_RECORD = re.compile(rb"(?:filedesc|https?|ftp|dns|whois|gopher):")

_LINE = re.compile(
    r"(?P<url>.*?) (?P<address>\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+) (?P<date>\S+) (?P<rest>.*?) ?"
    r"(?P<length>-?\d+)"
)
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?")


def read_arc_file(file: BinaryIO, types: Collection[str], progress: Progress | None = None) -> Iterator[Item]:
    """All records of an open, seekable ARC file in order; its first one, `filedesc`, comes as `warcinfo`."""
    yield from read_stream(ArchiveStream(file, RECORD_START), _read_record, types, progress or Progress(""))


def _read_record(stream: ArchiveStream, offset: int, types: Collection[str], warcinfo: str | None) -> WarcRecord:
    line = stream.peek(MAX_LINE_BYTES).partition(b"\n")[0]
    headers = parse_line(line.decode("utf-8", "replace").rstrip("\r"))
    if headers is None:
        raise DamagedError(offset, f"no ARC record begins here: {line[:40]!r}")
    length_text = headers["Content-Length"]
    if length_text.startswith("-") or len(length_text) > 15:
        raise DamagedError(offset, f"a record with the length {length_text[:20]}")
    stream.read(len(line) + 1)
    return read_block(stream, offset, headers["WARC-Type"], headers, int(length_text), types, warcinfo)


def parse_line(line: str) -> dict[str, str] | None:
    """The fields of a record's line under WARC's names; None where it is no such line.

    The media type that the line names stands under `ARC-Content-Type`; a date that is none stands as it is.
    """
    found = _LINE.fullmatch(line)
    if found:
        url, address, date, rest, length = found.group("url", "address", "date", "rest", "length")
    else:
        parts = line.rsplit(" ", 4)
        if len(parts) != 5 or ":" not in parts[0] or not re.fullmatch(r"-?\d+", parts[4]):
            return None
        url, address, date, rest, length = parts
    kind = "warcinfo" if url.startswith("filedesc:") else "response"
    fields = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-IP-Address": address, "WARC-Date": _iso(date)}
    fields["ARC-Content-Type"] = re.split(r" (?:\d{3}|-) ", f"{rest} ", maxsplit=1)[0].strip()
    if kind == "response" and url.lower().startswith(("http:", "https:")):
        fields["Content-Type"] = "application/http; msgtype=response"
    fields["Content-Length"] = length
    return fields


def _iso(date: str) -> str:
    """A date of 8, 12, 14 or more digits as WARC writes it."""
    found = _DATE.match(date)
    if not found:
        return date
    year, month, day, hour, minute, second = (part or "00" for part in found.groups())
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"
