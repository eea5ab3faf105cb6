"""The last phase of `corpusmith tokenize`: partitions of spilled rows to token shards, a task per partition.

A task reads its partition out of all spill files, sorts the rows by key and writes its shards and its part of the build
log. The numbers of a partition's shards come from the row counts of the partitions before it, so neither the number of
workers nor any retry changes a byte; each partition may end in one short shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from corpusmith.errors import InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.io.spill import read_spill_cell, spill_rows
from corpusmith.io.tokens.shards import shard_files, shard_stem, write_token_shard
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from ray_processing.tokens.build_log import PARTITION_SUFFIX, log_folder, write_partition_log
from ray_processing.tokens.config import TOKEN_BYTES, PartitionPlan, TokenConfig
from ray_processing.tokens.spilled_rows import documents_in, keyed_rows, partition_of, to_token_rows, tokens_in

_COUNT_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionTask:
    """A partition to write: its spill files (a JSON list at `spills_url`), its rows, the number of its first shard."""

    place: StagePlace
    unit: str
    identity: str
    config: TokenConfig
    partitions: int
    partition: int
    spills_url: str
    rows: int
    first_shard: int


def shuffle_stage(config: TokenConfig, partitions: PartitionPlan, stage: Stage, runner: Runner) -> list[str]:
    """Run the last phase on Ray: the pending partitions; returns a line for each that failed.

    Args:
        config: what decides the token shards.
        partitions: how many, and where the order is kept the partition of each page shard.
        stage: the stage, whose inputs are spill files.
        runner: what runs its tasks.

    Raises:
        InputError: there is not one row.
    """
    spills = sorted(stage.inputs, key=lambda ref: ref.name.rpartition("/")[::2])
    rows = count_rows([ref.url for ref in spills], partitions.count, runner)
    if not sum(rows):
        raise InputError(f"no document to tokenize: not one page has a text under {config.content_key!r}")
    shards = [-(-count // config.shard_sequences) for count in rows]
    _remove_unexpected(stage.place.output, config.format_name, sum(shards))
    index = _write_index(stage.place, spills, partitions)
    pending = set(stage.pending())
    tasks = {
        unit: PartitionTask(
            place=stage.place,
            unit=unit,
            identity=identity,
            config=config,
            partitions=partitions.count,
            partition=partition,
            spills_url=index[partition],
            rows=rows[partition],
            first_shard=1 + sum(shards[:partition]),
        )
        for partition, (unit, identity) in enumerate(stage.units.items())
        if unit in pending
    }
    return stage.run_units(runner, write_partition, tasks, label="shuffle", unit="partitions")


def count_rows(urls: list[str], partitions: int, runner: Runner) -> list[int]:
    """Rows per partition, summed over the spill files."""
    batches = [urls[start : start + _COUNT_BATCH] for start in range(0, len(urls), _COUNT_BATCH)]
    totals = np.zeros(partitions, dtype=np.int64)
    for outcome in runner.map(sum_spill_rows, batches, label="count", unit="batches"):
        if outcome.value is None:
            raise RunFailed(f"cannot read the spill files: {outcome.error}")
        totals += np.array(outcome.value, dtype=np.int64)
    return [int(count) for count in totals]


def sum_spill_rows(urls: list[str]) -> list[int]:
    """Rows per partition of some spill files together."""
    return [sum(counts) for counts in zip(*(spill_rows(url) for url in urls), strict=True)]


def _remove_unexpected(output: str, format_name: str, shards: int) -> None:
    """Remove shards of another division into partitions; a run whose input grew has other numbers."""
    if not storage.is_dir(output):
        return
    expected = {name for number in range(1, shards + 1) for name in shard_files(format_name, number)}
    for info in storage.list_files(output):
        if storage.relative(info.url, output) not in expected:
            storage.remove(info.url)


def _write_index(place: StagePlace, spills: list[ShardRef], partitions: PartitionPlan) -> list[str]:
    """Write the list of spill files that each partition reads; returns its URL by partition, one if shuffled."""
    if partitions.of_source is None:
        url = storage.join(place.scratch, "spills.json")
        storage.write_json(url, [ref.url for ref in spills])
        return [url] * partitions.count
    urls = [storage.join(place.scratch, f"spills-{partition:06d}.json") for partition in range(partitions.count)]
    groups: list[list[str]] = [[] for _ in range(partitions.count)]
    for ref in spills:
        groups[partitions.of_source[ref.name.rpartition("/")[0]]].append(ref.url)
    for url, group in zip(urls, groups, strict=True):
        storage.write_json(url, group)
    return urls


def write_partition(task: PartitionTask) -> None:
    """Write the shards of one partition, its part of the build log, and its record."""
    config = task.config
    spills: list[str] = storage.read_json(task.spills_url)
    outputs: list[OutputFile] = []
    details: dict[str, dict[str, Any]] = {"sequences": {}, "tokens": {}, "mds": {}}
    logged: list[tuple[pa.Table, list[str]]] = []
    batches = _sorted_rows(task, spills) if config.shuffle else _rows_in_order(task, spills)
    for rows, sources in regroup(batches, config.shard_sequences):
        number = task.first_shard + len(details["sequences"])
        name = shard_stem(config.format_name, number)
        files, entry = write_token_shard(
            task.place.output,
            number,
            to_token_rows(rows, sources),
            format_name=config.format_name,
            dtype=config.storage_dtype,
        )
        documents = documents_in(rows)
        for index, file in enumerate(files):
            relative = storage.relative(file.url, task.place.output)
            records = 0 if index else documents  # a shard's index holds no documents
            outputs.append(OutputFile(name=relative, bytes=file.bytes, checksum=file.checksum, records=records))
        details["sequences"][name] = rows.num_rows
        details["tokens"][name] = tokens_in(rows)
        if entry is not None:
            details["mds"][name] = entry
        logged.append((rows.select(["position", "copy"]), sources))
    found = sum(details["sequences"].values())
    if found != task.rows:
        raise RunFailed(
            f"partition {task.partition}: {found} sequences instead of {task.rows}; its spill files changed"
        )
    _write_log(task, list(details["sequences"]), logged)
    documents = sum(file.records for file in outputs)
    task.place.write_record(
        ShardRecord(
            unit=task.unit,
            identity=task.identity,
            outputs=outputs,
            counts=Counts(read=documents, kept=documents),
            details=details,
        )
    )


def _write_log(task: PartitionTask, shards: list[str], logged: list[tuple[pa.Table, list[str]]]) -> None:
    if logged:
        url = storage.join(log_folder(task.place.folder), task.unit + PARTITION_SUFFIX)
        rows = pa.concat_tables([table for table, _ in logged])
        sources = [source for _, names in logged for source in names]
        write_partition_log(url, shards, [table.num_rows for table, _ in logged], sources, rows)


Rows = tuple[pa.Table, list[str]]


def _rows_in_order(task: PartitionTask, spills: list[str]) -> Iterator[Rows]:
    """The partition's rows as the source has them, a spill file at a time."""
    for url in spills:
        yield keyed_rows(iter([read_spill_cell(url, task.partition)]))


