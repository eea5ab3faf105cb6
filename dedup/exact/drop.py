"""Phase 3 of exact dedup: a shard written again without the units that lost."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from corpusmith.io.pages.shards import Page, Record, dump_page, read_records
from corpusmith.io.spill import read_spill_cell
from corpusmith.run.ledger import READ_STEP
from corpusmith.steps.rewrite import Rewrite, RewriteTask, open_rewrite, write_record
from corpusmith.text.segmentation.view import count_content_tokens
from dedup.exact.config import ExactConfig
from dedup.exact.units import UnitReader
from dedup.groups.examples import ExampleGroup, ExampleMembers
from dedup.groups.groups import I64Array
from dedup.groups.layout import GroupsLayout, shard_names
from dedup.groups.members import Members


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactDropTask:
    """A shard to be written without the units that lost; `examples`: those groups of it that the report shows."""

    config: ExactConfig
    layout: GroupsLayout
    examples: tuple[ExampleGroup, ...]
    rewrite: RewriteTask


def units_by_page(layout: GroupsLayout, shard: int) -> I64Array:
    """How many units each page of a shard had when they were compared (int64, up to its last page with any)."""
    best = [read_spill_cell(layout.units_url(shard), cell).select(["page"]) for cell in range(layout.cells)]
    own_losers = read_spill_cell(layout.own_losers_url(shard), 0).select(["page"])
    return np.bincount(pa.Table.from_batches([*best, own_losers]).column("page").to_numpy())


class _ExactDropper:
    """Decides about the records of one shard."""

    def __init__(self, task: ExactDropTask, rewrite: Rewrite) -> None:
        layout, shard = task.layout, task.rewrite.number
        self._task = task
        self._rewrite = rewrite
        self._reader: UnitReader = task.config.unit_reader()
        self._units = units_by_page(layout, shard)
        self.members = Members(layout, shard)
        self.examples = ExampleMembers(layout, task.examples, self.members)
        self._strings_after = bool((self._units - self.members.lost_by_page(len(self._units)) <= 1).all())

    def process(self, record: Record) -> None:
        """Keep a record, or what is left of it, or remove it, or set it aside."""
        rewrite, step = self._rewrite, self._task.rewrite.step
        rewrite.counts.read += 1
        if record.page is None:
            rewrite.quarantine(READ_STEP, record, record.error or "unreadable")
        elif record.index >= len(self._units) or not self._units[record.index]:
            problem = self._reader.read(record.page)
            if isinstance(problem, str):
                rewrite.quarantine(step, record, problem)
            elif self.members.lost and self._reader.unit == "content":
                rewrite.remove(record.index, record.page, "", "the page has no unit")
            else:
                rewrite.keep(record, record.page)
        elif self.members.lost:
            self._drop(record, record.page)
        else:
            self._note_examples(record.index, record.page)
            rewrite.keep(record, record.page)

    def _note_examples(self, index: int, page: Page) -> None:
        self.examples.take(index, page, lambda: self._reader.texts(page))

    def _drop(self, record: Record, page: Page) -> None:
        members = self.members
        losses = [member for member in members.of_page(record.index) if not members.is_kept[member]]
        lost = {int(members.unit[member]) for member in losses}
        self._note_examples(record.index, page)
        is_gone = len(lost) == self._units[record.index]
        if losses and (is_gone or self._rewrite.wants_samples):
            names = shard_names(self._task.layout)
            reason = f"duplicate of {names[members.kept_shard[losses[0]]]}#{members.kept_page[losses[0]]}"
            unit = self._reader.texts(page)[min(lost)]
            if is_gone:
                self._rewrite.remove(record.index, page, unit, reason)
                return
            self._rewrite.sample(record.index, page, unit, reason)
        self._keep(record, page, lost)

    def _keep(self, record: Record, page: Page, lost: set[int]) -> None:
        """Keep a page without the units that it lost, in the shape that the shard's content has afterwards."""
        key = self._reader.keys[0]
        shaped: str | list[str] = page[key]
        if self._reader.unit != "content":
            shaped = self._reader.without(page, lost) if lost else page[key]
        elif len(self._reader.keys) == 1:
            left = [unit for number, unit in enumerate(self._reader.texts(page)) if number not in lost]
            shaped = left[0] if self._strings_after else left
        if shaped == page[key]:
            self._rewrite.keep(record, page)
            return
        before = count_content_tokens(page.get("text"))
        page[key] = shaped
        self._rewrite.keep(record, page, dump_page(page), before - count_content_tokens(page.get("text")))


def drop_from_shard(task: ExactDropTask) -> None:
    """Write a shard without the units that lost, its members of groups, then its record.

    A shard that loses nothing keeps its lines as they are. In any other, a page left without unit is removed, also
    one that never had any (an empty list), and the content of all pages becomes strings where each has one unit
    left, lists otherwise. Where paragraphs or lines are compared, the content stays a string, and a page that has none
    is kept.
    """
    started = time.perf_counter()
    with open_rewrite(task.rewrite) as rewrite:
        dropper = _ExactDropper(task, rewrite)
        for record in read_records(task.rewrite.shard.url):
            dropper.process(record)
    dropper.members.write(task.layout)
    details = rewrite.details(
        func="exact_dedup",
        arguments=task.config.deciding(),
        started=started,
        units_removed=dropper.members.lost,
    )
    write_record(rewrite, {**details, "duplicates": rewrite.duplicates(groups=dropper.examples.rows)})
