"""A shard written again without what a global step removes, and the counts of that."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from corpusmith.io.pages.shards import Page, Record, ShardRef, ShardWriter, open_shard_writer
from corpusmith.run.errors_file import QuarantineWriter
from corpusmith.run.fingerprint import Tree
from corpusmith.run.ledger import READ_STEP, Counts
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from corpusmith.text.segmentation.view import count_content_tokens

SAMPLES_PER_SHARD = 3
SAMPLE_CHARACTERS = 300
DOMAINS_PER_SHARD = 200
HISTOGRAM_BINS = 20
NO_DOMAIN = "(no address)"

_HOST = re.compile(r"(?:[^/?#@]*//)?(?:[^/?#@]*@)?(\[[^]/?#@]*\]|[^:/?#@]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class RewriteTask:
    """A shard to be written again: its number among the inputs, where it goes, its identity, the step's key."""

    shard: ShardRef
    number: int
    place: StagePlace
    identity: str
    step: str

    @classmethod
    def of(cls, stage: Stage, number: int, step: str) -> RewriteTask:
        """That of an input of a stage, by its number."""
        shard = stage.inputs[number]
        return cls(shard=shard, number=number, place=stage.place, identity=stage.units[shard.name], step=step)


def rewrite_tasks(stage: Stage, step: str, pending: Collection[str]) -> dict[str, RewriteTask]:
    """What the pending shards need to be written again, by name."""
    return {
        shard.name: RewriteTask.of(stage, number, step)
        for number, shard in enumerate(stage.inputs)
        if shard.name in pending
    }


def domain_of(page: Page) -> str:
    """The host name of a page's address, in its `url` or its WARC headers."""
    url = page.get("url")
    if not isinstance(url, str):
        metadata = page.get("metadata")
        url = metadata.get("WARC-Target-URI") if isinstance(metadata, dict) else None
    found = _HOST.match(url) if isinstance(url, str) else None
    return (found[1].lower() if found is not None else "") or NO_DOMAIN


