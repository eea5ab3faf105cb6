"""Kernels of the Bloom-filter dedup: a page to n-gram hashes, and the decisions over a piece of the input.

Tokens are the pieces between UAX #29 word boundaries that are not all white space; paragraphs are cut before each line
feed. A page's hashes stand in one row: by paragraph (`paragraph`, `old-both`), over the whole text (`document`,
`both`, `substring`), or first the one and then the other (`naive-both`); in `exact` mode the whole text is one token.
All arrays of a piece follow the order of its pages. The plain twin is `tests.oracles.bff_reference`.
"""

from __future__ import annotations

import numpy as np
from numba import types

from corpusmith.text.hashing import NGRAM_FACTOR, finalize, span_hash
from corpusmith.text.kernels import (
    I32_IN,
    U16_IN,
    U32_IN,
    U64_IN,
    I32Array,
    I64Array,
    U8Array,
    U16Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)
from corpusmith.text.segmentation.character_table import SPACE
from dedup.bff.bloom.kernels import BLOCK_WORDS, U8, U64, block_of, is_contained, look_ahead, set_bits

# How a page's n-grams are laid out, and how it is decided.
PARAGRAPH, DOCUMENT, BOTH, NAIVE_BOTH, OLD_BOTH, SUBSTRING, EXACT = range(7)

I32 = types.Array(types.int32, 1, "C")
I64 = types.Array(types.int64, 1, "C")
LINE_FEED = np.uint32(0x0A)
ONE = np.uint64(1)


@helper_kernel
def ngrams_of(tokens: int, shortest: int, longest: int) -> int:
    """How many n-grams a unit of so many tokens has: windows of `longest`, or one of all tokens, or none."""
    if tokens >= longest:
        return tokens - longest + 1
    return 1 if tokens >= shortest else 0


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


@kernel(U32_IN, U16_IN, I32_IN, types.int64, types.int64, types.int64, U64, types.int64, I32, types.int64)
def hash_page(
    points: U32Array, table: U16Array, bounds: I32Array, mode: int, shortest: int, longest: int,
    out: U64Array, at: int, paragraph_tokens: I32Array, paragraph: int,
) -> tuple[int, int]:  # fmt: skip
    """Write a text's n-gram hashes and the number of tokens of each of its paragraphs.

    Args:
        points, table, bounds: the text's code points, the character table, the word boundaries.
        mode, shortest, longest: layout and n-gram sizes.
        out, at: U64 buffer with room for 2 hashes a boundary, and where to begin in it.
        paragraph_tokens, paragraph: I32 buffer with room for one a boundary and one more, and where to begin.

    Returns:
        Where the hashes and the paragraphs end.
    """
    pieces = max(bounds.shape[0] - 1, 0)
    if mode == EXACT:
        out[at] = span_hash(points, 0, points.shape[0])
        paragraph_tokens[paragraph] = 1
        return at + 1, paragraph + 1
    by_paragraph = mode in (PARAGRAPH, OLD_BOTH, NAIVE_BOTH, BOTH)
    tokens = np.empty(pieces, dtype=np.uint64)
    starts = np.empty(pieces + 2, dtype=np.int32)  # by paragraph: its first token
    starts[0] = 0
    paragraphs = 1
    count = 0
    for i in range(pieces):
        begin, end = bounds[i], bounds[i + 1]
        blank = True
        for j in range(begin, end):
            if not table[points[j]] & SPACE:
                blank = False
                break
        if not blank:
            tokens[count] = span_hash(points, begin, end)
            count += 1
        elif by_paragraph and points[end - 1] == LINE_FEED:
            starts[paragraphs] = count
            paragraphs += 1
    starts[paragraphs] = count
    if mode in (DOCUMENT, BOTH, NAIVE_BOTH, SUBSTRING):
        at = roll(tokens, 0, count, longest if mode == SUBSTRING else shortest, longest, out, at)
    for i in range(paragraphs):
        if mode in (PARAGRAPH, OLD_BOTH, NAIVE_BOTH):
            at = roll(tokens, starts[i], starts[i + 1], shortest, longest, out, at)
        paragraph_tokens[paragraph + i] = starts[i + 1] - starts[i]
    return at, paragraph + paragraphs


@kernel(U32_IN, U16_IN, I32_IN)
def token_starts(points: U32Array, table: U16Array, bounds: I32Array) -> I32Array:
    """Where each token of a text begins, in code points, and the text's length at the end (I32)."""
    pieces = max(bounds.shape[0] - 1, 0)
    starts = np.empty(pieces + 1, dtype=np.int32)
    count = 0
    for i in range(pieces):
        for j in range(bounds[i], bounds[i + 1]):
            if not table[points[j]] & SPACE:
                starts[count] = bounds[i]
                count += 1
                break
    starts[count] = points.shape[0]
    return starts[: count + 1].copy()


# --- what one unit or one page becomes ------------------------------------------------------------------------


@helper_kernel
def count_contained(contained: U8Array, begin: int, end: int) -> int:
    """How many of the n-grams [begin, end) are contained."""
    total = 0
    for i in range(begin, end):
        total += contained[i]
    return total


