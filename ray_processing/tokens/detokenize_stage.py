"""Token shards back to page shards: the stage of `corpusmith detokenize` (`ray_processing.tokens.detokenize`)."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, file_checksum, open_shard_writer
from corpusmith.io.tokens.shards import open_token_shards
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from corpusmith.text.tokenizers.load import cached_tokenizer

STEP = "padding"
_ENDINGS = (".tar", ".parquet", ".bin", ".idx", ".zstd", ".gz", ".bz2")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedData:
    """A tokenized data set, and what reads it."""

    url: str
    tokenizer_url: str
    tokenizer_hash: str
    data_key: str
    sequence_length: int | None
    dtype: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DetokenizeTask:
    """One token shard to turn into pages."""

    place: StagePlace
    unit: str
    identity: str
    source: TokenizedData
    shard: str


def output_name(shard: str) -> str:
    """The page shard that a token shard becomes."""
    return f"{shard.removesuffix('.mds').replace('.tokenized', '.detokenized')}.jsonl.zst"


def detokenize_shard(task: DetokenizeTask) -> None:
    """Write the pages of one token shard, and its record."""
    tokenizer = cached_tokenizer(task.source.tokenizer_url, task.source.tokenizer_hash)
    data = _open(task.source)
    counts = Counts()
    tokens = 0
    name = output_name(task.shard)
    url = task.place.output_url(name)
    with open_shard_writer(url) as writer:
        for row in data.read(task.shard):
            counts.read += 1
            tokens += len(row.tokens)
            parts = list(split_row(row.tokens, tokenizer.eot_id, tokenizer.pad_id))
            for part in parts:
                text = tokenizer.decode(part.tolist())
                writer.write({"text": text, "token_count": len(part), **row.meta})
            counts.kept += len(parts)
            counts.added += max(0, len(parts) - 1)
            if not parts:
                counts.remove(STEP)
    file = OutputFile(name=name, bytes=storage.stat(url).size, checksum=file_checksum(url), records=counts.kept)
    task.place.write_record(
        ShardRecord(unit=task.unit, identity=task.identity, outputs=[file], counts=counts, details={"tokens": tokens})
    )


def split_row(tokens: npt.NDArray[Any], eot_id: int, pad_id: int) -> Iterator[npt.NDArray[np.int64]]:
    """The parts of a row between its end-of-text tokens, padding at its end left out."""
    end = len(tokens)
    while end > 0 and tokens[end - 1] == pad_id:
        end -= 1
    if pad_id == eot_id:
        end = min(len(tokens), end + 1)  # one of them ends the last document
    elif end > 0 and tokens[end - 1] != eot_id:
        end = len(tokens)  # GPT-NeoX's pad id is also 22 spaces: padding follows an end-of-text token
    start = 0
    for stop in np.flatnonzero(tokens[:end] == eot_id).tolist():
        yield tokens[start:stop]
        start = stop + 1
    if start < end:
        yield tokens[start:end]


def _open(source: TokenizedData) -> Any:
    return open_token_shards(
        source.url, data_key=source.data_key, sequence_length=source.sequence_length, dtype=source.dtype
    )


def _work(source: TokenizedData, stage: Stage, runner: Runner) -> list[str]:
    """The pending token shards on Ray; returns a line for each that failed."""
    pending = set(stage.pending())
    tasks = {
        ref.name: DetokenizeTask(place=stage.place, unit=ref.name, identity=ref.identity, source=source, shard=ref.name)
        for ref in stage.inputs
        if ref.name in pending
    }
    return stage.run_units(runner, detokenize_shard, tasks, label="detokenize")


def list_inputs(source: TokenizedData) -> list[ShardRef]:
    """The token shards as the stage's input."""
    data = _open(source)
    folder = data.folder
    files = {storage.relative(info.url, folder): info for info in storage.list_files(folder)}
    refs = []
    for entry in data.entries:
        found = [files[name] for name in (entry.shard, *(f"{entry.shard}{s}" for s in _ENDINGS)) if name in files]
        identity = ",".join(f"{info.size}:{info.etag}" for info in found)
        refs.append(ShardRef(name=entry.shard, url=folder, identity=identity, bytes=sum(i.size for i in found)))
    return sorted(refs, key=lambda ref: ref.name)


def plan_stage(source: TokenizedData) -> StagePlan:
    """The one stage of a run that detokenizes."""
    return StagePlan(
        name="detokenize",
        fingerprint={
            "tokenizer": source.tokenizer_hash,
            "data_key": source.data_key,
            "seqlen": source.sequence_length,
            "dtype": source.dtype,
            "code": code_versions(plan_stage),
        },
        work=functools.partial(_work, source),
    )
