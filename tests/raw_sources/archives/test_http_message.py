"""The HTTP message: codings undone where the bytes bear them, every output bounded."""

from __future__ import annotations

import gzip
import zlib

import pytest
from backports import zstd

from raw_sources.archives.http_message import (
    MAX_BODY_BYTES,
    CodingError,
    NotHttpError,
    TooLargeError,
    decoded_body,
    parse_response,
)

HTML = b"<html><body>" + b"hello world " * 500 + b"</body></html>"


def message(body: bytes, *fields: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((line, *fields, "", "")).encode() + body


def body_of(body: bytes, *fields: str) -> bytes:
    return decoded_body(parse_response(message(body, *fields)))


def test_status_fields_and_charset_are_read() -> None:
    response = parse_response(message(b"x", 'Content-Type: Text/HTML; a=b; Charset="UTF-8"', "X: 1", "x: 2"))
    assert (response.status, response.media_type, response.charset) == (200, "text/html", "UTF-8")
    assert response.fields["x"] == "1"
    assert response.body == b"x"


@pytest.mark.parametrize("line", ["HTTP/1.0 404", "HTTP/2 404 ", "HTTP/1.1 404 Not Found"])
def test_status_line_may_lack_its_text(line: str) -> None:
    assert parse_response(message(b"", line=line)).status == 404


@pytest.mark.parametrize("block", [b"", b"<html>", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_refused(block: bytes) -> None:
    with pytest.raises(NotHttpError):
        parse_response(block)


def test_bare_line_feeds_end_headers_too() -> None:
    response = parse_response(b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n<p>")
    assert (response.media_type, response.body) == ("text/html", b"<p>")


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X;x=y\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: 1\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (gzip.compress(HTML, mtime=0), ["Content-Encoding: gzip"]),
        (zlib.compress(HTML), ["Content-Encoding: deflate"]),
        (raw_deflate(HTML), ["Content-Encoding: deflate"]),
        (zstd.compress(HTML), ["Content-Encoding: zstd"]),
        (chunked(HTML, 700), ["Transfer-Encoding: chunked"]),
        (chunked(gzip.compress(HTML, mtime=0), 20), ["Transfer-Encoding: chunked", "Content-Encoding: gzip"]),
        (gzip.compress(gzip.compress(HTML, mtime=0), mtime=0), ["Content-Encoding: gzip, gzip"]),
        (HTML, ["Content-Encoding: gzip"]),
        (HTML, ["Content-Encoding: br"]),
        (HTML, ["Content-Encoding: deflate"]),
        (HTML, ["Transfer-Encoding: chunked"]),
        (HTML, ["Content-Encoding: identity"]),
    ],
)
def test_codings_are_undone_where_the_bytes_bear_them(body: bytes, fields: list[str]) -> None:
    assert body_of(body, *fields) == HTML


def test_brotli_is_undone() -> None:
    packed = bytes.fromhex("8b5702000436c6d6f51fa12154f03856cb8a59e7b2df0b1803")
    assert body_of(packed, "Content-Encoding: br") == b"hello world " * 100


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_coded_body_that_breaks_off_gives_its_beginning(coding: str) -> None:
    text = b"".join(b"%d squared is %d. " % (number, number * number) for number in range(3000))
    packed = gzip.compress(text) if coding == "gzip" else zlib.compress(text)
    found = body_of(packed[: len(packed) // 2], f"Content-Encoding: {coding}")
    assert 10_000 < len(found) < len(text)
    assert text.startswith(found)


def test_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * (4 * MAX_BODY_BYTES))
    with pytest.raises(TooLargeError):
        body_of(bomb, "Content-Encoding: gzip")
    with pytest.raises(TooLargeError):
        body_of(gzip.compress(bomb), "Content-Encoding: gzip, gzip")
    with pytest.raises(TooLargeError):
        body_of(zstd.compress(b"\0" * (4 * MAX_BODY_BYTES)), "Content-Encoding: zstd")


def test_unknown_or_damaged_coding_raises() -> None:
    with pytest.raises(CodingError, match="unknown content coding 'rot13'"):
        body_of(HTML, "Content-Encoding: rot13")
    with pytest.raises(CodingError, match="damaged"):
        body_of(b"\x1f\x8b\x08" + b"\xff" * 50, "Content-Encoding: gzip")