@helper_kernel
def is_over(contained: int, ngrams: int, threshold: float) -> bool:
    """The unit rule: strictly more than the threshold; a unit without n-grams stays."""
    return ngrams > 0 and contained / ngrams > threshold


@helper_kernel
def reaches(contained: int, ngrams: int, threshold: float) -> bool:
    """The rule of `both`: the threshold itself is enough."""
    return ngrams > 0 and contained / ngrams >= threshold


@helper_kernel
def decide_both(
    contained: U8Array, begin: int, end: int, tokens: I32Array, first: int, last: int, longest: int,
    threshold: float, removed: U8Array, inserts: U8Array,
) -> bool:  # fmt: skip
    """The document by all its n-grams, else each paragraph by those that lie in it; what survives is to be inserted.

    Returns whether the document goes.
    """
    ngrams = end - begin
    if reaches(count_contained(contained, begin, end), ngrams, threshold):
        return True
    total = 0
    for i in range(first, last):
        total += tokens[i]
    n = min(longest, total)
    token = 0
    survives_from = 0  # the first token after the last removed one
    window = 0  # the first n-gram not yet looked at
    for i in range(first, last):
        inside = max(tokens[i] - n + 1, 0) if ngrams > 0 and tokens[i] > 0 else 0
        here = count_contained(contained, begin + token, begin + token + inside)
        if reaches(here, inside, threshold):
            removed[i] = 1
            while window + n <= token and window < ngrams:
                inserts[begin + window] = window >= survives_from
                window += 1
            survives_from = token + tokens[i]
            while window < survives_from and window < ngrams:
                inserts[begin + window] = 0
                window += 1
        token += tokens[i]
    while window < ngrams:
        inserts[begin + window] = window >= survives_from
        window += 1
    return False


@helper_kernel
def find_intervals(
    contained: U8Array, begin: int, end: int, longest: int, threshold: float, shortest_removed: int,
    inserts: U8Array, intervals: I32Array, at: int,
) -> int:  # fmt: skip
    """Write the token intervals that substring mode removes (start, end) from `at` on; returns how many there are.

    Runs of contained windows are widened to their tokens and merged; with a threshold below 1, neighbours are fused,
    once from the left and once from the right, where they cover enough of what lies between. Windows in the gaps are to
    be inserted.
    """
    windows = end - begin
    room = windows // longest + 2
    starts, ends = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
    count = 0
    for i in range(windows):
        inserts[begin + i] = 1
        if not contained[begin + i]:
            continue
        if count > 0 and i <= ends[count - 1]:
            ends[count - 1] = i + longest
        else:
            starts[count] = i
            ends[count] = i + longest
            count += 1
    fused = np.zeros(room, dtype=np.uint8)  # whether an interval is one with the next
    if threshold < 1.0 and count > 1:
        start, stop = starts[0], ends[0]
        for i in range(1, count):
            if (stop - start) + (ends[i] - starts[i]) >= threshold * (ends[i] - start):
                fused[i - 1] = 1
            else:
                start = starts[i]
            stop = ends[i]
        start, stop = starts[count - 1], ends[count - 1]
        for i in range(count - 2, -1, -1):
            if (stop - start) + (ends[i] - starts[i]) >= threshold * (stop - starts[i]):
                fused[i] = 1
            else:
                stop = ends[i]
            start = starts[i]
    found = 0
    i = 0
    while i < count:
        start = starts[i]
        while i < count - 1 and fused[i]:
            i += 1
        stop = ends[i]
        i += 1
        if stop - start >= shortest_removed:
            intervals[at + 2 * found] = start
            intervals[at + 2 * found + 1] = stop
            found += 1
            for window in range(max(start - longest + 1, 0), min(stop, windows)):
                inserts[begin + window] = 0
    return found


# --- a piece --------------------------------------------------------------------------------------------------


@helper_kernel
def check(
    words: U64Array, blocks: np.uint64, k: int, hashes: U64Array, begin: int, end: int, contained: U8Array
) -> None:
    """Note which of the n-grams [begin, end) the filter contains."""
    for i in range(begin, end):
        look_ahead(words, hashes, i, blocks, 0)
        start = np.int64(block_of(hashes[i], blocks)) * BLOCK_WORDS
        contained[i] = is_contained(words, start, hashes[i], k)


@helper_kernel
def insert(words: U64Array, blocks: np.uint64, k: int, hashes: U64Array, begin: int, end: int, inserts: U8Array) -> int:
    """Insert those of the n-grams [begin, end) that are marked; returns how many set a bit."""
    fresh = 0
    for i in range(begin, end):
        if inserts[i]:
            start = np.int64(block_of(hashes[i], blocks)) * BLOCK_WORDS
            if set_bits(words, start, hashes[i], k) != 0:
                fresh += 1
    return fresh


@helper_kernel
def mark(inserts: U8Array, begin: int, end: int, value: int) -> None:
    """Set [begin, end) to `value`."""
    for i in range(begin, end):
        inserts[i] = value


@kernel(U64, types.uint64, types.int64, U64_IN, I32_IN, I32_IN, types.int64, types.int64, types.int64, types.float64,
        types.int64, types.boolean, types.boolean, U8, U8, U8, U8, I32, I32, I32)  # fmt: skip
