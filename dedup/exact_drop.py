"""Phase 3 of exact dedup: a shard written again without the units that lost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmith.io.shards import Page, Record, ShardRef, ShardWriter, dump_page, open_shard_writer, read_records
from corpusmith.io.spill import read_spill_cell
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.ledger import Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from corpusmith.text.segment import count_content_tokens
from dedup.content_units import UnitReader, content_list
from dedup.exact_config import ExactConfig, Layout, shard_names

VERSION = 1
SAMPLES_PER_SHARD = 3
SAMPLE_CHARACTERS = 300

U32Array = npt.NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True, slots=True)
class DropTask:
    """A shard to be written without the units that lost."""

    layout: Layout
    config: ExactConfig
    shard: ShardRef
    number: int
    place: StagePlace
    identity: str
    step: str


class Losses:
    """What a shard loses, by page: from its own units (phase 1) and the losers of all cells (phase 2)."""

    def __init__(self, layout: Layout, shard: int) -> None:
        own, lost = [], []
        for cell in range(layout.cells):
            own.append(read_spill_cell(layout.units_url(shard), cell).select(["page"]))
            lost.append(read_spill_cell(layout.lost_url(cell), shard))
        pages = pa.Table.from_batches(own).column("page").to_numpy()
        table = pa.Table.from_batches(lost)
        lost_pages = table.column("page").to_numpy()
        order = np.lexsort((table.column("unit").to_numpy(), lost_pages))
        self._units = np.bincount(pages)
        lost_of_page = np.bincount(lost_pages, minlength=len(self._units))
        self._ends = np.cumsum(lost_of_page)
        self._starts = self._ends - lost_of_page
        self._lost_units = table.column("unit").to_numpy()[order]
        self._kept_shards = table.column("kept_shard").to_numpy()[order]
        self._kept_pages = table.column("kept_page").to_numpy()[order]
        left = self._units - lost_of_page
        self.units = len(order)
        self.strings_after = bool((left <= 1).all())

    def has_units(self, page: int) -> bool:
        """Whether the page had units when they were compared."""
        return page < len(self._units) and bool(self._units[page])

    def of_page(self, page: int) -> U32Array:
        """The numbers of the units that the page loses, ascending."""
        units: U32Array = self._lost_units[self._starts[page] : self._ends[page]]
        return units

    def kept_instead(self, page: int) -> tuple[int, int]:
        """(shard number, page) of the copy that is kept instead of the first unit that this page loses."""
        start = self._starts[page]
        return int(self._kept_shards[start]), int(self._kept_pages[start])


@dataclass(kw_only=True, slots=True)
class _Dropper:
    """Takes the records of one shard and keeps its books."""

    task: DropTask
    losses: Losses
    reader: UnitReader
    writer: ShardWriter
    aside: SetAside
    counts: Counts = field(default_factory=Counts)
    samples: list[dict[str, Any]] = field(default_factory=list)
    tokens_kept: int = 0
    tokens_removed: int = 0

    def process(self, record: Record) -> None:
        """Keep a record, or what is left of it, or remove it, or set it aside."""
        self.counts.read += 1
        if record.page is None:
            self._set_aside(READ_STEP, record, record.error or "unreadable")
        elif not self.losses.has_units(record.index):
            problem = self.reader.read(record.page)
            if isinstance(problem, str):
                self._set_aside(self.task.step, record, problem)
            elif self.losses.units:
                self._remove(record.index, record.page, "", "the page has no unit")
            else:
                self._keep(record)
        elif self.losses.units:
            self._drop(record, record.page)
        else:
            self._keep(record)

    def _drop(self, record: Record, page: Page) -> None:
        key = self.task.config.content_key
        content = page[key]
        units = content_list(content) or []
        lost = set(self.losses.of_page(record.index).tolist())
        left = [unit for number, unit in enumerate(units) if number not in lost]
        if lost and (not left or len(self.samples) < SAMPLES_PER_SHARD):
            shard, original = self.losses.kept_instead(record.index)
            shown = f"duplicate of {shard_names(self.task.layout)[shard]}#{original}"
            if not left:
                self._remove(record.index, page, units[min(lost)], shown)
                return
            self._sample(record.index, page, units[min(lost)], shown)
        shaped: str | list[str] = left[0] if self.losses.strings_after else left
        if shaped == content:
            self._keep(record)
            return
        page[key] = shaped
        self._write(record, dump_page(page), page)

    def _keep(self, record: Record) -> None:
        self._write(record, record.raw, record.page or {})

    def _write(self, record: Record, line: bytes, page: Page) -> None:
        try:
            self.writer.write_line(line)
        except ValueError as error:
            self._set_aside(self.task.step, record, f"cannot be written: {error}")
            return
        self._count_kept(page)

    def _count_kept(self, page: Page) -> None:
        self.counts.kept += 1
        self.tokens_kept += count_content_tokens(page.get("text"))

    def _remove(self, index: int, page: Page, unit: str, reason: str) -> None:
        self.counts.remove(self.task.step)
        self.tokens_removed += count_content_tokens(page.get("text"))
        self._sample(index, page, unit, reason)

    def _set_aside(self, step: str, record: Record, reason: str) -> None:
        self.counts.set_aside(step)
        self.aside.add(step, record, reason)

    def _sample(self, index: int, page: Page, unit: str, reason: str) -> None:
        if len(self.samples) < SAMPLES_PER_SHARD:
            url, text = page.get("url"), page.get("text")
            shown = text if isinstance(text, str) else unit
            self.samples.append(
                {
                    "index": index,
                    "url": url if isinstance(url, str) else None,
                    "text": shown[:SAMPLE_CHARACTERS],
                    "reason": reason,
                }
            )

    def details(self, seconds: float) -> dict[str, Any]:
        """What the report shows of this shard."""
        step, unreadable = self.task.step, self.counts.errored.get(READ_STEP, 0)
        row = {
            "step": step,
            "func": "exact_dedup",
            "arguments": self.task.config.deciding(),
            "pages_in": self.counts.read - unreadable,
            "pages_out": self.counts.kept,
            "removed": self.counts.removed.get(step, 0),
            "errors": self.counts.errored.get(step, 0),
            "units_removed": self.losses.units,
            "tokens_removed": self.tokens_removed,
            "seconds": seconds,
        }
        samples = {step: self.samples} if self.samples else {}
        return {
            "steps": [row],
            "samples": samples,
            "errors": self.aside.examples,
            "tokens_out": self.tokens_kept,
            "bytes_in": self.task.shard.bytes,
            "seconds": seconds,
        }


def drop_from_shard(task: DropTask) -> None:
    """Write a shard without the units that lost, then its record.

    A shard that loses nothing keeps its lines as they are. In any other, a page left without unit is removed, also
    one that never had any (an empty list), and the content of all pages becomes strings where each has one unit
    left, lists otherwise.
    """
    started = time.perf_counter()
    losses = Losses(task.layout, task.number)
    name = task.shard.name
    with SetAside(task.place, name, [task.step]) as aside, open_shard_writer(task.place.output_url(name)) as writer:
        dropper = _Dropper(task=task, losses=losses, reader=task.config.unit_reader(), writer=writer, aside=aside)
        for record in read_records(task.shard.url):
            dropper.process(record)
    output = OutputFile(name=name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    details = dropper.details(time.perf_counter() - started)
    task.place.write_record(
        ShardRecord(unit=name, identity=task.identity, outputs=[output], counts=dropper.counts, details=details)
    )
