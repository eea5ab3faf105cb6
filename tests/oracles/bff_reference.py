"""The Bloom-filter dedup once more as one sequential pass in plain Python: slow, obvious, and what all else must equal.

It decides page by page over a filter that is a set of bit numbers, with the hashes and the bits that the kernels use.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dedup.bff.bloom.filter import FilterShape
from dedup.bff.config import BffConfig
from tests.oracles.segment_reference import word_bounds

_ALL = (1 << 64) - 1


def _finalize(value: int) -> int:
    value ^= value >> 33
    value = value * 0xFF51AFD7ED558CCD & _ALL
    value ^= value >> 33
    value = value * 0xC4CEB9FE1A85EC53 & _ALL
    return value ^ (value >> 33)


@functools.lru_cache(maxsize=1 << 16)
def token_hash(token: str) -> int:
    """The 64-bit hash of a token's code points, two at a time."""
    value = 0x9E3779B97F4A7C15 ^ len(token)
    for i in range(0, len(token), 2):
        pair = ord(token[i]) | (ord(token[i + 1]) << 32 if i + 1 < len(token) else 0)
        value ^= pair * 0xC2B2AE3D27D4EB4F & _ALL
        value = (value << 29 | value >> 35) & _ALL
        value = value * 0x9E3779B97F4A7C15 & _ALL
    return _finalize(value)


def ngram_hash(tokens: Sequence[str]) -> int:
    """The 64-bit hash of an n-gram: a polynomial over its tokens' hashes."""
    value = 0
    for token in tokens:
        value = (value * 0xD6E8FEB86659FD93 + token_hash(token)) & _ALL
    return _finalize(value)


def bits_of(value: int, shape: FilterShape) -> list[int]:
    """The numbers of the bits of a hash in a filter."""
    block = value * shape.blocks >> 64
    bits = []
    mixed = value
    for number in range(shape.hashes):
        if number % 7 == 0:
            mixed = _finalize(mixed ^ 0xA0761D6478BD642F)
        position = mixed >> 9 * (number % 7) & 511
        bits.append(block * 512 + (position & 7) * 64 + (position >> 3))
    return bits


def tokens_of(text: str) -> list[tuple[int, int]]:
    """Spans of the tokens: pieces between word boundaries that are not all white space."""
    bounds = word_bounds(text)
    return [(a, b) for a, b in itertools.pairwise(bounds) if not text[a:b].isspace()]


def paragraphs_of(text: str) -> list[str]:
    """The text cut before each line feed."""
    first, *rest = text.split("\n")
    return [first, *("\n" + line for line in rest)]


@dataclass(kw_only=True)
class PlainResult:
    """What becomes of one text: what is left of it, the code points that go, contained n-grams of those looked up, the
    document test.
    """

    text: str
    spans: list[tuple[int, int]] = field(default_factory=list)
    contained: int = 0
    ngrams: int = 0
    document: bool = False


