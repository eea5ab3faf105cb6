"""The uncompressed bytes of an archive, with the place in the file that they came from.

Plain and gzip files (by magic bytes, never by name), gzip with one member per record as WARC asks for, one member over
all records, or members cut anywhere. Damage raises `DamagedError`; `skip_damage` then goes on at the next gzip member
that holds a WARC record, in a plain file at the next line that begins one. No end of data passes for an end of file: a
member must be complete and its checksum right.
"""

from __future__ import annotations

from collections import deque
from typing import BinaryIO, cast

from isal import igzip_lib

VERSION = 1

PIECE_BYTES = 256 << 10
_GZIP_MAGIC = b"\x1f\x8b\x08"
_RECORD_MAGIC = b"WARC/"
_RECORD_LINE = b"\nWARC/"
_TRIAL_BYTES = 4096
_GZIP_ERRORS: tuple[type[Exception], ...] = (cast(type[Exception], igzip_lib.error), EOFError, ValueError)


class DamagedError(Exception):
    """The stream can't be read on; `offset` is where in the file the damaged part begins."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


class ArchiveStream:
    """Reads bytes out of an open, seekable archive file. Memory: the longest `read` or `find_end`, and a piece more."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file_offset = 0
        self._raw = b""
        self._buffer = bytearray()
        self._start = 0
        self._position = 0
        self._members: deque[tuple[int, int]] = deque()
        self._member: igzip_lib.IgzipDecompressor | None = None
        self._member_offset = 0
        self._refill_raw()
        self.is_gzip = self._raw.startswith(_GZIP_MAGIC)

    @property
    def offset(self) -> int:
        """Where the next byte stands in the file: for gzip, the start of its member."""
        if not self.is_gzip:
            return self._position
        while len(self._members) > 1 and self._members[1][0] <= self._position:
            self._members.popleft()
        return self._members[0][1] if self._members else self._file_offset - len(self._raw)

    def at_end(self) -> bool:
        """Whether the file has no further byte; DamagedError if it breaks off here."""
        return not self._need(1)

    def starts_with(self, prefix: bytes) -> bool:
        """Whether the next bytes are `prefix`; takes none of them."""
        self._need(len(prefix))
        return self._buffer.startswith(prefix, self._start)

    def peek(self, length: int) -> bytes:
        """Up to `length` of the next bytes; takes none of them."""
        self._need(length)
        return bytes(self._buffer[self._start : self._start + length])

    def skip_blank_lines(self) -> None:
        """Take line ends as long as there are any."""
        while self._need(1):
            self.settle()
            if self._buffered():
                return

    def settle(self) -> None:
        """Take the line ends behind a record, to the end of its gzip member unless another record begins in it.

        What else stands behind the record stays, at least its beginning. DamagedError where the member turns out to
        be incomplete or its checksum wrong: then the record can't be trusted either.
        """
        while True:
            at = self._start
            while at < len(self._buffer) and self._buffer[at] in b"\r\n":
                at += 1
            self._take(at - self._start)
            rest = bytes(self._buffer[self._start : self._start + len(_RECORD_MAGIC)])
            if self._member is None or rest.upper() == _RECORD_MAGIC:
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

        In gzip that is the next member that holds a record, in a plain file the next line that begins one.
        """
        if not self.is_gzip:
            return self._skip_to_record_line()
        self._buffer.clear()
        self._start = 0
        self._members.clear()
        self._member = None
        found = self._next_record_member(offset + 1)
        if found is None:
            self._raw = b""
            self._file_offset = self._file.seek(0, 2)
            return False
        self._file_offset = self._file.seek(found)
        self._refill_raw()
        return True

    def _skip_to_record_line(self) -> bool:
        while self._need(len(_RECORD_LINE)):
            at = self._buffer.find(_RECORD_LINE, self._start)
            if at >= 0:
                self._take(at + 1 - self._start)
                return True
            self._take(self._buffered() - len(_RECORD_LINE) + 1)
        return False

    def _next_record_member(self, offset: int) -> int | None:
        """The file offset of the first gzip member from `offset` on whose content begins as a WARC record does."""
        self._file.seek(offset)
        window = self._file.read(PIECE_BYTES)
        while len(window) >= len(_GZIP_MAGIC):
            at = window.find(_GZIP_MAGIC)
            while at >= 0:
                if self._holds_record(offset + at):
                    return offset + at
                at = window.find(_GZIP_MAGIC, at + 1)
            keep = len(_GZIP_MAGIC) - 1
            offset += len(window) - keep
            self._file.seek(offset + keep)
            piece = self._file.read(PIECE_BYTES)
            if not piece:
                return None
            window = window[-keep:] + piece
        return None

    def _holds_record(self, offset: int) -> bool:
        back = self._file.tell()
        self._file.seek(offset)
        head = self._file.read(_TRIAL_BYTES)
        self._file.seek(back)
        try:
            content = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP).decompress(head, 64)
        except _GZIP_ERRORS:
            return False
        return content.lstrip(b"\r\n").startswith(_RECORD_MAGIC)

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

    def _refill_raw(self) -> bool:
        self._raw = self._file.read(PIECE_BYTES)
        self._file_offset += len(self._raw)
        return bool(self._raw)

    def _next_piece(self) -> bytes:
        """The next uncompressed bytes, none at the end of the file."""
        if not self.is_gzip:
            piece, self._raw = self._raw, b""
            if piece or not self._refill_raw():
                return piece
            piece, self._raw = self._raw, b""
            return piece
        while True:
            if self._member is None and not self._open_member():
                return b""
            piece = self._inflate()
            if piece:
                return piece

    def _open_member(self) -> bool:
        """Begin the next gzip member; False at the end of the file."""
        while True:
            self._raw = self._raw.lstrip(b"\0")
            if self._raw or not self._refill_raw():
                break
        if not self._raw:
            return False
        self._member_offset = self._file_offset - len(self._raw)
        if len(self._raw) < len(_GZIP_MAGIC):
            rest = self._file.read(PIECE_BYTES)
            self._file_offset += len(rest)
            self._raw += rest
        if not self._raw.startswith(_GZIP_MAGIC):
            raise DamagedError(self._member_offset, "bytes between gzip members that are not gzip")
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._members.append((self._position + self._buffered(), self._member_offset))
        return True

    def _inflate(self) -> bytes:
        """Some bytes of the open member; closes it at its end."""
        member = self._member
        if member is None:
            return b""
        if member.needs_input and not self._raw and not self._refill_raw():
            raise DamagedError(self._member_offset, "the file ends inside a gzip member")
        given, self._raw = (self._raw, b"") if member.needs_input else (b"", self._raw)
        try:
            piece: bytes = member.decompress(given, PIECE_BYTES)
        except _GZIP_ERRORS as error:
            raise DamagedError(self._member_offset, f"damaged gzip member: {error}") from error
        if member.eof:
            self._raw = member.unused_data + self._raw
            self._member = None
        return piece
