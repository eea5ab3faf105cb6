"""The filters of RefinedWeb's heuristics once more in plain Python over uniseg's words: slow, obvious, each for itself.

What DCLM's users run today is built so: every filter cuts the page into words afresh. Used by `mappers.py` alone.
"""

from __future__ import annotations

from collections import Counter

from uniseg.wordbreak import words as uniseg_words

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16, 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def keeps(text: str) -> bool:
    """Whether RefinedWeb's page filters keep the text."""
    split = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not split or not 50 <= sum(token[0].isalnum() for token in split) <= 100_000:
        return False
    if not 3 <= sum(map(len, split)) / len(split) <= 10:
        return False
    if sum(map(text.count, ("#", "...", ". . .", "…"))) / len(split) > 0.1:
        return False
    if sum(line.startswith(("●", "•", "*", "-")) for line in lines) > 0.9 * len(lines):
        return False
    if sum(line.endswith(("...", ". . .", "…")) for line in lines) > 0.3 * len(lines):
        return False
    if sum(not any(map(str.isalpha, word)) for word in split) / len(split) > 0.2:
        return False
    if sum(word.lower() in STOP_WORDS for word in split) < 2:
        return False
    return (
        _few_repeat(lines)
        and _few_repeat(_paragraphs(text))
        and all(_few_ngrams_repeat(text, n, limit) for n, limit in NGRAMS.items())
    )


def _paragraphs(text: str) -> list[str]:
    return [piece.strip() for piece in text.split("\n\n") if piece.strip()]


def _few_repeat(segments: list[str]) -> bool:
    counts = Counter(segments)
    repeated = [segment for segment in segments if counts[segment] > 1]
    return len(segments) < 2 or (
        len(repeated) / len(segments) <= 0.3 and sum(map(len, repeated)) / sum(map(len, segments)) <= 0.2
    )


def _few_ngrams_repeat(text: str, n: int, limit: float) -> bool:
    words = [word for word in uniseg_words(text) if word[0].isalnum()]
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    if not counts or max(counts.values()) < 2:
        return True
    characters = sum(map(len, words))
    if n <= 4:
        highest = max(counts.values())
        longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == highest)
        return longest * highest / characters <= limit
    places = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(n)}
    return sum(len(words[place]) for place in places) / characters <= limit
