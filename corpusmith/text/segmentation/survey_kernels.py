"""One pass over a text for all that cheap filters count, and one for what line modifiers ask about each line.

Both take a text as its code points (U32). A filter that needs one number of a survey costs a page that one pass, and
the filters after it nothing more; the plain-Python twins are in `tests/oracles/segment_reference.py`.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import (
    I32_2D_IN,
    I64_IN,
    I64_OUT,
    U8_IN,
    U16_IN,
    U32_IN,
    I32Array,
    I64Array,
    U8Array,
    U16Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)
from corpusmith.text.segmentation.character_table import (
    ALNUM_BIT,
    ALPHA_BIT,
    CASE_TWIN_BIT,
    DECIMAL_BIT,
    DIGIT_BIT,
    FEED_BIT,
    LINE_FEED_BIT,
    LINE_SPACE_BIT,
    SEPARATOR_BIT,
    SPACE,
    SPACE_BIT,
    SYMBOL_BIT,
    UPPER_BIT,
    WORD_BIT,
)
from corpusmith.text.segmentation.mask_kernels import (
    BLOCK,
    ONE,
    U64,
    ZERO,
    add_carrying,
    block_flags,
    inside,
    lowest,
    mask_of,
    popcount,
    run_starts,
)

BLANK = 0x20
FULL_STOP = 0x2E
ELLIPSIS = 0x2026
# What starts a bulleted line: ● • * -
BULLETS = (0x25CF, 0x2022, 0x2A, 0x2D)

# Where each number of a survey stands.
(
    WORDS,
    WORD_CHARACTERS,
    WORDS_WITHOUT_ALPHA,
    WORDS_FROM_ALNUM,
    SYMBOLS,
    LINES,
    BULLET_LINES,
    ELLIPSIS_LINES,
    TOKENS,
    VISIBLE_TOKENS,
    TOKENS_FROM_ALNUM,
    TOKENS_FROM_SPACE,
    NUMBERS,
) = range(13)
# The rows of a survey's lines.
LINE_START, LINE_END, NEW_PARAGRAPH = range(3)
# The columns of a line table.
START, END, LINE_WORDS, LINE_UPPER, LINE_DIGITS, STARTS_WITH_NUMBER, LINE_CASE_TWINS = range(7)
LINE_COLUMNS = 7
LINE_FLAGS = 7
MAX_LISTED_LENGTH = 4


@helper_kernel
def ends_in_ellipsis(points: U32Array, start: int, end: int) -> bool:
    """Whether [start, end) ends with `...`, `. . .` or U+2026."""
    last = points[end - 1]
    if last != FULL_STOP:
        return bool(last == ELLIPSIS)
    if end - start >= 3 and points[end - 2] == FULL_STOP:
        return bool(points[end - 3] == FULL_STOP)
    return bool(
        end - start >= 5
        and points[end - 2] == BLANK
        and points[end - 3] == FULL_STOP
        and points[end - 4] == BLANK
        and points[end - 5] == FULL_STOP
    )


@helper_kernel
def count_symbols(points: U32Array, base: int, found: np.uint64, dots: I64Array) -> int:
    """Count `#`, U+2026, `...` and `. . .` (each without overlap) that end at the characters of a block's mask.

    `dots` holds between calls: the last full stop, how many stand in its run, how many in its spaced chain.
    """
    count = 0
    while found:
        bit = lowest(found)
        found ^= bit
        i = base + popcount(bit - ONE)
        if points[i] != FULL_STOP:
            count += 1
            continue
        distance = i - dots[0]
        dots[1] = dots[1] + 1 if distance == 1 else 1
        dots[2] = dots[2] + 1 if distance == 2 and points[i - 1] == BLANK else 1
        dots[0] = i
        if dots[1] == 3:
            count += 1
            dots[1] = 0
        if dots[2] == 3:
            count += 1
            dots[2] = 0
    return count


@helper_kernel
def add_line(points: U32Array, flags: U8Array, start: int, end: int, lines: I32Array, totals: I64Array) -> bool:
    """Add the line [start, end), stripped, to the lines and the totals; False where it is blank."""
    blank = 1 << SPACE_BIT
    while start < end and flags[points[start]] & blank:
        start += 1
    if start == end:
        return False
    while flags[points[end - 1]] & blank:
        end -= 1
    count = totals[LINES]
    lines[LINE_START, count] = start
    lines[LINE_END, count] = end
    totals[LINES] = count + 1
    totals[BULLET_LINES] += points[start] in BULLETS
    totals[ELLIPSIS_LINES] += ends_in_ellipsis(points, start, end)
    return True


@kernel(U32_IN, U8_IN, I64_OUT)
def survey(points: U32Array, flags: U8Array, totals: I64Array) -> I32Array:
    """Fill the numbers of a survey (`totals`: I64, NUMBERS zeros) and return the lines, in one pass.

    Words are those of `str.split`, tokens those of fastText's reader (line feeds included; those from white space begin
    with a kind of it that fastText does not know). Lines are the pieces between line feeds, stripped, those not blank:
    I32 (3, lines) of starts, ends, and 1 where two line feeds stand side by side since the line before.
    """
    length = points.shape[0]
    lines = np.empty((3, (length + 1) // 2), dtype=np.int32)
    dots = np.zeros(3, dtype=np.int64)
    dots[0] = -3
    eights = np.empty(8, dtype=np.uint64)
    words = word_characters = without_alpha = words_alnum = symbols = 0
    tokens = tokens_alnum = tokens_space = hidden = feeds = 0
    word_carry = token_carry = alpha_carry = hidden_carry = ZERO
    line_start, last_feed = 0, -2
    apart = 1
    for base in range(0, length + 1, BLOCK):
        block_flags(points, flags, base, eights)
        space, separator = mask_of(eights, SPACE_BIT), mask_of(eights, SEPARATOR_BIT)
        alnum, alpha = mask_of(eights, ALNUM_BIT), mask_of(eights, ALPHA_BIT)
        symbol, feed = mask_of(eights, SYMBOL_BIT), mask_of(eights, FEED_BIT)
        # what lies past the end ends words and tokens
        outside = ~inside(base, length)
        word = ~(space | outside)
        starts = run_starts(word, word_carry)
        word_carry = word >> U64(63)
        words += popcount(starts)
        word_characters += popcount(word)
        words_alnum += popcount(starts & alnum)
        behind, alpha_carry = add_carrying(word & ~alpha, starts, alpha_carry)
        without_alpha += popcount(behind & ~word)
        token = ~(separator | outside)
        starts = run_starts(token, token_carry)
        token_carry = token >> U64(63)
        tokens += popcount(starts)
        tokens_alnum += popcount(starts & alnum)
        if token & space or hidden_carry:
            tokens_space += popcount(starts & space)
            behind, hidden_carry = add_carrying(token & space, starts, hidden_carry)
            hidden += popcount(behind & ~token)
        if symbol:
            symbols += count_symbols(points, base, symbol, dots)
        while feed:
            bit = lowest(feed)
            feed ^= bit
            i = base + popcount(bit - ONE)
            feeds += 1
            if add_line(points, flags, line_start, i, lines, totals):
                lines[NEW_PARAGRAPH, totals[LINES] - 1] = apart
                apart = 0
            if last_feed == i - 1:
                apart = 1
            last_feed = i
            line_start = i + 1
    if add_line(points, flags, line_start, length, lines, totals):
        lines[NEW_PARAGRAPH, totals[LINES] - 1] = apart
    totals[WORDS] = words
    totals[WORD_CHARACTERS] = word_characters
    totals[WORDS_WITHOUT_ALPHA] = without_alpha
    totals[WORDS_FROM_ALNUM] = words_alnum
    totals[SYMBOLS] = symbols
    totals[TOKENS] = tokens + feeds
    totals[VISIBLE_TOKENS] = tokens + feeds - hidden
    totals[TOKENS_FROM_ALNUM] = tokens_alnum
    totals[TOKENS_FROM_SPACE] = tokens_space
    return lines[:, : totals[LINES]].copy()


@kernel(I32_2D_IN)
def paragraph_spans(lines: I32Array) -> I32Array:
    """Return starts and ends (I32, 2 rows) of the paragraphs that a survey's lines make."""
    count = 0
    spans = np.empty((2, lines.shape[1]), dtype=np.int32)
    for i in range(lines.shape[1]):
        if lines[NEW_PARAGRAPH, i] or i == 0:
            spans[0, count] = lines[LINE_START, i]
            count += 1
        spans[1, count - 1] = lines[LINE_END, i]
    return spans[:, :count].copy()


