"""A shard written again without what a dedup removes, and the books of that."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.io import storage
from corpusmith.io.shards import Page, Record, ShardRef, ShardWriter, open_shard_writer
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.fingerprint import Tree
from corpusmith.run.ledger import Counts
from corpusmith.run.stage import OutputFile, ShardRecord, StagePlace
from corpusmith.text.segment import count_content_tokens
from dedup.groups import BIGGEST, group_name
from dedup.layout import Layout, shard_names
from dedup.members import Members

VERSION = 1
SAMPLES_PER_SHARD = 3
SAMPLE_CHARACTERS = 300
DOMAINS_PER_SHARD = 200
SHOWN_OF_A_GROUP = 3
SIMILARITY_BINS = 20
NO_DOMAIN = "(no address)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownGroup:
    """A group that the report shows, by the unit that is kept: number of its shard, page, unit; its size."""

    shard: int
    page: int
    unit: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RewriteTask:
    """A shard to be written without the units that lost; `shown`: what the report shows of it."""

    layout: Layout
    shard: ShardRef
    number: int
    place: StagePlace
    identity: str
    step: str
    shown: tuple[ShownGroup, ...] = ()


def biggest_groups(layout: Layout) -> dict[int, tuple[ShownGroup, ...]]:
    """The biggest groups of all cells, for each shard (by number) those that it has members of."""
    found: list[tuple[ShownGroup, list[int]]] = []
    for cell in range(layout.cells):
        for row in storage.read_json(layout.biggest_url(cell)):
            shard, page, unit = row["kept"]
            found.append((ShownGroup(shard=shard, page=page, unit=unit, size=row["size"]), [shard, *row["shards"]]))
        found.sort(key=lambda entry: (-entry[0].size, entry[0].shard, entry[0].page, entry[0].unit))
        del found[BIGGEST:]
    by_shard: dict[int, tuple[ShownGroup, ...]] = {}
    for group, shards in found:
        for shard in dict.fromkeys(shards):
            by_shard[shard] = (*by_shard.get(shard, ()), group)
    return by_shard


def domain_of(page: Page) -> str:
    """The host name of a page's address, in its `url` or its WARC headers."""
    url = page.get("url")
    if not isinstance(url, str):
        metadata = page.get("metadata")
        url = metadata.get("WARC-Target-URI") if isinstance(metadata, dict) else None
    if not isinstance(url, str):
        return NO_DOMAIN
    try:
        return urllib.parse.urlsplit(url if "://" in url else f"//{url}").hostname or NO_DOMAIN
    except ValueError:
        return NO_DOMAIN


