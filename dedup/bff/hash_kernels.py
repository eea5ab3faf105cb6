"""Kernels that turn a page into n-gram hashes.

Tokens are the spans between UAX #29 word boundaries that are not all white space. A page's hashes stand in the order of
its dedup units (`dedup.bff.units`); in `exact` mode the whole text is one token. The plain twin is
`tests.oracles.bff_reference`.
"""

from __future__ import annotations

import numpy as np
from numba import types

from corpusmith.text.hashing import NGRAM_FACTOR, finalize, span_hash
from corpusmith.text.kernels import (
    I32_IN,
    I32_OUT,
    U16_IN,
    U32_IN,
    U64_OUT,
    I32Array,
    U16Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)
from corpusmith.text.segmentation.character_table import SPACE
from dedup.bff.units import BOTH, EXACT, RULES, SUBSTRING, Rules, has_paragraphs, has_whole_text, ngrams_of

LINE_FEED = np.uint32(0x0A)
ONE = np.uint64(1)


@helper_kernel
def roll(tokens: U64Array, begin: int, end: int, shortest: int, longest: int, out: U64Array, at: int) -> int:
    """Write the n-gram hashes of tokens [begin, end) to `out` from `at` on; returns where they end."""
    count = ngrams_of(end - begin, shortest, longest)
    if count == 0:
        return at
    n = min(longest, end - begin)
    leaving = ONE
    value = np.uint64(0)
    for i in range(begin, begin + n):
        leaving *= NGRAM_FACTOR
        value = value * NGRAM_FACTOR + tokens[i]
    out[at] = finalize(value)
    at += 1
    for i in range(begin + n, end):
        value = value * NGRAM_FACTOR + tokens[i] - tokens[i - n] * leaving
        out[at] = finalize(value)
        at += 1
    return at


@kernel(U32_IN, U16_IN, I32_IN, RULES, U64_OUT, types.int64, I32_OUT, types.int64)
def hash_page(
    points: U32Array,
    table: U16Array,
    bounds: I32Array,
    rules: Rules,
    out: U64Array,
    at: int,
    paragraph_tokens: I32Array,
    paragraph: int,
) -> tuple[int, int]:
    """Write a text's n-gram hashes and the number of tokens of each of its paragraphs.

    Args:
        points, table, bounds: the text's code points, the character table, the word boundaries.
        rules: mode and n-gram sizes.
        out, at: U64 buffer with room for 2 hashes a boundary, and where to begin in it.
        paragraph_tokens, paragraph: I32 buffer with room for one a boundary and one more, and where to begin.

    Returns:
        Where the hashes and the paragraphs end.
    """
    mode, shortest, longest = rules.mode, rules.shortest, rules.longest
    spans = max(bounds.shape[0] - 1, 0)
    if mode == EXACT:
        out[at] = span_hash(points, 0, points.shape[0])
        paragraph_tokens[paragraph] = 1
        return at + 1, paragraph + 1
    cuts_paragraphs = has_paragraphs(mode) or mode == BOTH
    tokens = np.empty(spans, dtype=np.uint64)
    starts = np.empty(spans + 2, dtype=np.int32)  # by paragraph: its first token
    starts[0] = 0
    paragraphs = 1
    count = 0
    for i in range(spans):
        begin, end = bounds[i], bounds[i + 1]
        blank = True
        for j in range(begin, end):
            if not table[points[j]] & SPACE:
                blank = False
                break
        if not blank:
            tokens[count] = span_hash(points, begin, end)
            count += 1
        elif cuts_paragraphs and points[end - 1] == LINE_FEED:
            starts[paragraphs] = count
            paragraphs += 1
    starts[paragraphs] = count
    if has_whole_text(mode):
        at = roll(tokens, 0, count, longest if mode == SUBSTRING else shortest, longest, out, at)
    for i in range(paragraphs):
        if has_paragraphs(mode):
            at = roll(tokens, starts[i], starts[i + 1], shortest, longest, out, at)
        paragraph_tokens[paragraph + i] = starts[i + 1] - starts[i]
    return at, paragraph + paragraphs


@kernel(U32_IN, U16_IN, I32_IN)
def token_starts(points: U32Array, table: U16Array, bounds: I32Array) -> I32Array:
    """Where each token of a text begins, in code points, and the text's length at the end (I32)."""
    spans = max(bounds.shape[0] - 1, 0)
    starts = np.empty(spans + 1, dtype=np.int32)
    count = 0
    for i in range(spans):
        for j in range(bounds[i], bounds[i + 1]):
            if not table[points[j]] & SPACE:
                starts[count] = bounds[i]
                count += 1
                break
    starts[count] = points.shape[0]
    return starts[: count + 1].copy()
