"""Tokenize, pack and shuffle page shards into webdataset tars, out of core, in two phases of Ray tasks.

Phase 1, a task per page shard: tokenize, pack, give each sequence a sort key (a seeded stable hash of source path,
position and copy number) and spill the sequences grouped by cell, a cell being a range of keys. Phase 2, a task per
cell: read the cell out of all spill files, sort by key and write its tars. The number of cells comes from the input's
bytes, the numbers of a cell's tars from the row counts of the cells before it, so neither the number of workers nor
any retry changes a byte.

Follows open_lm's tokenize_shuffle in packing and layout; departs from it in the sort key (open_lm sorts by Python's
salted hash of the tokens, which no seed repeats) and in that each cell, not each writer, may end in one short tar.

Legend: S sequences, L tokens in a sequence (the sequence length of training plus one).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmith.errors import InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.shards import Page, ShardRef, file_checksum, read_records
from corpusmith.io.spill import group_by_cell, read_spill_cell, spill_rows, write_spill
from corpusmith.io.wds import shard_name, write_wds_shard
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.fingerprint import inputs_identity
from corpusmith.run.ledger import Counts
from corpusmith.run.runner import Runner
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from corpusmith.seeds import stable_hash
from corpusmith.text.packing import Packer, Sequences
from corpusmith.text.tokenizer import cached_tokenizer

VERSION = 1

STEP = "tokenize"
MIB = 1 << 20
CELL_BYTES = 128 * MIB
SPILL_BYTES = 128 * MIB
#: bytes of tokens (4 each) that a byte of a shard makes, by its compression; on the safe side for web text
EXPANSION = {".jsonl": 1.2, ".jsonl.gz": 3.5, ".jsonl.zst": 4.0, ".jsonl.zstd": 4.0}

_BATCH_CHARACTERS = MIB
_BATCH_DOCUMENTS = 512
_COUNT_BATCH = 64
_KEYS = 1 << 64

U64Array = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffleConfig:
    """What decides the tars, apart from the pages.

    `sequence_length` is L, training's sequence length + 1; `tokenizer_url` and `tokenizer_hash` name the tokenizer's
    file and its content; `cell_bytes` (of tokens, 4 bytes each) bounds what phase 2 holds at once, `spill_bytes` the
    size of a spill file (which changes no result).
    """

    tokenizer_url: str
    tokenizer_hash: str
    content_key: str = "text"
    sequence_length: int = 2049
    shard_sequences: int = 8192
    seed: int = 42
    shuffle: bool = True
    cell_bytes: int = CELL_BYTES
    spill_bytes: int = SPILL_BYTES

    def __post_init__(self) -> None:
        if self.sequence_length < 2:
            raise InputError(f"--seqlen must be at least 1, got {self.sequence_length - 1}")
        if self.shard_sequences < 1:
            raise InputError(f"--wds_chunk_size must be at least 1, got {self.shard_sequences}")
        if not self.content_key:
            raise InputError("--content_key must not be empty")
        if self.cell_bytes < 1:
            raise InputError(f"a cell must hold at least one byte, got {self.cell_bytes}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """The number of cells, and for `--no_shuffle` the cell of each source shard (by name)."""

    count: int
    of_source: dict[str, int] | None = None

    def units(self, spills: list[ShardRef]) -> dict[str, str]:
        """The units of phase 2, a cell each; all depend on all spill files."""
        every = inputs_identity(spills)
        return {f"{cell:06d}": every for cell in range(self.count)}


def plan_cells(shards: Sequence[ShardRef], config: ShuffleConfig) -> CellPlan:
    """Cells of about `config.cell_bytes`, from the bytes of the shards; runs of whole shards where order is kept."""
    sizes = [int(shard.bytes * EXPANSION[_suffix(shard.name)]) for shard in shards]
    if config.shuffle:
        return CellPlan(count=max(1, -(-sum(sizes) // config.cell_bytes)))
    of_source: dict[str, int] = {}
    cell = held = 0
    for shard, size in zip(shards, sizes, strict=True):
        if held and held + size > config.cell_bytes:
            cell, held = cell + 1, 0
        of_source[shard.name] = cell
        held += size
    return CellPlan(count=cell + 1, of_source=of_source)


def _suffix(name: str) -> str:
    return next(suffix for suffix in sorted(EXPANSION, key=len, reverse=True) if name.endswith(suffix))


# --- phase 1: pages to spilled sequences -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizeTask:
    """One page shard to tokenize; `cell` is set where the order of the source is kept."""

    place: StagePlace
    shard: ShardRef
    config: ShuffleConfig
    cells: int
    cell: int | None


def tokenize_work(config: ShuffleConfig, cells: CellPlan, stage: Stage, runner: Runner) -> list[str]:
    """Phase 1 on Ray: the pending page shards; returns a line for each that failed."""
    pending = set(stage.pending())
    tasks = {
        shard.name: TokenizeTask(
            place=stage.place,
            shard=shard,
            config=config,
            cells=cells.count,
            cell=None if cells.of_source is None else cells.of_source[shard.name],
        )
        for shard in stage.inputs
        if shard.name in pending
    }
    set_up = "ray_processing.shuffle:set_up_worker"
    return stage.run_units(runner, tokenize_shard, tasks, label="tokenize", set_up=set_up)


def set_up_worker() -> None:
    """One process per core, not threads: `tokenizers` would start its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def tokenize_shard(task: TokenizeTask) -> None:
    """Tokenize and pack one page shard into spill files, and write its record."""
    started = time.perf_counter()
    config, shard = task.config, task.shard
    tokenizer = cached_tokenizer(config.tokenizer_url, config.tokenizer_hash)
    packer = Packer(sequence_length=config.sequence_length, eot_id=tokenizer.eot_id, pad_id=tokenizer.pad_id)
    spiller = Spiller(task)
    counts = Counts()
    tokens = 0
    with SetAside(task.place, shard.name, [STEP]) as aside:
        for texts in _batches(shard, config.content_key, counts, aside):
            documents = tokenizer.encode_arrays(texts)
            tokens += sum(map(len, documents)) + len(documents)
            spiller.add(packer.add(documents))
    spiller.add(packer.finish())
    outputs = spiller.finish()
    details = {
        "sequences": spiller.sequences,
        "tokens": tokens,
        "errors": aside.examples,
        "bytes_in": shard.bytes,
        "seconds": time.perf_counter() - started,
    }
    task.place.write_record(
        ShardRecord(unit=shard.name, identity=shard.identity, outputs=outputs, counts=counts, details=details)
    )


