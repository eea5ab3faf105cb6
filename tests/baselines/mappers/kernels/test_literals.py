"""Searching for many literal strings equals `re` with their alternation, longest first."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from baselines.mappers.kernels.literals import MIN_AUTOMATON_ITEMS, SAME_CASE, LiteralFinder, is_literal

CHARACTERS = "aabbs\u017fi\u0131k\u00b5\u03bc\u03c3\u03c2_-. 1é日\ud800\uffff"
# enough of them that an automaton is built
FILLERS = [f"~{number}~" for number in range(MIN_AUTOMATON_ITEMS)]
ITEMS = st.lists(st.text(CHARACTERS[:-2], min_size=1, max_size=4), min_size=1, max_size=12)
TEXTS = st.text(CHARACTERS, max_size=40)


def pattern(items: Sequence[str], whole_words: bool, ignore_case: bool) -> re.Pattern[str]:
    group = f"(?:{'|'.join(re.escape(item) for item in sorted(items, key=len, reverse=True))})"
    return re.compile(rf"\b{group}\b" if whole_words else group, re.IGNORECASE if ignore_case else 0)


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("ignore_case", [False, True])
def test_matches_equal_those_of_the_alternation(whole_words: bool, ignore_case: bool) -> None:
    @given(ITEMS, TEXTS, st.booleans())
    @settings(deadline=None, max_examples=300)
    def compare(items: list[str], text: str, many: bool) -> None:
        items = items + FILLERS if many else items
        finder = LiteralFinder(items, whole_words=whole_words, ignore_case=ignore_case)
        expected = pattern(items, whole_words, ignore_case).findall(text)
        assert finder.matches(text) == expected
        assert finder.contains(text) is bool(expected)

    compare()


@pytest.mark.parametrize("items", [[], [""], ["", "a"], [*FILLERS, ""], [*FILLERS, "\ud800"], [*FILLERS, "\uffff"]])
def test_empty_items_and_halves_of_surrogate_pairs_are_items_too(items: list[str]) -> None:
    for text in ("", "ab", "a\ud800\uffff"):
        assert LiteralFinder(items).matches(text) == pattern(items, False, False).findall(text)


def test_same_letters_are_those_of_the_regular_expressions() -> None:
    by_upper: dict[str, set[str]] = collections.defaultdict(set)
    for character in map(chr, range(0x110000)):
        if character.lower() == character:
            by_upper[character.upper()].add(character)
    assert {frozenset(group) for group in by_upper.values() if len(group) > 1} == set(map(frozenset, SAME_CASE))
    for group in SAME_CASE:
        for first, second in itertools.permutations(group, 2):
            assert re.fullmatch(first, second, re.IGNORECASE)


@pytest.mark.parametrize("item", ["a b-c", "é#&~@", "\n", ""])
def test_expressions_without_signs_are_literal(item: str) -> None:
    assert is_literal(item)
    assert re.fullmatch(item, item)


@pytest.mark.parametrize("sign", ".^$*+?{}[]\\|()")
def test_expressions_with_signs_are_not(sign: str) -> None:
    assert not is_literal(f"a{sign}")


@pytest.mark.parametrize(
    ("text", "exact_word", "kept"),
    [
        ("a ~3~ b", False, False),
        ("A BAD b", False, False),
        ("badly", False, False),
        ("badly", True, True),
        ("BAD!", True, False),
    ],
)
def test_long_lists_of_banned_strings_give_the_same_answers(text: str, exact_word: bool, kept: bool) -> None:
    page = {"text": text}
    mapper = get_mapper("substring_filter", banlist=[*FILLERS, "bad"], exact_word=exact_word)
    assert mapper(page) == ([page] if kept else [])


def test_long_lists_of_banned_urls_count_different_items() -> None:
    for url, kept in (("http://webcam.com", True), ("http://webcam.com/CAM", False), ("http://x.com", True)):
        page = {"url": url}
        mapper = get_mapper("url_substring_filter", banlist=[*FILLERS, "webcam", "cam"], num_banned_substrs=2)
        assert mapper(page) == ([page] if kept else [])
    bounded = get_mapper("url_substring_filter", banlist=[*FILLERS, "ass", "ass-x"], match_substrings=False)
    assert bounded({"url": "a_ass.com"})
    assert bounded({"url": "a-ass-xx.com"}) == []
