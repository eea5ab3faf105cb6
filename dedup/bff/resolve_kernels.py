"""Kernels that decide about a block of n-grams, unit by unit, in two ways.

`resolve_in_order` looks up and inserts as one sequential pass does, with the whole filter at hand. `resolve_contained`
decides from what is known to be contained already. The decisions of both are the same helpers. All arrays follow the
order of the pages. The plain twin is `tests.oracles.bff_reference`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from corpusmith.text.kernels import (
    I32_IN,
    I32_OUT,
    U8_IN,
    U8_OUT,
    U64_IN,
    U64_OUT,
    I32Array,
    U8Array,
    U64Array,
    helper_kernel,
    kernel,
)
from dedup.bff.bloom.kernels import BLOCK_WORDS, block_of, is_contained, look_ahead, set_bits
from dedup.bff.units import (
    BOTH,
    DOCUMENT,
    EXACT,
    NAIVE_BOTH,
    OLD_BOTH,
    RULES,
    WHOLE_TEXT,
    DedupUnit,
    Rules,
    first_unit,
    next_unit,
)


class Decisions(NamedTuple):
    """What becomes of a block of n-grams, as kernels fill it; zeros before.

    `inserts` (U8, by n-gram): what is, or is to be, inserted; `removed` (U8, by paragraph): it goes; `documents` (U8,
    by page): the whole text goes; `counts` (I32, by page): contained n-grams; `intervals` (I32): tokens that substring
    mode removes, start and end in turn; `interval_counts` (I32, by page): how many such intervals.
    """

    inserts: U8Array
    removed: U8Array
    documents: U8Array
    counts: I32Array
    intervals: I32Array
    interval_counts: I32Array


DECISIONS = types.NamedTuple(  # type: ignore[no-untyped-call]
    (U8_OUT, U8_OUT, U8_OUT, I32_OUT, I32_OUT, I32_OUT), Decisions
)


# --- what one unit becomes ------------------------------------------------------------------------------------


@helper_kernel
def count_contained(contained: U8Array, begin: int, end: int) -> int:
    """How many of the n-grams [begin, end) are contained."""
    total = 0
    for i in range(begin, end):
        total += contained[i]
    return total


@helper_kernel
def is_over(contained: int, ngrams: int, threshold: float) -> bool:
    """The rule of a unit: strictly more than the threshold; a unit without n-grams stays."""
    return ngrams > 0 and contained / ngrams > threshold


@helper_kernel
def reaches(contained: int, ngrams: int, threshold: float) -> bool:
    """The rule of `both`: the threshold itself is enough."""
    return ngrams > 0 and contained / ngrams >= threshold


@helper_kernel
def mark(inserts: U8Array, begin: int, end: int, value: int) -> None:
    """Set [begin, end) to `value`."""
    for i in range(begin, end):
        inserts[i] = value


@helper_kernel
def decide_both(unit: DedupUnit, contained: U8Array, tokens: I32Array, rules: Rules, decided: Decisions) -> bool:
    """The document by all its n-grams, else each paragraph by those that lie in it; what survives is to be inserted.

    Returns whether the document goes.
    """
    begin, inserts = unit.begin, decided.inserts
    ngrams = unit.end - begin
    if reaches(count_contained(contained, begin, unit.end), ngrams, rules.threshold):
        return True
    total = 0
    for i in range(unit.first, unit.last):
        total += tokens[i]
    n = min(rules.longest, total)
    token = 0
    survives_from = 0  # the first token after the last removed one
    window = 0  # the first n-gram not yet looked at
    for i in range(unit.first, unit.last):
        inside = max(tokens[i] - n + 1, 0) if ngrams > 0 and tokens[i] > 0 else 0
        here = count_contained(contained, begin + token, begin + token + inside)
        if reaches(here, inside, rules.threshold):
            decided.removed[i] = 1
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
def find_intervals(unit: DedupUnit, contained: U8Array, rules: Rules, decided: Decisions, at: int) -> int:
    """Write the token intervals that substring mode removes (start, end) from `at` on; returns how many there are.

    Runs of contained windows are widened to their tokens and merged; with a threshold below 1, neighbours are fused,
    once from the left and once from the right, where they cover enough of what lies between. Windows in the gaps are to
    be inserted.
    """
    begin, longest, threshold, inserts = unit.begin, rules.longest, rules.threshold, decided.inserts
    windows = unit.end - begin
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
        if stop - start >= rules.shortest_removed:
            decided.intervals[at + 2 * found] = start
            decided.intervals[at + 2 * found + 1] = stop
            found += 1
            for window in range(max(start - longest + 1, 0), min(stop, windows)):
                inserts[begin + window] = 0
    return found


@helper_kernel
def decide_text(
    unit: DedupUnit, contained: U8Array, tokens: I32Array, rules: Rules, decided: Decisions, interval: int
) -> int:
    """Decide about the whole text of a page; returns where its intervals end."""
    page, ngrams = unit.page, unit.end - unit.begin
    decided.counts[page] = count_contained(contained, unit.begin, unit.end)
    if rules.mode == EXACT:
        decided.documents[page] = decided.counts[page]
        mark(decided.inserts, unit.begin, unit.end, 1 - decided.documents[page])
    elif rules.mode == DOCUMENT:
        decided.documents[page] = is_over(decided.counts[page], ngrams, rules.threshold)
        mark(decided.inserts, unit.begin, unit.end, 1 - decided.documents[page])
    elif rules.mode == NAIVE_BOTH:  # looked up, never inserted: the paragraphs are
        decided.documents[page] = is_over(decided.counts[page], ngrams, rules.threshold)
    elif rules.mode == BOTH:
        decided.documents[page] = decide_both(unit, contained, tokens, rules, decided)
    else:
        decided.interval_counts[page] = find_intervals(unit, contained, rules, decided, interval)
        interval += 2 * decided.interval_counts[page]
    return interval


@helper_kernel
def decide_paragraph(unit: DedupUnit, contained: U8Array, rules: Rules, decided: Decisions) -> None:
    """Decide about a paragraph, and with the last one of a page about the page."""
    page = unit.page
    ngrams, found = unit.end - unit.begin, count_contained(contained, unit.begin, unit.end)
    decided.removed[unit.paragraph] = is_over(found, ngrams, rules.threshold)
    mark(decided.inserts, unit.begin, unit.end, 1 - decided.removed[unit.paragraph])
    decided.counts[page] = found + (decided.counts[page] if unit.paragraph > unit.first else 0)
    if rules.mode == OLD_BOTH and unit.paragraph == unit.last - 1:
        decided.documents[page] = is_over(decided.counts[page], unit.end - unit.start, rules.threshold)


@helper_kernel
def decide_unit(
    unit: DedupUnit, contained: U8Array, tokens: I32Array, rules: Rules, decided: Decisions, interval: int
) -> int:
    """Decide about a unit from which of its n-grams are contained.

    `interval`: where the intervals of this page begin; returns where they end.
    """
    if unit.paragraph == WHOLE_TEXT:
        interval = decide_text(unit, contained, tokens, rules, decided, interval)
    elif not decided.documents[unit.page]:  # else, in naive-both, the text is gone already
        decide_paragraph(unit, contained, rules, decided)
    if not rules.update:
        mark(decided.inserts, unit.begin, unit.end, 0)
    return interval


# --- a block of n-grams ---------------------------------------------------------------------------------------


@helper_kernel
def check(unit: DedupUnit, words: U64Array, blocks: np.uint64, k: int, hashes: U64Array, contained: U8Array) -> None:
    """Note which of a unit's n-grams the filter contains."""
    for i in range(unit.begin, unit.end):
        look_ahead(words, hashes, i, blocks, 0)
        start = np.int64(block_of(hashes[i], blocks)) * BLOCK_WORDS
        contained[i] = is_contained(words, start, hashes[i], k)


