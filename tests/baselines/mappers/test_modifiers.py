"""Modifiers: the specification's rules; a page whose text would become empty is removed and not changed."""

from __future__ import annotations

from typing import Any

import pytest

from baselines.core import get_mapper
from tests.baselines.modifying import change


def test_url_is_moved_from_the_warc_header() -> None:
    page = {"url": "old", "metadata": {"WARC-Target-URI": "http://a"}}
    assert get_mapper("move_url_modifier")(page) == [page]
    assert page["url"] == "http://a"
    with pytest.raises(KeyError, match="WARC-Target-URI"):
        get_mapper("move_url_modifier")({"metadata": {}})


def test_renamed_key_becomes_the_last() -> None:
    page = {"content": "a", "url": "u"}
    assert get_mapper("key_name_modifier")(page) == [page]
    assert list(page.items()) == [("url", "u"), ("text", "a")]
    assert get_mapper("key_name_modifier")({"url": "u"}) == [{"url": "u"}]


def test_existing_key_is_overwritten_only_where_allowed() -> None:
    page = {"content": "a", "text": "b"}
    with pytest.warns(UserWarning, match="'content' was not renamed"):
        assert get_mapper("key_name_modifier")(page) == [{"content": "a", "text": "b"}]
    assert get_mapper("key_name_modifier", allow_overwrite=True)(page) == [{"text": "a"}]


@pytest.mark.parametrize(
    ("text", "maximum", "expected"),
    [
        ("a\n\n\n\nb\n\nc", 2, "a\n\nb\n\nc"),
        ("a\n\nb", 1, "a\nb"),
        ("a\n\nb\nc", 0, "abc"),
        ("", 2, ""),
        ("\n\n\n", 0, ""),
        ("a\n \n\nb", 2, "a\n \n\nb"),
    ],
)
def test_runs_of_line_feeds_are_shortened(text: str, maximum: int, expected: str) -> None:
    assert change(text, "newline_removal_modifier", max_consecutive=maximum) == expected


def test_text_without_long_runs_stays_the_same_object() -> None:
    text = "".join(["a\n\n", "b"])
    assert change(text, "newline_removal_modifier") is text


@pytest.mark.parametrize(
    ("text", "low", "high", "expected"),
    [
        ("one two\none\n\none two three", 2, 2, "one two\n"),
        ("one\n   \ntwo three", 1, 9, "one\ntwo three"),
        ("one\n   \n", 0, 1, "one\n   \n"),
        ("one", 2, 9, None),
        ("\n\none", 2, 9, "\n"),
        ("\none", 2, 9, None),
        ("", 0, 9, None),
    ],
)
def test_lines_are_kept_by_their_words(text: str, low: int, high: int, expected: str | None) -> None:
    assert change(text, "line_length_modifier", min_length=low, max_length=high) == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ('End.\nno end\nWhy?\nYes!\n"q"\nand…', {}, 'End.\nWhy?\nYes!\n"q"\nand…'),
        ("End. \t\r\nno\r", {}, "End. \t\r"),
        ("a.\n  \n\nb", {}, "a.\n"),
        ('a...\nb…\nc...."\nd. . .\ne....', {"remove_ellipses": True}, 'c...."\nd. . .'),
        ('a..."', {"remove_ellipses": True}, 'a..."'),
        ("a...", {}, "a..."),
        ("no", {}, None),
        ("no\n\n\nno", {}, "\n"),
        ("no\n\nno", {}, None),
        ("", {}, None),
    ],
)
def test_lines_are_kept_by_their_final_punctuation(text: str, arguments: dict[str, Any], expected: str | None) -> None:
    assert change(text, "punctuation_line_modifier", **arguments) == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("a\nA \n\n\nb\na", {}, "a\n\n\nb"),
        ("a\nA \n\n\nb\na", {"normalize": False}, "a\nA \n\n\nb"),
        ("a\nb\n\nc\n\nA\nB ", {"granularity": "paragraph"}, "a\nb\n\nc"),
        ("", {}, ""),
        ("  \n  \nx", {"normalize": False}, "  \nx"),
    ],
)
def test_the_first_of_equal_pieces_stays(text: str, arguments: dict[str, Any], expected: str) -> None:
    assert change(text, "within_page_dedup", **arguments) == expected


def test_dedup_refuses_other_granularities_and_arguments() -> None:
    with pytest.raises(ValueError, match="sentence"):
        change("a", "within_page_dedup", granularity="sentence")
    with pytest.raises(TypeError, match="anything"):
        change("a", "within_page_dedup", anything=1)


def test_lines_are_split_and_joined() -> None:
    assert change("a\n\nb", "split_lines_modifier") == ["a", "", "b"]
    assert change("a|b", "split_lines_modifier", delimiter="|") == ["a", "b"]
    assert change(["a"], "split_lines_modifier") == ["a"]
    assert change("", "split_lines_modifier") is None
    assert change(["a", "", "b"], "join_lines_modifier") == "a\n\nb"
    assert change(["a", "b"], "join_lines_modifier", delimiter="|") == "a|b"
    assert change("", "join_lines_modifier") == ""
    assert change([], "join_lines_modifier") is None
    for func in ("split_lines_modifier", "join_lines_modifier"):
        with pytest.raises(TypeError, match="int"):
            change(3, func)