def _sorted_rows(task: PartitionTask, spills: list[str]) -> Iterator[Rows]:
    """The partition's rows by key; one that is larger than planned is read in several passes, each a range of keys."""
    passes = max(1, -(-task.rows * task.config.sequence_length * TOKEN_BYTES // task.config.partition_bytes))
    for number in range(passes):
        table, sources = keyed_rows(_pass_of_partition(task, spills, number, passes))
        keys = table.column("key").to_numpy()
        # stable: equal keys stay in order of source and position
        order = np.argsort(keys, kind="stable")
        step = task.config.shard_sequences
        for start in range(0, len(order), step):
            chosen = order[start : start + step]
            yield table.take(pa.array(chosen)), [sources[row] for row in chosen.tolist()]


def _pass_of_partition(task: PartitionTask, spills: list[str], number: int, passes: int) -> Iterator[pa.RecordBatch]:
    """The rows of one pass: pass p of partition c holds the keys of partition c * passes + p of as many times more."""
    wanted = task.partition * passes + number
    for url in spills:
        batch = read_spill_cell(url, task.partition)
        if passes > 1:
            keys = batch.column("key").to_pylist()
            chosen = [row for row, key in enumerate(keys) if partition_of(key, task.partitions * passes) == wanted]
            batch = batch.take(pa.array(chosen, pa.int64()))
        yield batch


def regroup(batches: Iterator[Rows], size: int) -> Iterator[Rows]:
    """Yield the same rows in batches of exactly `size`, the last maybe shorter."""
    held: list[pa.Table] = []
    names: list[str] = []
    for table, sources in batches:
        held.append(table)
        names += sources
        while len(names) >= size:
            whole = pa.concat_tables(held)
            yield whole.slice(0, size), names[:size]
            held, names = [whole.slice(size)], names[size:]
    if names:
        yield pa.concat_tables(held), names