@kernel(U32_IN, U16_IN, U32_IN, I64_IN.dtype, I64_OUT)
def count_listed(points: U32Array, table: U16Array, listed: U32Array, wanted: int, counts: I64Array) -> int:
    """Count words of `str.split` that equal listed ones, ASCII case ignored, until `wanted` are found.

    `listed` are words of at most MAX_LISTED_LENGTH lower-case ASCII letters, the first one in the highest byte. Their
    counts are added to `counts`; the sum is returned.
    """
    length = points.shape[0]
    total = 0
    i = 0
    while i < length and total < wanted:
        while i < length and table[points[i]] & SPACE:
            i += 1
        packed = 0
        plain = True
        start = i
        while i < length:
            point = points[i]
            if table[point] & SPACE:
                break
            if 0x41 <= point <= 0x5A:
                point += np.uint32(0x20)
            plain = plain and point < 0x80
            packed = (packed << 8 | point) & 0xFFFF_FFFF
            i += 1
        if plain and 0 < i - start <= MAX_LISTED_LENGTH:
            for index in range(listed.shape[0]):
                if listed[index] == packed:
                    counts[index] += 1
                    total += 1
                    break
    return total


@helper_kernel
def add_part(rows: I32Array, row: int, part: np.uint64, starts: np.uint64, masks: U64Array, begun: bool) -> bool:
    """Add the characters of a block's part to a line; `begun`: a word character came before. Returns it from now on."""
    rows[LINE_WORDS, row] += popcount(starts & part)
    rows[LINE_UPPER, row] += popcount(masks[UPPER_BIT] & part)
    rows[LINE_DIGITS, row] += popcount(masks[DIGIT_BIT] & part)
    rows[LINE_CASE_TWINS, row] += popcount(masks[CASE_TWIN_BIT] & part)
    found = masks[WORD_BIT] & part
    if begun or not found:
        return begun
    rows[STARTS_WITH_NUMBER, row] = (lowest(found) & masks[DECIMAL_BIT]) != 0
    return True


