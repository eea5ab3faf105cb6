"""The five dedup normalizers, by the vectors of the specification."""

from __future__ import annotations

import datetime
import importlib.util

import pytest

from corpusmith.text.normalize import (
    DEDUP_NORMALIZERS,
    UNICODE_PUNCT,
    ccnet_dedup_normalizer,
    hash_text,
    normalize_timestamps,
    normalize_url,
    normalize_whitespace_and_lowercase,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.Foo.com/a/", "Foo.com/a"),
        ("HTTP://www.foo.com", "HTTP://www.foo.com"),
        ("www.foo.com", "www.foo.com"),
        ("foo.com?referrer=1", "foo.com"),
        ("foo.com/a?b=1&utm_x=2", "foo.com/a?b=1&utm_x=2"),
        ("foo.com/?feed=rss//", "foo.com"),
        ("https://web.archive.org/web/http://www.x.com///", "web.archive.org/web/x.com"),
    ],
)
def test_url_loses_scheme_tracking_and_slashes(url: str, expected: str) -> None:
    assert normalize_url(url) == expected


def test_whitespace_is_stripped_and_case_lowered() -> None:
    assert normalize_whitespace_and_lowercase(" \tA B\n") == "a b"


def test_timestamps_are_read_as_local_time() -> None:
    local = datetime.datetime(2019, 4, 18, 12, 30, 5).timestamp()
    assert normalize_timestamps("2019-04-18T12:30:05Z") == local
    assert normalize_timestamps("yesterday") == -1.0
    assert normalize_timestamps("yesterday", default_val=7.0) == 7.0
    assert normalize_timestamps("18.04.2019", date_format="%d.%m.%Y") == datetime.datetime(2019, 4, 18).timestamp()
    with pytest.raises(TypeError):
        normalize_timestamps(3)  # type: ignore[arg-type]


def test_hash_is_md5_of_utf8() -> None:
    assert hash_text("") == "d41d8cd98f00b204e9800998ecf8427e"
    assert hash_text("abc") == "900150983cd24fb0d6963f7d28e17f72"


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", ""), (" \t ", ""), ("a\tb\nc", "abc"), (" A-1.5 ", "a-0.0"), ("x\x07\x7fy", "xy"), ("“1”", "0")],
)
def test_ccnet_lines_without_foreign_letters_need_no_package(line: str, expected: str) -> None:
    assert ccnet_dedup_normalizer(line) == expected


@pytest.mark.skipif(importlib.util.find_spec("unidecode") is None, reason="the package Unidecode is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  Hello, “World” 2023 — é１２!\x07 ", "hello, world 0000  e00!"),
        ("ß 北京", "ss Bei Jing "),
        ("Ｆｕｌｌ", "full"),
    ],
)
def test_ccnet_lines_are_transliterated(line: str, expected: str) -> None:
    assert ccnet_dedup_normalizer(line) == expected


def test_table_names_the_five_normalizers() -> None:
    assert {name: function.__name__ for name, function in DEDUP_NORMALIZERS.items()} == {
        name: name
        for name in (
            "normalize_url",
            "normalize_timestamps",
            "normalize_whitespace_and_lowercase",
            "hash_text",
            "ccnet_dedup_normalizer",
        )
    }
    assert len(UNICODE_PUNCT) == 34
    assert UNICODE_PUNCT["\uff11"] == '"'
