"""Filters that count on the shared view equal plain Python, written as the specification words them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from baselines.mappers.core_utils import split_paragraphs

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
PIECES = [
    "the",
    "Of",
    "with,",
    "a",
    "1",
    "½",
    "#",
    "...",
    ". . .",
    "…",
    "•",
    "-",
    "*",
    "\n",
    "\n\n",
    "\u2003",
    "日本",
    "é",
    "a line that goes on and ends.",
    "。",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.text(st.characters(codec=None, categories=None), max_size=30),
)


def share_exceeds(part: int, whole: int, ratio: float) -> bool:
    return whole == 0 or part / whole > ratio


def drops_by_symbols(text: str) -> bool:
    symbols = sum(text.count(symbol) for symbol in ("#", "...", ". . .", "…"))
    return share_exceeds(symbols, len(text.split()), 0.1)


def drops_by_alphabetic_words(text: str) -> bool:
    words = text.split()
    return share_exceeds(sum(not any(c.isalpha() for c in word) for word in words), len(words), 0.2)


def drops_by_bullets(text: str) -> bool:
    lines = split_paragraphs(text)
    return sum(line.startswith(("●", "•", "*", "-")) for line in lines) > 0.9 * len(lines)


def drops_by_ellipses(text: str) -> bool:
    lines = split_paragraphs(text)
    return sum(line.endswith(("...", ". . .", "…")) for line in lines) > 0.3 * len(lines)


def drops_by_stop_words(text: str) -> bool:
    return sum(word.lower() in STOP_WORDS for word in text.split()) < 2


def drops_by_word_length(text: str) -> bool:
    words = text.split()
    return not words or not 0 <= sum(map(len, words)) / len(words) <= 3


def drops_by_alnum(text: str) -> bool:
    return text == "" or sum(character.isalnum() for character in text) / len(text) < 0.25


def drops_by_lines(text: str) -> bool:
    """FineWeb's rules: punctuation at the ends of lines, short lines, repeated lines, line feeds a word."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return True
    later = [line for index, line in enumerate(lines) if line in lines[:index]]
    feeds = text.count("\n")
    return (
        sum(line.endswith((".", "?", "!", "。")) for line in lines) / len(lines) < 0.2
        or sum(len(line) <= 9 for line in lines) / len(lines) > 0.5
        or sum(map(len, later)) / (len(text) - feeds) > 0.1
        or feeds / len(text.split()) > 0.4
    )


@pytest.mark.parametrize(
    ("step", "drops"),
    [
        ({"func": "symbol_ratio_filter"}, drops_by_symbols),
        ({"func": "alphabetic_word_ratio_filter"}, drops_by_alphabetic_words),
        ({"func": "bullet_count_filter"}, drops_by_bullets),
        ({"func": "ellipsis_count_filter"}, drops_by_ellipses),
        ({"func": "stop_word_filter"}, drops_by_stop_words),
        ({"func": "word_length_filter", "max_length": 3}, drops_by_word_length),
        ({"func": "alphanumeric_char_ratio_filter"}, drops_by_alnum),
        (
            {
                "func": "fineweb_quality_filter",
                "line_punct_thr": 0.2,
                "short_line_thr": 0.5,
                "short_line_length": 9,
                "char_duplicates_ratio": 0.1,
                "new_line_ratio": 0.4,
            },
            drops_by_lines,
        ),
    ],
)
def test_filter_equals_its_plain_twin(step: dict[str, object], drops: Callable[[str], bool]) -> None:
    mapper = get_mapper(**step)  # type: ignore[arg-type]

    @given(TEXTS)
    @settings(deadline=None, max_examples=200)
    def compare(text: str) -> None:
        assert (mapper({"text": text}) == []) is drops(text)

    compare()
