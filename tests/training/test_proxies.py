"""Many small runs on warm actors: each equals the run alone, deaths and errors stay where they happen."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmith.errors import ChangedError, InputError
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from training.plan.config import TrainConfig
from training.proxies import ProxySpec, ProxyWorker, fingerprint, run_proxies, run_proxy
from training.state.checkpoint import load_weights


@pytest.fixture
def make_spec(
    make_config: Callable[..., TrainConfig], tmp_path: Path, write_tokens: Callable[..., str]
) -> Callable[..., ProxySpec]:
    """A function that gives a run with its own folder, validated on one held-out set."""
    held_out = write_tokens(tmp_path / "held_out", 1, 8, 16, 32, seed=7)

    def make(name: str, **changed: Any) -> ProxySpec:
        config = replace(make_config(f"proxies/{name}", log_every=1), name=name, **changed)
        return ProxySpec(config=config, validation=(held_out,))

    return make


def test_runs_on_warm_actors_equal_the_runs_alone_bit_for_bit(
    make_spec: Callable[..., ProxySpec], runner: Runner
) -> None:
    specs = [make_spec(f"run-{seed}", seed=seed) for seed in (124, 125, 126, 124 + 1000)]
    arrived = []
    results = run_proxies(specs, cpus_per_run=1, on_result=lambda result: arrived.append(result.name))
    assert [result.name for result in results] == [spec.name for spec in specs]
    assert sorted(arrived) == sorted(spec.name for spec in specs)
    for spec, result in zip(specs, results, strict=True):
        assert result.error is None
        alone = run_proxy(replace(spec, config=replace(spec.config, folder=f"{spec.config.folder}-alone")))
        assert result.curve == alone.curve
        assert result.losses == alone.losses
        assert (result.steps, result.tokens) == (12, 12 * 8 * 16)
        assert result.checkpoint_url is not None
        assert alone.checkpoint_url is not None
        ours, theirs = load_weights(result.checkpoint_url), load_weights(alone.checkpoint_url)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert len({result.train_loss for result in results}) == 4


def test_a_worker_forgets_what_a_run_did_to_its_process(make_spec: Callable[..., ProxySpec]) -> None:
    worker = ProxyWorker(cpus=1, gpus=0)
    first = worker.run(make_spec("first"))
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(99)
    second = worker.run(make_spec("second"))
    assert second.error is None
    assert second.curve == first.curve


def test_finished_runs_are_not_trained_again_and_changed_ones_are_refused(
    make_spec: Callable[..., ProxySpec], runner: Runner
) -> None:
    specs = [make_spec("a"), make_spec("b", seed=7)]
    first = run_proxies(specs)
    before = {spec.name: Path(spec.config.folder, "train_log.jsonl").stat().st_mtime_ns for spec in specs}
    assert run_proxies(specs) == first
    assert before == {
        spec.name: Path(spec.config.folder, "train_log.jsonl").stat().st_mtime_ns for spec in specs
    }  # fmt: skip
    changed = replace(specs[0], config=replace(specs[0].config, seed=8))
    with pytest.raises(ChangedError, match="run of another config than 'a'"):
        run_proxies([changed, specs[1]])


def test_the_fingerprint_is_of_what_decides_the_numbers(make_spec: Callable[..., ProxySpec]) -> None:
    spec = make_spec("a")
    assert fingerprint(spec) == fingerprint(replace(spec, config=replace(spec.config, folder="elsewhere")))
    assert fingerprint(spec) == fingerprint(replace(spec, keep_weights=False))
    assert fingerprint(spec) != fingerprint(replace(spec, validation=()))
    assert fingerprint(spec) != fingerprint(replace(spec, config=replace(spec.config, seed=1)))


def test_a_failing_run_is_a_result_and_the_others_go_on(make_spec: Callable[..., ProxySpec], runner: Runner) -> None:
    missing = make_spec("missing")
    missing = replace(missing, validation=("nowhere.jsonl",))
    results = run_proxies([missing, make_spec("good")])
    assert "nowhere.jsonl" in (results[0].error or "")
    assert results[0].losses == {}
    assert not Path(missing.config.folder, "proxy_result.json").exists()
    assert results[1].error is None


def test_weights_are_removed_where_nobody_wants_them(make_spec: Callable[..., ProxySpec]) -> None:
    spec = replace(make_spec("a"), keep_weights=False)
    result = run_proxy(spec)
    assert result.checkpoint_url is None
    assert not Path(spec.config.folder, "checkpoints").exists()
    assert json.loads(Path(spec.config.folder, "proxy_result.json").read_text())["losses"] == result.losses


class Killer(ProxyWorker):
    """Dies by SIGKILL in the first attempt of a run whose name starts with `once`, and always for `poison`."""

    def run(self, spec: Any) -> Any:
        marker = Path(f"{spec.config.folder}.died")
        if spec.name == "poison" or (spec.name.startswith("once") and not marker.exists()):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(spec)


@pytest.mark.all
def test_a_run_whose_process_dies_is_begun_again_and_one_that_always_dies_is_an_error(
    make_spec: Callable[..., ProxySpec], runner: Runner
) -> None:
    specs = [make_spec("poison"), make_spec("once"), make_spec("good")]
    results = run_proxies(specs, max_retries=1, worker=Killer)
    assert [result.error is None for result in results] == [False, True, True]
    assert "its process died" in (results[0].error or "")
    assert results[1].curve == results[2].curve


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_four_runs_share_one_gpu(make_spec: Callable[..., ProxySpec]) -> None:
    with Runner(Execution()) as runner:
        runner.connect()
        results = run_proxies([make_spec(f"run-{n}") for n in range(4)], cpus_per_run=0.5, gpus_per_run=0.25)
    assert [result.error for result in results] == [None] * 4
    for result in results[1:]:
        assert result.losses == pytest.approx(results[0].losses, abs=1e-3)


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ({"gpus_per_run": 1}, "1 GPU, but the cluster has"),
        ({"cpus_per_run": 1000}, "asks for 1000 CPU"),
        ({"cpus_per_run": 0}, "more than 0 CPUs"),
    ],
)
def test_resources_that_no_cluster_has_are_refused(
    make_spec: Callable[..., ProxySpec], runner: Runner, resources: Any, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        run_proxies([make_spec("a")], **resources)


def test_runs_must_differ_in_name_and_folder(make_spec: Callable[..., ProxySpec]) -> None:
    spec = make_spec("a")
    with pytest.raises(InputError, match="the name 'a'"):
        run_proxies([spec, spec])
    with pytest.raises(InputError, match="the folder"):
        run_proxies([spec, replace(spec, config=replace(spec.config, name="b"))])
