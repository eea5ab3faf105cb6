"""Modifiers that look into lines: the specification's rules, vectors and edge cases."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from tests.baselines.modifying import change

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("abc de\n\nabcd", {"max_length": 3}, "abc de\n"),
        ("a" * 1000 + "\n" + "b" * 1001, {}, "a" * 1000),
        ("abcd", {"max_length": 3}, None),
        ("ab\u00a0cd", {"max_length": 4}, None),
        ("ab\u00a0cd", {"max_length": 4, "model": "split"}, "ab\u00a0cd"),
        # with ignore_punctuation a word that starts with a sign is not looked at
        ("(abcd", {"max_length": 3, "ignore_punctuation": True}, "(abcd"),
        ("(abcd", {"max_length": 3}, None),
        ("", {}, None),
    ],
)
def test_lines_with_long_words_are_dropped(text: str, arguments: dict[str, Any], expected: str | None) -> None:
    assert change(text, "word_length_modifier", **arguments) == expected


@pytest.mark.parametrize(
    ("func", "text", "arguments", "expected"),
    [
        ("uppercase_ratio_line_modifier", "ABcd\nABCd\nok", {}, "ABcd\nok"),
        # every character of the line counts, the spaces too
        ("uppercase_ratio_line_modifier", "AB  ", {}, "AB"),
        ("uppercase_ratio_line_modifier", " \n\nA\nb\n\n", {}, "b"),
        ("uppercase_ratio_line_modifier", "A", {}, None),
        ("uppercase_ratio_line_modifier", "", {}, None),
        ("uppercase_ratio_line_modifier", "\n \n", {}, None),
        ("uppercase_ratio_line_modifier", "\u01c5\u01c5", {}, "\u01c5\u01c5"),
        ("numeric_ratio_line_modifier", "123\n1", {}, "123\n1"),
        ("numeric_ratio_line_modifier", "12a\n1ab\n½½\n²²\n٣٣", {"max_ratio": 0.4}, "1ab\n½½"),
        ("numeric_ratio_line_modifier", "1a", {"max_ratio": 0.5}, "1a"),
        ("numeric_ratio_line_modifier", "12", {"max_ratio": 0.5}, None),
    ],
)
def test_lines_are_kept_by_their_share_of_characters(
    func: str, text: str, arguments: dict[str, Any], expected: str | None
) -> None:
    assert change(text, func, **arguments) == expected


@pytest.mark.parametrize(
    ("func", "method"), [("uppercase_ratio_line_modifier", "isupper"), ("numeric_ratio_line_modifier", "isdigit")]
)
def test_shares_equal_counting_by_hand(func: str, method: str) -> None:
    @given(st.lists(ANY_TEXT, max_size=6).map("\n".join), st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0]))
    @settings(deadline=None, max_examples=200)
    def compare(text: str, max_ratio: float) -> None:
        kept = [
            line
            for line in text.split("\n")
            if not line or sum(getattr(character, method)() for character in line) / len(line) <= max_ratio
        ]
        assert change(text, func, max_ratio=max_ratio) == ("\n".join(kept).strip() or None)

    compare()


@pytest.mark.parametrize(
    "line",
    [
        "3 likes",
        "1.2K views",
        "~ 10 comments ~",
        ".5 likes",
        "5 likes\r",
        "1,000,000 Followers",
        "7b  Shares!",
        "٣ views",
    ],
)
def test_lines_that_only_count_are_dropped(line: str) -> None:
    assert change(f" a\n{line}\nb\n", "counter_line_modifier") == "a\nb"
    assert change(line, "counter_line_modifier") is None


@pytest.mark.parametrize(
    "line", ["3 like", "3likes", "12 M followers", "I have 3 likes", "likes", "3 likes each", "_3 likes"]
)
def test_lines_that_say_more_than_a_count_stay(line: str) -> None:
    assert change(line, "counter_line_modifier") == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a[1] b[] c[٣] d[edit] e[citation needed].", "a b c d e."),
        ("[Edit] [1a] [ ] [[2]]", "[Edit] [1a] [ ] []"),
        ("[1]", None),
        ("[1]\n", "\n"),
        ("", None),
    ],
)
def test_citations_are_deleted(text: str, expected: str | None) -> None:
    assert change(text, "citation_removal_modifier") == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (
            "3 items in cart ok\nitems in cart\n   items in cart  \nz",
            {"banlist": "items in cart", "remove_substring_only": True},
            "3 ok\nz",
        ),
        (
            "Sign-in now\nsign-in\nx Sign-in",
            {"banlist": "Sign-in", "location": "prefix", "remove_substring_only": True},
            "now\nx Sign-in",
        ),
        (
            "hello Read morexyz\nhello Read more...\nRead more...\n\nlast",
            {"banlist": "Read more...", "location": "suffix", "remove_substring_only": True},
            "hello\nhello\n\nlast",
        ),
        # white space alone goes with what is deleted, also where nothing was found
        ("a\n \nb", {"banlist": "zz", "remove_substring_only": True}, "a\nb"),
        ("a\n \nb", {"banlist": "zz"}, "a\n \nb"),
        ("a Home b\nhome\nc", {"banlist": ["home", "zz"]}, "c"),
        ("a Home b\nhome\nc", {"banlist": ["home"], "case_sensitive": True}, "a Home b\nc"),
        ("a Home b\nhome\nc", {"banlist": ["home"], "max_length": 2}, "a Home b\nc"),
        ("x\r\ny x", {"banlist": "x", "location": "suffix"}, "x"),
        ("ab\nacb", {"banlist": "a.b"}, "ab"),
        ("ab", {"banlist": []}, None),
        ("ab", {"banlist": [], "remove_substring_only": True}, "ab"),
        ("ab", {"banlist": "ab"}, None),
        # without case, a long s is an s, on either side
        ("Sa\nb", {"banlist": "\u017fa"}, "b"),
        ("\u017fa\nb", {"banlist": "sa"}, "b"),
        ("A\u03a3\nb", {"banlist": "a\u03c3"}, "b"),
    ],
)
def test_lines_with_banned_expressions(text: str, arguments: dict[str, Any], expected: str | None) -> None:
    assert change(text, "substring_line_modifier", **arguments) == expected


EXPRESSIONS = ["ab", "a.", "sa+", "i", "is", "a b", "sb*", "a|b", "(a)b", "\u03c3a", "\u017fa", "", "\u0307"]


@pytest.mark.parametrize("location", ["prefix", "suffix", "any"])
def test_banned_expressions_equal_their_pattern_line_by_line(location: str) -> None:
    places = {"prefix": r"^{}\s?", "suffix": r"\s?{}$", "any": r"\s?{}"}

    @given(
        st.text("abiSs \n\u017f\u0131\u0130\u03c3\u03a3\u212a", max_size=20),
        st.lists(st.sampled_from(EXPRESSIONS), max_size=2),
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, 1]),
    )
    @settings(deadline=None, max_examples=300)
    def compare(text: str, banlist: list[str], case_sensitive: bool, remove: bool, max_length: int | None) -> None:
        lowered = banlist if case_sensitive else [item.lower() for item in banlist]
        flags = 0 if case_sensitive else re.IGNORECASE
        pattern = re.compile(places[location].format(f"(?:{'|'.join(lowered)})"), flags)
        lines = []
        for line in text.split("\n"):
            if max_length is not None and len(line.split()) > max_length:
                lines.append(line)
            elif remove:
                shorter = pattern.sub("", line)
                if not line or shorter.strip():
                    lines.append(shorter)
            elif not pattern.search(line):
                lines.append(line)
        expected = "\n".join(lines).strip() or None
        arguments = {"case_sensitive": case_sensitive, "remove_substring_only": remove, "max_length": max_length}
        assert change(text, "substring_line_modifier", banlist=banlist, location=location, **arguments) == expected

    compare()


@pytest.mark.parametrize(
    ("func", "arguments"),
    [
        ("counter_line_modifier", {}),
        ("line_length_modifier", {}),
        ("numeric_ratio_line_modifier", {}),
        ("punctuation_line_modifier", {}),
        ("substring_line_modifier", {"banlist": "zz"}),
        ("substring_line_modifier", {"banlist": "zz", "remove_substring_only": True}),
        ("uppercase_ratio_line_modifier", {}),
        ("word_length_modifier", {}),
    ],
)
@pytest.mark.parametrize("last", ["End.", "É."])
def test_text_of_which_all_lines_are_kept_stays_the_same_object(
    func: str, arguments: dict[str, Any], last: str
) -> None:
    text = "".join(["A line.\n\n", last])
    assert change(text, func, **arguments) is text


def test_banned_expressions_need_a_known_location_and_must_compile() -> None:
    with pytest.raises(AssertionError, match="middle"):
        get_mapper("substring_line_modifier", banlist="a", location="middle")
    with pytest.raises(Exception, match=r"unterminated|missing"):
        get_mapper("substring_line_modifier", banlist="(")
    with pytest.raises(TypeError, match="banlist"):
        get_mapper("substring_line_modifier")
