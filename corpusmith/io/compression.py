"""Decompress files piece by piece: every frame or member, bounded output, and damage that is never silent.

What the bytes say decides, not the name: gzip data under a `.zst` name is read as gzip. python-zstandard ends
silently on a truncated frame, so zstd goes through `backports.zstd` (the standard library's module of Python 3.14),
gzip through `isal`, bzip2 through the standard library, LZ4 through `lz4`; all tell when a stream has really ended and
hand back what follows it.

`Input`, `Codec` and `CompressedMember` are what any reader of compressed files is made of (that of archives stands in
`raw_sources.archives.stream`); `Content` reads the content of a file as it comes. In it damage costs no more than it
must: the input in which a decoder failed is given to it again byte by byte, which brings out all that stands before the
damage (a call that fails hands out nothing), and reading goes on at the next frame or member that decodes.
"""

from __future__ import annotations

import bz2
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

#: what the decompressors raise for damaged input
_DAMAGE: tuple[Any, ...] = (zstd.ZstdError, igzip_lib.error, OSError, RuntimeError, EOFError, ValueError)


# --- formats ---------------------------------------------------------------------------------------------------------


class Decompressor(Protocol):
    """One member: fed with input in pieces, gives its content in pieces, and hands back what follows it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """A format of members one after the other.

    `unit`: what a member is called; `magic`: how each begins; `padded`: zeros between members are no damage;
    `trial_bytes`: how much of a member it may take to get its first bytes out.
    """

    unit: str
    magic: bytes
    make: Callable[[], Decompressor]
    padded: bool = False
    trial_bytes: int = 4096


def make_zstd(dictionary: zstd.ZstdDict | None = None) -> Decompressor:
    """A decompressor for one zstd frame, of windows up to 2 GiB."""
    return zstd.ZstdDecompressor(dictionary, options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


def _make_gzip() -> Decompressor:
    made: Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return made


def _make_lz4() -> Decompressor:
    import lz4.frame  # type: ignore[import-untyped]

    made: Decompressor = lz4.frame.LZ4FrameDecompressor()
    return made


GZIP = Codec(unit="gzip member", magic=b"\x1f\x8b\x08", make=_make_gzip, padded=True)
ZSTD = Codec(unit="zstd frame", magic=b"\x28\xb5\x2f\xfd", make=make_zstd, trial_bytes=256 << 10)
BZIP2 = Codec(unit="bzip2 stream", magic=b"BZh", make=bz2.BZ2Decompressor, trial_bytes=1 << 20)
LZ4 = Codec(unit="LZ4 frame", magic=b"\x04\x22\x4d\x18", make=_make_lz4, trial_bytes=256 << 10)


def _codec_of(head: bytes) -> Codec | None:
    """The format of a file of pages by its first bytes, gzip or zstd; None for plain content."""
    is_skippable = head[1:4] == b"\x2a\x4d\x18" and b"\x50" <= head[:1] <= b"\x5f"
    if is_skippable or head.startswith(ZSTD.magic):
        return ZSTD
    return GZIP if head.startswith(GZIP.magic[:2]) else None


# --- members ---------------------------------------------------------------------------------------------------------


class Input:
    """A file read in pieces that can be put back; `position` is the offset of the next byte."""

    def __init__(self, file: BinaryIO, piece_bytes: int, position: int = 0) -> None:
        self._file = file
        self._piece_bytes = piece_bytes
        self._held = b""
        self.position = position

    def read(self) -> bytes:
        """What was put back, or the next piece; empty at the end."""
        data, self._held = self._held or self._file.read(self._piece_bytes), b""
        self.position += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """Put bytes that were read last before what comes next."""
        self._held = data + self._held
        self.position -= len(data)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end, without taking them."""
        taken = b""
        while len(taken) < size and (data := self.read()):
            taken += data
        self.put_back(taken)
        return taken[:size]

    def seek(self, position: int) -> None:
        """Go on at a byte of the file, which must be seekable."""
        self._file.seek(position)
        self._held = b""
        self.position = position

    def has_member(self, codec: Codec) -> bool:
        """Whether another member can follow; goes past zeros between members where the format has such padding."""
        while data := self.read():
            if data := data.lstrip(b"\0") if codec.padded else data:
                self.put_back(data)
                return True
        return False


class DamagedMemberError(Exception):
    """A member cannot be read on; `reason` is the decompressor's, None where the file ends within the member."""

    def __init__(self, reason: Exception | None) -> None:
        super().__init__(reason)
        self.reason = reason


