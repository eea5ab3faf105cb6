"""Run local steps over one shard: page by page through all steps, streaming, counted as it goes.

What a pipeline means is `run_in_order`; `ShardProcessor` gives the same faster, with runs of filters compiled to one
pass (`baselines.core.compiled`) and pages handed to models in batches. Follows DCLM's order of things (a mapper returns
a list of pages: none removed, one kept, several split) and departs from it in three ways: a shard is never held in
memory, a page that raises is set aside as the raw line of the stage's input with step and reason, and randomness is
seeded per page, so results do not depend on who ran what when.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines.core.compiled import FilterRun, compile_steps
from baselines.core.constants import CONTENT
from baselines.core.factories import get_aggregator, get_transform, looking_beside
from baselines.core.profile import profile_of
from baselines.core.steps import BuiltStep, LocalStep, apply_mapper, build_steps
from corpusmith.io.pages.shards import Page, Record, ShardRef, ShardWriter, dump_page, open_shard_writer, read_records
from corpusmith.run.errors_file import QuarantineWriter
from corpusmith.run.ledger import READ_STEP, Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from corpusmith.seeds import Part, seed_python
from corpusmith.text.segmentation.view import count_content_tokens

WRITE_STEP = "write"
SAMPLES_PER_STEP = 3
SAMPLE_CHARACTERS = 300
LENGTH_BUCKETS = 32

# A record with the pages that it has become.
_Item = tuple[Record, list[Page]]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What a step made of a page, of which `before` is a copy: pages, or what went wrong (`problem`).

    `piece`: the page's number among those that the record had become.
    """

    built: BuiltStep
    piece: int
    before: Page
    pages: list[Page]
    problem: str | None


def run_in_order(
    steps: Sequence[BuiltStep],
    pages: list[Page],
    seed_parts: tuple[Part, ...],
    report: Callable[[StepResult], object],
) -> list[Page]:
    """Return what steps, one after the other, leave of the pages of a record: that is what a pipeline means.

    Args:
        steps: the local steps of a stage, in the order of the YAML.
        pages: a record's one page, or what earlier steps made of it; mappers may change them in place.
        seed_parts: seed, shard and index of the record, which with the page's number and the step seed random draws.
        report: is called with what each step made of each page.
    """
    for built in steps:
        following: list[Page] = []
        for piece, page in enumerate(pages):
            before = copy.deepcopy(page)
            if built.seeded:
                seed_python(*seed_parts, piece, built.step.index)
            result, problem = apply_mapper(built, page)
            report(StepResult(built=built, piece=piece, before=before, pages=result, problem=problem))
            following += result
        pages = following
    return pages


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTask:
    """One shard and the steps to run over it; small and picklable. `profile`: measure the I/O floor as well."""

    place: StagePlace
    shard: ShardRef
    identity: str
    output: str
    steps: tuple[LocalStep, ...]
    seed: int
    profile: bool = False


@dataclass(kw_only=True, slots=True)
class _Tally:
    """What one step did to a shard."""

    pages_in: int = 0
    pages_out: int = 0
    removed: int = 0
    kept: int = 0
    split: int = 0
    errors: int = 0
    tokens_removed: int = 0
    seconds: float = 0.0
    values: dict[str, list[Any]] = field(default_factory=dict)


