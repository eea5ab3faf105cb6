"""Proxy runs on warm actors against a fresh process for each run, equal runs and as many at a time.

The runs are equal but for their seed: a model of two layers of width 64 on tokens drawn from a small Markov chain, a
second or so of training each, as in the first round of a search. Both sides use two processes of one thread; time is
wall time per run, since what a fresh process loses is mostly start-up (imports, first kernels). Starting Ray is not
counted, starting the actors is.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks._bench import ROOT, Row, make_parser, run
from corpusmith.errors import RunFailed
from corpusmith.io.tokens import wds
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from training.models.config import ModelConfig
from training.optimization.recipe import Recipe
from training.optimization.schedule import cosine_schedule
from training.optimization.step import StepConfig
from training.plan.config import TrainConfig
from training.plan.phase_plan import DataSource, Phase, PhasePlan
from training.proxies import ProxySpec, run_proxies, run_proxy

GOAL = 1.5
PROCESSES = 2
RUNS, QUICK_RUNS = 12, 6
SEQ_LEN, VOCABULARY, STEPS = 64, 256, 40
ALONE = "--alone"


def write_tokens(folder: str) -> str:
    """Four shards of 128 sequences in which each id is mostly its predecessor plus one; gives their manifest."""
    draws = np.random.default_rng(0)
    for number in range(1, 5):
        steps = np.where(draws.random((128, SEQ_LEN + 1)) < 0.9, 1, 7)
        rows = (draws.integers(0, VOCABULARY, (128, 1)) + steps.cumsum(axis=1)) % VOCABULARY
        wds.write_wds_shard(f"{folder}/{wds.shard_name(number)}.tar", rows.astype(np.uint32))
    wds.make_manifest(folder)
    return f"{folder}/{wds.MANIFEST_NAME}"


def make_spec(folder: str, manifest: str, seed: int) -> ProxySpec:
    """The run with this seed."""
    phase = Phase(
        name="train",
        data=(DataSource(url=manifest),),
        steps=STEPS,
        global_batch_size=8,
        schedule=cosine_schedule(peak=0.01, final=1e-3, warmup=4, total=STEPS),
    )
    model = ModelConfig(
        hidden_dim=64,
        n_layers=2,
        n_heads=2,
        seq_len=SEQ_LEN,
        vocab_size=VOCABULARY,
        qk_norm=True,
        model_norm="gain_only_lp_layer_norm",
    )
    config = TrainConfig(
        name=f"run-{seed}",
        folder=folder,
        model=model,
        step=StepConfig(recipe=Recipe(weight_decay=0.033)),
        plan=PhasePlan(phases=(phase,)),
        seed=seed,
        workers=1,
    )
    return ProxySpec(config=config, validation=(manifest,))


def run_alone(folder: str, manifest: str, seed: int) -> None:
    """One run in a fresh process."""
    command = [sys.executable, str(ROOT / "benchmarks" / "proxies.py"), ALONE, folder, manifest, str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RunFailed(f"a fresh process failed: {done.stderr[-1000:]}")


def measure(runs: int) -> Row:
    """Seconds per run of both sides."""
    with tempfile.TemporaryDirectory() as scratch, Runner(Execution(cpus=PROCESSES)) as runner:
        manifest = write_tokens(f"{scratch}/tokens")
        runner.connect()
        started = time.perf_counter()
        specs = [make_spec(f"{scratch}/warm/{seed}", manifest, seed) for seed in range(runs)]
        results = run_proxies(specs)
        warm = (time.perf_counter() - started) / runs
        if errors := [result.error for result in results if result.error]:
            raise RunFailed(errors[0])
        started = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
            list(pool.map(lambda seed: run_alone(f"{scratch}/fresh/{seed}", manifest, seed), range(runs)))
        fresh = (time.perf_counter() - started) / runs
    ratio = fresh / warm
    return Row(
        name=f"{runs} proxies, {PROCESSES} at a time",
        ours=warm,
        other=fresh,
        unit="s/run",
        ratio=ratio,
        goal=f">= {GOAL}",
        met=ratio >= GOAL,
    )


def main() -> int:
    """Print the ratio."""
    if sys.argv[1:2] == [ALONE]:
        folder, manifest, seed = sys.argv[2:]
        import torch

        torch.set_num_threads(1)
        run_proxy(make_spec(folder, manifest, int(seed)))
        return 0
    return run(make_parser(__doc__ or ""), lambda arguments: [measure(QUICK_RUNS if arguments.quick else RUNS)])


if __name__ == "__main__":
    raise SystemExit(main())
