"""The uncompressed bytes of an archive, with the place in the file that they came from.

Plain and compressed files (by magic bytes, never by name), with one member per record as WARC asks for, one member
over all records, or members cut anywhere. Damage raises `DamagedError`; `skip_damage` then goes on at the next member
that holds a record, in a plain file at the next line that begins one. No end of data passes for an end of file: a
member must be complete and its checksum right.

A zstd file may begin with a dictionary in a skippable frame, as the IIPC's note on zstd in WARC says
(https://iipc.github.io/warc-specifications/specifications/warc-zstd/).
"""

from __future__ import annotations

import functools
import os
import re
from collections import deque
from dataclasses import replace
from typing import BinaryIO

from backports import zstd

from corpusmith.io.compression import (
    BZIP2,
    GZIP,
    LZ4,
    ZSTD,
    Codec,
    CompressedMember,
    DamagedMemberError,
    Input,
    beginning,
    make_zstd,
)

MAX_DICTIONARY_BYTES = 64 << 20
PIECE_BYTES = 256 << 10
MAX_TRIALS = 10_000
#: the longest line that `record_start` of a stream may have to see
LINE_BYTES = 8192
_BEGINNING_BYTES = 256
_DICTIONARY_FRAME = b"\x5d\x2a\x4d\x18"
_DICTIONARY_MAGIC = b"\x37\xa4\x30\xec"