class ShardProcessor:
    """Runs the steps over the records of one shard, as `run_in_order` would, and counts what becomes of them."""

    def __init__(
        self, task: LocalTask, built: tuple[BuiltStep, ...], writer: ShardWriter, quarantine: QuarantineWriter
    ) -> None:
        self._task = task
        self._built = built
        self._plan = compile_steps(built)
        self._waiting: list[list[_Item]] = [[] for _ in self._plan]
        self._writer = writer
        self._quarantine = quarantine
        self.counts = Counts()
        self.tallies = [_Tally() for _ in built]
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.tokens_in = self.tokens_out = 0
        self.lengths_in = [0] * LENGTH_BUCKETS
        self.lengths_out = [0] * LENGTH_BUCKETS

    def process(self, record: Record) -> None:
        """Take one record through all steps; it may wait for others where a step works on batches (`finish`)."""
        self.counts.read += 1
        if record.page is None:
            self.counts.quarantine(READ_STEP)
            self._quarantine.add(READ_STEP, record, record.error or "unreadable")
            return
        tokens = count_content_tokens(record.page.get(CONTENT))
        self.tokens_in += tokens
        self.lengths_in[_bucket(tokens)] += 1
        self._advance_one(record, record.page)

    def _advance_one(self, record: Record, page: Page) -> None:
        """Take a page through the parts of the plan for as long as it stays one page, which is nearly always."""
        for index, part in enumerate(self._plan):
            if isinstance(part, FilterRun):
                position, problem = part.decide(page)
                if position < 0:
                    continue
                if problem is not None:
                    self._fail(part.steps[position], record, problem, 0)
                else:
                    self._removed(part.steps[position], self.tallies[part.first + position], page, record.index)
                return
            if part.batch is not None:
                self._advance([(record, [page])], index)
                return
            following = self._step(part, [page], record)
            if len(following) != 1:
                if following:
                    self._advance([(record, following)], index + 1)
                return
            page = following[0]
        self._write(page, 0, record)

    def finish(self) -> None:
        """Take the records that wait through the rest of their steps."""
        for position, waiting in enumerate(self._waiting):
            if waiting:
                self._advance([], position, full=False)

    def _advance(self, items: list[_Item], position: int, full: bool = True) -> None:
        """Take records through the parts of the plan from `position` on; with `full`, only full batches go."""
        for index in range(position, len(self._plan)):
            part = self._plan[index]
            if isinstance(part, FilterRun):
                items = [item for item in items if self._filter(part, item)]
            elif part.batch is None:
                items = [(record, pages) for record, old in items if (pages := self._step(part, old, record))]
            else:
                self._waiting[index].extend(items)
                if full and sum(len(pages) for _, pages in self._waiting[index]) < part.batch.batch_size:
                    return
                items = self._batch(part, self._waiting[index])
                self._waiting[index] = []
            if not items:
                return
            full = True
        for record, pages in items:
            for piece, page in enumerate(pages):
                self._write(page, piece, record)

    def _filter(self, run: FilterRun, item: _Item) -> bool:
        """Take a record's pages through a run of filters; False if none is left."""
        record, pages = item
        kept = 0
        for piece, page in enumerate(pages):
            position, problem = run.decide(page)
            if position < 0:
                pages[kept] = page
                kept += 1
            elif problem is not None:
                self._fail(run.steps[position], record, problem, piece)
            else:
                self._removed(run.steps[position], self.tallies[run.first + position], page, record.index)
        del pages[kept:]
        return kept > 0

    def _step(self, built: BuiltStep, pages: list[Page], record: Record) -> list[Page]:
        tally = self.tallies[built.position]
        following: list[Page] = []
        for piece, page in enumerate(pages):
            if built.seeded:
                seed_python(self._task.seed, self._task.shard.name, record.index, piece, built.step.index)
            tally.pages_in += 1
            started = time.perf_counter()
            result, problem = apply_mapper(built, page)
            tally.seconds += time.perf_counter() - started
            if problem is None and len(result) == 1 and not built.step.aggregate:
                tally.pages_out += 1
                tally.kept += 1
                following.append(result[0])
            elif problem is not None:
                tally.errors += 1
                self._fail(built, record, problem, piece)
            elif result:
                self._keep(built.step, tally, result)
                following.extend(result)
            else:
                tally.removed += 1
                self._removed(built, tally, page, record.index)
        return following

    def _batch(self, built: BuiltStep, items: list[_Item]) -> list[_Item]:
        """Take the pages of several records through a step at once; one by one where that raises."""
        tally = self.tallies[built.position]
        started = time.perf_counter()
        try:
            if built.batch is not None:
                built.batch.apply_batch([page for _, pages in items for page in pages])
        except Exception:  # noqa: BLE001 - the page boundary: which page is to blame is found by trying each
            return [(record, pages) for record, old in items if (pages := self._step(built, old, record))]
        finally:
            tally.seconds += time.perf_counter() - started
        for _, pages in items:
            for page in pages:
                tally.pages_in += 1
                self._keep(built.step, tally, [page])
        return items

    def _fail(self, built: BuiltStep, record: Record, problem: str, piece: int) -> None:
        self.counts.quarantine(built.key)
        self._quarantine.add(built.key, record, problem, piece=piece)

    def _keep(self, step: LocalStep, tally: _Tally, result: list[Page]) -> None:
        pages = len(result)
        tally.pages_out += pages
        if pages == 1:
            tally.kept += 1
        else:
            tally.split += 1
            self.counts.added += pages - 1
        for key in step.aggregate:
            tally.values.setdefault(key, []).extend(kept[key] for kept in result if key in kept)

    def _removed(self, built: BuiltStep, tally: _Tally, page: Page, index: int) -> None:
        tally.tokens_removed += count_content_tokens(page.get(CONTENT))
        self.counts.remove(built.key)
        self._sample(built, page, index)

    def _sample(self, built: BuiltStep, page: Page, index: int) -> None:
        samples = self.samples.setdefault(built.key, [])
        if len(samples) < SAMPLES_PER_STEP:
            text, url = page.get(CONTENT), page.get("url")
            samples.append(
                {
                    "index": index,
                    "url": url if isinstance(url, str) else None,
                    "text": text[:SAMPLE_CHARACTERS] if isinstance(text, str) else "",
                    "reason": built.step.reason,
                }
            )

    def _write(self, page: Page, piece: int, record: Record) -> None:
        try:
            self._writer.write_line(dump_page(page))
        except (TypeError, ValueError) as error:
            self.counts.quarantine(WRITE_STEP)
            self._quarantine.add(WRITE_STEP, record, f"cannot be written: {error}", piece=piece)
            return
        self.counts.kept += 1
        tokens = count_content_tokens(page.get(CONTENT))
        self.tokens_out += tokens
        self.lengths_out[_bucket(tokens)] += 1

    def details(self) -> dict[str, Any]:
        """What the report and DCLM's views show of this shard."""
        for part in self._plan:
            if isinstance(part, FilterRun):
                _count_run(part, self.tallies)
        pairs = list(zip(self._built, self.tallies, strict=True))
        return {
            "steps": [_step_row(built.step, tally) for built, tally in pairs],
            "samples": self.samples,
            "errors": self._quarantine.examples,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "histograms": {"tokens_in": _trimmed(self.lengths_in), "tokens_out": _trimmed(self.lengths_out)},
            "aggregates": {
                built.key: _aggregates(built.step, tally.values) for built, tally in pairs if built.step.aggregate
            },
        }