@dataclass(kw_only=True, slots=True)
class Rewrite:
    """Takes what becomes of each record of a shard and counts it."""

    task: RewriteTask
    writer: ShardWriter
    quarantine_writer: QuarantineWriter
    counts: Counts = field(default_factory=Counts)
    samples: list[dict[str, Any]] = field(default_factory=list)
    tokens_kept: int = 0
    tokens_removed: int = 0
    tokens_quarantined: int = 0
    pages_of_domain: Counter[str] = field(default_factory=Counter)
    removed_of_domain: Counter[str] = field(default_factory=Counter)
    tokens_of_domain: Counter[str] = field(default_factory=Counter)

    def keep(self, record: Record, page: Page, line: bytes | None = None, tokens_lost: int = 0) -> bool:
        """Write a page; False where it cannot be written, and is set aside.

        Args:
            record: the record as it stood.
            page: what to write.
            line: the page as JSON where it was changed; None: the record's own line.
            tokens_lost: how many of its tokens are gone.
        """
        try:
            self.writer.write_line(record.raw if line is None else line)
        except ValueError as error:
            self.quarantine(self.task.step, record, f"cannot be written: {error}")
            return False
        self.counts.kept += 1
        domain, tokens = domain_of(page), count_content_tokens(page.get("text"))
        self.pages_of_domain[domain] += 1
        self.tokens_kept += tokens
        if tokens_lost:
            self._lose(domain, tokens_lost)
        return True

    def remove(self, index: int, page: Page, unit: str, reason: str) -> None:
        """Count a page as removed; `unit` is shown where its text is none."""
        self.counts.remove(self.task.step)
        domain = domain_of(page)
        self.pages_of_domain[domain] += 1
        self.removed_of_domain[domain] += 1
        self._lose(domain, count_content_tokens(page.get("text")))
        if self.wants_samples:
            self.samples.append({"index": index, **shown_page(page, unit), "reason": reason})

    def _lose(self, domain: str, tokens: int) -> None:
        self.tokens_removed += tokens
        self.tokens_of_domain[domain] += tokens

    def quarantine(self, step: str, record: Record, reason: str) -> None:
        """Quarantine a record with the reason."""
        self.counts.quarantine(step)
        self.tokens_quarantined += count_content_tokens(record.page.get("text")) if record.page is not None else 0
        self.quarantine_writer.add(step, record, reason)

    @property
    def wants_samples(self) -> bool:
        """Whether more pages are to be shown."""
        return len(self.samples) < SAMPLES_PER_SHARD

    def sample(self, index: int, page: Page, lost: str, reason: str) -> None:
        """Show what a page that stays has lost, if it is among the first."""
        if self.wants_samples:
            shown = {"index": index, "url": shown_address(page), "text": shown_text(lost)}
            self.samples.append({**shown, "reason": reason})

    def details(self, *, func: str, arguments: Tree, started: float, **figures: float | None) -> dict[str, Any]:
        """What the report shows of this shard; `started`: of `time.perf_counter`, `figures`: the step's own."""
        step, unreadable = self.task.step, self.counts.errored.get(READ_STEP, 0)
        seconds = time.perf_counter() - started
        row = {
            "step": step,
            "func": func,
            "arguments": arguments,
            "pages_in": self.counts.read - unreadable,
            "pages_out": self.counts.kept,
            "removed": self.counts.removed.get(step, 0),
            "errors": self.counts.errored.get(step, 0),
            **figures,
            "tokens_removed": self.tokens_removed,
            "seconds": seconds,
        }
        return {
            "steps": [row],
            "samples": {step: self.samples} if self.samples else {},
            "errors": self.quarantine_writer.examples,
            "tokens_in": self.tokens_kept + self.tokens_removed + self.tokens_quarantined,
            "tokens_out": self.tokens_kept,
            "bytes_in": self.task.shard.bytes,
            "seconds": seconds,
        }

    def duplicates(self, **found: Any) -> dict[str, Any]:
        """What the report shows of this shard's duplicates, by domain beside what else was found."""
        lost = sorted({*self.removed_of_domain, *(name for name, tokens in self.tokens_of_domain.items() if tokens)})
        lost.sort(key=lambda name: (-self.tokens_of_domain[name], -self.removed_of_domain[name]))
        domains = {
            name: [self.pages_of_domain[name], self.removed_of_domain[name], self.tokens_of_domain[name]]
            for name in lost[:DOMAINS_PER_SHARD]
        }
        return {self.task.step: {"domains": domains, **found}}


def histogram() -> list[int]:
    """Counts of shares from 0 to 1, in bins of equal width; `bin_of` tells where a share belongs."""
    return [0] * HISTOGRAM_BINS


def bin_of(share: float) -> int:
    """The bin of a share; 1 itself is in the last."""
    return min(int(share * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)


def shown_page(page: Page, unit: str) -> dict[str, Any]:
    """A page as the report shows it: its address and the beginning of its text, of `unit` where the text is none."""
    text = page.get("text")
    return {"url": shown_address(page), "text": shown_text(text if isinstance(text, str) else unit)}


def shown_address(page: Page) -> str | None:
    """A page's address as the report shows it."""
    url = page.get("url")
    return url if isinstance(url, str) else None


def shown_text(text: str) -> str:
    """The beginning of a text, as much of it as the report shows."""
    return text[:SAMPLE_CHARACTERS]


@contextlib.contextmanager
def open_rewrite(task: RewriteTask) -> Iterator[Rewrite]:
    """The rewrite of a shard; its output and error files appear when the block ends."""
    name = task.shard.name
    quarantine = QuarantineWriter(task.place, name, [task.step])
    with quarantine, open_shard_writer(task.place.output_url(name)) as writer:
        yield Rewrite(task=task, writer=writer, quarantine_writer=quarantine)


def write_record(rewrite: Rewrite, details: dict[str, Any]) -> None:
    """Write the record of a shard whose rewrite has ended."""
    task, writer = rewrite.task, rewrite.writer
    name = task.shard.name
    output = OutputFile(name=name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    task.place.write_record(
        ShardRecord(unit=name, identity=task.identity, outputs=[output], counts=rewrite.counts, details=details)
    )
