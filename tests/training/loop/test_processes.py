"""Several processes over gloo: replicated or sharded, they train as one process does, and go on from each other."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import torch

from training.loop.train_loop import train
from training.plan.config import TrainConfig
from training.state.checkpoint import load_file, load_weights
from training.state.ranks import Ranks, gather_json, process_group
from training.state.sharding import AMP, Sharding

ALONE = Ranks()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def one_rank(rank: int, port: int, configs: list[TrainConfig], gathered: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = Ranks(rank=rank, local_rank=rank, world_size=2)
    with process_group(ranks):
        gathered.put(gather_json({"rank": rank, "text": "é" * (rank + 1)}, ranks))
        for config in configs:
            train(config, ranks, observers=None)


def on_two_ranks(*configs: TrainConfig) -> list[list[dict[str, Any]]]:
    context = multiprocessing.get_context("spawn")
    gathered, port = context.Queue(), free_port()
    processes = [context.Process(target=one_rank, args=(rank, port, list(configs), gathered)) for rank in range(2)]
    for process in processes:
        process.start()
    told = [gathered.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=240)
    assert [process.exitcode for process in processes] == [0, 0]
    return told


def losses(config: TrainConfig) -> list[float]:
    return [orjson.loads(line)["loss"] for line in (Path(config.folder) / "train_log.jsonl").read_bytes().splitlines()]


def weights(config: TrainConfig, epoch: int = 3) -> dict[str, torch.Tensor]:
    return load_weights(f"{config.folder}/checkpoints/epoch_{epoch}.pt")


def assert_near(one: TrainConfig, other: TrainConfig, atol: float) -> None:
    assert losses(one) == pytest.approx(losses(other), abs=atol)
    theirs = weights(other)
    assert set(weights(one)) == set(theirs)
    for key, value in weights(one).items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=10 * atol)


def sequences(config: TrainConfig) -> dict[int, set[tuple[str, int]]]:
    found: dict[int, set[tuple[str, int]]] = {}
    for path in (Path(config.folder) / "sequences").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found.setdefault(row["step"], set()).add((row["shard"], row["row"]))
    return found


def test_two_processes_give_the_run_of_one_in_every_way_of_spreading_the_model(
    make_config: Callable[..., TrainConfig],
) -> None:
    alone = make_config("alone", averagers=("poly_8_1",))
    train(alone, ALONE)
    replicated = make_config("ddp", accumulation=2)
    sharded = make_config("fsdp", accumulation=2, sharding=Sharding(), averagers=("poly_8_1",), log_average_every=4)
    narrow = make_config("fsdp-amp", sharding=AMP, precision="amp_bfloat16", grad_checkpointing=True)
    openlm = make_config("openlm", order="openlm", workers=1)
    told = on_two_ranks(replicated, sharded, narrow, openlm)
    assert told == [[{"rank": 0, "text": "é"}, {"rank": 1, "text": "éé"}]] * 2
    assert_near(replicated, alone, 2e-5)
    assert_near(sharded, alone, 2e-5)
    assert losses(narrow) == pytest.approx(losses(alone), abs=0.05)
    assert sequences(replicated) == sequences(alone) == sequences(sharded)
    assert all(len(rows) == 8 for rows in sequences(alone).values())
    assert len(losses(openlm)) == 12

    # the optimizer's state of a sharded run is keyed by name, whole, and a single process goes on with it
    stored = load_file(f"{sharded.folder}/checkpoints/optimizer_2.pt")["optimizer"]
    assert stored["state"]["layers.0.attention.in_proj.weight"]["exp_avg"].shape == (48, 16)
    average = load_file(f"{sharded.folder}/checkpoints/poly_8_1_3.pt")["av_model_sd"]
    expected = load_file(f"{alone.folder}/checkpoints/poly_8_1_3.pt")["av_model_sd"]
    for key, value in average.items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=1e-4)
    (Path(sharded.folder) / "checkpoints" / "epoch_3.pt").unlink()
    continued = replace(sharded, step=replace(sharded.step, sharding=None, accumulation=1))
    train(continued, ALONE)
    assert_near(continued, alone, 2e-5)


@pytest.mark.all
def test_two_processes_go_on_with_the_run_of_one(make_config: Callable[..., TrainConfig]) -> None:
    alone, begun = make_config("alone"), make_config("begun")
    train(alone, ALONE)
    train(begun, ALONE)
    for epoch in (2, 3):
        (Path(begun.folder) / "checkpoints" / f"epoch_{epoch}.pt").unlink()
    on_two_ranks(replace(begun, step=replace(begun.step, sharding=Sharding())))
    assert_near(begun, alone, 2e-5)
    assert sequences(begun) == sequences(alone)
