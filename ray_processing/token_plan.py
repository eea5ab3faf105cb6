"""What `corpusmith tokenize` asks for, as a run of two stages; and the manifest and reference that it leaves.

The run's stages are `tokenize` (a unit per page shard, spill files) and `shuffle` (a unit per cell, tars). Both count
documents: a document is counted in the sequence that holds its end, so the books balance through the shuffle too.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import random
from dataclasses import dataclass

from corpusmith.errors import InputError
from corpusmith.expdb import (
    DatasetReference,
    git_state,
    load_dataset,
    reference_path,
    refuse_foreign_reference,
    write_reference,
)
from corpusmith.io import storage, wds
from corpusmith.io.shards import SHARD_SUFFIXES, ShardRef, list_shards
from corpusmith.run.fingerprint import SHARD_MODULES, code_versions
from corpusmith.run.run import Run, RunPlace, RunPlan, RunResult, StagePlan
from corpusmith.text.tokenizer import Tokenizer, find_tokenizer, load_tokenizer
from ray_processing.shuffle import CellPlan, ShuffleConfig, plan_cells, shuffle_work, tokenize_work
from ray_processing.utils import sources_of

TOKENIZE_MODULES = (
    *SHARD_MODULES,
    "corpusmith.text.packing",
    "corpusmith.text.tokenizer",
    "ray_processing.shuffle",
)
SHUFFLE_MODULES = ("corpusmith.io.wds", "ray_processing.shuffle")
DATA_KEY = "json.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """What the flags of `corpusmith tokenize` say; `seqlen` is training's, `inputs` are folders."""

    inputs: tuple[str, ...]
    references: tuple[str, ...]
    output: str
    name: str
    exp_data_dir: str
    tokenizer: str
    content_key: str
    seqlen: int
    shard_sequences: int
    seed: int
    subset: int | None
    shuffle: bool
    suffixes: tuple[str, ...]
    overwrite: bool


@dataclass(frozen=True, kw_only=True)
class TokenRun:
    """A run, with what its reference needs."""

    request: TokenRequest
    run: Run
    tokenizer: Tokenizer
    sources: list[dict[str, str]]

    @property
    def manifest_url(self) -> str:
        """Where the manifest stands."""
        return storage.join(self.run.place.output, wds.MANIFEST_NAME)

    @property
    def reference_url(self) -> str:
        """Where the reference JSON stands."""
        return reference_path(self.request.exp_data_dir, "tokenized", self.request.name)

    @property
    def dataset_url(self) -> str:
        """The output folder as the reference names it."""
        return self.request.output.rstrip("/") + "/"


def open_run(request: TokenRequest) -> TokenRun:
    """The run that a request stands for. Raises InputError for a request that cannot be carried out."""
    folders, sources = _resolve_input(request)
    output = _absolute(request.output)
    for folder in folders:
        if f"{output}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{output}/"):
            raise InputError(f"the output folder {output} and the input {folder} lie in each other; choose another")
    tokenizer_url = _absolute(find_tokenizer(request.tokenizer))
    tokenizer = load_tokenizer(request.tokenizer)
    config = ShuffleConfig(
        tokenizer_url=tokenizer_url,
        tokenizer_hash=tokenizer.content_hash,
        content_key=request.content_key,
        sequence_length=request.seqlen + 1,
        shard_sequences=request.shard_sequences,
        seed=request.seed,
        shuffle=request.shuffle,
    )
    shards = choose_shards(folders, request.suffixes, request.subset, request.seed)
    above, name = storage.parent(output), storage.basename(output)
    place = RunPlace(root=storage.join(above, "run", name), output=output, errors=storage.join(above, "errors", name))
    run = Run(place, plan_run(shards, config, request.subset))
    tokens = TokenRun(request=request, run=run, tokenizer=tokenizer, sources=sources)
    refuse_foreign_reference(tokens.reference_url, tokens.dataset_url, request.overwrite)
    return tokens


def _resolve_input(request: TokenRequest) -> tuple[list[str], list[dict[str, str]]]:
    """Input folders, and `{"uuid", "name"}` of the data sets that they are."""
    if request.references:
        references = [load_dataset(path) for path in request.references]
        folders = [reference.dataset_url or "" for reference in references]
        sources = [{"uuid": reference.uuid, "name": reference.name} for reference in references]
    else:
        folders = list(request.inputs)
        sources = [source for folder in folders for source in sources_of(folder, request.exp_data_dir)]
    if not folders:
        raise InputError("give the input: --input FOLDER[,FOLDER] or --source_ref_paths REFERENCE.json")
    if "" in folders:
        raise InputError(f"{request.references[folders.index('')]}: the reference has no dataset_url to tokenize")
    return list(dict.fromkeys(_absolute(folder) for folder in folders)), sources


def _absolute(url: str) -> str:
    """A local path from the root, since workers may stand elsewhere; other URLs as they are."""
    return url.rstrip("/") if "://" in url else os.path.abspath(url)


