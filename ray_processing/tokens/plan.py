"""What `corpusmith tokenize` asks for, as a run of two or three stages.

`tokenize` (a unit per page shard, spill files), with a mixture `mix` (a unit per spill file), and `shuffle` (a unit per
cell, token shards). All count documents: a document is counted in the sequence that holds its end, so the books balance
through the shuffle too; copies of it are added, and what sampling leaves out is removed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb.references import load_dataset, reference_path, refuse_foreign_reference
from corpusmith.io import storage
from corpusmith.io.pages.shards import SHARD_SUFFIXES, ShardRef, list_shards
from corpusmith.io.tokens.rows import storage_dtype
from corpusmith.mixture import Mixture, load_mixture, parse_number
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.run import Run, RunPlace, RunPlan, StagePlan, unit_per_shard_of_all
from corpusmith.text.tokenizers.load import Tokenizer, load_tokenizer, resolve_tokenizer
from ray_processing.tokens.config import TOKEN_BYTES, CellPlan, TokenConfig, plan_cells, token_bytes
from ray_processing.tokens.mix import deal_work
from ray_processing.tokens.shuffle import shuffle_work
from ray_processing.tokens.sources import UNKNOWN, Sampling, load_sampling, mixture_markers, sources_of_shards
from ray_processing.tokens.tar_documents import SUFFIX as TAR_SUFFIX
from ray_processing.tokens.tar_documents import split_content_key
from ray_processing.tokens.tokenize import tokenize_work
from ray_processing.utils import sources_of


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """What the flags of `corpusmith tokenize` say; `seqlen` is training's, `inputs` are folders."""

    inputs: tuple[str, ...]
    references: tuple[str, ...]
    output: str
    name: str
    exp_data_dir: str
    tokenizer: str
    content_key: str = "text"
    seqlen: int = 2048
    shard_sequences: int = 8192
    seed: int = 42
    subset: int | None = None
    shuffle: bool = True
    suffixes: tuple[str, ...] = SHARD_SUFFIXES
    overwrite: bool = False
    pack: str = "concat"
    pack_by: str | None = None
    format_name: str = "wds"
    dtype: str = "auto"
    with_source: bool = False
    sampling_yaml: str | None = None
    mixture_yaml: str | None = None
    mirror: str | None = None
    prefix_replacement: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class TokenRun:
    """A run, with what its report and reference need."""

    request: TokenRequest
    run: Run
    config: TokenConfig
    cells: CellPlan
    tokenizer: Tokenizer
    sources: list[dict[str, str]]
    sampling: Sampling | None
    mixture: Mixture | None
    source_of_shard: dict[str, str] | None

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
    if request.mixture_yaml is not None and (request.sampling_yaml is not None or not request.shuffle):
        raise InputError("--mixture cannot be combined with --do_sample or --no_shuffle")
    sampling = None if request.sampling_yaml is None else load_sampling(request.sampling_yaml)
    mixture = None if request.mixture_yaml is None else load_mixture(request.mixture_yaml)
    spec = resolve_tokenizer(request.tokenizer)
    tokenizer = load_tokenizer(spec)
    config = _config(request, spec, tokenizer, sampling)
    shards = choose_shards(folders, request.suffixes, request.subset, request.seed)
    _check_content_key(shards, request.content_key)
    source_of_shard = None
    if sampling is not None:
        source_of_shard = sources_of_shards(shards, sampling.markers, unknown=UNKNOWN)
    elif mixture is not None:
        source_of_shard = sources_of_shards(shards, mixture_markers(mixture))
    cells = plan_cells(shards, config, _copies(shards, sampling, mixture, source_of_shard))
    above, name = storage.parent(output), storage.basename(output)
    place = RunPlace(root=storage.join(above, "run", name), output=output, errors=storage.join(above, "errors", name))
    run = Run(place, plan_run(shards, config, cells, request.subset, mixture, source_of_shard))
    tokens = TokenRun(
        request=request,
        run=run,
        config=config,
        cells=cells,
        tokenizer=tokenizer,
        sources=sources,
        sampling=sampling,
        mixture=mixture,
        source_of_shard=source_of_shard,
    )
    refuse_foreign_reference(tokens.reference_url, tokens.dataset_url, request.overwrite)
    return tokens


