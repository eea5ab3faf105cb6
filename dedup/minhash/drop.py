"""The last phase of MinHash dedup: a shard written again without the pages that another page stands for."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmith.io.pages.shards import Page, Record, dump_page, read_records
from corpusmith.run.ledger import READ_STEP
from corpusmith.steps.rewrite import Rewrite, RewriteTask, bin_of, histogram, open_rewrite, write_record
from dedup.groups.examples import ExampleGroup, ExampleMembers
from dedup.groups.layout import shard_names
from dedup.groups.members import Members
from dedup.minhash.config import MinhashConfig
from dedup.minhash.layout import MinhashLayout
from dedup.minhash.sign import PageReader, read_pages, sketches_of
from dedup.minhash.signatures import similarities

ANNOTATION_KEY = "minhash"


@dataclass(frozen=True, kw_only=True, slots=True)
class MinhashDropTask:
    """A shard to be written without its duplicates, or with their clusters noted; `examples` as for exact dedup."""

    layout: MinhashLayout
    config: MinhashConfig
    examples: tuple[ExampleGroup, ...]
    rewrite: RewriteTask


def member_similarities(layout: MinhashLayout, shard: int, members: Members) -> npt.NDArray[np.float64]:
    """The estimated similarity of each member of a shard to the page that is kept of its cluster, (members,)."""
    signed = read_pages(layout, shard)
    rows = np.searchsorted(signed.column("page").to_numpy(), members.page)
    own = sketches_of(signed)[rows]
    if members.cargo is None or len(rows) == 0:
        return np.zeros(0)
    kept = pa.record_batch({"sketch": members.cargo.combine_chunks()})
    return np.asarray(similarities(own, sketches_of(kept)))


class _MinhashDropper:
    """Decides about the records of one shard."""

    def __init__(self, task: MinhashDropTask, rewrite: Rewrite) -> None:
        self._task = task
        self._rewrite = rewrite
        self._reader = PageReader(config=task.config)
        self._names = shard_names(task.layout.groups)
        self.members = Members(task.layout.groups, task.rewrite.number)
        self.similarity = member_similarities(task.layout, task.rewrite.number, self.members)
        self.examples = ExampleMembers(task.layout.groups, task.examples, self.members)

    def process(self, record: Record) -> None:
        """Keep a record, remove it or set it aside."""
        rewrite = self._rewrite
        rewrite.counts.read += 1
        if record.page is None:
            rewrite.quarantine(READ_STEP, record, record.error or "unreadable")
            return
        problem = self._reader.problem(record.page)
        if problem is not None:
            rewrite.quarantine(self._task.rewrite.step, record, problem)
            return
        found = self.members.of_page(record.index)
        text = self._reader.text(record.page) or ""
        self.examples.take(record.index, record.page, lambda: [text])
        if self._task.config.annotate:
            self._annotate(record, record.page, found)
        elif found and not self.members.is_kept[found[0]]:
            self._remove(record, record.page, text, found[0])
        else:
            self._keep(record, record.page, found)

    def _annotate(self, record: Record, page: Page, found: range) -> None:
        if not found:
            self._rewrite.keep(record, page)
            return
        member = found[0]
        page[ANNOTATION_KEY] = {
            "cluster": self.members.group_name(member, self._names),
            "size": int(self.members.size[member]),
            "kept": bool(self.members.is_kept[member]),
            "similarity": round(float(self.similarity[member]), 3),
        }
        self._rewrite.keep(record, page, dump_page(page))

    def _remove(self, record: Record, page: Page, text: str, member: int) -> None:
        reason = ""
        if self._rewrite.wants_samples:
            group = self.members.group_name(member, self._names)
            reason = f"near duplicate of {group}, similarity about {self.similarity[member]:.2f}"
        self._rewrite.remove(record.index, page, text, reason)

    def _keep(self, record: Record, page: Page, found: range) -> None:
        key = self._task.config.cluster_size_key
        if key is None:
            self._rewrite.keep(record, page)
            return
        page[key] = int(self.members.size[found[0]]) if found else 1
        self._rewrite.keep(record, page, dump_page(page))


def drop_near_duplicates(task: MinhashDropTask) -> None:
    """Write a shard without its near duplicates, its members of clusters, then its record."""
    started = time.perf_counter()
    with open_rewrite(task.rewrite) as rewrite:
        dropper = _MinhashDropper(task, rewrite)
        for record in read_records(task.rewrite.shard.url):
            dropper.process(record)
    members = dropper.members
    members.write(task.layout.groups, dropper.similarity)
    details = rewrite.details(
        func="minhash_dedup",
        arguments=task.config.deciding(),
        started=started,
        units_removed=0 if task.config.annotate else members.lost,
    )
    similarity = histogram()
    for share in dropper.similarity[~members.is_kept].tolist():
        similarity[bin_of(share)] += 1
    found = rewrite.duplicates(groups=dropper.examples.rows, similarity=similarity)
    write_record(rewrite, {**details, "duplicates": found})