@dataclass(kw_only=True, slots=True)
class Rewrite:
    """Takes what becomes of each record of a shard and keeps the books."""

    task: RewriteTask
    writer: ShardWriter
    aside: SetAside
    counts: Counts = field(default_factory=Counts)
    samples: list[dict[str, Any]] = field(default_factory=list)
    tokens_kept: int = 0
    tokens_removed: int = 0
    pages_of_domain: Counter[str] = field(default_factory=Counter)
    removed_of_domain: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, record: Record, page: Page, line: bytes | None = None) -> None:
        """Write a page: as its line stood, or as `line` where it was changed."""
        try:
            self.writer.write_line(record.raw if line is None else line)
        except ValueError as error:
            self.set_aside(self.task.step, record, f"cannot be written: {error}")
            return
        self.counts.kept += 1
        self.pages_of_domain[domain_of(page)] += 1
        self.tokens_kept += count_content_tokens(page.get("text"))

    def remove(self, index: int, page: Page, unit: str, reason: str) -> None:
        """Count a page as removed; `unit` is shown where its text is none."""
        self.counts.remove(self.task.step)
        domain = domain_of(page)
        self.pages_of_domain[domain] += 1
        self.removed_of_domain[domain] += 1
        self.tokens_removed += count_content_tokens(page.get("text"))
        self.sample(index, page, unit, reason)

    def set_aside(self, step: str, record: Record, reason: str) -> None:
        """Set a record aside with the reason."""
        self.counts.set_aside(step)
        self.aside.add(step, record, reason)

    @property
    def wants_samples(self) -> bool:
        """Whether more pages are to be shown."""
        return len(self.samples) < SAMPLES_PER_SHARD

    def sample(self, index: int, page: Page, unit: str, reason: str) -> None:
        """Show a page that lost something, if it is among the first."""
        if self.wants_samples:
            self.samples.append({"index": index, **_shown(page, unit), "reason": reason})

    def show_member(self, group: ShownGroup, index: int, is_kept: bool, page: Page, unit: str) -> None:
        """Show a member of one of the biggest groups."""
        name = group_name(shard_names(self.task.layout)[group.shard], group.page, group.unit)
        row = {"group": name, "size": group.size, "kept": is_kept, "index": index}
        self.shown.append({**row, **_shown(page, unit)})

    def details(self, *, func: str, arguments: Tree, units_removed: int, seconds: float) -> dict[str, Any]:
        """What the report shows of this shard."""
        step, unreadable = self.task.step, self.counts.errored.get(READ_STEP, 0)
        row = {
            "step": step,
            "func": func,
            "arguments": arguments,
            "pages_in": self.counts.read - unreadable,
            "pages_out": self.counts.kept,
            "removed": self.counts.removed.get(step, 0),
            "errors": self.counts.errored.get(step, 0),
            "units_removed": units_removed,
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

    def duplicates(self, similarity: npt.NDArray[np.float64] | None = None) -> dict[str, Any]:
        """What the report shows of this shard's duplicates; `similarity` of each removed page to the kept one."""
        most = sorted(self.removed_of_domain.items(), key=lambda entry: (-entry[1], entry[0]))[:DOMAINS_PER_SHARD]
        found: dict[str, Any] = {
            "domains": {name: [self.pages_of_domain[name], removed] for name, removed in most},
            "groups": self.shown,
        }
        if similarity is not None:
            bins = np.minimum((similarity * SIMILARITY_BINS).astype(np.int64), SIMILARITY_BINS - 1)
            found["similarity"] = np.bincount(bins, minlength=SIMILARITY_BINS).tolist()
        return {self.task.step: found}


def _shown(page: Page, unit: str) -> dict[str, Any]:
    url, text = page.get("url"), page.get("text")
    shown = text if isinstance(text, str) else unit
    return {"url": url if isinstance(url, str) else None, "text": shown[:SAMPLE_CHARACTERS]}


class ShownMembers:
    """Which members of a shard the report shows: of each of its shown groups the kept one and the first others."""

    def __init__(self, task: RewriteTask, members: Members) -> None:
        self._by_place: dict[tuple[int, int], ShownGroup] = {}
        for group in task.shown:
            mine = np.flatnonzero(
                (members.kept_shard == group.shard)
                & (members.kept_page == group.page)
                & (members.kept_unit == group.unit)
            )
            first = mine[~members.is_kept[mine]][:SHOWN_OF_A_GROUP]
            for member in (*mine[members.is_kept[mine]].tolist(), *first.tolist()):
                self._by_place[int(members.page[member]), int(members.unit[member])] = group

    def show(self, rewrite: Rewrite, members: Members, index: int, page: Page, units: Callable[[], list[str]]) -> None:
        """Show the members in a page that are to be shown."""
        if not self._by_place:
            return
        texts: list[str] | None = None
        for member in members.of_page(index):
            unit = int(members.unit[member])
            group = self._by_place.get((index, unit))
            if group is not None:
                texts = units() if texts is None else texts
                rewrite.show_member(group, index, bool(members.is_kept[member]), page, texts[unit])


@contextlib.contextmanager
def open_rewrite(task: RewriteTask) -> Iterator[Rewrite]:
    """The rewrite of a shard; its output and error files appear when the block ends."""
    name = task.shard.name
    with SetAside(task.place, name, [task.step]) as aside, open_shard_writer(task.place.output_url(name)) as writer:
        yield Rewrite(task=task, writer=writer, aside=aside)


def write_record(rewrite: Rewrite, details: dict[str, Any]) -> None:
    """Write the record of a shard whose rewrite has ended."""
    task, writer = rewrite.task, rewrite.writer
    name = task.shard.name
    output = OutputFile(name=name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    task.place.write_record(
        ShardRecord(unit=name, identity=task.identity, outputs=[output], counts=rewrite.counts, details=details)
    )


def seconds_since(started: float) -> float:
    """Seconds since a reading of `time.perf_counter`."""
    return time.perf_counter() - started
