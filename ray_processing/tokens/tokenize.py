"""Phase 1 of `corpusmith tokenize`: page shards to spilled rows of token ids, a task per shard.

A task tokenizes and packs its shard, gives each row as many copies as DCLM's frequencies say, and spills the rows
grouped by partition. It writes the shard's part of the build log beside them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.io.pages.shards import Page, Record, ShardRef, read_records
from corpusmith.run.errors_file import QuarantineWriter
from corpusmith.run.ledger import READ_STEP, Counts
from corpusmith.run.ray.execution import TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import ShardRecord, Stage, StagePlace
from corpusmith.seeds import uniform
from corpusmith.text.packing import Grouped, Packed
from corpusmith.text.tokenizers.load import Tokenizer, cached_tokenizer
from ray_processing.tokens.build_log import PageLog, page_name
from ray_processing.tokens.config import PartitionPlan, TokenConfig
from ray_processing.tokens.spilled_rows import Spiller, documents_in, to_batch, with_copies
from ray_processing.tokens.tar_documents import CONTENT, read_tar_records
from ray_processing.tokens.tar_documents import SUFFIX as TAR_SUFFIX

U32Array = npt.NDArray[np.uint32]


STEP = "tokenize"
SAMPLE_STEP = "sample"

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 512
_NO_GROUP = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeTask:
    """A page shard to tokenize; `partition` is set where the source's order is kept, `source` where shards have one."""

    place: StagePlace
    shard: ShardRef
    config: TokenConfig
    partitions: int
    partition: int | None
    source: str | None


def tokenize_stage(
    config: TokenConfig, partitions: PartitionPlan, sources: Mapping[str, str] | None, stage: Stage, runner: Runner
) -> list[str]:
    """Run phase 1 on Ray: the pending page shards; returns a line for each that failed.

    Args:
        config: what decides the token shards.
        partitions: how many, and where the order is kept the partition of each shard.
        sources: the source of each shard by name, where a mixture or DCLM's sampling names some.
        stage: the stage, whose inputs are page shards.
        runner: what runs its tasks.
    """
    pending = set(stage.pending())
    tasks = {
        shard.name: TokenizeTask(
            place=stage.place,
            shard=shard,
            config=config,
            partitions=partitions.count,
            partition=None if partitions.of_source is None else partitions.of_source[shard.name],
            source=None if sources is None else sources[shard.name],
        )
        for shard in stage.inputs
        if shard.name in pending
    }
    spec = TaskSpec[str](set_up="ray_processing.tokens.tokenize:set_up_worker")
    return stage.run_units(runner, tokenize_shard, tasks, label="tokenize", spec=spec)


def set_up_worker() -> None:
    """One process per core, not threads: `tokenizers` would start its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


@dataclass(kw_only=True, slots=True)
class _Documents:
    """Some documents of a shard, in order."""

    contents: list[str | U32Array] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    characters: int = 0


def tokenize_shard(task: TokenizeTask) -> None:
    """Tokenize and pack one page shard into spill files, and write its log and record."""
    started = time.perf_counter()
    config, shard = task.config, task.shard
    tokenizer = cached_tokenizer(config.tokenizer_url, config.tokenizer_hash)
    packer = Grouped(
        config.pack, sequence_length=config.sequence_length, eot_id=tokenizer.eot_id, pad_id=tokenizer.pad_id
    )
    counts = Counts()
    tokens = 0
    with QuarantineWriter(task.place, shard.name, [STEP]) as quarantine, PageLog(task.place, shard.name) as log:
        rows = _RowSink(task, counts, log)
        for batch in _batches(shard, config, counts, quarantine):
            documents = encode_contents(tokenizer, batch.contents)
            tokens += sum(map(len, documents)) + len(documents)
            log.add_pages(batch.indexes, batch.names)
            rows.name_documents(batch.names)
            rows.add(*packer.add(documents, batch.groups))
        rows.add(*packer.finish(), is_last=True)
    outputs = rows.spiller.finish()
    details = {
        "sequences": rows.spiller.rows,
        "tokens": tokens,
        "row_tokens": rows.spiller.tokens,
        "source": task.source,
        "errors": quarantine.examples,
        "bytes_in": shard.bytes,
        "seconds": time.perf_counter() - started,
    }
    task.place.write_record(
        ShardRecord(unit=shard.name, identity=shard.identity, outputs=outputs, counts=counts, details=details)
    )


def _batches(
    shard: ShardRef, config: TokenConfig, counts: Counts, quarantine: QuarantineWriter
) -> Iterator[_Documents]:
    """The documents of a shard in batches, counted; records without a text are set aside."""
    batch = _Documents()
    for record, content in read_documents(shard, config.content_key):
        counts.read += 1
        if content is None or record.page is None:
            step = READ_STEP if record.page is None else STEP
            counts.quarantine(step)
            quarantine.add(step, record, record.error or _no_text(record.page or {}, config.content_key))
            continue
        batch.contents.append(content)
        batch.indexes.append(record.index)
        batch.names.append(page_name(record.page))
        batch.groups.append(_NO_GROUP if config.pack_by is None else group_of(record.page, config.pack_by))
        batch.characters += len(content)
        if batch.characters >= _BATCH_CHARACTERS or len(batch.contents) >= _BATCH_DOCUMENTS:
            yield batch
            batch = _Documents()
    if batch.contents:
        yield batch


def read_documents(shard: ShardRef, content_key: str) -> Iterator[tuple[Record, str | U32Array | None]]:
    """Each record of a shard with its text, or its token ids where it holds those; None where there is neither."""
    in_tar = shard.name.endswith(TAR_SUFFIX)
    key = CONTENT if in_tar else content_key
    for record in read_tar_records(shard.url, content_key) if in_tar else read_records(shard.url):
        yield record, None if record.page is None else _content(record.page.get(key))


def _content(value: Any) -> str | U32Array | None:
    """A text, or token ids as an array; None for what is neither."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        try:
            value = np.array(value) if value else np.empty(0, dtype=np.int64)
        except (ValueError, TypeError, OverflowError):
            return None
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iu":
        return None
    fits = not value.size or (int(value.min()) >= 0 and int(value.max()) < 1 << 32)
    return value.astype(np.uint32) if fits else None


