"""Experiments on an object store: synced while they train, and begun again from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from corpusmith.io import storage
from corpusmith.io.tokens import wds
from corpusmith.io.tokens.wds import ManifestEntry
from training.loop.train_loop import train
from training.models.config import ModelConfig
from training.observers.observer import OutLog, TrainLog
from training.observers.remote_sync import RemoteSync, fetch_latest, remote_copy
from training.observers.trackers import LossPlot, TensorBoardTracker
from training.optimization.recipe import Recipe
from training.optimization.schedule import cosine_schedule
from training.optimization.step import StepConfig
from training.plan.config import TrainConfig
from training.plan.phase_plan import DataSource, Phase, PhasePlan
from training.state.checkpoint import load_weights
from training.state.ranks import Ranks

REMOTE = "s3://corpus/runs/run"


def write_shards(folder: str) -> str:
    """Four shards of eight sequences of 17 ids; gives their manifest."""
    draws = np.random.default_rng(0)
    names = [wds.shard_name(number) for number in range(1, 5)]
    for name in names:
        wds.write_wds_shard(f"{folder}/{name}.tar", draws.integers(0, 32, (8, 17)).astype(np.uint32))
    wds.write_manifest(f"{folder}/manifest.jsonl", [ManifestEntry(shard=name, num_sequences=8) for name in names])
    return f"{folder}/manifest.jsonl"


def make_config(folder: str, manifest: str) -> TrainConfig:
    """A run of 3 epochs with 4 steps each."""
    phase = Phase(
        name="train", data=(DataSource(url=manifest),), steps=12, global_batch_size=2, checkpoints=3,
        schedule=cosine_schedule(peak=0.01, final=1e-4, warmup=2, total=12),
    )  # fmt: skip
    return TrainConfig(
        name="run", folder=folder, plan=PhasePlan(phases=(phase,)), seed=1, workers=1, log_every=1,
        model=ModelConfig(hidden_dim=16, n_layers=1, n_heads=2, seq_len=16, vocab_size=32),
        step=StepConfig(recipe=Recipe(weight_decay=0.0)),
    )  # fmt: skip


def test_an_experiment_is_synced_to_an_object_store_and_fetched_back(s3: Any, tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "params.txt").write_text("name: run")
    with RemoteSync(str(folder), REMOTE, seconds=3600):
        (folder / "checkpoints" / "epoch_2.pt").write_text("two")
    assert storage.read_bytes(f"{REMOTE}/checkpoints/epoch_2.pt") == b"two"
    there = str(tmp_path / "elsewhere")
    assert fetch_latest(REMOTE, there) == f"{there}/checkpoints/epoch_2.pt"
    assert storage.read_bytes(f"{there}/params.txt") == b"name: run"


def test_a_run_whose_logs_lie_on_an_object_store_trains_there_and_goes_on_there(s3: Any, tmp_path: Path) -> None:
    config = make_config("s3://corpus/logs/run", write_shards("s3://corpus/tokens"))
    watching = [TrainLog(), OutLog(), TensorBoardTracker(), LossPlot()]

    def interrupt(model: Any, state: Any) -> Any:
        if state.epoch == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        train(config, Ranks(), interrupt, watching)
    assert train(config, Ranks(), None, watching).is_final
    puts = [request for request in s3.requests if request.kind == "PUT object" and "train_log" in request.path]
    assert len(puts) < 12  # not one for each step
    names = {storage.relative(info.url, config.folder) for info in storage.list_files(config.folder)}
    assert {
        "checkpoints/epoch_3.pt", "checkpoints/optimizer_3.pt", "checkpoints/stats_3.pt", "loss.png", "out.log",
        "params.txt", "train_log.jsonl",
    } <= names  # fmt: skip
    assert [name for name in names if name.startswith("tensorboard/events")]
    lines = storage.read_bytes(f"{config.folder}/train_log.jsonl").splitlines()
    assert [orjson.loads(line)["step"] for line in lines] == list(range(12))

    local = make_config(str(tmp_path / "run"), config.plan.phases[0].data[0].url)
    train(local, Ranks(), None, [TrainLog()])
    ours, theirs = (load_weights(f"{one.folder}/checkpoints/epoch_3.pt") for one in (config, local))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_that_lost_its_machine_goes_on_elsewhere_from_its_remote_copy(s3: Any, tmp_path: Path) -> None:
    manifest = write_shards(str(tmp_path / "tokens"))
    first, second = (make_config(str(tmp_path / name / "run"), manifest) for name in ("here", "elsewhere"))

    def interrupt(model: Any, state: Any) -> Any:
        if state.epoch == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt), remote_copy(REMOTE, first.folder, Ranks()) as syncs:
        train(first, Ranks(), interrupt, [TrainLog(), *syncs])
    with remote_copy(REMOTE, second.folder, Ranks()) as syncs:
        state = train(second, Ranks(), None, [TrainLog(), *syncs])
    assert state.is_final
    lines = storage.read_bytes(f"{REMOTE}/train_log.jsonl").splitlines()
    assert [orjson.loads(line)["step"] for line in lines] == list(range(12))
    assert storage.exists(f"{REMOTE}/checkpoints/epoch_3.pt")
