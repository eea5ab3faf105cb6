"""The compressions in which archives come: how each begins, and a decompressor for one member of it.

gzip (RFC 1952) through `isal`, zstd through `backports.zstd` (which tells a truncated frame from a whole one), bzip2
from the standard library, LZ4 frames through `lz4`. zstd files may begin with a dictionary in a skippable frame, as the
IIPC's note on zstd in WARC says (https://iipc.github.io/warc-specifications/specifications/warc-zstd/).
"""

from __future__ import annotations

import bz2
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd
from isal import igzip_lib

MAX_WINDOW_LOG = 31
MAX_DICTIONARY_BYTES = 64 << 20
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_MAGIC = b"\x5d\x2a\x4d\x18"

#: what the decompressors raise for damaged input
DECODE_ERRORS: tuple[Any, ...] = (igzip_lib.error, zstd.ZstdError, OSError, RuntimeError, EOFError, ValueError)


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

    `padded`: zeros between members are no damage; `trial_bytes`: how much of a member it may take to get its first
    bytes out.
    """

    unit: str
    magic: bytes
    make: Callable[[], Decompressor]
    padded: bool = False
    trial_bytes: int = 4096


def _gzip() -> Decompressor:
    made: Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return made


def _zstd(dictionary: zstd.ZstdDict | None = None) -> Decompressor:
    return zstd.ZstdDecompressor(dictionary, options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG})


def _lz4() -> Decompressor:
    made: Decompressor = lz4.frame.LZ4FrameDecompressor()
    return made


GZIP = Codec(unit="gzip member", magic=b"\x1f\x8b\x08", make=_gzip, padded=True)
ZSTD = Codec(unit="zstd frame", magic=ZSTD_MAGIC, make=_zstd, trial_bytes=256 << 10)
BZIP2 = Codec(unit="bzip2 stream", magic=b"BZh", make=bz2.BZ2Decompressor, trial_bytes=1 << 20)
LZ4 = Codec(unit="LZ4 frame", magic=b"\x04\x22\x4d\x18", make=_lz4, trial_bytes=256 << 10)


def codec_of(file: BinaryIO) -> Codec | None:
    """The codec of an open, seekable file by its first bytes; None for one that is not compressed.

    The file stands at its first member afterwards.
    """
    head = file.read(8)
    if head.startswith(_DICTIONARY_MAGIC):
        length = int.from_bytes(head[4:8], "little")
        content = file.read(length) if length <= MAX_DICTIONARY_BYTES else b""
        if content.startswith(ZSTD_MAGIC):
            content = zstd.ZstdDecompressor().decompress(content, MAX_DICTIONARY_BYTES)
        if content:
            make = functools.partial(_zstd, zstd.ZstdDict(content, is_raw=not content.startswith(b"\x37\xa4\x30\xec")))
            return Codec(unit=ZSTD.unit, magic=ZSTD_MAGIC, make=make, trial_bytes=ZSTD.trial_bytes)
    file.seek(0)
    return next((codec for codec in (GZIP, ZSTD, BZIP2, LZ4) if head.startswith(codec.magic)), None)