@helper_kernel
def insert(unit: DedupUnit, words: U64Array, blocks: np.uint64, k: int, hashes: U64Array, inserts: U8Array) -> int:
    """Insert those of a unit's n-grams that are marked; returns how many set a bit."""
    new_ngrams = 0
    for i in range(unit.begin, unit.end):
        if inserts[i]:
            start = np.int64(block_of(hashes[i], blocks)) * BLOCK_WORDS
            if set_bits(words, start, hashes[i], k) != 0:
                new_ngrams += 1
    return new_ngrams


@kernel(U64_OUT, types.uint64, types.int64, U64_IN, I32_IN, I32_IN, RULES, DECISIONS)
def resolve_in_order(
    words: U64Array,
    blocks: np.uint64,
    k: int,
    hashes: U64Array,
    tokens: I32Array,
    pages: I32Array,
    rules: Rules,
    decided: Decisions,
) -> int:
    """Look up each unit, decide about it and insert what stays, one after the other.

    Args:
        words, blocks, k: the whole filter, its blocks, and the bits of an n-gram.
        hashes: all n-grams of the block (U64).
        tokens: tokens of each paragraph. pages: paragraphs of each page.
        rules: what is asked for.
        decided: filled.

    Returns:
        How many n-grams were inserted that set a bit.
    """
    contained = np.zeros(hashes.shape[0], dtype=np.uint8)
    new_ngrams = interval = 0
    unit = first_unit(tokens, pages, rules)
    while unit.page < pages.shape[0]:
        if not decided.documents[unit.page]:
            check(unit, words, blocks, k, hashes, contained)
        interval = decide_unit(unit, contained, tokens, rules, decided, interval)
        new_ngrams += insert(unit, words, blocks, k, hashes, decided.inserts)
        unit = next_unit(unit, tokens, pages, rules)
    return new_ngrams


@kernel(U8_IN, I32_IN, I32_IN, RULES, DECISIONS)
def resolve_contained(contained: U8Array, tokens: I32Array, pages: I32Array, rules: Rules, decided: Decisions) -> None:
    """Decide about each unit from which n-grams are contained (U8, by n-gram); the rest as in `resolve_in_order`."""
    interval = 0
    unit = first_unit(tokens, pages, rules)
    while unit.page < pages.shape[0]:
        interval = decide_unit(unit, contained, tokens, rules, decided, interval)
        unit = next_unit(unit, tokens, pages, rules)
