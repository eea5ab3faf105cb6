"""Shingles: the n-grams of a text by which near-duplicate detection compares it, as 64-bit hashes.

Texts are compared without what copying changes most: letters are lower-cased one for one, a curly apostrophe counts
as a straight one, Unicode is brought to NFC. A word is a UAX #29 word that begins with a letter or digit (so an
ideograph is one); a character shingle runs over the text with each run of white space as one space. A text of fewer
than n words or characters has one shingle, all of it; a text without any has none.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from corpusmith.text.hashing import (
    PAIR_FACTOR,
    SHIFT_29,
    SHIFT_32,
    SHIFT_35,
    WORD_FACTOR,
    WORD_SEED,
    finalize,
    ngram_hashes,
)
from corpusmith.text.kernels import I32_IN, U16_IN, U32_IN, I32Array, U16Array, U32Array, U64Array, kernel
from corpusmith.text.segmentation.character_table import CODE_POINTS, SPACE, character_table
from corpusmith.text.segmentation.view import TextView

ShingleKind = Literal["word", "character"]

CURLY_APOSTROPHE, STRAIGHT_APOSTROPHE = 0x2019, 0x27
BLANK = np.uint32(0x20)


@cache
def fold_table() -> U32Array:
    """What stands for each code point when texts are compared: U32 of 0x110000 entries (4.5 MB), built once."""
    characters = np.arange(CODE_POINTS, dtype=np.uint32)
    table = np.strings.lower(characters.view("U1")).view(np.uint32).copy()
    table[CURLY_APOSTROPHE] = STRAIGHT_APOSTROPHE
    table.flags.writeable = False
    return table


@kernel(U32_IN, U32_IN, I32_IN, I32_IN)
def folded_word_hashes(points: U32Array, fold: U32Array, starts: I32Array, ends: I32Array) -> U64Array:
    """Return the hash of each span (U64) as `hashing.word_hashes` would of the folded text."""
    hashes = np.empty(starts.shape[0], dtype=np.uint64)
    for word in range(starts.shape[0]):
        end = ends[word]
        i = starts[word]
        value = WORD_SEED ^ np.uint64(end - i)
        while i < end:
            pair = np.uint64(fold[points[i]])
            if i + 1 < end:
                pair |= np.uint64(fold[points[i + 1]]) << SHIFT_32
            value ^= pair * WORD_FACTOR
            value = (value << SHIFT_29) | (value >> SHIFT_35)
            value *= PAIR_FACTOR
            i += 2
        hashes[word] = finalize(value)
    return hashes


@kernel(U32_IN, U32_IN, U16_IN)
def folded_character_hashes(points: U32Array, fold: U32Array, table: U16Array) -> U64Array:
    """Return a hash of each folded character (U64); a run of white space is one blank, at both ends nothing."""
    hashes = np.empty(points.shape[0], dtype=np.uint64)
    count = 0
    blank_before = False
    for i in range(points.shape[0]):
        if table[points[i]] & SPACE:
            blank_before = count > 0
            continue
        if blank_before:
            hashes[count] = finalize(WORD_SEED ^ np.uint64(BLANK))
            count += 1
            blank_before = False
        hashes[count] = finalize(WORD_SEED ^ np.uint64(fold[points[i]]))
        count += 1
    return hashes[:count].copy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shingler:
    """Cuts texts into shingles of `size` words or characters."""

    size: int = 5
    kind: ShingleKind = "word"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"shingles must have at least 1 {self.kind}, got {self.size}")

    def hashes(self, text: str) -> U64Array:
        """The hashes of a text's shingles in their order, repeats included (U64); empty for a text without words."""
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            text = unicodedata.normalize("NFC", text)
        seen = TextView(text)
        if self.kind == "word":
            units = folded_word_hashes(seen.points, fold_table(), *seen.words)
        else:
            units = folded_character_hashes(seen.points, fold_table(), character_table())
        if len(units) == 0:
            return units
        return ngram_hashes(units, min(self.size, len(units)))
