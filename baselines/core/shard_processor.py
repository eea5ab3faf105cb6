"""Run local steps over one shard: page by page through all steps, streaming, with the books kept as it goes.

Follows DCLM's order of things (a mapper returns a list of pages: none removed, one kept, several split) and departs
from it in three ways: a shard is never held in memory, a page that raises is set aside as the raw line of the stage's
input with step and reason, and randomness is seeded per page, so results do not depend on who ran what when.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from baselines.core.constants import CONTENT
from baselines.core.factories import (
    draws_random_numbers,
    error_text,
    get_aggregator,
    get_mapper,
    get_transform,
    looking_beside,
)
from corpusmith.errors import UserError
from corpusmith.io.shards import Page, Record, ShardRef, ShardWriter, dump_page, open_shard_writer, read_records
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.ledger import Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from corpusmith.seeds import seed_python
from corpusmith.text.segment import count_content_tokens

VERSION = 1
WRITE_STEP = "write"
SAMPLES_PER_STEP = 3
SAMPLE_CHARACTERS = 300
LENGTH_BUCKETS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalStep:
    """A local step of a YAML: its index among all steps there, its function and arguments, and what it aggregates.

    `folder`: the folder of the YAML, where functions of the user's own may stand too.
    """

    index: int
    func: str
    arguments: dict[str, Any] = field(default_factory=dict)
    aggregate: dict[str, Any] = field(default_factory=dict)
    folder: str | None = None

    @property
    def key(self) -> str:
        """The step's name in books, errors and report: `03-word_length_filter`."""
        return f"{self.index:02d}-{self.func.rsplit('.', 1)[-1]}"

    @property
    def reason(self) -> str:
        """Why a page that this step removes is gone: the function and its arguments."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.func}({shown if len(shown) <= 160 else shown[:157] + '...'})"

    def to_json(self) -> dict[str, Any]:
        """What of the step decides the result."""
        return {"index": self.index, "func": self.func, **self.arguments, "_aggregate": self.aggregate}


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTask:
    """One shard and the steps to run over it; small and picklable."""

    place: StagePlace
    shard: ShardRef
    identity: str
    output: str
    steps: tuple[LocalStep, ...]
    seed: int


Mapper = Callable[[Page], list[Page]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Built:
    """A step with its mapper, loaded once per worker."""

    key: str
    step: LocalStep
    mapper: Mapper
    seeded: bool


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


@functools.lru_cache(maxsize=4)
def _build(steps_json: bytes) -> tuple[_Built, ...]:
    built = []
    for document in orjson.loads(steps_json):
        step = LocalStep(**document)
        try:
            with looking_beside(step.folder):
                mapper = get_mapper(step.func, **step.arguments)
        except Exception as error:
            reason = error_text(error, step.func, step.folder)
            raise UserError(f"step {step.key}: cannot be set up: {reason}") from error
        built.append(_Built(key=step.key, step=step, mapper=mapper, seeded=draws_random_numbers(step.func)))
    return tuple(built)


def build_steps(steps: tuple[LocalStep, ...]) -> tuple[_Built, ...]:
    """The steps with their mappers; built once per worker and kept for its next shards.

    Raises UserError naming the step whose factory fails.
    """
    return _build(orjson.dumps([asdict(step) for step in steps]))


class ShardProcessor:
    """Runs the steps over the records of one shard and keeps its books."""

    def __init__(self, task: LocalTask, built: tuple[_Built, ...], writer: ShardWriter, aside: SetAside) -> None:
        self._task = task
        self._built = built
        self._writer = writer
        self._aside = aside
        self.counts = Counts()
        self.tallies = [_Tally() for _ in built]
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.tokens_in = self.tokens_out = 0
        self.lengths_in = [0] * LENGTH_BUCKETS
        self.lengths_out = [0] * LENGTH_BUCKETS

    def process(self, record: Record) -> None:
        """Take one record through all steps."""
        self.counts.read += 1
        if record.page is None:
            self.counts.set_aside(READ_STEP)
            self._aside.add(READ_STEP, record, record.error or "unreadable")
            return
        tokens = count_content_tokens(record.page.get(CONTENT))
        self.tokens_in += tokens
        self.lengths_in[_bucket(tokens)] += 1
        pages = [record.page]
        for position in range(len(self._built)):
            pages = self._step(position, pages, record)
            if not pages:
                return
        for piece, page in enumerate(pages):
            self._write(page, piece, record)

    def _step(self, position: int, pages: list[Page], record: Record) -> list[Page]:
        built, tally = self._built[position], self.tallies[position]
        following: list[Page] = []
        for piece, page in enumerate(pages):
            if built.seeded:
                seed_python(self._task.seed, self._task.shard.name, record.index, piece, built.step.index)
            tally.pages_in += 1
            started = time.perf_counter()
            try:
                result = built.mapper(page)
                problem = _misreturned(result)
            except Exception as error:  # noqa: BLE001 - the page boundary: the shard goes on, the page is kept aside
                result, problem = [], error_text(error, built.step.func, built.step.folder)
            tally.seconds += time.perf_counter() - started
            if problem is not None:
                tally.errors += 1
                self.counts.set_aside(built.key)
                self._aside.add(built.key, record, problem, piece=piece)
            elif result:
                self._keep(built.step, tally, result)
                following.extend(result)
            else:
                self._remove(built, tally, page, record.index)
        return following

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

    def _remove(self, built: _Built, tally: _Tally, page: Page, index: int) -> None:
        tally.removed += 1
        tally.tokens_removed += count_content_tokens(page.get(CONTENT))
        self.counts.remove(built.key)
        self._sample(built, page, index)

    def _sample(self, built: _Built, page: Page, index: int) -> None:
        shown = self.samples.setdefault(built.key, [])
        if len(shown) < SAMPLES_PER_STEP:
            text, url = page.get(CONTENT), page.get("url")
            shown.append(
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
            self.counts.set_aside(WRITE_STEP)
            self._aside.add(WRITE_STEP, record, f"cannot be written: {error}", piece=piece)
            return
        self.counts.kept += 1
        tokens = count_content_tokens(page.get(CONTENT))
        self.tokens_out += tokens
        self.lengths_out[_bucket(tokens)] += 1

    def details(self) -> dict[str, Any]:
        """What the report and DCLM's views show of this shard."""
        pairs = list(zip(self._built, self.tallies, strict=True))
        return {
            "steps": [_step_row(built.step, tally) for built, tally in pairs],
            "samples": self.samples,
            "errors": self._aside.examples,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "histograms": {"tokens_in": _trimmed(self.lengths_in), "tokens_out": _trimmed(self.lengths_out)},
            "aggregates": {
                built.key: _aggregates(built.step, tally.values) for built, tally in pairs if built.step.aggregate
            },
        }


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


