"""What `corpusmith tokenize` asks for, as a run of two or three stages.

`tokenize` (a unit per page shard, spill files), with a mixture `mix` (a unit per spill file), and `shuffle` (a unit per
partition, token shards). All count documents: a document is counted in the sequence that holds its end, so the counts
balance through the shuffle too; copies of it are added, and what sampling leaves out is removed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb.references import reference_path, refuse_foreign_reference
from corpusmith.io.pages.shards import ShardRef
from corpusmith.io.tokens.rows import storage_dtype
from corpusmith.mixture import Mixture, load_mixture, parse_number
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.run import Run, RunPlan, StagePlan, unit_per_shard_of_all
from corpusmith.text.tokenizers.load import Tokenizer, load_tokenizer, resolve_tokenizer
from ray_processing.datasets import absolute, place_beside, refuse_nested
from ray_processing.tokens.build_log import SHUFFLE, TOKENIZE
from ray_processing.tokens.config import TOKEN_BYTES, PartitionPlan, TokenConfig, plan_partitions, token_bytes
from ray_processing.tokens.mix import mix_stage
from ray_processing.tokens.request import TokenRequest, check_content_key, choose_shards, resolve_input
from ray_processing.tokens.shuffle import shuffle_stage
from ray_processing.tokens.sources import UNKNOWN, Sampling, load_sampling, mixture_markers, sources_of_shards
from ray_processing.tokens.tokenize import tokenize_stage


@dataclass(frozen=True, kw_only=True)
class TokenRun:
    """A run, with what its report and reference need."""

    request: TokenRequest
    run: Run
    config: TokenConfig
    partitions: PartitionPlan
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
    """Return the run that a request stands for.

    Raises:
        InputError: the request cannot be carried out.
    """
    folders, sources = resolve_input(request)
    output = absolute(request.output)
    refuse_nested(output, folders)
    if request.mixture_yaml is not None and (request.sampling_yaml is not None or not request.shuffle):
        raise InputError("--mixture cannot be combined with --do_sample or --no_shuffle")
    sampling = None if request.sampling_yaml is None else load_sampling(request.sampling_yaml)
    mixture = None if request.mixture_yaml is None else load_mixture(request.mixture_yaml)
    spec = resolve_tokenizer(request.tokenizer)
    tokenizer = load_tokenizer(spec)
    config = _config(request, spec, tokenizer, sampling)
    shards = choose_shards(folders, request.suffixes, request.subset, request.seed)
    check_content_key(shards, request.content_key)
    source_of_shard = None
    if sampling is not None:
        source_of_shard = sources_of_shards(shards, sampling.markers, unknown=UNKNOWN)
    elif mixture is not None:
        source_of_shard = sources_of_shards(shards, mixture_markers(mixture))
    partitions = plan_partitions(shards, config, _copies(shards, sampling, mixture, source_of_shard))
    run = Run(place_beside(output), plan_run(shards, config, partitions, request.subset, mixture, source_of_shard))
    tokens = TokenRun(
        request=request,
        run=run,
        config=config,
        partitions=partitions,
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


def _copies(
    shards: list[ShardRef], sampling: Sampling | None, mixture: Mixture | None, source_of_shard: dict[str, str] | None
) -> dict[str, float] | None:
    """About how often the sequences of each shard are written; decides the number of partitions, nothing else."""
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
    partitions: PartitionPlan,
    subset: int | None,
    mixture: Mixture | None = None,
    source_of_shard: dict[str, str] | None = None,
) -> RunPlan:
    """Return the stages; the keys of their fingerprints bear the names of the flags.

    Args:
        shards: the input.
        config: what decides the token shards.
        partitions: the shuffle partitions.
        subset: how many shards were drawn; None for all.
        mixture: what is asked for, if anything.
        source_of_shard: the source of each shard by name; needed for a mixture and for DCLM's sampling.
    """
    first_partitions = partitions if mixture is None else PartitionPlan(count=1)
    tokenize = StagePlan(
        name=TOKENIZE,
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
            "cells": first_partitions.count,
            "code": code_versions(tokenize_stage),
        },
        work=functools.partial(tokenize_stage, config, first_partitions, source_of_shard),
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
                    "cells": partitions.count,
                    "code": code_versions(mix_stage),
                },
                work=functools.partial(mix_stage, config, mixture, partitions.count, source_of_shard),
                units=unit_per_shard_of_all,
                holds_pages=False,
            )
        )
    shuffle = StagePlan(
        name=SHUFFLE,
        fingerprint={
            "format": config.format_name,
            "dtype": config.dtype,
            "wds_chunk_size": config.shard_sequences,
            "cell_bytes": config.partition_bytes,
            "code": code_versions(shuffle_stage),
        },
        work=functools.partial(shuffle_stage, config, partitions),
        units=partitions.units,
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