def _batches(shard: ShardRef, content_key: str, counts: Counts, aside: SetAside) -> Iterator[list[str]]:
    """The texts of a shard in batches, counted; records without a text are set aside."""
    texts: list[str] = []
    characters = 0
    for record in read_records(shard.url):
        counts.read += 1
        text = None if record.page is None else record.page.get(content_key)
        if not isinstance(text, str):
            step = READ_STEP if record.page is None else STEP
            counts.set_aside(step)
            aside.add(step, record, record.error or _no_text(record.page or {}, content_key))
            continue
        counts.kept += 1
        texts.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(texts) >= _BATCH_DOCUMENTS:
            yield texts
            texts, characters = [], 0
    if texts:
        yield texts


def _no_text(page: Page, content_key: str) -> str:
    if content_key not in page:
        return f"the page has no key {content_key!r}"
    return f"the value of {content_key!r} is {type(page[content_key]).__name__}, not a string"


class Spiller:
    """Collects a shard's sequences and writes them, grouped by cell, to spill files of bounded size."""

    def __init__(self, task: TokenizeTask) -> None:
        self._task = task
        self._held: list[Sequences] = []
        self._held_bytes = 0
        self._files: list[OutputFile] = []
        self.sequences = 0

    def add(self, sequences: Sequences) -> None:
        """Take the next sequences of the shard."""
        if len(sequences.tokens_SL):
            self._held.append(sequences)
            self._held_bytes += sequences.tokens_SL.nbytes
        if self._held_bytes >= self._task.config.spill_bytes:
            self._spill()

    def finish(self) -> list[OutputFile]:
        """Write what is held; returns the spill files in order, `records` counting documents."""
        if self._held:
            self._spill()
        return self._files

    def _spill(self) -> None:
        task = self._task
        rows = _join(self._held)
        self._held, self._held_bytes = [], 0
        keys, cells = self._keys_and_cells(len(rows.tokens_SL))
        name = f"{task.shard.name}/{len(self._files):06d}.arrow"
        url = task.place.output_url(name)
        write_spill(url, group_by_cell(_to_batch(keys, rows), pa.array(cells), task.cells))
        size = storage.stat(url).size
        documents = int(rows.documents_S.sum(dtype=np.int64))
        self._files.append(OutputFile(name=name, bytes=size, checksum=file_checksum(url), records=documents))
        self.sequences += len(keys)

    def _keys_and_cells(self, rows: int) -> tuple[U64Array, npt.NDArray[np.int64]]:
        """Sort key and cell of the next `rows` sequences; in source order the key is the position."""
        task = self._task
        positions = range(self.sequences, self.sequences + rows)
        if task.cell is not None:
            return np.array(positions, dtype=np.uint64), np.full(rows, task.cell, dtype=np.int64)
        copy = 0
        seed, name = task.config.seed, task.shard.name
        keys = [stable_hash(seed, name, position, copy) for position in positions]
        return np.array(keys, dtype=np.uint64), np.array([cell_of(key, task.cells) for key in keys], dtype=np.int64)


