"""The columns of the arrays that the scanner fills, by name: `block[B.chars]` are the characters of a block."""

from __future__ import annotations

from typing import NamedTuple


class BlockColumns(NamedTuple):
    """A block: the element it stands in, its run of segments, what is counted in its text, what its elements say.

    `bits`: of the inline elements around it; `text_bits`: of the beginning of its text; `spaces`, `state`: what the
    scanner needs while the block is open.
    """

    node: int
    first: int
    last: int
    chars: int
    words: int
    link_chars: int
    links: int
    punctuation: int
    commas: int
    digits: int
    upper: int
    ends: int
    last_byte: int
    first_byte: int
    bold: int
    wide: int
    breaks: int
    bits: int
    hash: int
    text_bits: int
    spaces: int
    state: int


class NodeColumns(NamedTuple):
    """A block-level element: `own` and `all` are bits, its own and those of all elements around it too."""

    parent: int
    tag: int
    own: int
    all: int
    depth: int
    signature: int


class SegmentColumns(NamedTuple):
    """A piece of a block's text: where it stands in the page's bytes, and its kind."""

    start: int
    stop: int
    kind: int


class PageColumns(NamedTuple):
    """The page: how many rows the arrays have, and where the title stands in its bytes."""

    blocks: int
    segments: int
    nodes: int
    title_start: int
    title_stop: int


B = BlockColumns(*range(len(BlockColumns._fields)))
N = NodeColumns(*range(len(NodeColumns._fields)))
S = SegmentColumns(*range(len(SegmentColumns._fields)))
P = PageColumns(*range(len(PageColumns._fields)))

# The kinds of segments.
TEXT, LINE_BREAK, MATH, MATH_DISPLAY = range(4)
