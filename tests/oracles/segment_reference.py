"""The segmentation kernels once more in plain Python: slow, obvious, and what the kernels are tested against.

They take and return Python lists of offsets. Where numba does not run (a newer Python or numpy), they say what the
results must be.
"""

from __future__ import annotations

import itertools
import re

from corpusmith.text.segmentation.character_table import CLASS_MASK, PICTOGRAPHIC, WORD_BREAK_CLASSES, character_table

Spans = list[tuple[int, int]]

WB = WORD_BREAK_CLASSES
NEWLINES = {WB["CR"], WB["LF"], WB["Newline"]}
SKIPPED = {WB["Extend"], WB["Format"], WB["ZWJ"]}
LETTERS = {WB["ALetter"], WB["Hebrew_Letter"]}
MID_LETTERS = {WB["MidLetter"], WB["MidNumLet"], WB["Single_Quote"]}
MID_NUMBERS = {WB["MidNum"], WB["MidNumLet"], WB["Single_Quote"]}
WORD_PARTS = LETTERS | {WB["Numeric"], WB["Katakana"]}


def _early_rules(previous: int, current: int, pictographic: bool) -> bool | None:
    """WB3 to WB4, over direct neighbours: True to join, False to break, None when they say nothing."""
    if previous == WB["CR"] and current == WB["LF"]:
        return True
    if previous in NEWLINES or current in NEWLINES:
        return False
    if previous == WB["ZWJ"] and pictographic:
        return True
    if previous == current == WB["WSegSpace"] or current in SKIPPED:
        return True
    return None


def _late_rules(before: int | None, left: int | None, current: int, after: int | None, flags: int) -> bool:
    """WB5 to WB16, over neighbours that WB4 does not skip; `flags` counts the regional indicators up to `left`."""
    hebrew, numeric, connector = WB["Hebrew_Letter"], WB["Numeric"], WB["ExtendNumLet"]
    return (
        (left in LETTERS and current in LETTERS)
        or (left in LETTERS and current in MID_LETTERS and after in LETTERS)
        or (before in LETTERS and left in MID_LETTERS and current in LETTERS)
        or (left == hebrew and current == WB["Single_Quote"])
        or (left == hebrew and current == WB["Double_Quote"] and after == hebrew)
        or (before == hebrew and left == WB["Double_Quote"] and current == hebrew)
        or (left == numeric and current == numeric)
        or (left in LETTERS and current == numeric)
        or (left == numeric and current in LETTERS)
        or (before == numeric and left in MID_NUMBERS and current == numeric)
        or (left == numeric and current in MID_NUMBERS and after == numeric)
        or (left == current == WB["Katakana"])
        or (left in WORD_PARTS | {connector} and current == connector)
        or (left == connector and current in WORD_PARTS)
        or (left == current == WB["Regional_Indicator"] and flags % 2 == 1)
    )


def word_bounds(text: str) -> list[int]:
    """Return every UAX #29 word boundary of the text, rule by rule; nothing for an empty text."""
    if not text:
        return []
    table = character_table()
    entries = [int(table[ord(character)]) for character in text]
    classes = [entry & CLASS_MASK for entry in entries]
    kept = [i for i, value in enumerate(classes) if value not in SKIPPED]
    rank = {i: r for r, i in enumerate(kept)}

    def neighbour(position: int) -> int | None:
        return classes[kept[position]] if 0 <= position < len(kept) else None

    bounds = [0]
    for i in range(1, len(text)):
        decision = _early_rules(classes[i - 1], classes[i], bool(entries[i] & PICTOGRAPHIC))
        if decision is None:
            r = rank[i]
            flags = 0
            while neighbour(r - 1 - flags) == WB["Regional_Indicator"]:
                flags += 1
            decision = _late_rules(neighbour(r - 2), neighbour(r - 1), classes[i], neighbour(r + 1), flags)
        if not decision:
            bounds.append(i)
    return [*bounds, len(text)]


def alnum_words(text: str) -> Spans:
    """Return the spans of the words between boundaries whose first character is alphanumeric."""
    bounds = word_bounds(text)
    return [(a, b) for a, b in itertools.pairwise(bounds) if text[a].isalnum()]


def whitespace_words(text: str) -> Spans:
    """Return the spans of `text.split()`."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def fasttext_tokens(text: str) -> Spans:
    """Return the spans of fastText's tokens; a line feed is a token of its own."""
    return [match.span() for match in re.finditer(r"[^ \n\r\t\x0b\x0c\x00]+|\n", text)]


def stripped_pieces(text: str, feeds: int) -> Spans:
    """Return the pieces between separators of `feeds` line feeds, stripped, empty ones left out."""
    spans: Spans = []
    position = 0
    for piece in text.split("\n" * feeds):
        left = position + len(piece) - len(piece.lstrip())
        if piece.strip():
            spans.append((left, left + len(piece.strip())))
        position += len(piece) + feeds
    return spans
