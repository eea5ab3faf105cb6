"""The HTTP response inside a WARC record: status, header fields, and the body with its codings undone.

Follows RFC 9112 and departs from it as archives do. Crawlers store bodies whose `Transfer-Encoding` or
`Content-Encoding` is undone already and keep the header: a coding is undone only where the bytes bear it. A coded body
that breaks off, because the crawler cut it, gives what it holds up to there. Every output is bounded: a body of a few
kilobytes can unpack to gigabytes.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from backports import zstd
from fastwarc.stream_io import BrotliReader

MAX_BODY_BYTES = 16 << 20
MAX_HTTP_HEADER_BYTES = 1 << 20

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t]|$)")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAX_CODINGS = 4


class NotHttpError(ValueError):
    """The record's block is no HTTP response."""


class TooLargeError(ValueError):
    """The body is over `MAX_BODY_BYTES` once its codings are undone."""


class CodingError(ValueError):
    """A content coding that is unknown, or damaged from its first byte on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A response: `status` (three digits), `fields` by lower-case name (the first of each), `body` as it was sent."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """The media type without parameters in lower case, empty where none is named."""
        return self.fields.get("content-type", "").partition(";")[0].partition(",")[0].strip().lower()

    @property
    def charset(self) -> str:
        """The charset parameter of the media type, empty where none is named."""
        found = re.search(r"charset\s*=\s*[\"']?([^\s\"';,]+)", self.fields.get("content-type", ""), re.IGNORECASE)
        return found.group(1) if found else ""


def parse_response(block: bytes) -> HttpResponse:
    """Split the block of a response record; raises NotHttpError. Codings stay as they are: see `decoded_body`."""
    end = _HEADER_END.search(block, 0, MAX_HTTP_HEADER_BYTES)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block[:MAX_HTTP_HEADER_BYTES].rstrip(), b"")
    lines = head.split(b"\n")
    status = _STATUS_LINE.match(lines[0].rstrip())
    if not status:
        raise NotHttpError(f"no HTTP status line: {lines[0][:40]!r}")
    fields: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        text = line.decode("latin-1").rstrip("\r")
        if text[:1] in (" ", "\t") and name:
            fields[name] = f"{fields[name]} {text.strip()}"
            continue
        key, colon, value = text.partition(":")
        if colon:
            name = key.strip().lower()
            fields.setdefault(name, value.strip())
    return HttpResponse(status=int(status.group(1)), fields=fields, body=body)


def decoded_body(response: HttpResponse) -> bytes:
    """The body with transfer and content codings undone; raises TooLargeError or CodingError."""
    body = response.body
    if "chunked" in response.fields.get("transfer-encoding", "").lower():
        body = _dechunked(body)
    codings = [coding.strip().lower() for coding in response.fields.get("content-encoding", "").split(",")]
    for coding in reversed(codings[:_MAX_CODINGS]):
        body = _undo(coding, body)
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(f"a body of more than {MAX_BODY_BYTES} bytes")
    return body


def _dechunked(body: bytes) -> bytes:
    """The chunks joined; the body as it is where it does not begin with a chunk, and up to the first broken one."""
    size = _CHUNK_SIZE.match(body)
    if not size:
        return body
    pieces: list[bytes] = []
    while size and (length := int(size.group(1), 16)):
        pieces.append(body[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0
        size = _CHUNK_SIZE.match(body, at)
    return b"".join(pieces)


def _undo(coding: str, body: bytes) -> bytes:
    if coding in ("", "identity", "none", "utf-8") or not body:
        return body
    if coding in ("gzip", "x-gzip"):
        return _inflated(body, 31) if body.startswith(b"\x1f\x8b") else body
    if coding == "deflate":
        is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return body if body.lstrip().startswith(b"<") else _inflated(body, 15 if is_zlib else -15)
    if coding == "br":
        return body if body.lstrip().startswith(b"<") else _unbrotlied(body)
    if coding == "zstd":
        return _unzstded(body) if body.startswith(b"\x28\xb5\x2f\xfd") else body
    raise CodingError(f"unknown content coding {coding[:40]!r}")


def _checked(coding: str, content: bytes, failed: Exception | None) -> bytes:
    if failed is not None and not content:
        raise CodingError(f"damaged {coding} content: {failed}") from failed
    if len(content) > MAX_BODY_BYTES:
        raise TooLargeError(f"{coding} content of more than {MAX_BODY_BYTES} bytes")
    return content


def _inflated(body: bytes, window_bits: int) -> bytes:
    decompressor = zlib.decompressobj(window_bits)
    content = bytearray()
    failed: Exception | None = None
    try:
        # in pieces, since zlib throws away the output of the call in which it meets the damage
        for start in range(0, len(body), 4096):
            content += decompressor.decompress(
                decompressor.unconsumed_tail + body[start : start + 4096], MAX_BODY_BYTES + 1 - len(content)
            )
            if len(content) > MAX_BODY_BYTES or decompressor.eof:
                break
    except zlib.error as error:
        failed = error
    return _checked("gzip or deflate", bytes(content), failed)


def _unbrotlied(body: bytes) -> bytes:
    reader = BrotliReader(io.BytesIO(body))
    content = bytearray()
    failed: Exception | None = None
    try:
        while len(content) <= MAX_BODY_BYTES and (piece := reader.read(4096)):
            content += piece
    except (OSError, ValueError) as error:
        failed = error
    return _checked("br", bytes(content), failed)


def _unzstded(body: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    content = b""
    failed: Exception | None = None
    try:
        content = decompressor.decompress(body, MAX_BODY_BYTES + 1)
    except zstd.ZstdError as error:
        failed = error
    return _checked("zstd", content, failed)
