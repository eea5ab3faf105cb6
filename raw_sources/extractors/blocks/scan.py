"""A page's blocks of text as arrays: the scanner with its tables, and room for what it finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raw_sources.extractors.blocks import tables
from raw_sources.extractors.blocks.columns import B, N, P, S
from raw_sources.extractors.blocks.kernels import scan
from raw_sources.extractors.blocks.tables import Array


@dataclass(frozen=True, slots=True)
class Blocks:
    """A page's bytes and what was found in them; the columns are those of `columns`.

    `blocks`: a row each (`B`); `segments`: a row each (`S`), a block has a run of them; `nodes`: a row each (`N`), the
    first is above all others; `title`: the bytes of the title element.
    """

    html: bytes
    blocks: Array
    segments: Array
    nodes: Array
    title: bytes


def scan_blocks(html: str) -> Blocks:
    """Find the blocks of a page."""
    content = html.encode("utf-8", "replace")
    source = np.frombuffer(content, np.uint8)
    room = 2 * content.count(b"<") + 4
    blocks = np.empty((room, len(B)), np.int64)
    segments = np.empty((room, len(S)), np.int64)
    nodes = np.empty((room, len(N)), np.int64)
    page = np.zeros(len(P), np.int64)
    scan(
        source,
        tables.letters(),
        *tables.name_codes(),
        tables.tag_kinds(),
        tables.tag_bits(),
        *tables.attribute_automaton(),
        *tables.text_automaton(),
        blocks,
        segments,
        nodes,
        page,
    )
    title = content[page[P.title_start] : page[P.title_stop]]
    return Blocks(content, blocks[: page[P.blocks]], segments[: page[P.segments]], nodes[: page[P.nodes]], title)
