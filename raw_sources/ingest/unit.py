"""The worker's side of an ingest: one unit of input to shards of pages, what was set aside, statistics, the record."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from corpusmith.io import position, storage
from corpusmith.io.pages.shards import Page, ShardWriter, dump_page, open_shard_writer
from corpusmith.run.ledger import WRITE_STEP, Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.crawl_stats import CrawlStats
from raw_sources.ingest.documents import document_outcomes, table_outcomes
from raw_sources.ingest.inputs import IngestUnit
from raw_sources.ingest.outcomes import ERROR_STEPS, FailedRecord, RecordOutcome, Removed
from raw_sources.ingest.pages import PageMaker, read_outcomes
from raw_sources.ingest.record_ranges import record_outcomes


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestTask:
    """One unit to be read, the name of its shard without the format's ending, and how pages are made."""

    unit: IngestUnit
    stem: str
    config: IngestConfig
    place: StagePlace


def ingest_unit(task: IngestTask) -> None:
    """Write a unit's shards, what was set aside, and the record; safe to run twice."""
    started = time.monotonic()
    counts = Counts()
    stats = CrawlStats()
    unit = task.unit
    for step in (*ERROR_STEPS, WRITE_STEP):
        storage.remove(task.place.error_url(step, unit.name))
    with contextlib.ExitStack() as files:
        shards = files.enter_context(PartWriter(task))
        aside: dict[str, ShardWriter] = {}

        def set_aside(outcome: FailedRecord) -> None:
            if outcome.step not in aside:
                url = task.place.error_url(outcome.step, unit.name)
                aside[outcome.step] = files.enter_context(open_shard_writer(url))
            aside[outcome.step].write(_error_row(unit.name, outcome))
            counts.quarantine(outcome.step)

        for outcome in unit_outcomes(unit, PageMaker(task.config, stats)):
            counts.read += 1
            if isinstance(outcome, Removed):
                counts.remove(outcome.step)
            elif isinstance(outcome, FailedRecord):
                set_aside(outcome)
            elif (refused := shards.write(outcome)) is not None:
                set_aside(refused)
            else:
                counts.kept += 1
        position.report_no_record()
    seconds = time.monotonic() - started
    details = {"seconds": seconds, "text_characters": stats.text_characters, "crawl": stats.to_json()}
    task.place.write_record(
        ShardRecord(unit=unit.name, identity=unit.identity, outputs=shards.outputs, counts=counts, details=details)
    )


def unit_outcomes(unit: IngestUnit, maker: PageMaker) -> Iterator[RecordOutcome]:
    """What becomes of each record of a unit, in order."""
    member = unit.members[0]
    if unit.kind == "documents":
        return document_outcomes(unit.members, maker, unit.name)
    if unit.kind == "records":
        return record_outcomes(unit.members, maker, unit.name)
    if unit.kind == "archive":
        return read_outcomes(member.url, maker, member.name)
    return table_outcomes(member, maker, is_csv=unit.kind == "csv")


class PartWriter:
    """Writes a unit's pages to its shard, and on to a further part (`name.part2.…`) where one is full.

    A context manager; each part appears whole or not at all. `outputs` stands when the block has ended.
    """

    def __init__(self, task: IngestTask) -> None:
        self._task = task
        self._stack = contextlib.ExitStack()
        self._writer: ShardWriter | None = None
        self._name = ""
        self._bytes = 0
        self.outputs: list[OutputFile] = []

    def __enter__(self) -> PartWriter:
        number = 2
        while storage.exists(url := self._task.place.output_url(self._part_name(number))):
            storage.remove(url)  # left by a try that was ended
            number += 1
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        self._close()

    def _part_name(self, number: int) -> str:
        part = "" if number == 1 else f".part{number}"
        return f"{self._task.stem}{part}.{self._task.config.output}"

    def _open(self) -> None:
        self._name = self._part_name(len(self.outputs) + 1)
        self._writer = self._stack.enter_context(open_shard_writer(self._task.place.output_url(self._name)))
        self._bytes = 0

    def _close(self) -> None:
        position.report_no_record()  # what a full part takes is no fault of its last page
        self._stack.close()
        writer = self._writer
        assert writer is not None
        self.outputs.append(
            OutputFile(name=self._name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
        )

    def write(self, page: Page) -> FailedRecord | None:
        """Add a page; where the format cannot hold it, what to set aside."""
        config, writer = self._task.config, self._writer
        assert writer is not None
        line = b""
        try:
            line = dump_page(page)
            is_full = self._bytes + len(line) > config.shard_bytes or writer.records == config.pages_per_shard
            if is_full and writer.records:
                self._close()
                self._open()
                writer = self._writer
            assert writer is not None
            writer.write_line(line)
        except (TypeError, ValueError) as error:
            uri = str(page.get("metadata", {}).get("WARC-Target-URI", ""))
            return FailedRecord(step=WRITE_STEP, offset=0, record_id="", target_uri=uri, reason=str(error), raw=line)
        self._bytes += len(line) + 1
        return None


def _error_row(unit: str, aside: FailedRecord) -> dict[str, object]:
    row: dict[str, object] = {
        "file": unit,
        "offset": aside.offset,
        "record_id": aside.record_id,
        "url": aside.target_uri,
        "step": aside.step,
        "reason": aside.reason,
        "raw_base64": base64.b64encode(aside.raw).decode("ascii"),
    }
    return row | ({"member": aside.member} if aside.member else {})
