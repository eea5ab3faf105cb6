"""Phase 3 of the Bloom-filter dedup: a shard written again without its duplicates, or with marks on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from corpusmith.errors import BalanceError
from corpusmith.io.pages.shards import Page, Record, dump_page, read_records
from corpusmith.run.ledger import READ_STEP
from corpusmith.steps.rewrite import Rewrite, RewriteTask, bin_of, histogram, open_rewrite, write_record
from corpusmith.text.segmentation.view import count_whitespace_words
from dedup.bff import config as bff_config
from dedup.bff.apply import Spans, Verdict, annotate, duplicate_spans, text_left, verdicts
from dedup.bff.blocks import ArraysReader
from dedup.bff.config import BffConfig
from dedup.bff.hash import text_of, text_problem
from dedup.bff.layout import BffLayout
from dedup.bff.repeated_texts import RepeatedTexts
from dedup.bff.units import OLD_BOTH, SUBSTRING


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteTask:
    """A shard to be written as was decided."""

    layout: BffLayout
    rewrite: RewriteTask

    def run(self) -> None:
        """Write the shard, then its record."""
        started = time.perf_counter()
        layout, shard, number = self.layout, self.rewrite.shard, self.rewrite.number
        with (
            open_rewrite(self.rewrite) as rewrite,
            ArraysReader(layout.decisions_url(number)) as decisions,
            ArraysReader(layout.pages_url(number)) as pages,
        ):
            writer = _PageWriter(
                config=layout.config, rewrite=rewrite, verdicts=read_verdicts(decisions, pages, layout.config)
            )
            for record in read_records(shard.url):
                writer.process(record)
        writer.units.check(f"shard {shard.name}")
        details = rewrite.details(
            func="bff",
            arguments=layout.config.deciding(),
            started=started,
            **writer.units.figures(),
            **writer.figures(),
        )
        found = rewrite.duplicates(known=writer.known, repeated=writer.repeated.rows())
        write_record(rewrite, {**details, "duplicates": found})


def read_verdicts(decisions: ArraysReader, pages: ArraysReader, config: BffConfig) -> Iterator[Verdict]:
    """What was decided about each page that has a text, in order."""
    for number in range(len(pages)):
        structure = pages[number]
        yield from verdicts(structure["tokens"], structure["pages"], decisions[number], config)


@dataclass(kw_only=True, slots=True)
class UnitCounts:
    """The ledger of paragraphs (texts, where whole texts are compared): all of them end up in one of the three.

    `removed`: inside pages that stay; `with_pages`: of pages that were removed, or set aside.
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

    def figures(self) -> dict[str, int]:
        """The counts as the shard's record holds them."""
        return {
            "units_in": self.read,
            "units_kept": self.kept,
            "units_removed": self.removed,
            "units_removed_with_pages": self.with_pages,
        }


@dataclass(kw_only=True, slots=True)
class _PageWriter:
    """Decides about the records of one shard."""

    config: BffConfig
    rewrite: Rewrite
    verdicts: Iterator[Verdict]
    units: UnitCounts = field(default_factory=UnitCounts)
    repeated: RepeatedTexts = field(default_factory=RepeatedTexts)
    known: list[int] = field(default_factory=histogram)
    contained: int = 0
    pages_changed: int = 0
    bytes_seen: int = 0
    bytes_removed: int = 0

    def process(self, record: Record) -> None:
        """Keep a record, or what is left of it, or remove it, or set it aside."""
        key, rewrite = self.config.content_key, self.rewrite
        rewrite.counts.read += 1
        text = text_of(record, key)
        if text is not None and record.page is not None:
            self._apply(record, record.page, text, next(self.verdicts))
        elif record.page is None:
            rewrite.quarantine(READ_STEP, record, record.error or "unreadable")
        else:
            rewrite.quarantine(rewrite.task.step, record, text_problem(record.page, key) or "has no text")

    def _apply(self, record: Record, page: Page, text: str, verdict: Verdict) -> None:
        config = self.config
        spans = duplicate_spans(text, verdict, config)
        self.units.read += len(verdict.removed)
        self.contained += verdict.contained
        self.bytes_seen += _size(text)
        if spans or verdict.document:
            self._note(record.index, page, text, spans, verdict)
        if config.annotate:
            annotate(page, text, spans, verdict, config)
            self._keep(record, page, dump_page(page), len(verdict.removed))
            return
        left = text_left(text, spans, verdict, config)
        if not left or left.isspace():
            self.units.with_pages += len(verdict.removed)
            self.bytes_removed += _size(text)
            reason = "blank" if left == text else f"{verdict.contained} of {verdict.ngrams} n-grams known"
            self.rewrite.remove(record.index, page, text, reason)
            return
        self._keep_rest(record, page, text, left, spans, verdict)

    def _note(self, index: int, page: Page, text: str, spans: Spans, verdict: Verdict) -> None:
        """What the report shows of a page that loses text, or would."""
        if verdict.ngrams:
            self.known[bin_of(verdict.contained / verdict.ngrams)] += 1
        self.repeated.add((text[first:last] for first, last in spans or [(0, len(text))]), index, page)

    def _keep_rest(self, record: Record, page: Page, text: str, left: str, spans: Spans, verdict: Verdict) -> None:
        config = self.config
        if config.mode == OLD_BOTH:
            page[bff_config.CONTAINED_BEFORE] = verdict.contained
        elif not spans:
            self._keep(record, page, record.raw, len(verdict.removed))
            return
        if spans and self.rewrite.wants_samples:
            first, last = spans[0]
            reason = f"duplicate, in a page that stays: {len(spans)} span{'s' if len(spans) > 1 else ''}"
            self.rewrite.sample(record.index, page, text[first:last], reason)
        lost = self._tokens_lost(text, left, spans) if spans else 0
        page[config.content_key] = left
        gone = _units_gone(text, spans, verdict)
        if self._keep(record, page, dump_page(page), len(verdict.removed) - gone, gone, lost):
            self.pages_changed += left != text
            self.bytes_removed += _size(text) - _size(left)

    def _tokens_lost(self, text: str, left: str, spans: Spans) -> int:
        if self.config.content_key != "text":
            return 0
        if self.config.mode == SUBSTRING:  # spans may begin inside a word
            return count_whitespace_words(text) - count_whitespace_words(left)
        return count_whitespace_words("".join(text[first:last] for first, last in spans))

    def _keep(self, record: Record, page: Page, line: bytes, kept: int, removed: int = 0, tokens_lost: int = 0) -> bool:
        """Write a page with so many units kept and removed; whether it could be written."""
        if not self.rewrite.keep(record, page, line, tokens_lost):
            self.units.with_pages += kept + removed
            return False
        self.units.kept += kept
        self.units.removed += removed
        return True

    def figures(self) -> dict[str, int]:
        """The step's own figures in the shard's record."""
        return {
            "pages_changed": self.pages_changed,
            "ngrams_contained": self.contained,
            "bytes_seen": self.bytes_seen,
            "bytes_removed": self.bytes_removed,
        }


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _units_gone(text: str, spans: Spans, verdict: Verdict) -> int:
    """How many of a page's units were removed: paragraphs, or the text itself where it is the unit."""
    if len(verdict.removed) > 1:
        return sum(verdict.removed)
    return int(spans == [(0, len(text))])
