"""The features of a block by name, and the column of each: sections one after the other, a class of columns for each.

A section that comes once names its columns in the whole row (`OWN.link_density`); one that is repeated, for each
neighbour, ancestor or kind, names them from the beginning of its repeat (`NEIGHBOURS_AT + 2 * len(NEIGHBOUR)`).
"""

from __future__ import annotations

from typing import NamedTuple

from raw_sources.extractors.blocks.tables import ATTRIBUTE_WORDS, BIT_NAMES, BITS, TEXT_WORDS

NEIGHBOUR_DISTANCES = (-2, -1, 1, 2)
ANCESTORS = 5
KINDS = ("narrow", "wide")


class Own(NamedTuple):
    """What the block itself is."""

    log_chars: int
    log_words: int
    link_density: int
    links: int
    chars_per_word: int
    commas_per_word: int
    ends_per_word: int
    ends: int
    last_kind: int
    digits_per_char: int
    capitals_per_word: int
    bold_share: int
    wide_share: int
    breaks: int
    punctuation_per_word: int
    begins_with_capital: int
    begins_with_digit: int
    tag: int
    depth: int
    repeats: int


class Neighbour(NamedTuple):
    """What a block before or behind it is."""

    log_chars: int
    link_density: int
    last_kind: int
    tag: int
    is_sibling: int


class Place(NamedTuple):
    """Where in the page the block stands."""

    share_of_blocks: int
    share_of_chars: int
    blocks_before: int
    blocks_left: int
    blocks_after_headline: int
    is_heading: int
    chars_left: int
    has_headline: int


class Candidate(NamedTuple):
    """Where the block stands to the page's best element."""

    is_inside: int
    levels_up: int
    levels_down: int
    best_score_above: int
    own_score: int
    log_chars: int
    link_density: int


class Ancestor(NamedTuple):
    """What an element around the block holds."""

    log_chars: int
    link_density: int
    log_blocks: int
    chars_per_block: int
    share_of_chars: int
    ends_per_word: int


class Kind(NamedTuple):
    """How the blocks of the block's kind do together."""

    log_blocks: int
    log_chars: int
    chars_per_block: int
    link_density: int
    share_of_chars: int
    ends_per_block: int


class WholePage(NamedTuple):
    """What the page is."""

    log_blocks: int
    log_chars: int
    link_density: int
    share_of_long_blocks: int


def _size(section: type[NamedTuple]) -> int:
    return len(section._fields)


OWN = Own(*range(_size(Own)))
TEXT_AT = _size(Own)
NEIGHBOURS_AT = TEXT_AT + len(TEXT_WORDS)
NEIGHBOUR = Neighbour(*range(_size(Neighbour)))
_PLACE_AT = NEIGHBOURS_AT + len(NEIGHBOUR_DISTANCES) * _size(Neighbour)
PLACE = Place(*range(_PLACE_AT, _PLACE_AT + _size(Place)))
_CANDIDATE_AT = _PLACE_AT + _size(Place)
CANDIDATE = Candidate(*range(_CANDIDATE_AT, _CANDIDATE_AT + _size(Candidate)))
BELOW_AT = _CANDIDATE_AT + _size(Candidate)
ANCESTORS_AT = BELOW_AT + BITS
ANCESTOR = Ancestor(*range(_size(Ancestor)))
KINDS_AT = ANCESTORS_AT + ANCESTORS * _size(Ancestor)
KIND = Kind(*range(_size(Kind)))
_PAGE_AT = KINDS_AT + len(KINDS) * _size(Kind)
PAGE = WholePage(*range(_PAGE_AT, _PAGE_AT + _size(WholePage)))
ELEMENT_AT = _PAGE_AT + _size(WholePage)
PARENTS_AT = ELEMENT_AT + len(ATTRIBUTE_WORDS)
AROUND_AT = PARENTS_AT + len(ATTRIBUTE_WORDS)
FEATURES = AROUND_AT + BITS

#: The name of each column. `below`: bits of the elements between the block and the best element's ancestors;
#: `element`, `parents`, `around`: bits of the block's element, of the two above it, of all around it.
FEATURE_NAMES = (
    *(f"own.{name}" for name in Own._fields),
    *(f"text.{name}" for name in TEXT_WORDS),
    *(f"neighbour{distance:+d}.{name}" for distance in NEIGHBOUR_DISTANCES for name in Neighbour._fields),
    *(f"place.{name}" for name in Place._fields),
    *(f"candidate.{name}" for name in Candidate._fields),
    *(f"below.{name}" for name in BIT_NAMES),
    *(f"ancestor{level}.{name}" for level in range(ANCESTORS) for name in Ancestor._fields),
    *(f"{kind}_kind.{name}" for kind in KINDS for name in Kind._fields),
    *(f"page.{name}" for name in WholePage._fields),
    *(f"element.{name}" for name in ATTRIBUTE_WORDS),
    *(f"parents.{name}" for name in ATTRIBUTE_WORDS),
    *(f"around.{name}" for name in BIT_NAMES),
)
assert len(FEATURE_NAMES) == FEATURES