def cell_of(key: int, cells: int) -> int:
    """The cell of a 64-bit key: `cells` equal ranges of keys, in order."""
    return key * cells // _KEYS


def _to_batch(keys: U64Array, rows: Sequences) -> pa.RecordBatch:
    tokens = pa.FixedSizeListArray.from_arrays(pa.array(rows.tokens_SL.reshape(-1)), rows.tokens_SL.shape[1])
    columns = [pa.array(keys), tokens, pa.array(rows.documents_S)]
    return pa.RecordBatch.from_arrays(columns, ["key", "tokens", "documents"])


def _from_batch(batch: pa.RecordBatch, sequence_length: int) -> tuple[U64Array, Sequences]:
    keys = batch.column("key").to_numpy(zero_copy_only=False)
    tokens = batch.column("tokens").flatten().to_numpy(zero_copy_only=False)
    documents = batch.column("documents").to_numpy(zero_copy_only=False)
    return keys, Sequences(tokens.reshape(-1, sequence_length), documents)


# --- phase 2: cells to tars --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class CellTask:
    """One cell to write: its spill files (a JSON list at `spills_url`), its number of rows, its first tar's number."""

    place: StagePlace
    unit: str
    identity: str
    config: ShuffleConfig
    cells: int
    cell: int
    spills_url: str
    rows: int
    first_shard: int


