"""Decompress streams piece by piece: every frame or member, bounded output, and damage that is never silent.

What the bytes say decides, not the name: gzip data under a `.zst` name is read as gzip. python-zstandard ends
silently on a truncated frame, so zstd goes through `backports.zstd` (the standard library's module of Python 3.14),
gzip through `isal`; both tell when a stream has really ended and hand back what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from backports import zstd
from isal import igzip_lib

from corpusmith.errors import ShardError

VERSION = 1
PIECE_BYTES = 1 << 17
MAX_WINDOW_LOG = 31

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_DAMAGE: tuple[Any, ...] = (zstd.ZstdError, igzip_lib.error, EOFError, ValueError)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _zstd_decompressor() -> _Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


def _gzip_decompressor() -> _Decompressor:
    decompressor: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decompressor


def _is_zstd(head: bytes) -> bool:
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[:1] >= b"\x50" and head[:1] <= b"\x5f"
    return head[:4] == _ZSTD_MAGIC or skippable


def decompressed(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The content of a plain, gzip or zstd file in pieces of at most 128 KiB.

    Raises ShardError (with the offset in the uncompressed content) where the compressed stream is damaged or ends
    early; all that could be decompressed before has been yielded by then.
    """
    head = file.read(PIECE_BYTES)
    if _is_zstd(head):
        return _members(file, head, name, _zstd_decompressor, "zstd frame")
    if head.startswith(_GZIP_MAGIC):
        return _members(file, head, name, _gzip_decompressor, "gzip member")
    return _plain(file, head)


def _plain(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    while head:
        yield head
        head = file.read(PIECE_BYTES)


def _members(file: BinaryIO, data: bytes, name: str, make: Callable[[], _Decompressor], unit: str) -> Iterator[bytes]:
    offset = 0
    while data:
        decompressor = make()
        while not decompressor.eof:
            if decompressor.needs_input:
                data = data or file.read(PIECE_BYTES)
                if not data:
                    raise ShardError(name, offset, f"{unit} ends early")
            try:
                piece = decompressor.decompress(data, PIECE_BYTES)
            except _DAMAGE as error:
                raise ShardError(name, offset, f"damaged {unit}: {error}") from error
            data = b""
            offset += len(piece)
            if piece:
                yield piece
        data = decompressor.unused_data
        if unit == "gzip member":
            data = data.lstrip(b"\0")
        data = data or file.read(PIECE_BYTES)
