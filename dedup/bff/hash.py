"""Phase 1 of the Bloom-filter dedup: a shard's n-gram hashes, block by block, grouped by part of the filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corpusmith.io.pages.shards import Page, Record, ShardRef, read_records
from corpusmith.text.kernels import I64Array, U8Array
from dedup.bff.blocks import ArraysWriter, NgramBlock, NgramBlockBuilder, open_arrays_writer, resolve_contained
from dedup.bff.bloom.kernels import blocks_of
from dedup.bff.config import BffConfig
from dedup.bff.layout import BffLayout
from dedup.bff.units import unit_sizes


def text_problem(page: Page, key: str) -> str | None:
    """Why a page has no text to compare, or None."""
    if key not in page:
        return f"the page has no key {key!r}"
    if not isinstance(page[key], str):
        return f"{key!r} must hold a string, holds {type(page[key]).__name__}"
    return None


def text_of(record: Record, key: str) -> str | None:
    """The text of a record that is compared; None for what is set aside instead."""
    if record.page is None or text_problem(record.page, key) is not None:
        return None
    text: str = record.page[key]
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class BffHashTask:
    """A shard whose n-grams are to be spilled; `number` is its place among the shards."""

    layout: BffLayout
    shard: ShardRef
    number: int

    def run(self) -> None:
        """Write ngrams and pages of the shard; where the filter is split, what would be inserted into an empty one."""
        layout, config = self.layout, self.layout.config
        builder = NgramBlockBuilder(config)
        is_split = layout.parts > 1
        with (
            open_arrays_writer(layout.inserts_url(self.number), {"inserts": "u1"}) as inserts,  # appears last
            open_arrays_writer(layout.ngrams_url(self.number), {"hashes": "u8", "units": "i8"}) as ngrams,
            open_arrays_writer(layout.pages_url(self.number), {"tokens": "i4", "pages": "i4", "parts": "u2"}) as pages,
        ):

            def write() -> None:
                block = builder.take()
                parts = parts_of(block, layout)
                pages.write(tokens=block.tokens, pages=block.pages, parts=parts if is_split else parts[:0])
                for number, chosen in enumerate(split(parts, layout.parts)):
                    units = _units_in(block, config, parts, number) if is_split else np.zeros(0, dtype=np.int64)
                    ngrams.write(hashes=block.hashes[chosen], units=units)
                if is_split:
                    first = resolve_contained(block, config, np.zeros(len(block.hashes), dtype=np.uint8))
                    write_inserts(inserts, first.inserts, parts, layout)

            for record in read_records(self.shard.url):
                text = text_of(record, config.content_key)
                if text is not None:
                    builder.add(text)
                    if builder.is_full:
                        write()
            if len(builder):
                write()


def parts_of(block: NgramBlock, layout: BffLayout) -> np.ndarray:
    """The part of the filter that each n-gram belongs to (U16)."""
    if layout.parts == 1:
        return np.zeros(len(block.hashes), dtype=np.uint16)
    bounds = np.array([layout.first_block(part) for part in range(1, layout.parts)], dtype=np.int64)
    blocks = blocks_of(block.hashes, np.uint64(layout.shape.blocks))
    return np.searchsorted(bounds, blocks, side="right").astype(np.uint16)


def split(parts: np.ndarray, count: int) -> list[I64Array | slice]:
    """For each part the indices of its n-grams, in order."""
    if count == 1:
        return [slice(None)]
    order = np.argsort(parts, kind="stable")
    ends = np.cumsum(np.bincount(parts, minlength=count))
    return [order[begin:end] for begin, end in zip(np.append(0, ends[:-1]), ends, strict=True)]


def write_inserts(writer: ArraysWriter, inserts: U8Array, parts: np.ndarray, layout: BffLayout) -> None:
    """Write the marks of a block as bits, a batch per part."""
    for chosen in split(parts, layout.parts):
        writer.write(inserts=np.packbits(inserts[chosen]))


def _units_in(block: NgramBlock, config: BffConfig, parts: np.ndarray, part: int) -> I64Array:
    """How many n-grams of each unit lie in a part."""
    sizes = unit_sizes(block.tokens, block.pages, config.rules)
    before = np.concatenate(([0], np.cumsum(parts == part)))
    ends = np.cumsum(sizes)
    counts: I64Array = before[ends] - before[ends - sizes]
    return counts