def shuffle_work(config: ShuffleConfig, cells: CellPlan, stage: Stage, runner: Runner) -> list[str]:
    """Phase 2 on Ray: the pending cells; returns a line for each that failed.

    Raises InputError where phase 1 found not one document.
    """
    spills = sorted(stage.inputs, key=lambda ref: ref.name.rpartition("/")[::2])
    rows = count_rows([ref.url for ref in spills], cells.count, runner)
    if not sum(rows):
        raise InputError(f"no document to tokenize: not one page has a text under {config.content_key!r}")
    shards = [-(-count // config.shard_sequences) for count in rows]
    _remove_unexpected(stage.place.output, sum(shards))
    index = _write_index(stage.place, spills, cells)
    pending = set(stage.pending())
    tasks = {
        unit: CellTask(
            place=stage.place,
            unit=unit,
            identity=identity,
            config=config,
            cells=cells.count,
            cell=cell,
            spills_url=index[cell],
            rows=rows[cell],
            first_shard=1 + sum(shards[:cell]),
        )
        for cell, (unit, identity) in enumerate(stage.units.items())
        if unit in pending
    }
    return stage.run_units(runner, write_cell, tasks, label="shuffle", unit="cells")


def count_rows(urls: list[str], cells: int, runner: Runner) -> list[int]:
    """Rows per cell, summed over the spill files."""
    batches = [urls[start : start + _COUNT_BATCH] for start in range(0, len(urls), _COUNT_BATCH)]
    totals = np.zeros(cells, dtype=np.int64)
    for outcome in runner.map(sum_spill_rows, batches, label="count", unit="batches"):
        if outcome.value is None:
            raise RunFailed(f"cannot read the spill files: {outcome.error}")
        totals += np.array(outcome.value, dtype=np.int64)
    return [int(count) for count in totals]


def sum_spill_rows(urls: list[str]) -> list[int]:
    """Rows per cell of some spill files together."""
    return [sum(counts) for counts in zip(*(spill_rows(url) for url in urls), strict=True)]


def _remove_unexpected(output: str, shards: int) -> None:
    """Remove tars of another division into cells; a run whose input grew has other numbers."""
    if not storage.is_dir(output):
        return
    expected = {f"{shard_name(number)}.tar" for number in range(1, shards + 1)}
    for info in storage.list_files(output):
        if storage.relative(info.url, output) not in expected:
            storage.remove(info.url)


def _write_index(place: StagePlace, spills: list[ShardRef], cells: CellPlan) -> list[str]:
    """Write the list of spill files that each cell reads; returns its URL by cell (one for all where shuffled)."""
    if cells.of_source is None:
        url = storage.join(place.scratch, "spills.json")
        storage.write_json(url, [ref.url for ref in spills])
        return [url] * cells.count
    urls = [storage.join(place.scratch, f"spills-{cell:06d}.json") for cell in range(cells.count)]
    groups: list[list[str]] = [[] for _ in range(cells.count)]
    for ref in spills:
        groups[cells.of_source[ref.name.rpartition("/")[0]]].append(ref.url)
    for url, group in zip(urls, groups, strict=True):
        storage.write_json(url, group)
    return urls


def write_cell(task: CellTask) -> None:
    """Write the tars of one cell, and its record."""
    spills: list[str] = storage.read_json(task.spills_url)
    batches = _sorted_rows(task, spills) if task.config.shuffle else _rows_in_order(task, spills)
    outputs: list[OutputFile] = []
    sequences: dict[str, int] = {}
    for rows in cut(batches, task.config.shard_sequences):
        name = f"{shard_name(task.first_shard + len(outputs))}.tar"
        written = write_wds_shard(task.place.output_url(name), rows.tokens_SL)
        documents = int(rows.documents_S.sum(dtype=np.int64))
        outputs.append(OutputFile(name=name, bytes=written.bytes, checksum=written.checksum, records=documents))
        sequences[name] = len(rows.tokens_SL)
    if sum(sequences.values()) != task.rows:
        found = sum(sequences.values())
        raise RunFailed(f"cell {task.cell}: {found} sequences instead of {task.rows}; its spill files changed")
    documents = sum(file.records for file in outputs)
    task.place.write_record(
        ShardRecord(
            unit=task.unit,
            identity=task.identity,
            outputs=outputs,
            counts=Counts(read=documents, kept=documents),
            details={"sequences": sequences},
        )
    )


def _rows_in_order(task: CellTask, spills: list[str]) -> Iterator[Sequences]:
    """The cell's rows as the source has them, a spill file at a time."""
    for url in spills:
        yield _from_batch(read_spill_cell(url, task.cell), task.config.sequence_length)[1]


def _sorted_rows(task: CellTask, spills: list[str]) -> Iterator[Sequences]:
    """The cell's rows by key; a cell larger than planned is read in several passes, each a part of its keys."""
    passes = max(1, -(-task.rows * task.config.sequence_length * 4 // task.config.cell_bytes))
    for number in range(passes):
        keys_parts, rows_parts = [], []
        for url in spills:
            keys, rows = _from_batch(read_spill_cell(url, task.cell), task.config.sequence_length)
            if passes > 1:
                # pass p of cell c holds the keys of cell c * passes + p, were there that many cells
                wanted = task.cell * passes + number
                chosen = np.array([cell_of(int(key), task.cells * passes) == wanted for key in keys], dtype=bool)
                keys, rows = keys[chosen], Sequences(rows.tokens_SL[chosen], rows.documents_S[chosen])
            keys_parts.append(keys)
            rows_parts.append(rows)
        # stable: equal keys stay in order of source and position
        order = np.argsort(np.concatenate(keys_parts), kind="stable")
        merged = _join(rows_parts)
        step = task.config.shard_sequences
        for start in range(0, len(order), step):
            chosen = order[start : start + step]
            yield Sequences(merged.tokens_SL[chosen], merged.documents_S[chosen])


def cut(batches: Iterator[Sequences], size: int) -> Iterator[Sequences]:
    """The same rows in pieces of exactly `size`, the last maybe shorter."""
    held: list[Sequences] = []
    count = 0
    for batch in batches:
        start = 0
        while count + len(batch.tokens_SL) - start >= size:
            end = start + size - count
            held.append(_slice(batch, start, end))
            yield _join(held)
            held, count, start = [], 0, end
        if start < len(batch.tokens_SL):
            held.append(_slice(batch, start, len(batch.tokens_SL)))
            count += len(batch.tokens_SL) - start
    if count:
        yield _join(held)


def _slice(rows: Sequences, start: int, end: int) -> Sequences:
    return Sequences(rows.tokens_SL[start:end], rows.documents_S[start:end])


def _join(parts: list[Sequences]) -> Sequences:
    return Sequences(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
