"""Bytes to text: the charset, the guard against deep pages, the main content."""

from __future__ import annotations

import pytest

from raw_sources.extractors.charset import decode_html
from raw_sources.extractors.nesting import MAX_NESTING, TooDeepError, check_nesting
from raw_sources.extractors.registry import extract_html

RUSSIAN = "<p>Старый вокзал на окраине города снова открыли весной.</p>"
CAFE = "<p>The café – “voilà”</p>"


@pytest.mark.parametrize(
    ("body", "http_charset", "text"),
    [
        (CAFE.encode(), "", CAFE),
        (CAFE.encode(), "iso-8859-1", CAFE),
        (CAFE.encode("cp1252"), "", CAFE),
        (CAFE.encode("cp1252"), "utf-8", CAFE),
        (CAFE.encode("cp1252"), "latin-1", CAFE),
        (b"\xef\xbb\xbf" + CAFE.encode(), "gbk", CAFE),
        (b"\xff\xfe" + CAFE.encode("utf-16-le"), "utf-8", CAFE),
        (b"\xfe\xff" + CAFE.encode("utf-16-be"), "", CAFE),
        (CAFE.encode("utf-16-le"), "utf-16", CAFE),
        (RUSSIAN.encode("cp1251"), "windows-1251", RUSSIAN),
        (b"<meta charset=windows-1251>" + RUSSIAN.encode("cp1251"), "", "<meta charset=windows-1251>" + RUSSIAN),
        (RUSSIAN.encode("koi8-r"), "KOI8-R", RUSSIAN),
        ("<p>日本語</p>".encode("iso2022_jp"), "iso-2022-jp", "<p>日本語</p>"),
        ("<p>漢字</p>".encode("shift_jis"), "x-sjis", "<p>漢字</p>"),
        ("<p>汉字的历史</p>".encode("gbk"), "gb2312", "<p>汉字的历史</p>"),
        (CAFE.encode() + "é".encode()[:1], "", CAFE),
        (b"<p>plain</p>", "no-such-charset", "<p>plain</p>"),
        (b"", "", ""),
    ],
)
def test_charset_is_found(body: bytes, http_charset: str, text: str) -> None:
    assert decode_html(body, http_charset) == text


def test_any_byte_decodes() -> None:
    assert len(decode_html(bytes(range(256)))) > 0
    assert "\ud800" not in decode_html(b"\xff\xfe\x00\xd8a\x00")


def test_main_content_leaves_menus_out() -> None:
    page = (
        b"<html><body><nav class='menu'><ul><li><a href=/>Home</a></li><li><a href=/a>Articles</a></li></ul></nav>"
        b"<main><article><h1>On soil</h1><p>The soil stays warm for longer there.</p></article></main>"
        b"<footer class='footer'>Copyright</footer></body></html>"
    )
    assert extract_html(page) == "On soil\n\nThe soil stays warm for longer there."


@pytest.mark.parametrize("body", [b"", b"   ", b"<!-- only a comment -->", b"<html></html>"])
def test_page_without_text_is_empty(body: bytes) -> None:
    assert extract_html(body).strip() == ""


def test_deep_nesting_is_refused_without_parsing() -> None:
    # parsing this would take hours
    with pytest.raises(TooDeepError):
        extract_html(b"<DIV>" * 1_000_000 + b"text")


def test_nesting_up_to_the_limit_passes() -> None:
    check_nesting("<div>" * MAX_NESTING + "x")
    check_nesting("<div>x</div>" * (3 * MAX_NESTING))
    with pytest.raises(TooDeepError):
        check_nesting("<div>" * (MAX_NESTING + 1) + "</div>" * (MAX_NESTING + 1))
