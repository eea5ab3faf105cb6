"""The segmentation kernels: word boundaries of UAX #29, words, tokens and lines, as arrays of offsets.

All take a text as its code points (U32) and the character table, and return offsets in code points (I32). Spans are
two arrays, starts and ends. The boundaries follow Unicode Standard Annex #29, rules WB1 to WB999, without tailoring;
the plain-Python twins of all kernels are in `segment_plain`.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.character_table import (
    ALETTER,
    ALNUM,
    ALPHA,
    CLASS_MASK,
    CR,
    DOUBLE_QUOTE,
    EXTEND,
    EXTENDNUMLET,
    FASTTEXT_SEPARATOR,
    FORMAT,
    HEBREW_LETTER,
    KATAKANA,
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
from corpusmith.text.kernels import (
    I32_IN,
    U16_IN,
    U32_IN,
    I32Array,
    I64Array,
    U16Array,
    U32Array,
    helper_kernel,
    kernel,
)

VERSION = 1
LINE_FEED = 0x0A
FULL_STOP = 0x2E
ELLIPSIS = 0x2026
# What starts a bulleted line: ● • * -
BULLETS = (0x25CF, 0x2022, 0x2A, 0x2D)


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


@kernel(U32_IN, U16_IN)
def word_bounds(points: U32Array, table: U16Array) -> I32Array:
    """Return every word boundary, 0 and len(text) included; nothing for an empty text."""
    length = points.shape[0]
    bounds = np.empty(length + 1, dtype=np.int32)
    if length == 0:
        return bounds[:0]
    bounds[0] = 0
    count = 1
    previous = table[points[0]] & CLASS_MASK
    # the last two classes that WB4 does not skip
    left = OTHER if EXTEND <= previous <= FORMAT else previous
    before = OTHER
    flags = 1 if left == REGIONAL_INDICATOR else 0
    for i in range(1, length):
        entry = table[points[i]]
        value = entry & CLASS_MASK
        if value == ALETTER and previous == ALETTER:
            before = left
            continue
        skipped = EXTEND <= value <= FORMAT
        if previous == CR and value == LF:
            joined = True  # WB3
        elif (CR <= previous < EXTEND) or (CR <= value < EXTEND):
            joined = False  # WB3a, WB3b
        elif (previous == ZWJ and entry & PICTOGRAPHIC) or (previous == WSEGSPACE and value == WSEGSPACE) or skipped:
            joined = True  # WB3c, WB3d, WB4
        elif left in (OTHER, WSEGSPACE) or value in (OTHER, WSEGSPACE):
            joined = False
        else:
            after = OTHER
            if SINGLE_QUOTE <= value <= MIDNUM:
                after = next_class(points, table, i + 1)
            joined = joins(before, left, value, after, flags & 1 == 1)
        if not joined:
            bounds[count] = i
            count += 1
        if not skipped:
            before = left
            left = value
            flags = flags + 1 if value == REGIONAL_INDICATOR else 0
        previous = value
    bounds[count] = length
    return bounds[: count + 1].copy()


@kernel(U32_IN, U16_IN, I32_IN)
def alnum_words(points: U32Array, table: U16Array, bounds: I32Array) -> tuple[I32Array, I32Array]:
    """Return the spans between boundaries whose first character is alphanumeric."""
    pieces = max(bounds.shape[0] - 1, 0)
    starts = np.empty(pieces, dtype=np.int32)
    ends = np.empty(pieces, dtype=np.int32)
    count = 0
    for i in range(pieces):
        if table[points[bounds[i]]] & ALNUM:
            starts[count] = bounds[i]
            ends[count] = bounds[i + 1]
            count += 1
    return starts[:count].copy(), ends[:count].copy()


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


@kernel(U32_IN, U16_IN, I32_IN.dtype)
def stripped_pieces(points: U32Array, table: U16Array, feeds: int) -> tuple[I32Array, I32Array]:
    """Return the pieces between separators of `feeds` line feeds, stripped of white space, empty ones left out."""
    length = points.shape[0]
    starts = np.empty((length + 1) // 2, dtype=np.int32)
    ends = np.empty((length + 1) // 2, dtype=np.int32)
    count = 0
    first = -1  # first and last character of the piece that is not white space
    last = -1
    run = 0
    for i in range(length):
        run = run + 1 if points[i] == LINE_FEED else 0
        if run == feeds:
            if first >= 0:
                starts[count] = first
                ends[count] = last + 1
                count += 1
            first = -1
            run = 0
        elif not table[points[i]] & SPACE:
            if first < 0:
                first = i
            last = i
    if first >= 0:
        starts[count] = first
        ends[count] = last + 1
        count += 1
    return starts[:count].copy(), ends[:count].copy()


@kernel(U32_IN, I32_IN)
def count_bullets(points: U32Array, starts: I32Array) -> int:
    """Return how many of the pieces start with a bullet."""
    count = 0
    for i in range(starts.shape[0]):
        if points[starts[i]] in BULLETS:
            count += 1
    return count


@kernel(U32_IN, I32_IN, I32_IN)
def count_ellipses(points: U32Array, starts: I32Array, ends: I32Array) -> int:
    """Return how many of the pieces end with `...`, `. . .` or U+2026."""
    count = 0
    for i in range(starts.shape[0]):
        end = ends[i]
        last = points[end - 1]
        if last == ELLIPSIS:
            count += 1
        elif last == FULL_STOP:
            length = end - starts[i]
            if (length >= 3 and points[end - 2] == FULL_STOP and points[end - 3] == FULL_STOP) or (
                length >= 5
                and points[end - 2] == 0x20
                and points[end - 3] == FULL_STOP
                and points[end - 4] == 0x20
                and points[end - 5] == FULL_STOP
            ):
                count += 1
    return count


@kernel(U32_IN, U16_IN, U16_IN.dtype)
def count_flagged(points: U32Array, table: U16Array, flag: int) -> int:
    """Return how many characters have the flag of the character table."""
    count = 0
    for i in range(points.shape[0]):
        if table[points[i]] & flag:
            count += 1
    return count


@kernel(U32_IN, U16_IN, I32_IN, I32_IN)
def count_without_alpha(points: U32Array, table: U16Array, starts: I32Array, ends: I32Array) -> int:
    """Return how many of the spans have no alphabetic character."""
    count = 0
    for i in range(starts.shape[0]):
        found = False
        for position in range(starts[i], ends[i]):
            if table[points[position]] & ALPHA:
                found = True
                break
        if not found:
            count += 1
    return count


@kernel(U32_IN, I32_IN, I32_IN, U32_IN, I32_IN)
def count_listed(
    points: U32Array, starts: I32Array, ends: I32Array, listed: U32Array, listed_bounds: I32Array
) -> I64Array:
    """Return for each listed word (I64) how often a span equals it, upper-case ASCII letters taken as lower-case.

    Listed words are lower-case ASCII, concatenated in `listed` and cut at `listed_bounds`.
    """
    words = listed_bounds.shape[0] - 1
    counts = np.zeros(words, dtype=np.int64)
    longest = 0
    for word in range(words):
        longest = max(longest, listed_bounds[word + 1] - listed_bounds[word])
    for i in range(starts.shape[0]):
        length = ends[i] - starts[i]
        if length > longest:
            continue
        for word in range(words):
            if listed_bounds[word + 1] - listed_bounds[word] != length:
                continue
            same = True
            for k in range(length):
                point = points[starts[i] + k]
                if 0x41 <= point <= 0x5A:
                    point += 0x20
                if point != listed[listed_bounds[word] + k]:
                    same = False
                    break
            if same:
                counts[word] += 1
                break
    return counts
