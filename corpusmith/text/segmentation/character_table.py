"""One 16-bit entry for each code point: its Word_Break class and what Python's `str` methods say about it.

Word_Break and Extended_Pictographic come from the committed Unicode table (`word_break_table`); whether a character
is alphanumeric, alphabetic, white space, upper case or a digit is asked of the running Python, because filters promise
the answers of `str.isalnum`, `str.isalpha`, `str.isspace` and their like.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from corpusmith.text.segmentation.word_break_table import EXTENDED_PICTOGRAPHIC_RANGES, WORD_BREAK_RANGES

CODE_POINTS = 0x110000

# Word_Break classes, numbered for the kernels.
OTHER, CR, LF, NEWLINE, EXTEND, ZWJ, FORMAT, REGIONAL_INDICATOR, KATAKANA, HEBREW_LETTER = range(10)
ALETTER, SINGLE_QUOTE, DOUBLE_QUOTE, MIDNUMLET, MIDLETTER, MIDNUM, NUMERIC, EXTENDNUMLET, WSEGSPACE = range(10, 19)

WORD_BREAK_CLASSES = {
    "Other": OTHER,
    "CR": CR,
    "LF": LF,
    "Newline": NEWLINE,
    "Extend": EXTEND,
    "ZWJ": ZWJ,
    "Format": FORMAT,
    "Regional_Indicator": REGIONAL_INDICATOR,
    "Katakana": KATAKANA,
    "Hebrew_Letter": HEBREW_LETTER,
    "ALetter": ALETTER,
    "Single_Quote": SINGLE_QUOTE,
    "Double_Quote": DOUBLE_QUOTE,
    "MidNumLet": MIDNUMLET,
    "MidLetter": MIDLETTER,
    "MidNum": MIDNUM,
    "Numeric": NUMERIC,
    "ExtendNumLet": EXTENDNUMLET,
    "WSegSpace": WSEGSPACE,
}

CLASS_MASK = 0x1F
PICTOGRAPHIC = 1 << 5  # Extended_Pictographic
ALNUM = 1 << 6  # str.isalnum
ALPHA = 1 << 7  # str.isalpha
SPACE = 1 << 8  # str.isspace
# What fastText's reader takes for a separator besides the line feed, which is a token of its own.
FASTTEXT_SEPARATOR = 1 << 9
UPPER = 1 << 10  # str.isupper
DIGIT = 1 << 11  # str.isdigit
DECIMAL = 1 << 12  # str.isdecimal, and `\d` of `re`
FASTTEXT_SEPARATORS = " \r\t\x0b\x0c\x00"

# The bits of the flag table, one byte for each code point, for kernels that look at 64 characters at a time.
SPACE_BIT, SEPARATOR_BIT, ALNUM_BIT, ALPHA_BIT, SYMBOL_BIT, FEED_BIT, LETTER_BIT = range(7)
# The bits of the line flag table, for the table of lines: UNDERSCORE counts as a word character there, as in `re`.
LINE_SPACE_BIT, LINE_FEED_BIT, WORD_BIT, UPPER_BIT, DIGIT_BIT, DECIMAL_BIT, CASE_TWIN_BIT = range(7)
# Characters beyond ASCII that `re.IGNORECASE` takes for ASCII letters.
CASE_TWINS = "\u0130\u0131\u017f\u212a"
# What Gopher's symbols are made of: #, the full stop of `...` and `. . .`, and U+2026.
SYMBOL_CHARACTERS = "#.\u2026"


def parse_ranges(ranges: str) -> list[tuple[int, int]]:
    """Return (first, last) of each range of a string such as `41-5A AA`."""
    pairs: list[tuple[int, int]] = []
    for item in ranges.split():
        first, _, last = item.partition("-")
        pairs.append((int(first, 16), int(last or first, 16)))
    return pairs


@cache
def character_table() -> NDArray[np.uint16]:
    """Return the table, U16 of 0x110000 entries (2.2 MB), built once per process and read-only."""
    table = np.zeros(CODE_POINTS, dtype=np.uint16)
    for name, ranges in WORD_BREAK_RANGES.items():
        for first, last in parse_ranges(ranges):
            table[first : last + 1] = WORD_BREAK_CLASSES[name]
    for first, last in parse_ranges(EXTENDED_PICTOGRAPHIC_RANGES):
        table[first : last + 1] |= np.uint16(PICTOGRAPHIC)
    characters = np.arange(CODE_POINTS, dtype=np.uint32).view("U1")
    for flag, holds in (
        (ALNUM, np.strings.isalnum(characters)),
        (ALPHA, np.strings.isalpha(characters)),
        (SPACE, np.strings.isspace(characters)),
        (UPPER, np.strings.isupper(characters)),
        (DIGIT, np.strings.isdigit(characters)),
        (DECIMAL, np.strings.isdecimal(characters)),
    ):
        table[holds] |= np.uint16(flag)
    for separator in FASTTEXT_SEPARATORS:
        table[ord(separator)] |= np.uint16(FASTTEXT_SEPARATOR)
    table.flags.writeable = False
    return table


@cache
def flag_table() -> NDArray[np.uint8]:
    """Return the flags, U8 of 0x110000 entries (1.1 MB), built once per process and read-only.

    SEPARATOR_BIT: what ends a token of fastText (the line feed too); LETTER_BIT: Word_Break class ALetter.
    """
    table = character_table()
    flags = np.zeros(CODE_POINTS, dtype=np.uint8)
    for bit, holds in (
        (SPACE_BIT, table & SPACE),
        (SEPARATOR_BIT, table & FASTTEXT_SEPARATOR),
        (ALNUM_BIT, table & ALNUM),
        (ALPHA_BIT, table & ALPHA),
        (LETTER_BIT, table & CLASS_MASK == ALETTER),
    ):
        flags[holds != 0] |= np.uint8(1 << bit)
    for symbol in SYMBOL_CHARACTERS:
        flags[ord(symbol)] |= np.uint8(1 << SYMBOL_BIT)
    flags[ord("\n")] |= np.uint8(1 << FEED_BIT | 1 << SEPARATOR_BIT)
    flags.flags.writeable = False
    return flags


@cache
def line_flag_table() -> NDArray[np.uint8]:
    """Return the flags that a table of lines is made of, U8 of 0x110000 entries, built once and read-only."""
    table = character_table()
    flags = np.zeros(CODE_POINTS, dtype=np.uint8)
    for bit, holds in (
        (LINE_SPACE_BIT, table & SPACE),
        (WORD_BIT, table & ALNUM),
        (UPPER_BIT, table & UPPER),
        (DIGIT_BIT, table & DIGIT),
        (DECIMAL_BIT, table & DECIMAL),
    ):
        flags[holds != 0] |= np.uint8(1 << bit)
    flags[ord("\n")] |= np.uint8(1 << LINE_FEED_BIT)
    flags[ord("_")] |= np.uint8(1 << WORD_BIT)
    for twin in CASE_TWINS:
        flags[ord(twin)] |= np.uint8(1 << CASE_TWIN_BIT)
    flags.flags.writeable = False
    return flags
