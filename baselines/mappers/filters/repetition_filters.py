"""Repetition within a page: repeated lines, paragraphs and word n-grams, by the thresholds of MassiveText (Gopher).

Follows DCLM's `repetition_filter` number for number; departs from it in counting on the shared view of the text, where
all n are measured in one go, so the `cache` that callers may pass is accepted and not needed.
"""

from __future__ import annotations

from typing import Any, Literal

from baselines.core.factory_utils import text_filter
from corpusmith.text.segmentation.view import TextView, view

MOST_COMMON_LENGTHS = range(2, 5)
ALL_LENGTHS = range(5, 11)

# Rae et al. 2021, table A1: duplicate line and paragraph fractions, characters in the top 2- to 4-grams, in all
# duplicate 5- to 10-grams.
MAX_DUPLICATE_COUNT_FRACTION = 0.3
MAX_DUPLICATE_CHARACTER_FRACTION = 0.2
MAX_NGRAM_FRACTIONS = {2: 0.20, 3: 0.18, 4: 0.16, 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


@text_filter
def repetition_filter(
    seen: TextView,
    granularity: Literal["line", "paragraph"] | int,
    max_fraction: float,
    count_characters: bool = True,
    ngram_char_ratio: Literal["most_common", "all"] | None = None,
    ignore_case: bool = False,
    cache: dict[Any, Any] | None = None,
) -> bool:
    """Remove a page in which too large a fraction is repeated; every occurrence counts, the first one too.

    Args:
        seen: the view of the text; a page without text is removed.
        granularity: "line", "paragraph", or the n of word n-grams (UAX #29 words that start alphanumeric).
        max_fraction: largest fraction kept.
        count_characters: for lines and paragraphs, weigh them by their characters.
        ngram_char_ratio: for n-grams, "most_common" (length × count of the most common one, the longest of equals) or
            "all" (characters under any repeated one); None takes the first for n of 2-4, the second for 5-10.
        ignore_case: compare the lower-cased text.
        cache: accepted for callers of DCLM's function; the view of the text serves instead.

    Raises:
        AssertionError: a string granularity other than these two.
        ValueError: a granularity of another type, a negative n, an unknown `ngram_char_ratio`, or none for another n.
    """
    del cache
    if seen.text == "":
        return False
    if ignore_case:
        seen = seen.derive("lower", lambda own: view(own.text.lower()))
    if isinstance(granularity, str):
        if granularity not in ("line", "paragraph"):
            raise AssertionError(f"granularity must be 'line', 'paragraph' or an int, got {granularity!r}")
        return _segments_pass(seen, granularity, max_fraction, count_characters)
    if isinstance(granularity, int):
        return _ngrams_pass(seen, granularity, max_fraction, ngram_char_ratio)
    raise ValueError(f"granularity must be 'line', 'paragraph' or an int, got {granularity!r}")


@text_filter
def massive_web_repetition_filters(seen: TextView, skip_paragraph: bool = False, count_first: bool = True) -> bool:
    """Remove a page that one of MassiveText's repetition rules removes (see `MAX_NGRAM_FRACTIONS` and above).

    Args:
        seen: the view of the text; a page without text is removed.
        skip_paragraph: leave out the two rules about paragraphs.
        count_first: count the first occurrence of what is repeated too, as DCLM does; without it only what stood in
            the text before counts as a duplicate (FineWeb's reading of the paper), except in the rules about the most
            common n-gram.
    """
    if seen.text == "":
        return False
    granularities = ("line",) if skip_paragraph else ("line", "paragraph")
    for count_characters, max_fraction in (
        (False, MAX_DUPLICATE_COUNT_FRACTION),
        (True, MAX_DUPLICATE_CHARACTER_FRACTION),
    ):
        for granularity in granularities:
            if not _segments_pass(seen, granularity, max_fraction, count_characters, count_first):
                return False
    words = len(seen.words.starts)
    if words < MOST_COMMON_LENGTHS[0]:
        return True
    repeats = seen.repeated_ngrams(ALL_LENGTHS[-1])
    duplicates = repeats.covered if count_first else repeats.later
    characters = int(seen.word_offsets[words])
    return all(
        not (repeats.most_common[n] if n in MOST_COMMON_LENGTHS else duplicates[n]) / characters > max_fraction
        for n, max_fraction in MAX_NGRAM_FRACTIONS.items()
    )


def _segments_pass(
    seen: TextView, granularity: str, max_fraction: float, count_characters: bool, count_first: bool = True
) -> bool:
    """Whether the repeated lines or paragraphs stay within the fraction."""
    repeats = seen.repeated_lines if granularity == "line" else seen.repeated_paragraphs
    if repeats.segments <= 1:
        return repeats.segments == 1
    if count_characters:
        counted = repeats.repeated_characters if count_first else repeats.later_characters
        return not counted / repeats.characters > max_fraction
    counted = repeats.repeated_segments if count_first else repeats.later_segments
    return not counted / repeats.segments > max_fraction


def _ngrams_pass(seen: TextView, n: int, max_fraction: float, ratio: str | None) -> bool:
    """Whether the repeated n-grams stay within the fraction."""
    if n < 0:
        raise ValueError(f"n-grams need a positive number of words, got {n}")
    words = len(seen.words.starts)
    if n == 0 or words < n:
        return True
    if ratio is None:
        if n in MOST_COMMON_LENGTHS:
            ratio = "most_common"
        elif n in ALL_LENGTHS:
            ratio = "all"
        else:
            raise ValueError(f"ngram_char_ratio must be given for n-grams of {n} words")
    repeats = seen.repeated_ngrams(max(n, ALL_LENGTHS[-1]))
    if not repeats.covered[n]:
        return True
    if ratio not in ("most_common", "all"):
        raise ValueError(f"ngram_char_ratio must be 'most_common' or 'all', got {ratio!r}")
    repeated = repeats.most_common[n] if ratio == "most_common" else repeats.covered[n]
    return not repeated / int(seen.word_offsets[words]) > max_fraction
