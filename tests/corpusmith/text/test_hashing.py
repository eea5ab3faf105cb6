"""Stable hashes equal their plain twins; identities and repeated n-grams are exact."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.text import hashing
from corpusmith.text.segmentation.view import TextView

MASK = (1 << 64) - 1
WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "c", "abc", "ä", "日"]), max_size=40)


def plain_finalize(value: int) -> int:
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & MASK
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def plain_word_hash(word: str) -> int:
    value = 0x9E3779B97F4A7C15 ^ len(word)
    for i in range(0, len(word), 2):
        pair = ord(word[i]) | (ord(word[i + 1]) << 32 if i + 1 < len(word) else 0)
        value ^= pair * 0xC2B2AE3D27D4EB4F & MASK
        value = (value << 29 | value >> 35) & MASK
        value = value * 0x9E3779B97F4A7C15 & MASK
    return plain_finalize(value)


def plain_ngram_hash(hashes: list[int]) -> int:
    value = 0
    for word in hashes:
        value = (value * 0xD6E8FEB86659FD93 + word) & MASK
    return plain_finalize(value)


def plain_repeats(words: list[str], n: int) -> tuple[int, int, int]:
    """(length × count of the most common n-gram, characters under repeated ones, characters under later ones)."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    if not counts or max(counts.values()) < 2:
        return 0, 0, 0
    highest = max(counts.values())
    longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == highest)
    places = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
    later = {i + k for i, gram in enumerate(grams) if gram in grams[:i] for k in range(n)}
    return longest * highest, sum(len(words[place]) for place in places), sum(len(words[place]) for place in later)


@given(st.text(st.characters(codec=None, categories=None), max_size=30))
@settings(deadline=None)
def test_word_hashes_equal_their_plain_twin(text: str) -> None:
    seen = TextView(text)
    hashes = hashing.word_hashes(seen.points, *seen.words).tolist()
    words = [text[a:b] for a, b in zip(*(part.tolist() for part in seen.words), strict=True)]
    assert hashes == [plain_word_hash(word) for word in words]


@given(st.lists(st.integers(0, MASK), max_size=30), st.integers(1, 14))
@settings(deadline=None)
def test_rolling_ngram_hashes_equal_hashing_each_window_afresh(words: list[int], n: int) -> None:
    found = hashing.ngram_hashes(np.array(words, dtype=np.uint64), n).tolist()
    assert found == [plain_ngram_hash(words[i : i + n]) for i in range(len(words) - n + 1)]


@given(WORDS)
@settings(deadline=None)
def test_identities_number_distinct_words_by_first_occurrence(words: list[str]) -> None:
    seen = TextView(" ".join(words))
    order = list(dict.fromkeys(words))
    ids = hashing.span_ids(seen.points, *seen.whitespace_words).tolist()
    assert ids == [order.index(word) for word in words]


def test_identities_hold_for_many_words() -> None:
    words = [f"w{i % 3001}" for i in range(9000)]
    seen = TextView(" ".join(words))
    assert seen.word_ids.tolist() == [i % 3001 for i in range(9000)]


@given(WORDS, st.integers(1, 12))
@settings(deadline=None, max_examples=300)
def test_repeated_ngrams_equal_counting_every_window(words: list[str], longest: int) -> None:
    # words of the list are one UAX #29 word each, except that ideographs stand alone, as 日 does
    found = TextView(" ".join(words)).repeated_ngrams(longest)
    for n in range(1, longest + 1):
        assert tuple(amounts[n] for amounts in found) == plain_repeats(words, n), n


@given(st.text(st.sampled_from("ab\n \t"), max_size=40))
@settings(deadline=None)
def test_repeated_lines_count_every_occurrence(text: str) -> None:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    counts = Counter(lines)
    repeated = [line for line in lines if counts[line] > 1]
    later = [line for index, line in enumerate(lines) if line in lines[:index]]
    sizes = (len(repeated), sum(map(len, repeated)), len(lines), sum(map(len, lines)))
    expected = (*sizes, len(later), sum(map(len, later)))
    assert tuple(TextView(text).repeated_lines) == expected


def test_hashes_of_this_version_are_these() -> None:
    # a change here changes every stored signature: raise HASH_GENERATION with it
    assert hashing.HASH_GENERATION == 1
    assert plain_finalize(1) == 0xB456BCFC34C2CB2C
    seen = TextView("a bc")
    assert hashing.word_hashes(seen.points, *seen.words).tolist() == [plain_word_hash("a"), plain_word_hash("bc")]


@given(st.lists(st.integers(0, 3), max_size=20))
@settings(deadline=None)
def test_running_lengths_are_sums_from_zero(lengths: list[int]) -> None:
    ends = np.cumsum(np.array(lengths, dtype=np.int32), dtype=np.int32)
    starts = (ends - np.array(lengths, dtype=np.int32)).astype(np.int32)
    assert hashing.running_lengths(starts, ends).tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