def _count_run(run: FilterRun, tallies: list[_Tally]) -> None:
    """Write what became of the pages of a run into the tallies of its steps."""
    pages = run.pages
    for position, seconds in enumerate(run.apportioned_seconds()):
        tally = tallies[run.first + position]
        tally.pages_in = pages
        tally.removed, tally.errors, tally.seconds = run.stopped[position], run.failed[position], seconds
        pages -= tally.removed + tally.errors
        tally.pages_out = tally.kept = pages


def _step_row(step: LocalStep, tally: _Tally) -> dict[str, Any]:
    return {
        "step": step.key,
        "func": step.func,
        "arguments": step.arguments,
        "pages_in": tally.pages_in,
        "pages_out": tally.pages_out,
        "removed": tally.removed,
        "kept": tally.kept,
        "split": tally.split,
        "errors": tally.errors,
        "tokens_removed": tally.tokens_removed,
        "seconds": tally.seconds,
    }


def _aggregates(step: LocalStep, values: dict[str, list[Any]]) -> dict[str, Any]:
    """Aggregated values by page key; a key that no page has is left out."""
    result = {}
    for key, how in step.aggregate.items():
        options = {"type": how} if isinstance(how, str) else dict(how)
        with looking_beside(step.folder):
            aggregator = get_aggregator(options.pop("type"))
            transform = options.pop("transform", None)
            function = None if transform is None else get_transform(transform, **options)
        found = values.get(key, [])
        if function is not None:
            found = [function(value) for value in found]
        if found:
            result[key] = {str(name): value for name, value in aggregator(found).items()}
    return result


def _bucket(tokens: int) -> int:
    return min(tokens.bit_length(), LENGTH_BUCKETS - 1)


def _trimmed(buckets: list[int]) -> list[int]:
    last = max((index for index, count in enumerate(buckets) if count), default=-1)
    return buckets[: last + 1]


def process_shard(task: LocalTask) -> None:
    """Run the task's steps over its shard: writes the output shard, the quarantined pages, and then the record."""
    started, cpu_started = time.perf_counter(), time.process_time()
    built = build_steps(task.steps)
    url = task.place.output_url(task.output)
    keys = [*(step.key for step in task.steps), WRITE_STEP]
    with QuarantineWriter(task.place, task.shard.name, keys) as quarantine, open_shard_writer(url) as writer:
        processor = ShardProcessor(task, built, writer, quarantine)
        for record in read_records(task.shard.url):
            processor.process(record)
        processor.finish()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    details = processor.details()
    details["bytes_in"] = task.shard.bytes
    details["seconds"] = seconds
    if task.profile:
        details["profile"] = profile_of(task.shard.url, seconds, cpu_seconds)
    output = OutputFile(name=task.output, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    task.place.write_record(
        ShardRecord(
            unit=task.shard.name,
            identity=task.identity,
            outputs=[output],
            counts=processor.counts,
            details=details,
        )
    )
