"""Phase 1 of MinHash dedup: the signatures of a shard's pages, spilled as band keys and sketches."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpusmith.io import storage
from corpusmith.io.pages.shards import Page, ShardRef, read_records
from corpusmith.io.spill import open_spill
from corpusmith.text.kernels import U8Array, U64Array
from dedup.minhash.config import MinhashConfig
from dedup.minhash.layout import MinhashLayout
from dedup.minhash.signatures import SKETCH_PLACES, band_keys, sketch

ROWS_HELD = 1_000_000

BANDS_SCHEMA = pa.schema([("key", pa.uint64()), ("page", pa.uint32())])


@dataclass(frozen=True, kw_only=True, slots=True)
class SignTask:
    """A shard whose pages are to be signed; `number` is its place among the shards."""

    layout: MinhashLayout
    config: MinhashConfig
    shard: ShardRef
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PageReader:
    """Finds the text of pages, and the values by which the page to keep is chosen."""

    config: MinhashConfig

    def text(self, page: Page) -> str | None:
        """The text of a page: a string, or strings joined by line feeds; None where it has none."""
        content = page.get(self.config.content_key)
        if isinstance(content, str):
            return content
        if isinstance(content, list) and all(isinstance(part, str) for part in content):
            return "\n".join(content)
        return None

    def problem(self, page: Page) -> str | None:
        """Why a page can't be compared, or None."""
        key = self.config.content_key
        if key not in page:
            return f"the page has no key {key!r}"
        if self.text(page) is None:
            return f"{key!r} must hold a string or a list of strings, holds {type(page[key]).__name__}"
        selection = self.config.selection.read(page)
        return selection if isinstance(selection, str) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A page's band keys (U64, bands), its sketch (U8) and the order key of its selection value."""

    keys: U64Array
    sketch: U8Array
    selection: bytes


def sign_text(text: str, config: MinhashConfig) -> tuple[U64Array, U8Array] | None:
    """The band keys and the sketch of a text; None where it has no shingle."""
    shingles = config.shingler.hashes(text)
    if len(shingles) == 0:
        return None
    signature = config.signer.sign(shingles)
    return band_keys(signature, config.bands_and_rows[0]), sketch(signature)


def warm_kernels() -> None:
    """Sign a text once, so that no page pays for loading the kernels; the runner does so per worker."""
    sign_text("Warm the kernels: 3.14 words, can't they?", MinhashConfig())


def _signed_pages(task: SignTask) -> Iterator[tuple[int, Signed]]:
    """The pages of a shard that can be compared and have a shingle, by index."""
    reader, selection = PageReader(config=task.config), task.config.selection
    for record in read_records(task.shard.url):
        text = None if record.page is None else reader.text(record.page)
        value = "" if text is None or record.page is None else selection.read(record.page)
        if text is None or isinstance(value, str):
            continue
        signed = sign_text(text, task.config)
        if signed is not None:
            yield record.index, Signed(keys=signed[0], sketch=signed[1], selection=value)


class _Held:
    """Rows that wait to be spilled."""

    def __init__(self, bands: int) -> None:
        self.pages = array("I")
        self.keys: list[U64Array] = []
        self._bands = bands

    def add(self, page: int, keys: U64Array) -> None:
        self.pages.append(page)
        self.keys.append(keys)

    @property
    def rows(self) -> int:
        return len(self.keys) * self._bands

    def take(self) -> pa.RecordBatch:
        keys = np.concatenate(self.keys)
        pages = np.repeat(np.array(self.pages, dtype=np.uint32), self._bands)
        self.pages, self.keys = array("I"), []
        return pa.record_batch({"key": keys, "page": pages}, schema=BANDS_SCHEMA)


def sign_shard(task: SignTask) -> None:
    """Spill the band keys of a shard's pages by cell, and the pages with their sketches."""
    layout, bands = task.layout, task.config.bands_and_rows[0]
    held = _Held(bands)
    pages, selections, sketches = array("I"), list[bytes](), bytearray()
    with open_spill(layout.bands_url(task.number), BANDS_SCHEMA, layout.band_cells) as add:

        def spill() -> None:
            batch = held.take()
            keys = batch.column("key").to_numpy()
            cells = ((keys >> np.uint64(32)) * np.uint64(layout.band_cells)) >> np.uint64(32)
            add(batch, pa.array(cells.astype(np.int64)))

        for index, signed in _signed_pages(task):
            held.add(index, signed.keys)
            pages.append(index)
            sketches += signed.sketch.tobytes()
            if task.config.selection_key is not None:
                selections.append(signed.selection)
            if held.rows >= ROWS_HELD:
                spill()
        if held.rows:
            spill()
    _write_pages(task, pages, bytes(sketches), selections)


def _write_pages(task: SignTask, pages: array[int], sketches: bytes, selections: list[bytes]) -> None:
    places = min(task.config.signer.hashes, SKETCH_PLACES)
    columns: dict[str, Any] = {
        "page": np.array(pages, dtype=np.uint32),
        "sketch": pa.Array.from_buffers(pa.binary(places), len(pages), [None, pa.py_buffer(sketches)]),
    }
    if task.config.selection_key is not None:
        columns["selection"] = pa.array(selections, pa.large_binary())
    batch = pa.record_batch(columns)
    with (
        storage.atomic_write(task.layout.pages_url(task.number)) as file,
        pa.ipc.new_file(file, batch.schema) as writer,
    ):
        writer.write_batch(batch)


def read_pages(layout: MinhashLayout, shard: int) -> pa.RecordBatch:
    """The signed pages of a shard in their order: page, sketch, and selection where there is a selection key."""
    with storage.open_read(layout.pages_url(shard)) as file, pa.ipc.open_file(file) as reader:
        return reader.get_batch(0)


def sketches_of(batch: pa.RecordBatch) -> U8Array:
    """The sketches of a batch as an array of shape (pages, places)."""
    column = batch.column("sketch")
    places = column.type.byte_width
    start = column.offset * places
    held = np.frombuffer(column.buffers()[1] or b"", dtype=np.uint8)
    return held[start : start + len(column) * places].reshape(len(column), places)