class DamagedError(Exception):
    """The stream can't be read on; `offset` is where in the file the damaged part begins."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


def codec_of(file: BinaryIO) -> Codec | None:
    """The codec of an open, seekable archive by its first bytes; None for one that is not compressed.

    The file stands at its first member afterwards.
    """
    head = file.read(8)
    if head.startswith(_DICTIONARY_FRAME):
        length = int.from_bytes(head[4:8], "little")
        content = file.read(length) if length <= MAX_DICTIONARY_BYTES else b""
        if content.startswith(ZSTD.magic):
            content = zstd.ZstdDecompressor().decompress(content, MAX_DICTIONARY_BYTES)
        if content:
            dictionary = zstd.ZstdDict(content, is_raw=not content.startswith(_DICTIONARY_MAGIC))
            return replace(ZSTD, make=functools.partial(make_zstd, dictionary))
    file.seek(0)
    return next((codec for codec in (GZIP, ZSTD, BZIP2, LZ4) if head.startswith(codec.magic)), None)


class ArchiveStream:
    """Reads bytes out of an open, seekable archive file. Memory: the longest `read` or `find_end`, and a piece more.

    `record_start` matches where a record begins, at the start of a line.
    """

    def __init__(self, file: BinaryIO, record_start: re.Pattern[bytes]) -> None:
        self._file = file
        self._begins = record_start
        self._searched = re.compile(rb"\n(?=" + record_start.pattern + rb")", record_start.flags)
        self._codec = codec_of(file)
        self._input = Input(file, PIECE_BYTES, file.tell())
        self._trials = MAX_TRIALS
        self._buffer = bytearray()
        self._start = 0
        self._position = 0
        self._members: deque[tuple[int, int]] = deque()
        self._member: CompressedMember | None = None

    @property
    def offset(self) -> int:
        """Where the next byte stands in the file: in a compressed one, the start of its member."""
        if self._codec is None:
            return self._position
        while len(self._members) > 1 and self._members[1][0] <= self._position:
            self._members.popleft()
        return self._members[0][1] if self._members else self._input.position

    def at_end(self) -> bool:
        """Whether the file has no further byte; DamagedError if it breaks off here."""
        return not self._need(1)

    def peek(self, length: int) -> bytes:
        """Up to `length` of the next bytes; takes none of them."""
        self._need(length)
        return bytes(self._buffer[self._start : self._start + length])

    def head_at(self, offset: int, length: int) -> bytes:
        """The bytes of the file itself at `offset`, as evidence of what is damaged there."""
        back = self._file.tell()
        self._file.seek(offset)
        head = self._file.read(length)
        self._file.seek(back)
        return head

    def skip_blank_lines(self) -> None:
        """Take line ends as long as there are any."""
        while self._need(1):
            self.settle()
            if self._buffered():
                return

    def settle(self) -> None:
        """Take the line ends behind a record, to the end of its member unless another record begins in it.

        What else stands behind the record stays, at least its beginning. DamagedError where the member turns out to
        be incomplete or its checksum wrong: then the record can't be trusted either.
        """
        while True:
            at = self._start
            while at < len(self._buffer) and self._buffer[at] in b"\r\n":
                at += 1
            self._take(at - self._start)
            rest = bytes(self._buffer[self._start : self._start + _BEGINNING_BYTES])
            if self._member is None or self._begins.match(rest):
                return
            piece = self._inflate()
            if self._buffered() <= PIECE_BYTES:
                self._buffer += piece

    def find_end(self, limit: int) -> int | None:
        """The length of a header up to and including the empty line that ends it, None where `limit` bytes hold none.

        Lines end in CRLF or LF. DamagedError if the file ends first.
        """
        seen = 0
        while True:
            start = self._start + max(0, seen - 3)
            crlf = self._buffer.find(b"\n\r\n", start)
            lf = self._buffer.find(b"\n\n", start, crlf if crlf >= 0 else len(self._buffer))
            if lf >= 0:
                return lf + 2 - self._start
            if crlf >= 0:
                return crlf + 3 - self._start
            seen = len(self._buffer) - self._start
            if seen >= limit:
                return None
            if not self._need(seen + 1):
                offset = self.offset
                self._take(self._buffered())
                raise DamagedError(offset, "the file ends inside a record's header")

    def read(self, length: int) -> bytes:
        """Exactly `length` bytes; DamagedError if the file ends first."""
        if not self._need(length):
            offset, missing = self.offset, length - self._buffered()
            self._take(self._buffered())
            raise DamagedError(offset, f"the file ends {missing} bytes before its record does")
        piece = bytes(self._buffer[self._start : self._start + length])
        self._take(length)
        return piece

    def skip(self, length: int) -> None:
        """Take `length` bytes without keeping them; DamagedError if the file ends first."""
        while length > 0:
            if not self._need(1):
                raise DamagedError(self.offset, f"the file ends {length} bytes before its record does")
            step = min(length, self._buffered())
            self._take(step)
            length -= step

    def skip_damage(self, offset: int) -> bool:
        """Go on behind what is damaged at file `offset`; False (and the end of the file) if nothing is left.

        In a compressed file that is the next member that holds a record, in a plain one the next line that begins one.
        """
        if self._codec is None:
            return self._skip_to_record_line()
        self._buffer.clear()
        self._start = 0
        self._members.clear()
        self._member = None
        found = self._next_record_member(offset + 1)
        self._input.seek(self._file.seek(0, os.SEEK_END) if found is None else found)
        return found is not None

    def _skip_to_record_line(self) -> bool:
        while self._need(2):
            found = self._searched.search(self._buffer, self._start)
            if found:
                self._take(found.end() - self._start)
                return True
            if not self._need(self._buffered() + 1):
                self._take(self._buffered())
                return False
            self._take(max(0, self._buffered() - LINE_BYTES))
        return False

    def _next_record_member(self, offset: int) -> int | None:
        """The file offset of the first member from `offset` on whose content begins as a record does."""
        assert self._codec is not None
        magic = self._codec.magic
        self._file.seek(offset)
        window = self._file.read(PIECE_BYTES)
        while len(window) >= len(magic):
            at = window.find(magic)
            while at >= 0 and self._trials:
                self._trials -= 1
                if self._holds_record(offset + at):
                    return offset + at
                at = window.find(magic, at + 1)
            keep = len(magic) - 1
            offset += len(window) - keep
            self._file.seek(offset + keep)
            piece = self._file.read(PIECE_BYTES)
            if not piece or not self._trials:
                return None
            window = window[-keep:] + piece
        return None

    def _holds_record(self, offset: int) -> bool:
        assert self._codec is not None
        content = beginning(self._codec, self.head_at(offset, self._codec.trial_bytes), 2 * _BEGINNING_BYTES)
        return content is not None and self._begins.match(content.lstrip(b"\r\n")) is not None

    def _buffered(self) -> int:
        return len(self._buffer) - self._start

    def _take(self, length: int) -> None:
        self._start += length
        self._position += length
        if self._start > 4 * PIECE_BYTES or self._start == len(self._buffer):
            del self._buffer[: self._start]
            self._start = 0

    def _need(self, length: int) -> bool:
        """Buffer at least `length` bytes; False if the file ends before."""
        while self._buffered() < length:
            piece = self._next_piece()
            if not piece:
                return False
            self._buffer += piece
        return True

    def _next_piece(self) -> bytes:
        """The next uncompressed bytes, none at the end of the file."""
        if self._codec is None:
            return self._input.read()
        while self._member is not None or self._open_member(self._codec):
            if piece := self._inflate():
                return piece
        return b""

    def _open_member(self, codec: Codec) -> bool:
        """Begin the next member; False at the end of the file."""
        if not self._input.has_member(codec):
            return False
        start = self._input.position
        if self._input.peek(len(codec.magic)) != codec.magic:
            raise DamagedError(start, f"bytes between members that are no {codec.unit}")
        self._member = CompressedMember(codec, self._input, PIECE_BYTES)
        self._members.append((self._position + self._buffered(), start))
        return True

    def _inflate(self) -> bytes:
        """Some bytes of the open member; closes it at its end."""
        member, codec = self._member, self._codec
        if member is None or codec is None:
            return b""
        try:
            piece = member.read()
        except DamagedMemberError as damage:
            if damage.reason is None:
                raise DamagedError(member.start, f"the file ends inside a {codec.unit}") from None
            raise DamagedError(member.start, f"damaged {codec.unit}: {damage.reason}") from damage
        if member.is_done:
            self._member = None
        return piece
