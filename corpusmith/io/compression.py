"""Decompress streams piece by piece: every frame or member, bounded output, and damage that is never silent.

What the bytes say decides, not the name: gzip data under a `.zst` name is read as gzip. python-zstandard ends
silently on a truncated frame, so zstd goes through `backports.zstd` (the standard library's module of Python 3.14),
gzip through `isal`; both tell when a stream has really ended and hand back what follows it.

Damage costs no more than it must: the input in which a decoder failed is given to it again byte by byte, which brings
out all that stands before the damage (a call that fails hands out nothing), and reading goes on at the next frame or
member that decodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from backports import zstd
from isal import igzip_lib

PIECE_BYTES = 1 << 17
MAX_WINDOW_LOG = 31
MAX_CANDIDATES = 10_000

_RECENT_READS = 3
_SNIFFED = 8

_DAMAGE: tuple[Any, ...] = (zstd.ZstdError, igzip_lib.error, EOFError, ValueError)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A part of a file that gave no content; `resumed` is the byte of the file where reading goes on, if it does."""

    reason: str
    resumed: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Codec:
    """A format of members one after the other."""

    unit: str
    magic: bytes
    padded: bool
    make: Callable[[], _Decompressor]


def _zstd_decompressor() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


def _gzip_decompressor() -> _Decompressor:
    decompressor: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decompressor


_ZSTD = _Codec(unit="zstd frame", magic=b"\x28\xb5\x2f\xfd", padded=False, make=_zstd_decompressor)
_GZIP = _Codec(unit="gzip member", magic=b"\x1f\x8b\x08", padded=True, make=_gzip_decompressor)


def _codec(head: bytes) -> _Codec | None:
    """The format that the first bytes of a file announce; None for plain content."""
    skippable = head[1:4] == b"\x2a\x4d\x18" and b"\x50" <= head[:1] <= b"\x5f"
    if skippable or head.startswith(_ZSTD.magic):
        return _ZSTD
    return _GZIP if head.startswith(_GZIP.magic[:2]) else None


class _Source:
    """A file read in pieces that can be handed back; `position` is the offset of the next byte."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = b""
        self.position = 0

    def take(self) -> bytes:
        """What was handed back, or the next piece; empty at the end."""
        data, self._held = self._held or self._file.read(PIECE_BYTES), b""
        self.position += len(data)
        return data

    def give_back(self, data: bytes) -> None:
        """Put bytes that were taken last before what comes next."""
        self._held = data + self._held
        self.position -= len(data)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end, without taking them."""
        taken = b""
        while len(taken) < size and (data := self.take()):
            taken += data
        self.give_back(taken)
        return taken[:size]


class Content:
    """The content of a plain, gzip or zstd file; a context manager that closes the file.

    `open_file` opens the file from its start; it is called again only where a damaged part is read once more.
    """

    def __init__(self, open_file: Callable[[], BinaryIO]) -> None:
        self._open = open_file
        self._file = open_file()
        self._source = _Source(self._file)
        self._candidates = MAX_CANDIDATES
        self._recent: deque[bytes] = deque(maxlen=_RECENT_READS)
        self.head = self._source.peek(_SNIFFED)

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far."""
        return self._source.position

    def pieces(self) -> Iterator[bytes | Damage]:
        """The content in pieces of at most 128 KiB, with a Damage wherever something of it is lost.

        All that can be decoded before a damage comes before it. Where a checksum does not match, what it covers has
        been handed out by then.
        """
        codec = _codec(self.head)
        if codec is not None:
            yield from self._members(codec)
        else:
            while data := self._source.take():
                yield data

    def _members(self, codec: _Codec) -> Iterator[bytes | Damage]:
        source = self._source
        while self._more(codec):
            start, done = source.position, 0
            decompressor = codec.make()
            self._recent.clear()
            try:
                while not decompressor.eof:
                    data = self._feed() if decompressor.needs_input else b""
                    if piece := decompressor.decompress(data, PIECE_BYTES):
                        done += len(piece)
                        yield piece
            except _DAMAGE as error:
                early = isinstance(error, _EndsEarly)
                yield from () if early else self._salvage(codec, start, done)
                where = f"{codec.unit} at byte {start} of the file"
                reason = f"{where} ends early" if early else f"damaged {where}: {error}"
                yield Damage(reason=reason, resumed=self._resume(codec, start))
            else:
                source.give_back(decompressor.unused_data)

    def _more(self, codec: _Codec) -> bool:
        """Whether another member can follow; zeros between members are padding where the format has it."""
        while data := self._source.take():
            if rest := data.lstrip(b"\0") if codec.padded else data:
                self._source.give_back(rest)
                return True
        return False

    def _feed(self) -> bytes:
        data = self._source.take()
        if not data:
            raise _EndsEarly
        self._recent.append(data)
        return data

    def _salvage(self, codec: _Codec, start: int, done: int) -> Iterator[bytes]:
        """What stands before the damage in the member at `start` and was not among its first `done` bytes."""
        sound = self._source.position - len(self._recent[-1]) - start if self._recent else 0
        with self._open() as file:
            _skip(file, start)
            decompressor = codec.make()
            try:
                while not decompressor.eof:
                    data = b""
                    if decompressor.needs_input:
                        data = file.read(min(sound, PIECE_BYTES) or 1)
                        sound = max(0, sound - len(data))
                        if not data:
                            return
                    piece = decompressor.decompress(data, PIECE_BYTES)
                    fresh = piece[min(done, len(piece)) :]
                    done = max(0, done - len(piece))
                    if fresh:
                        yield fresh
            except _DAMAGE:
                return

    def _resume(self, codec: _Codec, start: int) -> int | None:
        """Go to the next member after `start` that decodes; None, with all read, where there is none."""
        source = self._source
        recent = b"".join(self._recent)
        source.give_back(recent[max(0, start + 1 - (source.position - len(recent))) :])
        window = b""
        while data := source.take():
            window += data
            at = window.find(codec.magic)
            while at >= 0 and self._candidates:
                self._candidates -= 1
                if len(window) - at < 2 * PIECE_BYTES:
                    window, at = window[at:] + source.take(), 0
                if _decodes(codec, window[at : at + 2 * PIECE_BYTES]):
                    source.give_back(window[at:])
                    return source.position
                at = window.find(codec.magic, at + 1)
            window = window[1 - len(codec.magic) :]
        return None


class _EndsEarly(EOFError):
    """The file ends within a member."""


def _skip(file: BinaryIO, count: int) -> None:
    """Go forward by `count` bytes in a file that may be a stream."""
    if file.seekable():
        file.seek(count)
        return
    while count and (data := file.read(min(count, PIECE_BYTES))):
        count -= len(data)


def _decodes(codec: _Codec, data: bytes) -> bool:
    """Whether these bytes start a member: something comes out of them without an error."""
    decompressor = codec.make()
    try:
        piece = decompressor.decompress(data, PIECE_BYTES)
    except _DAMAGE:
        return False
    return bool(piece) or decompressor.eof