def settle_piece(
    words: U64Array, blocks: np.uint64, k: int, hashes: U64Array, tokens: I32Array, pages: I32Array, mode: int,
    shortest: int, longest: int, threshold: float, shortest_removed: int, update: bool, in_order: bool,
    contained: U8Array, inserts: U8Array, removed: U8Array, documents: U8Array, counts: I32Array,
    intervals: I32Array, interval_counts: I32Array,
) -> int:  # fmt: skip
    """Decide about all pages of a piece.

    Args:
        words, blocks, k: the filter, its blocks, and the bits of an n-gram (`in_order` only).
        hashes: all n-grams (U64, N; `in_order` only). tokens: by paragraph. pages: paragraphs of each page.
        mode, shortest, longest, threshold, shortest_removed: what is asked for.
        update: whether what is kept is inserted.
        in_order: check and insert unit by unit, as one sequential pass does; else decide from `contained`.
        contained: by n-gram (U8, N): filled in order, else given.

    Fills:
        inserts (U8, N): what is (or is to be) inserted; removed (U8, by paragraph); documents (U8, by page): the whole
        text goes; counts (I32, by page): contained n-grams; intervals (I32) and interval_counts (I32, by page): tokens
        that substring mode removes.

    Returns:
        How many n-grams were inserted that set a bit.
    """
    fresh = 0
    at = 0  # n-gram
    paragraph = 0
    interval = 0
    for page in range(pages.shape[0]):
        last = paragraph + pages[page]
        documents[page] = 0
        interval_counts[page] = 0
        for i in range(paragraph, last):
            removed[i] = 0
        whole = 0
        for i in range(paragraph, last):
            whole += tokens[i]
        if mode in (DOCUMENT, BOTH, NAIVE_BOTH, SUBSTRING, EXACT):
            ngrams = 1 if mode == EXACT else ngrams_of(whole, longest if mode == SUBSTRING else shortest, longest)
            end = at + ngrams
            if in_order:
                check(words, blocks, k, hashes, at, end, contained)
            mark(inserts, at, end, 0)
            counts[page] = count_contained(contained, at, end)
            if mode == EXACT:
                documents[page] = counts[page]
                mark(inserts, at, end, 1 - counts[page])
            elif mode == DOCUMENT:
                documents[page] = is_over(counts[page], ngrams, threshold)
                mark(inserts, at, end, 1 - documents[page])
            elif mode == NAIVE_BOTH:
                documents[page] = is_over(counts[page], ngrams, threshold)
            elif mode == BOTH:
                documents[page] = decide_both(
                    contained, at, end, tokens, paragraph, last, longest, threshold, removed, inserts
                )
            else:
                interval_counts[page] = find_intervals(
                    contained, at, end, longest, threshold, shortest_removed, inserts, intervals, interval
                )
                interval += 2 * interval_counts[page]
            if not update:
                mark(inserts, at, end, 0)
            if in_order:
                fresh += insert(words, blocks, k, hashes, at, end, inserts)
            at = end
        if mode in (PARAGRAPH, OLD_BOTH, NAIVE_BOTH):
            found, seen = 0, 0
            for i in range(paragraph, last):
                ngrams = ngrams_of(tokens[i], shortest, longest)
                end = at + ngrams
                if documents[page]:  # naive-both: the text is gone already
                    mark(inserts, at, end, 0)
                    at = end
                    continue
                if in_order:
                    check(words, blocks, k, hashes, at, end, contained)
                here = count_contained(contained, at, end)
                removed[i] = is_over(here, ngrams, threshold)
                mark(inserts, at, end, 1 if update and not removed[i] else 0)
                if in_order:
                    fresh += insert(words, blocks, k, hashes, at, end, inserts)
                found += here
                seen += ngrams
                at = end
            if not documents[page]:
                counts[page] = found
            if mode == OLD_BOTH:
                documents[page] = is_over(found, seen, threshold)
        paragraph = last
    return fresh


@kernel(I32_IN, I32_IN, types.int64, types.int64, types.int64)
def unit_sizes(tokens: I32Array, pages: I32Array, mode: int, shortest: int, longest: int) -> I64Array:
    """How many n-grams each unit has, in order; a unit's n-grams are all checked before any of them is inserted."""
    sizes = np.empty(tokens.shape[0] + pages.shape[0], dtype=np.int64)
    count = 0
    paragraph = 0
    for page in range(pages.shape[0]):
        last = paragraph + pages[page]
        if mode in (DOCUMENT, BOTH, NAIVE_BOTH, SUBSTRING, EXACT):
            whole = 0
            for i in range(paragraph, last):
                whole += tokens[i]
            sizes[count] = 1 if mode == EXACT else ngrams_of(whole, longest if mode == SUBSTRING else shortest, longest)
            count += 1
        if mode in (PARAGRAPH, OLD_BOTH, NAIVE_BOTH):
            for i in range(paragraph, last):
                sizes[count] = ngrams_of(tokens[i], shortest, longest)
                count += 1
        paragraph = last
    return sizes[:count].copy()
