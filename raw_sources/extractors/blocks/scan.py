"""A page's blocks of text as arrays: the scanner with its tables, and room for what it finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raw_sources.extractors.blocks import tables
from raw_sources.extractors.blocks.kernels import (
    BLOCK_FIELDS,
    NODE_FIELDS,
    P_BLOCKS,
    P_NODES,
    P_SEGMENTS,
    P_TITLE_START,
    P_TITLE_STOP,
    SEGMENT_FIELDS,
    scan,
)
from raw_sources.extractors.blocks.tables import Array


@dataclass(frozen=True, slots=True)
class Blocks:
    """A page's bytes and what was found in them; the columns are those of `block_kernels`.

    `blocks`: (blocks, BLOCK_FIELDS); `segments`: (segments, SEGMENT_FIELDS), each block has a run of them; `nodes`:
    (nodes, NODE_FIELDS), the first is above all others; `title`: the bytes of the title element.
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
    blocks = np.empty((room, BLOCK_FIELDS), np.int64)
    segments = np.empty((room, SEGMENT_FIELDS), np.int64)
    nodes = np.empty((room, NODE_FIELDS), np.int64)
    page = np.zeros(5, np.int64)
    scan(
        source, tables.letters(), *tables.name_codes(), tables.tag_kinds(), tables.tag_bits(),
        *tables.attribute_automaton(), *tables.text_automaton(), blocks, segments, nodes, page,
    )  # fmt: skip
    title = content[page[P_TITLE_START] : page[P_TITLE_STOP]]
    return Blocks(content, blocks[: page[P_BLOCKS]], segments[: page[P_SEGMENTS]], nodes[: page[P_NODES]], title)