class CompressedMember:
    """A member while it is read; `start` is its offset in the file, `recent` the last inputs that it took."""

    __slots__ = ("_decompressor", "_piece_bytes", "_source", "recent", "start")

    def __init__(self, codec: Codec, source: Input, piece_bytes: int) -> None:
        self._source = source
        self._piece_bytes = piece_bytes
        self._decompressor = codec.make()
        self.start = source.position
        self.recent: tuple[bytes, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether all of it was read; what follows it is in the input again."""
        return self._decompressor.eof

    def read(self) -> bytes:
        """The next piece of its content, which may be empty; DamagedMemberError where there is none to be had."""
        data = b""
        if self._decompressor.needs_input:
            data = self._source.read()
            if not data:
                raise DamagedMemberError(None)
            self.recent = (*self.recent[1 - _RECENT_READS :], data)
        try:
            piece = self._decompressor.decompress(data, self._piece_bytes)
        except _DAMAGE as error:
            raise DamagedMemberError(error) from error
        if self._decompressor.eof:
            self._source.put_back(self._decompressor.unused_data or b"")
        return piece


def beginning(codec: Codec, data: bytes, size: int) -> bytes | None:
    """The first content, at most `size` bytes, of the member that `data` begins with; None where it is damaged."""
    decompressor = codec.make()
    try:
        content = decompressor.decompress(data, size)
    except _DAMAGE:
        return None
    return content if content or decompressor.eof else None


# --- whole files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """A part of a file that gave no content; `resumed` is the byte of the file where reading goes on, if it does."""

    reason: str
    resumed: int | None


class Content:
    """The content of a plain, gzip or zstd file; a context manager that closes the file.

    `open_file` opens the file from its start; it is called again only where a damaged part is read once more.
    """

    def __init__(self, open_file: Callable[[], BinaryIO]) -> None:
        self._open = open_file
        self._file = open_file()
        self._input = Input(self._file, PIECE_BYTES)
        self._candidates = MAX_CANDIDATES
        self.head = self._input.peek(_SNIFFED)

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far."""
        return self._input.position

    def pieces(self) -> Iterator[bytes | Damage]:
        """The content in pieces of at most 128 KiB, with a Damage wherever something of it is lost.

        All that can be decoded before a damage comes before it. Where a checksum does not match, what it covers has
        been handed out by then.
        """
        codec = _codec_of(self.head)
        if codec is not None:
            yield from self._members(codec)
        else:
            while data := self._input.read():
                yield data

    def _members(self, codec: Codec) -> Iterator[bytes | Damage]:
        while self._input.has_member(codec):
            member, done = CompressedMember(codec, self._input, PIECE_BYTES), 0
            try:
                while not member.is_done:
                    if piece := member.read():
                        done += len(piece)
                        yield piece
            except DamagedMemberError as damage:
                where = f"{codec.unit} at byte {member.start} of the file"
                if damage.reason is None:
                    reason = f"{where} ends early"
                else:
                    yield from self._salvage(codec, member, done)
                    reason = f"damaged {where}: {damage.reason}"
                yield Damage(reason=reason, resumed=self._resume(codec, member))

    def _salvage(self, codec: Codec, member: CompressedMember, done: int) -> Iterator[bytes]:
        """What stands before the damage in a member and was not among its first `done` bytes."""
        # the input before the last piece was decoded without fault
        sound = self._input.position - len(member.recent[-1]) - member.start if member.recent else 0
        with self._open() as file:
            _skip(file, member.start)
            decompressor = codec.make()
            while not decompressor.eof:
                data = b""
                if decompressor.needs_input:
                    data = file.read(min(sound, PIECE_BYTES) or 1)
                    sound = max(0, sound - len(data))
                    if not data:
                        return
                try:
                    piece = decompressor.decompress(data, PIECE_BYTES)
                except _DAMAGE:
                    return
                fresh = piece[min(done, len(piece)) :]
                done = max(0, done - len(piece))
                if fresh:
                    yield fresh

    def _resume(self, codec: Codec, member: CompressedMember) -> int | None:
        """Go to the next member that decodes after the start of this one; None, with all read, where there is none."""
        source = self._input
        recent = b"".join(member.recent)
        source.put_back(recent[max(0, member.start + 1 - (source.position - len(recent))) :])
        window = b""
        while data := source.read():
            window += data
            at = window.find(codec.magic)
            while at >= 0 and self._candidates:
                self._candidates -= 1
                if len(window) - at < 2 * PIECE_BYTES:
                    window, at = window[at:] + source.read(), 0
                if beginning(codec, window[at : at + 2 * PIECE_BYTES], PIECE_BYTES) is not None:
                    source.put_back(window[at:])
                    return source.position
                at = window.find(codec.magic, at + 1)
            window = window[1 - len(codec.magic) :]
        return None


def _skip(file: BinaryIO, count: int) -> None:
    """Go forward by `count` bytes in a file that may be a stream."""
    if file.seekable():
        file.seek(count)
        return
    while count and (data := file.read(min(count, PIECE_BYTES))):
        count -= len(data)