class PlainBff:
    """A filter and one pass over texts; `bits` holds the numbers of the set bits."""

    def __init__(self, config: BffConfig, shape: FilterShape, bits: Iterable[int] = ()) -> None:
        self._config = config
        self._shape = shape
        self.bits = set(bits)

    def process(self, text: str) -> PlainResult:
        """Decide about the next text."""
        mode = self._config.remove_type
        if mode == "exact":
            return self._exact(text)
        if mode == "substring":
            return self._substring(text)
        if mode == "both":
            return self._both(text)
        if mode == "document":
            return self._document(text, insert=True)
        if mode == "naive-both":
            found = self._document(text, insert=False)
            return found if found.document else self._paragraphs(text)
        found = self._paragraphs(text)
        if mode == "old-both" and found.ngrams and found.contained / found.ngrams > self._config.filtering_threshold:
            found.document, found.text = True, ""
        return found

    def _has(self, ngram: Sequence[str]) -> bool:
        return all(bit in self.bits for bit in bits_of(ngram_hash(ngram), self._shape))

    def _insert(self, ngrams: Iterable[Sequence[str]]) -> None:
        if not self._config.no_update_bloom_filter:
            for ngram in ngrams:
                self.bits.update(bits_of(ngram_hash(ngram), self._shape))

    def _ngrams(self, text: str) -> list[list[str]]:
        tokens = [text[a:b] for a, b in tokens_of(text)]
        n = self._config.max_ngram_size
        if len(tokens) >= n:
            return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]
        return [tokens] if len(tokens) >= self._config.min_ngram_size else []

    def _document(self, text: str, *, insert: bool) -> PlainResult:
        ngrams = self._ngrams(text)
        contained = sum(map(self._has, ngrams))
        if ngrams and contained / len(ngrams) > self._config.filtering_threshold:
            return PlainResult(text="", spans=[(0, len(text))], contained=contained, ngrams=len(ngrams), document=True)
        if insert:
            self._insert(ngrams)
        return PlainResult(text=text, contained=contained, ngrams=len(ngrams))

    def _paragraphs(self, text: str) -> PlainResult:
        result, kept, at = PlainResult(text=""), [], 0
        for paragraph in paragraphs_of(text):
            ngrams = self._ngrams(paragraph)
            contained = sum(map(self._has, ngrams))
            if ngrams and contained / len(ngrams) > self._config.filtering_threshold:
                result.spans.append((at, at + len(paragraph)))
            else:
                self._insert(ngrams)
                kept.append(paragraph)
            at += len(paragraph)
            result.contained += contained
            result.ngrams += len(ngrams)
        result.text = "".join(kept)
        return result

    def _exact(self, text: str) -> PlainResult:
        bits = bits_of(token_hash(text), self._shape)
        if all(bit in self.bits for bit in bits):
            return PlainResult(text="", spans=[(0, len(text))], contained=1, ngrams=1, document=True)
        if not self._config.no_update_bloom_filter:
            self.bits.update(bits)
        return PlainResult(text=text, ngrams=1)

    def _both(self, text: str) -> PlainResult:
        threshold = self._config.filtering_threshold
        ngrams = self._ngrams(text)
        has = [self._has(ngram) for ngram in ngrams]
        if ngrams and sum(has) / len(ngrams) >= threshold:
            return PlainResult(text="", spans=[(0, len(text))], contained=sum(has), ngrams=len(ngrams), document=True)
        owner = [number for number, piece in enumerate(paragraphs_of(text)) for _ in tokens_of(piece)]
        width = len(ngrams[0]) if ngrams else 0
        removed = set()
        for number in set(owner):
            inside = [has[i] for i in range(len(ngrams)) if set(owner[i : i + width]) == {number}]
            if inside and sum(inside) / len(inside) >= threshold:
                removed.add(number)
        self._insert(ngram for i, ngram in enumerate(ngrams) if not removed & set(owner[i : i + width]))
        result, kept, at = PlainResult(text=text, contained=sum(has), ngrams=len(ngrams)), [], 0
        for number, piece in enumerate(paragraphs_of(text)):
            if number in removed:
                result.spans.append((at, at + len(piece)))
            else:
                kept.append(piece)
            at += len(piece)
        if removed:
            result.text = "".join(kept).rstrip()
        return result

    def _substring(self, text: str) -> PlainResult:
        n = self._config.max_ngram_size
        tokens = tokens_of(text)
        words = [text[a:b] for a, b in tokens]
        windows = [words[i : i + n] for i in range(len(words) - n + 1)]
        has = [self._has(window) for window in windows]
        intervals = self._fuse(merge([(i, i + n) for i, found in enumerate(has) if found]))
        intervals = [pair for pair in intervals if pair[1] - pair[0] >= self._config.substr_seqlen]
        gone = {token for start, end in intervals for token in range(start, end)}
        self._insert(window for i, window in enumerate(windows) if not gone & set(range(i, i + n)))
        starts = [start for start, _ in tokens] + [len(text)]
        spans = [(starts[start], starts[end]) for start, end in intervals]
        if not spans:
            return PlainResult(text=text, contained=sum(has), ngrams=len(has))
        left, at = "", starts[0]
        for start, end in spans:
            left, at = left + text[at:start], end
        return PlainResult(text=(left + text[at:]).rstrip(), spans=spans, contained=sum(has), ngrams=len(has))

    def _fuse(self, intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
        threshold = self._config.filtering_threshold
        if threshold >= 1 or not intervals:
            return intervals
        forward, backward = [intervals[0]], [intervals[-1]]
        for start, end in intervals[1:]:
            first, last = forward[-1]
            if (last - first) + (end - start) >= threshold * (end - first):
                forward[-1] = (first, end)
            else:
                forward.append((start, end))
        for start, end in intervals[-2::-1]:
            first, last = backward[-1]
            if (last - first) + (end - start) >= threshold * (last - start):
                backward[-1] = (start, last)
            else:
                backward.append((start, end))
        return merge(sorted(forward + backward))


def merge(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted intervals with those that touch or overlap made one."""
    merged: list[tuple[int, int]] = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
