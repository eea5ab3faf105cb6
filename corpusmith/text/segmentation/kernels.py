"""The segmentation kernels: word boundaries of UAX #29, words, tokens and lines, as arrays of offsets.

All take a text as its code points (U32) and the character table, and return offsets in code points (I32). Spans are
two arrays, starts and ends. The boundaries follow Unicode Standard Annex #29, rules WB1 to WB999, without tailoring;
the plain-Python twins of all kernels are in `tests/oracles/segment_reference.py`.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import (
    I32_IN,
    U8_IN,
    U16_IN,
    U32_IN,
    I32Array,
    I64Array,
    U8Array,
    U16Array,
    U32Array,
    helper_kernel,
    kernel,
)
from corpusmith.text.segmentation.character_table import (
    ALETTER,
    ALNUM,
    ALNUM_BIT,
    CLASS_MASK,
    CR,
    DOUBLE_QUOTE,
    EXTEND,
    EXTENDNUMLET,
    FASTTEXT_SEPARATOR,
    FORMAT,
    HEBREW_LETTER,
    KATAKANA,
    LETTER_BIT,
    LF,
    MIDLETTER,
    MIDNUM,
    MIDNUMLET,
    NUMERIC,
    OTHER,
    PICTOGRAPHIC,
    REGIONAL_INDICATOR,
    SINGLE_QUOTE,
    SPACE,
    WSEGSPACE,
    ZWJ,
)
from corpusmith.text.segmentation.mask_kernels import (
    BLOCK,
    ONE,
    U64,
    ZERO,
    block_flags,
    inside,
    lowest,
    mask_of,
    popcount,
)

LINE_FEED = 0x0A


@helper_kernel
def next_class(points: U32Array, table: U16Array, position: int) -> int:
    """Class of the first code point from `position` on that is not Extend, Format or ZWJ (WB4); Other at the end."""
    while position < points.shape[0]:
        value: int = table[points[position]] & CLASS_MASK
        if not (EXTEND <= value <= FORMAT):
            return value
        position += 1
    return OTHER


@helper_kernel
def joins(before: int, left: int, right: int, after: int, odd_flags: bool) -> bool:
    """WB5 to WB16: whether `left` and `right` stay together, seen with their neighbours `before` and `after`."""
    if left in (ALETTER, HEBREW_LETTER):
        if right in (ALETTER, HEBREW_LETTER, NUMERIC, EXTENDNUMLET):
            return True  # WB5, WB9, WB13a
        if right in (MIDLETTER, MIDNUMLET, SINGLE_QUOTE):
            # WB6, WB7a
            return after in (ALETTER, HEBREW_LETTER) or (left == HEBREW_LETTER and right == SINGLE_QUOTE)
        return left == HEBREW_LETTER and right == DOUBLE_QUOTE and after == HEBREW_LETTER  # WB7b
    if left == NUMERIC:
        if right in (NUMERIC, ALETTER, HEBREW_LETTER, EXTENDNUMLET):
            return True  # WB8, WB10, WB13a
        return right in (MIDNUM, MIDNUMLET, SINGLE_QUOTE) and after == NUMERIC  # WB12
    if left == EXTENDNUMLET:
        return right in (ALETTER, HEBREW_LETTER, NUMERIC, KATAKANA, EXTENDNUMLET)  # WB13a, WB13b
    if left == KATAKANA:
        return right in (KATAKANA, EXTENDNUMLET)  # WB13, WB13a
    if left == REGIONAL_INDICATOR:
        return right == REGIONAL_INDICATOR and odd_flags  # WB15, WB16
    if right in (ALETTER, HEBREW_LETTER):
        if left in (MIDLETTER, MIDNUMLET, SINGLE_QUOTE) and before in (ALETTER, HEBREW_LETTER):
            return True  # WB7
        return left == DOUBLE_QUOTE and right == HEBREW_LETTER and before == HEBREW_LETTER  # WB7c
    return right == NUMERIC and left in (MIDNUM, MIDNUMLET, SINGLE_QUOTE) and before == NUMERIC  # WB11


@helper_kernel
def fill_bounds(points: U32Array, table: U16Array, flags: U8Array, bounds: I32Array) -> int:
    """Write every word boundary, 0 and len(text) included, and return their number; 0 for an empty text.

    A letter after a letter never has one before it, so only the other characters are looked at.
    """
    length = points.shape[0]
    if length == 0:
        return 0
    eights = np.empty(8, dtype=np.uint64)
    bounds[0] = 0
    count = 1
    previous = table[points[0]] & CLASS_MASK
    # the last two classes that WB4 does not skip
    left = OTHER if EXTEND <= previous <= FORMAT else previous
    before = OTHER
    indicators = 1 if left == REGIONAL_INDICATOR else 0
    carry = ZERO
    last = 0
    for base in range(0, length, BLOCK):
        block_flags(points, flags, base, eights)
        letters = mask_of(eights, LETTER_BIT)
        found = ~(letters & ((letters << ONE) | carry)) & inside(base, length)
        carry = letters >> U64(63)
        if base == 0:
            found &= ~ONE
        while found:
            bit = lowest(found)
            found ^= bit
            i = base + popcount(bit - ONE)
            if i - last > 1:
                previous = before = ALETTER
            last = i
            entry = table[points[i]]
            value = entry & CLASS_MASK
            skipped = EXTEND <= value <= FORMAT
            if previous == CR and value == LF:
                joined = True  # WB3
            elif (CR <= previous < EXTEND) or (CR <= value < EXTEND):
                joined = False  # WB3a, WB3b
            elif (
                (previous == ZWJ and entry & PICTOGRAPHIC) or (previous == WSEGSPACE and value == WSEGSPACE) or skipped
            ):
                joined = True  # WB3c, WB3d, WB4
            elif left in (OTHER, WSEGSPACE) or value in (OTHER, WSEGSPACE):
                joined = False
            else:
                after = OTHER
                if SINGLE_QUOTE <= value <= MIDNUM:
                    after = next_class(points, table, i + 1)
                joined = joins(before, left, value, after, indicators & 1 == 1)
            if not joined:
                bounds[count] = i
                count += 1
            if not skipped:
                before = left
                left = value
                indicators = indicators + 1 if value == REGIONAL_INDICATOR else 0
            previous = value
    bounds[count] = length
    return count + 1


@kernel(U32_IN, U16_IN, U8_IN)
def word_bounds(points: U32Array, table: U16Array, flags: U8Array) -> I32Array:
    """Return every word boundary, 0 and len(text) included; nothing for an empty text."""
    bounds = np.empty(points.shape[0] + 1, dtype=np.int32)
    count = fill_bounds(points, table, flags, bounds)
    return bounds[:count].copy()


@kernel(U32_IN, U16_IN, U8_IN)
def alnum_words(points: U32Array, table: U16Array, flags: U8Array) -> I32Array:
    """Return starts and ends (I32, 2 rows) of the pieces between boundaries whose first character is alphanumeric."""
    bounds = np.empty(points.shape[0] + 1, dtype=np.int32)
    pieces = max(fill_bounds(points, table, flags, bounds) - 1, 0)
    spans = np.empty((2, pieces), dtype=np.int32)
    count = 0
    for i in range(pieces):
        start = bounds[i]
        spans[0, count] = start
        spans[1, count] = bounds[i + 1]
        count += (flags[points[start]] >> ALNUM_BIT) & 1
    return spans[:, :count].copy()


@kernel(U32_IN, U16_IN)
def whitespace_words(points: U32Array, table: U16Array) -> tuple[I32Array, I32Array]:
    """Return the spans of `text.split()`."""
    length = points.shape[0]
    starts = np.empty((length + 1) // 2, dtype=np.int32)
    ends = np.empty((length + 1) // 2, dtype=np.int32)
    count = 0
    inside = False
    for i in range(length):
        if table[points[i]] & SPACE:
            if inside:
                ends[count] = i
                count += 1
                inside = False
        elif not inside:
            starts[count] = i
            inside = True
    if inside:
        ends[count] = length
        count += 1
    return starts[:count].copy(), ends[:count].copy()


@kernel(U32_IN, U16_IN)
def fasttext_tokens(points: U32Array, table: U16Array) -> tuple[I32Array, I32Array]:
    """Return the spans of fastText's tokens; a line feed is a token of its own."""
    length = points.shape[0]
    starts = np.empty(length, dtype=np.int32)
    ends = np.empty(length, dtype=np.int32)
    count = 0
    inside = False
    for i in range(length):
        feed = points[i] == LINE_FEED
        if feed or table[points[i]] & FASTTEXT_SEPARATOR:
            if inside:
                ends[count] = i
                count += 1
                inside = False
            if feed:
                starts[count] = i
                ends[count] = i + 1
                count += 1
        elif not inside:
            starts[count] = i
            inside = True
    if inside:
        ends[count] = length
        count += 1
    return starts[:count].copy(), ends[:count].copy()


@kernel(U32_IN, U16_IN, I32_IN, I32_IN)
def token_counts(points: U32Array, table: U16Array, starts: I32Array, ends: I32Array) -> I64Array:
    """Return four counts (I64) of the spans: all, not all white space, first character alnum, alnum or white space."""
    counts = np.zeros(4, dtype=np.int64)
    counts[0] = starts.shape[0]
    for i in range(starts.shape[0]):
        entry = table[points[starts[i]]]
        if entry & ALNUM:
            counts[1] += 1
            counts[2] += 1
            counts[3] += 1
            continue
        if entry & SPACE:
            counts[3] += 1
        for position in range(starts[i], ends[i]):
            if not table[points[position]] & SPACE:
                counts[1] += 1
                break
    return counts


@kernel(U32_IN, U16_IN, U16_IN.dtype)
def count_flagged(points: U32Array, table: U16Array, flag: int) -> int:
    """Return how many characters have the flag of the character table."""
    count = 0
    for i in range(points.shape[0]):
        if table[points[i]] & flag:
            count += 1
    return count