def _config(request: TokenRequest, spec: str, tokenizer: Tokenizer, sampling: Sampling | None) -> TokenConfig:
    num_ids = max(tokenizer.num_ids, tokenizer.eot_id + 1, tokenizer.pad_id + 1)
    return TokenConfig(
        tokenizer_url=spec,
        tokenizer_hash=tokenizer.content_hash,
        content_key=request.content_key,
        sequence_length=request.seqlen + 1,
        shard_sequences=request.shard_sequences,
        seed=request.seed,
        shuffle=request.shuffle,
        pack=request.pack,
        pack_by=request.pack_by,
        format_name=request.format_name,
        dtype=storage_dtype(request.dtype, num_ids).name,
        with_source=request.with_source,
        frequencies=None if sampling is None else sampling.frequencies,
    )


def _resolve_input(request: TokenRequest) -> tuple[list[str], list[dict[str, str]]]:
    """Input folders, and `{"uuid", "name"}` of the data sets that they are."""
    if request.references:
        references = [load_dataset(path) for path in request.references]
        folders = [
            reference.dataset_url or "" if request.mirror is None else _mirror(reference.mirrors, request.mirror, path)
            for reference, path in zip(references, request.references, strict=True)
        ]
        sources = [{"uuid": reference.uuid, "name": reference.name} for reference in references]
    else:
        folders = list(request.inputs)
        sources = [source for folder in folders for source in sources_of(folder, request.exp_data_dir)]
    if not folders:
        raise InputError("give the input: --input FOLDER[,FOLDER] or --source_ref_paths REFERENCE.json")
    if "" in folders:
        raise InputError(f"{request.references[folders.index('')]}: the reference has no dataset_url to tokenize")
    if request.prefix_replacement is not None:
        old, new = request.prefix_replacement
        folders = [new + folder.removeprefix(old) if folder.startswith(old) else folder for folder in folders]
    return list(dict.fromkeys(_absolute(folder) for folder in folders)), sources


def _mirror(mirrors: Mapping[str, Any] | None, name: str, path: str) -> str:
    found = (mirrors or {}).get(name)
    if not isinstance(found, dict) or not isinstance(found.get("dataset_url"), str):
        known = ", ".join(mirrors or {}) or "none"
        raise InputError(f"{path}: the reference has no mirror {name!r} with a dataset_url (mirrors: {known})")
    return str(found["dataset_url"])


def _absolute(url: str) -> str:
    """A local path from the root, since workers may stand elsewhere; other URLs as they are."""
    return url.rstrip("/") if "://" in url else os.path.abspath(url)


def choose_shards(folders: list[str], suffixes: tuple[str, ...], subset: int | None, seed: int) -> list[ShardRef]:
    """The page shards below the folders, sorted by name; of several folders, names begin with the folder's.

    `subset` keeps that many, drawn by `seed`. Raises InputError where none is left.
    """
    known = (*SHARD_SUFFIXES, TAR_SUFFIX)
    unknown = [suffix for suffix in suffixes if suffix not in known]
    if unknown:
        raise InputError(f"--suffixes: {unknown[0]!r} is no kind of input shard; known: {' '.join(known)}")
    shards: list[ShardRef] = []
    for index, folder in enumerate(folders):
        prefix = f"{index:02d}-{storage.basename(folder)}/" if len(folders) > 1 else ""
        shards += [
            dataclasses.replace(shard, name=prefix + shard.name)
            for shard in (*_list_tars(folder, suffixes), *_list_pages(folder, suffixes))
        ]
    if not shards:
        raise InputError(f"no input shard's name ends in {' or '.join(suffixes)}")
    if subset is not None:
        if subset < 1:
            raise InputError(f"--subset must be at least 1, got {subset}")
        random.Random(seed).shuffle(shards)
        shards = shards[:subset]
    return sorted(shards, key=lambda shard: shard.name)


def _check_content_key(shards: list[ShardRef], content_key: str) -> None:
    tars = [shard for shard in shards if shard.name.endswith(TAR_SUFFIX)]
    if tars:
        split_content_key(content_key)
        if len(tars) < len(shards):
            raise InputError("tars and page shards need different content keys: tokenize them apart (--suffixes)")