def choose_shards(folders: list[str], suffixes: tuple[str, ...], subset: int | None, seed: int) -> list[ShardRef]:
    """The page shards below the folders, sorted by name; of several folders, names begin with the folder's.

    `subset` keeps that many, drawn by `seed`. Raises InputError where none is left.
    """
    unknown = [suffix for suffix in suffixes if suffix not in SHARD_SUFFIXES]
    if unknown:
        raise InputError(f"--suffixes: {unknown[0]!r} is no kind of page shard; known: {' '.join(SHARD_SUFFIXES)}")
    shards: list[ShardRef] = []
    for index, folder in enumerate(folders):
        prefix = f"{index:02d}-{storage.basename(folder)}/" if len(folders) > 1 else ""
        shards += [
            dataclasses.replace(shard, name=prefix + shard.name)
            for shard in list_shards(folder)
            if shard.name.endswith(suffixes)
        ]
    if not shards:
        raise InputError(f"no input shard's name ends in {' or '.join(suffixes)}")
    if subset is not None:
        if subset < 1:
            raise InputError(f"--subset must be at least 1, got {subset}")
        random.Random(seed).shuffle(shards)
        shards = shards[:subset]
    return sorted(shards, key=lambda shard: shard.name)


def plan_run(shards: list[ShardRef], config: ShuffleConfig, subset: int | None) -> RunPlan:
    """The two stages; keys of the fingerprints bear the names of the flags."""
    cells: CellPlan = plan_cells(shards, config)
    tokenize = StagePlan(
        name="tokenize",
        fingerprint={
            "content_key": config.content_key,
            "tokenizer": config.tokenizer_hash,
            "seqlen": config.sequence_length - 1,
            "no_shuffle": not config.shuffle,
            "cells": cells.count,
            "code": code_versions(TOKENIZE_MODULES),
        },
        work=functools.partial(tokenize_work, config, cells),
    )
    shuffle = StagePlan(
        name="shuffle",
        fingerprint={
            "wds_chunk_size": config.shard_sequences,
            "cell_bytes": config.cell_bytes,
            "code": code_versions(SHUFFLE_MODULES),
        },
        work=functools.partial(shuffle_work, config, cells),
        units=cells.units,
    )
    return RunPlan(inputs=shards, stages=[tokenize, shuffle], common={"seed": config.seed, "subset": subset})


def finish_tokens(tokens: TokenRun, result: RunResult) -> DatasetReference:
    """Write what is lacking of manifest and reference; both are made anew after a run that worked."""
    counts = {name: count for record in result.records for name, count in record.details["sequences"].items()}
    entries = [
        wds.ManifestEntry(shard=name.removesuffix(".tar"), num_sequences=counts[name]) for name in sorted(counts)
    ]
    manifest_url, reference_url = tokens.manifest_url, tokens.reference_url
    if not result.was_finished or not storage.exists(manifest_url):
        wds.write_manifest(manifest_url, entries)
    if not result.was_finished or not storage.exists(reference_url):
        write_reference(_reference(tokens), reference_url, overwrite=True)
    return load_dataset(reference_url)


def _reference(tokens: TokenRun) -> DatasetReference:
    commit_hash, diff = git_state()
    request, tokenizer = tokens.request, tokens.tokenizer
    files = storage.list_files(tokens.run.place.output)
    return DatasetReference(
        name=request.name,
        dataset_url=tokens.dataset_url,
        manifest_url=tokens.dataset_url + wds.MANIFEST_NAME,
        sources=tokens.sources,
        tokenized=True,
        tokenizer=request.tokenizer,
        num_tokens=wds.count_tokens(tokens.manifest_url, request.seqlen + 1),
        size=sum(info.size for info in files),
        dcnlp_commit_hash=commit_hash,
        dcnlp_diff=diff,
        data_key=DATA_KEY,
        sampling_yaml=None,
        note=_tokenizer_note(tokenizer),
    )


def _tokenizer_note(tokenizer: Tokenizer) -> str:
    """What training and evaluation must know of the tokenizer (every reader of references knows the key `note`)."""
    return (
        f"tokenizer: eot_id={tokenizer.eot_id} pad_id={tokenizer.pad_id} vocab_size={tokenizer.vocab_size} "
        f"num_ids={tokenizer.num_ids} content={tokenizer.content_hash}"
    )


def report_lines(tokens: TokenRun, result: RunResult) -> list[str]:
    """What the run did, for the terminal."""
    first, last = result.stages[0].counts(), result.stages[-1].counts()
    entries = wds.read_manifest(tokens.manifest_url)
    sequences = sum(entry.num_sequences for entry in entries)
    length = tokens.request.seqlen + 1
    return [
        "finished before; nothing was recomputed" if result.was_finished else "finished",
        f"  documents: {first.read} read = {last.kept} tokenized + {sum(first.errored.values())} set aside",
        f"  sequences: {sequences} of {length} tokens = {sequences * length} tokens in {len(entries)} tars",
        f"  data:      {tokens.dataset_url}",
        f"  reference: {tokens.reference_url}",
    ]
