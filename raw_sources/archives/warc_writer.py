"""Write WARC 1.1 records, each a gzip member of its own, with equal bytes for equal input.

The gzip header carries no time and no name. Dates and record ids come from the caller.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence

GZIP_LEVEL = 6


def warc_record(fields: Sequence[tuple[str, str]], block: bytes) -> bytes:
    """One record, uncompressed; `Content-Length` and `WARC-Block-Digest` are added."""
    complete = [*fields, ("WARC-Block-Digest", digest(block)), ("Content-Length", str(len(block)))]
    header = "".join(f"{name}: {value}\r\n" for name, value in complete)
    return b"WARC/1.1\r\n" + header.encode() + b"\r\n" + block + b"\r\n\r\n"


def gzip_member(record: bytes) -> bytes:
    """The record as one gzip member."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    return compressor.compress(record) + compressor.flush()


def digest(content: bytes) -> str:
    """`sha1:` and the digest in base 32, as crawlers write it."""
    return f"sha1:{base64.b32encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()}"


def http_response(status: str, fields: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """An HTTP response; `Content-Length` is added."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
