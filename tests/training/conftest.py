"""A small tokenized data set and a model small enough to train within a test."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from corpusmith.io.tokens import wds
from corpusmith.io.tokens.wds import ManifestEntry
from training.models.config import ModelConfig
from training.optimization.recipe import Recipe
from training.optimization.schedule import cosine_schedule
from training.optimization.step import StepConfig
from training.plan.config import TrainConfig
from training.plan.phase_plan import DataSource, Phase, PhasePlan

SEQ_LEN = 16
VOCABULARY = 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small models gain nothing from threads, and on a busy machine wait for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _write_tokens(
    folder: pathlib.Path, shards: int, sequences: int, seq_len: int, vocabulary: int, seed: int = 0
) -> str:
    """Shards in which each token is mostly its predecessor plus one, so that there is something to learn."""
    draws = np.random.default_rng(seed)
    entries = []
    for number in range(shards):
        steps = np.where(draws.random((sequences, seq_len + 1)) < 0.9, 1, 5)
        rows = (draws.integers(0, vocabulary, (sequences, 1)) + steps.cumsum(axis=1)) % vocabulary
        name = wds.shard_name(number + 1)
        wds.write_wds_shard(str(folder / f"{name}.tar"), rows.astype(np.uint32))
        entries.append(ManifestEntry(shard=name, num_sequences=sequences))
    manifest = str(folder / wds.MANIFEST_NAME)
    wds.write_manifest(manifest, entries)
    return manifest


@pytest.fixture
def write_tokens() -> Any:
    """The function that writes shards and gives the URL of their manifest."""
    return _write_tokens


@pytest.fixture
def manifest(tmp_path: pathlib.Path) -> str:
    """Manifest of 12 shards with 8 sequences each."""
    return _write_tokens(tmp_path / "tokens", 12, 8, SEQ_LEN, VOCABULARY)


@pytest.fixture
def make_config(tmp_path: pathlib.Path, manifest: str) -> Any:
    """A function that gives a run of 3 epochs with 4 steps each, changed by its keywords.

    Keywords name fields of the config, of its step, of the recipe or of the one phase.
    """

    def make(folder: str = "run", **changed: Any) -> TrainConfig:
        def pick(kind: Any, **defaults: Any) -> Any:
            names = {entry.name for entry in fields(kind)}
            return kind(**(defaults | {key: changed.pop(key) for key in list(changed) if key in names}))

        model = ModelConfig(
            hidden_dim=16, n_layers=2, n_heads=2, seq_len=SEQ_LEN, vocab_size=VOCABULARY, qk_norm=True,
            model_norm="gain_only_lp_layer_norm",
        )  # fmt: skip
        recipe = pick(Recipe, weight_decay=0.033, z_loss=1e-4)
        phase = pick(
            Phase, name="train", data=(DataSource(url=manifest),), steps=12, global_batch_size=8, checkpoints=3,
            schedule=cosine_schedule(peak=0.02, final=2e-4, warmup=2, total=12),
        )  # fmt: skip
        step = pick(StepConfig, recipe=recipe)
        config = TrainConfig(
            name="run", folder=str(tmp_path / folder), model=model, step=step, plan=PhasePlan(phases=(phase,)),
            sequences_per_epoch=32, seed=124, workers=2, log_every=1, keep_checkpoints=True,
        )  # fmt: skip
        return replace(config, **changed)

    return make