@kernel(U32_IN, U8_IN, I64_IN.dtype)
def line_table(points: U32Array, flags: U8Array, lines: int) -> I32Array:
    """Return a column for each line of `text.split("\\n")`, of which there are `lines` (I32, LINE_COLUMNS × lines).

    Rows: start and end, words of `str.split`, upper-case characters, digits, whether the first character that is
    alphanumeric or an underscore is a decimal digit (0 or 1), and CASE_TWINS. `flags` is the line flag table.
    """
    length = points.shape[0]
    rows = np.zeros((LINE_COLUMNS, lines), dtype=np.int32)
    eights = np.empty(8, dtype=np.uint64)
    masks = np.empty(LINE_FLAGS, dtype=np.uint64)
    row = 0
    carry = ZERO
    begun = False
    for base in range(0, length, BLOCK):
        block_flags(points, flags, base, eights)
        for flag in range(LINE_FLAGS):
            masks[flag] = mask_of(eights, flag)
        rest = inside(base, length)
        word = ~masks[LINE_SPACE_BIT] & rest
        starts = run_starts(word, carry)
        carry = word >> U64(63)
        feed = masks[LINE_FEED_BIT]
        while feed:
            bit = lowest(feed)
            feed ^= bit
            begun = add_part(rows, row, rest & (bit - ONE), starts, masks, begun)
            rest &= ~(bit | (bit - ONE))
            i = base + popcount(bit - ONE)
            rows[END, row] = i
            row += 1
            rows[START, row] = i + 1
            begun = False
        if rest:
            begun = add_part(rows, row, rest, starts, masks, begun)
    rows[END, row] = length
    return rows
