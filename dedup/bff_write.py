"""Phase 3 of the Bloom-filter dedup: a shard written again without its duplicates, or with marks on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from corpusmith.errors import BalanceError
from corpusmith.io.shards import Page, Record, ShardRef, ShardWriter, dump_page, open_shard_writer, read_records
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.ledger import Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from corpusmith.text.segment import count_whitespace_words
from dedup import bff_config, bff_kernels
from dedup.bff_apply import Spans, Verdict, annotate, duplicate_spans, text_left
from dedup.bff_hash import text_of, text_problem
from dedup.bff_layout import Layout
from dedup.bff_pieces import ArraysReader

VERSION = 1
SAMPLES_PER_SHARD = 3
SAMPLE_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteTask:
    """A shard to be written as was decided."""

    layout: Layout
    shard: ShardRef
    number: int
    place: StagePlace
    identity: str
    step: str

    def run(self) -> None:
        """Write the shard, then its record."""
        started = time.perf_counter()
        name = self.shard.name
        with (
            SetAside(self.place, name, [self.step]) as aside,
            open_shard_writer(self.place.output_url(name)) as writer,
            ArraysReader(self.layout.decisions_url(self.number)) as decisions,
            ArraysReader(self.layout.pages_url(self.number)) as pages,
        ):
            taker = _Taker(task=self, writer=writer, aside=aside, verdicts=read_verdicts(decisions, pages))
            for record in read_records(self.shard.url):
                taker.process(record)
        taker.units.check(f"shard {name}")
        output = OutputFile(name=name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
        details = taker.details(time.perf_counter() - started)
        self.place.write_record(
            ShardRecord(unit=name, identity=self.identity, outputs=[output], counts=taker.counts, details=details)
        )


def read_verdicts(decisions: ArraysReader, pages: ArraysReader) -> Iterator[Verdict]:
    """What was decided about each page that has a text, in order."""
    for number in range(len(pages)):
        decided, paragraph, interval = decisions[number], 0, 0
        for page, paragraphs in enumerate(pages[number]["pages"].tolist()):
            width = 2 * int(decided["interval_counts"][page])
            yield Verdict(
                removed=decided["removed"][paragraph : paragraph + paragraphs],
                document=bool(decided["documents"][page]),
                contained=int(decided["counts"][page]),
                intervals=decided["intervals"][interval : interval + width],
            )
            paragraph += paragraphs
            interval += width


@dataclass(kw_only=True, slots=True)
class Units:
    """The books of paragraphs (texts, where whole texts are compared): all of them end up in one of the three.

    `removed`: inside pages that stay; `with_pages`: of pages that were removed.
    """

    read: int = 0
    kept: int = 0
    removed: int = 0
    with_pages: int = 0

    def check(self, where: str) -> None:
        """Raise BalanceError where a unit is lost or counted twice."""
        if self.read != self.kept + self.removed + self.with_pages:
            raise BalanceError(
                f"{where}: {self.read} units read != {self.kept} kept + {self.removed} removed + {self.with_pages} "
                "removed with their pages"
            )


@dataclass(kw_only=True, slots=True)
class _Taker:
    """Takes the records of one shard and keeps its books."""

    task: WriteTask
    writer: ShardWriter
    aside: SetAside
    verdicts: Iterator[Verdict]
    counts: Counts = field(default_factory=Counts)
    units: Units = field(default_factory=Units)
    samples: list[dict[str, Any]] = field(default_factory=list)
    contained: int = 0
    pages_changed: int = 0
    bytes_seen: int = 0
    bytes_removed: int = 0
    tokens_kept: int = 0
    tokens_removed: int = 0

    def process(self, record: Record) -> None:
        """Keep a record, or what is left of it, or remove it, or set it aside."""
        config = self.task.layout.config
        self.counts.read += 1
        text = text_of(record, config.content_key)
        if text is not None and record.page is not None:
            self._take(record, record.page, text, next(self.verdicts))
        elif record.page is None:
            self._set_aside(READ_STEP, record, record.error or "unreadable")
        else:
            problem = text_problem(record.page, config.content_key)
            self._set_aside(self.task.step, record, problem or "has no text")

    def _take(self, record: Record, page: Page, text: str, verdict: Verdict) -> None:
        config = self.task.layout.config
        spans = duplicate_spans(text, verdict, config)
        gone = _units_gone(text, spans, verdict)
        self.contained += verdict.contained
        self.bytes_seen += _size(text)
        if config.annotate:
            annotate(page, text, spans, verdict, config)
            self._write(record, dump_page(page), text, text, (len(verdict.removed), 0))
            return
        left = text_left(text, spans, verdict, config)
        if not left or left.isspace():
            reason = "blank" if left == text else f"{verdict.contained} n-grams known"
            self._count_units(len(verdict.removed), (0, 0))
            self._remove(record.index, page, text, text, reason)
            return
        if spans and len(self.samples) < SAMPLES_PER_SHARD:
            first, last = spans[0]
            self._sample(record.index, page, text[first:last], f"duplicate, in a page that stays: {len(spans)} spans")
        page[config.content_key] = left
        line = record.raw
        if config.mode == bff_kernels.OLD_BOTH:
            page[bff_config.CONTAINED_BEFORE] = verdict.contained
            line = dump_page(page)
        elif spans:
            line = dump_page(page)
        self._write(record, line, left, text, (len(verdict.removed) - gone, gone))

    def _write(self, record: Record, line: bytes, left: str, text: str, units: tuple[int, int]) -> None:
        try:
            self.writer.write_line(line)
        except ValueError as error:
            self._count_units(sum(units), (sum(units), 0))
            self._set_aside(self.task.step, record, f"cannot be written: {error}")
            return
        self._count_units(sum(units), units)
        self.counts.kept += 1
        tokens = count_whitespace_words(left)
        self.tokens_kept += tokens
        if left is not text:
            self.pages_changed += left != text
            self.tokens_removed += count_whitespace_words(text) - tokens
            self.bytes_removed += _size(text) - _size(left)

    def _count_units(self, read: int, left: tuple[int, int]) -> None:
        kept, removed = left
        self.units.read += read
        self.units.kept += kept
        self.units.removed += removed
        self.units.with_pages += read - kept - removed

    def _remove(self, index: int, page: Page, text: str, shown: str, reason: str) -> None:
        self.counts.remove(self.task.step)
        self.tokens_removed += count_whitespace_words(text)
        self.bytes_removed += _size(text)
        self._sample(index, page, shown, reason)

    def _set_aside(self, step: str, record: Record, reason: str) -> None:
        self.counts.set_aside(step)
        self.aside.add(step, record, reason)

    def _sample(self, index: int, page: Page, text: str, reason: str) -> None:
        if len(self.samples) < SAMPLES_PER_SHARD:
            url = page.get("url")
            shown = {"index": index, "url": url if isinstance(url, str) else None, "text": text[:SAMPLE_CHARACTERS]}
            self.samples.append({**shown, "reason": reason})

    def details(self, seconds: float) -> dict[str, Any]:
        """What the report shows of this shard."""
        step, unreadable = self.task.step, self.counts.errored.get(READ_STEP, 0)
        row = {
            "step": step,
            "func": "bff",
            "arguments": self.task.layout.config.deciding(),
            "pages_in": self.counts.read - unreadable,
            "pages_out": self.counts.kept,
            "removed": self.counts.removed.get(step, 0),
            "errors": self.counts.errored.get(step, 0),
            "units_in": self.units.read,
            "units_kept": self.units.kept,
            "units_removed": self.units.removed,
            "units_removed_with_pages": self.units.with_pages,
            "pages_changed": self.pages_changed,
            "ngrams_contained": self.contained,
            "bytes_seen": self.bytes_seen,
            "bytes_removed": self.bytes_removed,
            "tokens_removed": self.tokens_removed,
            "seconds": seconds,
        }
        return {
            "steps": [row],
            "samples": {step: self.samples} if self.samples else {},
            "errors": self.aside.examples,
            "tokens_out": self.tokens_kept,
            "bytes_in": self.task.shard.bytes,
            "seconds": seconds,
        }


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _units_gone(text: str, spans: Spans, verdict: Verdict) -> int:
    """How many of a page's units were removed: paragraphs, or the text itself where it is the unit."""
    if len(verdict.removed) > 1:
        return int(verdict.removed.sum())
    return int(spans == [(0, len(text))])