def encode_contents(tokenizer: Tokenizer, contents: list[str | U32Array]) -> list[U32Array]:
    """The token ids of texts; ids are given back as they are."""
    encoded = iter(tokenizer.encode_arrays([content for content in contents if isinstance(content, str)]))
    return [next(encoded) if isinstance(content, str) else content for content in contents]


def group_of(page: Page, key: str) -> str:
    """The value under a dotted key (`metadata.domain`) as text; empty where there is none."""
    value: Any = page
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def _no_text(page: Page, content_key: str) -> str:
    if content_key not in page:
        return f"the page has no key {content_key!r}"
    return f"the value of {content_key!r} is {type(page[content_key]).__name__}, not a string (nor a list of token ids)"


class _RowSink:
    """Takes the packed rows of a shard: copies, build log, provenance, spill; and counts their documents."""

    def __init__(self, task: TokenizeTask, counts: Counts, log: PageLog) -> None:
        config = task.config
        self._task = task
        self._counts = counts
        self._log = log
        self._position = 0
        self._names: dict[int, str] = {}
        self._documents = 0
        self.spiller = Spiller(
            task.place,
            unit=task.shard.name,
            source=task.shard.name,
            seed=config.seed,
            partitions=task.partitions,
            fixed_partition=task.partition,
            limit=config.spill_bytes,
        )

    def name_documents(self, names: list[str]) -> None:
        """Remember what the next documents are called, where rows are to tell of their pages."""
        if self._task.config.with_source:
            self._names.update(enumerate(names, start=self._documents))
            self._documents += len(names)

    def add(self, packed: Packed, groups: list[str], is_last: bool = False) -> None:
        """Take the next rows; `is_last` marks the rest of the shard, which DCLM's sampling writes exactly once."""
        if not len(packed):
            return
        self._log.add_pieces(packed.pieces, self._position)
        batch = to_batch(packed, self._position, *self._provenance(packed, groups))
        copies_S = self._copies(len(packed), is_last)
        self._position += len(packed)
        before = documents_in(batch)
        dropped = int(packed.documents_S[copies_S == 0].sum(dtype=np.int64))
        batch = with_copies(batch, copies_S)
        kept = documents_in(batch)
        self._counts.kept += kept
        self._counts.added += kept - (before - dropped)
        if dropped:
            self._counts.remove(SAMPLE_STEP, dropped)
        self.spiller.add(batch)

    def _copies(self, rows: int, is_last: bool) -> npt.NDArray[np.int64]:
        frequencies, source = self._task.config.frequencies, self._task.source
        if frequencies is None or source is None or is_last:
            return np.ones(rows, dtype=np.int64)
        seed, shard, frequency = self._task.config.seed, self._task.shard.name, frequencies[source]
        draws = [uniform(seed, shard, self._position + row, "copies") for row in range(rows)]
        return np.array([copies_of(frequency, draw) for draw in draws], dtype=np.int64)

    def _provenance(self, packed: Packed, groups: list[str]) -> tuple[list[str] | None, list[list[str]] | None]:
        """Source of each row, and the names of its pages in order, where they are asked for."""
        if not self._task.config.with_source:
            return None, None
        pages: list[list[str]] = [[] for _ in range(len(packed))]
        pieces = packed.pieces
        for document, row in zip(pieces.document_P.tolist(), pieces.row_P.tolist(), strict=True):
            pages[row].append(self._names[document])
        for document in pieces.document_P[pieces.is_end_P].tolist():
            del self._names[document]
        source = self._task.source or self._task.shard.name
        return [group or source for group in groups], pages


def copies_of(frequency: float, draw: float) -> int:
    """How often a sequence is written at a frequency; `draw` lies in [0, 1).

    open_lm's rule: one copy for each whole by which the frequency exceeds 1, and one more with what remains as its
    probability. So 1.0 is exactly one copy, 2.25 two or three.
    """
    copies = 0
    while frequency > 1:
        copies, frequency = copies + 1, frequency - 1
    return copies + (draw < frequency)
