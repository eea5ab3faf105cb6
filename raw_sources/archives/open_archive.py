"""Any archive to its records: WARC, ARC and WACZ, told apart by their first bytes and never by their name.

A WACZ (https://specs.webrecorder.net/wacz/latest/) is a ZIP whose `archive/` holds WARC files; they are read in the
order of their names, straight out of the ZIP, and nothing is unpacked to disk.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from corpusmith.io import storage
from raw_sources.archives import arc, warc
from raw_sources.archives.stream import ArchiveStream, DamagedError
from raw_sources.archives.warc import HEAD_BYTES, Item, LostPart, Progress, read_warc_file

ARCHIVE_SUFFIXES = (
    *(
        f"{kind}{packing}"
        for kind in (".warc.wet", ".warc.wat", ".wet", ".wat", ".warc", ".arc")
        for packing in (".gz", ".zst", ".bz2", ".lz4", ".gz.open", ".open", "")
    ),
    ".wacz",
)

_ZIP_MAGIC = b"PK\x03\x04"
_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A record or lost part, and the file in the WACZ that it stands in (empty outside of one)."""

    item: Item
    member: str = ""


def read_archive(url: str, types: Collection[str] = ("response",)) -> Iterator[Found]:
    """All records of an archive in order, with the blocks of the `types` named, and all parts that are lost.

    Raises InputError where there is no such file; damage comes as LostPart.
    """
    progress = Progress(url)
    with storage.open_read(url) as file:
        is_zip = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        file.seek(0)
        if is_zip:
            yield from _read_wacz(file, types, progress)
        else:
            yield from (Found(item=item) for item in read_archive_file(file, types, progress))


def read_archive_file(file: BinaryIO, types: Collection[str], progress: Progress | None = None) -> Iterator[Item]:
    """The items of an open, seekable WARC or ARC file."""
    try:
        head = ArchiveStream(file, warc.RECORD_START).peek(64).lstrip(b"\r\n")
    except DamagedError:
        head = b""
    file.seek(0)
    read = arc.read_arc_file if arc.FIRST_RECORD.match(head) else read_warc_file
    yield from read(file, types, progress)


def _read_wacz(file: BinaryIO, types: Collection[str], progress: Progress) -> Iterator[Found]:
    try:
        package = zipfile.ZipFile(file)
    except _ZIP_ERRORS as error:
        yield Found(item=_lost(file, f"damaged ZIP: {error}"))
        return
    names = sorted(
        name for name in package.namelist() if name.startswith("archive/") and name.endswith(ARCHIVE_SUFFIXES)
    )
    if not names:
        yield Found(item=_lost(file, "no WARC file in archive/: not a WACZ"))
    for name in names:
        try:
            with contextlib.closing(cast(BinaryIO, package.open(name))) as member:
                for item in read_archive_file(member, types, progress):
                    yield Found(item=item, member=name)
        except _ZIP_ERRORS as error:
            yield Found(item=_lost(file, f"{name} in the ZIP is damaged: {error}"), member=name)


def _lost(file: BinaryIO, reason: str) -> LostPart:
    file.seek(0)
    return LostPart(offset=0, reason=reason, raw=file.read(HEAD_BYTES))