def _list_tars(folder: str, suffixes: tuple[str, ...]) -> list[ShardRef]:
    if TAR_SUFFIX not in suffixes or not storage.is_dir(folder):
        return []
    return [
        ShardRef(
            name=storage.relative(info.url, folder), url=info.url, identity=f"{info.size}:{info.etag}", bytes=info.size
        )
        for info in storage.list_files(folder, (TAR_SUFFIX,))
    ]


def _list_pages(folder: str, suffixes: tuple[str, ...]) -> list[ShardRef]:
    pages = tuple(suffix for suffix in suffixes if suffix != TAR_SUFFIX)
    return [shard for shard in list_shards(folder) if shard.name.endswith(pages)] if pages else []


def _copies(
    shards: list[ShardRef], sampling: Sampling | None, mixture: Mixture | None, source_of_shard: dict[str, str] | None
) -> dict[str, float] | None:
    """About how often the sequences of each shard are written; decides the number of cells, nothing else."""
    if source_of_shard is None:
        return None
    if sampling is not None:
        return {name: sampling.frequencies[source] for name, source in source_of_shard.items()}
    assert mixture is not None
    have: dict[str, int] = {}
    for shard in shards:
        source = source_of_shard[shard.name]
        have[source] = have.get(source, 0) + token_bytes(shard)
    pool = None if mixture.pool_tokens is None else float(parse_number(mixture.pool_tokens, "pool_tokens"))
    copies: dict[str, float] = {}
    for line in mixture.lines:
        amount = float(line.amount)
        if line.repeat is not None:
            copies[line.source] = amount
        elif line.tokens is None and pool is None:
            copies[line.source] = 1.0
        else:
            tokens = amount if line.tokens is not None else amount * (pool or 0.0)
            copies[line.source] = tokens * TOKEN_BYTES / max(1, have.get(line.source, 0))
    return {name: copies[source] for name, source in source_of_shard.items()}


def plan_run(
    shards: list[ShardRef],
    config: TokenConfig,
    cells: CellPlan,
    subset: int | None,
    mixture: Mixture | None = None,
    source_of_shard: dict[str, str] | None = None,
) -> RunPlan:
    """The stages; keys of the fingerprints bear the names of the flags, what is at its default has none."""
    first_cells = cells if mixture is None else CellPlan(count=1)
    tokenize = StagePlan(
        name="tokenize",
        fingerprint={
            "content_key": config.content_key,
            "tokenizer": config.tokenizer_hash,
            "seqlen": config.sequence_length - 1,
            "no_shuffle": not config.shuffle,
            "pack": config.pack,
            "pack_by": config.pack_by,
            "with_source": config.with_source,
            "sampling_frequencies": dict(config.frequencies or {}),
            "sources": source_of_shard or {},
            "cells": first_cells.count,
            "code": code_versions(tokenize_work),
        },
        work=functools.partial(tokenize_work, config, first_cells, source_of_shard),
        holds_pages=False,
    )
    stages = [tokenize]
    if mixture is not None:
        assert source_of_shard is not None
        stages.append(
            StagePlan(
                name="mix",
                fingerprint={
                    "mixture": _as_tree(mixture),
                    "cells": cells.count,
                    "code": code_versions(deal_work),
                },
                work=functools.partial(deal_work, config, mixture, cells.count, source_of_shard),
                units=unit_per_shard_of_all,
                holds_pages=False,
            )
        )
    shuffle = StagePlan(
        name="shuffle",
        fingerprint={
            "format": config.format_name,
            "dtype": config.dtype,
            "wds_chunk_size": config.shard_sequences,
            "cell_bytes": config.cell_bytes,
            "code": code_versions(shuffle_work),
        },
        work=functools.partial(shuffle_work, config, cells),
        units=cells.units,
        holds_pages=False,
    )
    return RunPlan(inputs=shards, stages=[*stages, shuffle], common={"seed": config.seed, "subset": subset})


def _as_tree(mixture: Mixture) -> dict[str, Any]:
    """A mixture as the plan of the run holds it."""
    return {
        "sources": {
            line.source: {
                name: str(getattr(line, name))
                for name in ("proportion", "tokens", "repeat")
                if getattr(line, name) is not None
            }
            for line in mixture.lines
        },
        "pool_tokens": None if mixture.pool_tokens is None else str(mixture.pool_tokens),
        "max_epochs": None if mixture.max_epochs is None else str(mixture.max_epochs),
        "on_short": mixture.on_short,
    }
