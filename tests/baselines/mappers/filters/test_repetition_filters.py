"""Repetition: the specification's fractions, and equality with a plain twin on any text."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.mappers import massive_web_repetition_filters, repetition_filter
from baselines.mappers.core_utils import split_paragraphs
from tests.oracles import segment_reference as segment_plain

CATS = "the cat sat. the cat ran. a dog the cat sat on, the cat sat."
COUNT = "one two three four five six one two three four five seven"
RULES = [(2, 0.20), (3, 0.18), (4, 0.16), (5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)]


def plain_segments_fraction(text: str, separator: str, count_characters: bool) -> float | None:
    """The repeated fraction of lines or paragraphs; None for a single one, infinity for none."""
    segments = split_paragraphs(text, separator)
    if len(segments) < 2:
        return None if segments else float("inf")
    counts = Counter(segments)
    repeated = [segment for segment in segments if counts[segment] > 1]
    if count_characters:
        return sum(map(len, repeated)) / sum(map(len, segments))
    return len(repeated) / len(segments)


def plain_ngrams_fraction(text: str, n: int, mode: str) -> float | None:
    """The repeated fraction of n-grams, window by window; None where nothing repeats."""
    words = [text[a:b] for a, b in segment_plain.alnum_words(text)]
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    if not counts or max(counts.values()) == 1:
        return None
    if mode == "most_common":
        highest = max(counts.values())
        longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == highest)
        return longest * highest / sum(map(len, words))
    places = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
    return sum(len(words[place]) for place in places) / sum(map(len, words))


def plain_keeps(text: str, granularity: str | int, max_fraction: float, **arguments: Any) -> bool:
    if text == "":
        return False
    if isinstance(granularity, str):
        separator = {"line": "\n", "paragraph": "\n\n"}[granularity]
        fraction = plain_segments_fraction(text, separator, arguments["count_characters"])
    else:
        fraction = plain_ngrams_fraction(text, granularity, "most_common" if granularity <= 4 else "all")
    return fraction is None or not fraction > max_fraction


def fraction(text: str, granularity: str | int, **arguments: Any) -> float:
    """The largest fraction at which the page is removed, by bisection of the threshold (0 if it never is)."""
    low, high = 0.0, 4.0
    if repetition_filter({"text": text}, granularity, 0.0, **arguments):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if repetition_filter({"text": text}, granularity, middle, **arguments):
            high = middle
        else:
            low = middle
    return high


@pytest.mark.parametrize(
    ("text", "granularity", "arguments", "expected"),
    [
        (CATS, 2, {"ngram_char_ratio": "most_common"}, 0.571429),
        (CATS, 2, {}, 0.571429),
        (CATS, 2, {"ngram_char_ratio": "all"}, 0.785714),
        (CATS, 3, {"ngram_char_ratio": "most_common"}, 0.642857),
        (CATS, 3, {"ngram_char_ratio": "all"}, 0.642857),
        (CATS, 4, {}, 0.0),
        (COUNT, 5, {}, 0.826087),
        (COUNT, 6, {}, 0.0),
        ("a a a a a", 2, {}, 1.6),
        ("a\nbb\na\nccc", "line", {}, 0.285714),
        ("a\nbb\na\nccc", "line", {"count_characters": False}, 0.5),
        ("a\n\nbb\n\na", "paragraph", {}, 0.5),
        ("A b a B", 2, {"ignore_case": True}, 1.0),
        ("A b a B", 2, {}, 0.0),
        ("x y z " * 4, 12, {"ngram_char_ratio": "all"}, 0.0),
        ("x y z " * 5, 12, {"ngram_char_ratio": "all"}, 1.0),
        ("a a b", 1, {"ngram_char_ratio": "most_common"}, 0.666667),
    ],
)
def test_fractions_are_those_of_the_specification(
    text: str, granularity: str | int, arguments: dict[str, Any], expected: float
) -> None:
    assert fraction(text, granularity, **arguments) == pytest.approx(expected, abs=1e-6)


def test_a_fraction_at_the_threshold_is_kept() -> None:
    page = {"text": "a\nb\na\nc"}
    assert repetition_filter(page, "line", 0.5, count_characters=False) == [page]
    assert repetition_filter(page, "line", 0.49, count_characters=False) == []


@pytest.mark.parametrize(
    ("text", "granularity", "kept"),
    [
        ("", "line", False),
        ("", 2, False),
        (" ", "line", False),
        ("a", "line", True),
        ("!!!", 2, True),
        ("a b", 3, True),
    ],
)
def test_pages_with_nothing_to_compare(text: str, granularity: str | int, kept: bool) -> None:
    assert bool(repetition_filter({"text": text}, granularity, 0.0)) is kept


def test_arguments_are_checked_as_late_as_dclm_checks_them() -> None:
    page = {"text": "a b a b"}
    with pytest.raises(AssertionError, match="sentence"):
        repetition_filter(page, "sentence", 0.1)
    with pytest.raises(ValueError, match="granularity"):
        repetition_filter(page, 2.0, 0.1)
    with pytest.raises(ValueError, match="-1"):
        repetition_filter(page, -1, 0.1)
    with pytest.raises(ValueError, match="1 words"):
        repetition_filter(page, 1, 0.1)
    with pytest.raises(ValueError, match="some"):
        repetition_filter(page, 2, 0.1, ngram_char_ratio="some")
    assert repetition_filter(page, 11, 0.1) == [page]
    assert repetition_filter({"text": "a b c"}, 2, 0.1, ngram_char_ratio="some")


def test_a_cache_changes_nothing() -> None:
    cache: dict[Any, Any] = {}
    for granularity in ("line", 2, 5):
        page = {"text": COUNT}
        with_cache = repetition_filter(page, granularity, 0.1, cache=cache)
        assert with_cache == repetition_filter(page, granularity, 0.1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  ", False),
        ("", False),
        ("!!! ???", True),
        ("The quick brown fox jumps over the lazy dog.", True),
        ("a b a b", False),
        # ten lines, four of them equal pairs of one character beside long ones: too many lines, few characters
        ("\n".join(["a", "a", "b", "b"] + [f"{chr(99 + i)}word{i} other{i} third{i}" for i in range(6)]), False),
    ],
)
def test_massive_web_rules(text: str, kept: bool) -> None:
    assert bool(massive_web_repetition_filters({"text": text})) is kept


def test_paragraph_rules_can_be_left_out() -> None:
    # two equal paragraphs of one line each among three paragraphs of many lines
    body = "\n".join(f"alpha{i} beta{i} gamma{i} delta{i}" for i in range(40))
    text = f"{body}\n\nsame\n\nsame"
    assert massive_web_repetition_filters({"text": text}) == []
    assert massive_web_repetition_filters({"text": text}, skip_paragraph=True)


TEXTS = st.one_of(
    st.lists(st.sampled_from(["a", "b", "ab", "ä", "日", "can't", "3.1", "-", "\n", "\n\n", "."]), max_size=60).map(
        " ".join
    ),
    st.lists(st.sampled_from(["a b c d e f", "g h i", "j\n", "\n", "k l m n o p q r s t u"]), max_size=12).map(
        " ".join
    ),
    st.text(st.characters(codec=None, categories=None), max_size=30),
)


@given(TEXTS, st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0]))
@settings(deadline=None, max_examples=300)
def test_filters_equal_their_plain_twins(text: str, max_fraction: float) -> None:
    page = {"text": text}
    for granularity in ("line", "paragraph"):
        for by_characters in (True, False):
            kept = repetition_filter(page, granularity, max_fraction, count_characters=by_characters)
            assert bool(kept) is plain_keeps(text, granularity, max_fraction, count_characters=by_characters)
    for n in range(2, 11):
        assert bool(repetition_filter(page, n, max_fraction)) is plain_keeps(text, n, max_fraction), n
    kept_by_all = all(
        plain_keeps(text, granularity, limit, count_characters=by_characters)
        for by_characters, limit in ((False, 0.3), (True, 0.2))
        for granularity in ("line", "paragraph")
    ) and all(plain_keeps(text, n, limit) for n, limit in RULES)
    assert bool(massive_web_repetition_filters(page)) is kept_by_all


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        # four of eleven lines are equal: 0.36 with the first one, 0.27 without, and few characters either way
        ("\n".join(["aa"] * 4 + [f"{chr(99 + i)}word{i} other{i} third{i}" for i in range(7)]), True),
        ("\n".join(["aa"] * 7 + [f"{chr(99 + i)}word{i} other{i} third{i}" for i in range(7)]), False),
        # six words twice, in a page of words that occur once: 12 of 60 words with the first, 6 without
        (
            " ".join(
                ["ba bb bc bd be bf"] * 2
                + [f"c{chr(97 + i)}" for i in range(26)]
                + [f"d{chr(97 + i)}" for i in range(22)]
            ),
            True,
        ),
    ],
)
def test_without_the_first_occurrence_less_is_a_duplicate(text: str, kept: bool) -> None:
    assert massive_web_repetition_filters({"text": text}) == []
    assert bool(massive_web_repetition_filters({"text": text}, count_first=False)) is kept