def _misreturned(result: object) -> str | None:
    """What is wrong with a mapper's result, if anything."""
    if type(result) is list and (not result or (len(result) == 1 and type(result[0]) is dict)):
        return None
    if not isinstance(result, list):
        return f"returned {type(result).__name__} instead of a list of pages"
    wrong = [page for page in result if not isinstance(page, dict)]
    return None if not wrong else f"returned a list that holds {type(wrong[0]).__name__} instead of a page"


def _bucket(tokens: int) -> int:
    return min(tokens.bit_length(), LENGTH_BUCKETS - 1)


def _trimmed(buckets: list[int]) -> list[int]:
    last = max((index for index, count in enumerate(buckets) if count), default=-1)
    return buckets[: last + 1]


def process_shard(task: LocalTask) -> None:
    """Run the task's steps over its shard: writes the output shard, the pages set aside, and then the record."""
    started = time.perf_counter()
    built = build_steps(task.steps)
    url = task.place.output_url(task.output)
    keys = [*(step.key for step in task.steps), WRITE_STEP]
    with SetAside(task.place, task.shard.name, keys) as aside, open_shard_writer(url) as writer:
        processor = ShardProcessor(task, built, writer, aside)
        for record in read_records(task.shard.url):
            processor.process(record)
    details = processor.details()
    details["bytes_in"] = task.shard.bytes
    details["seconds"] = time.perf_counter() - started
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
