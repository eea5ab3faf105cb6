"""What a run survives and tells: kills at any step, divergence, damage, domains, phases, other architectures."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from corpusmith.errors import ChangedError, ConfigError, InputError, RunFailed, ShardError
from corpusmith.io.tokens import wds
from corpusmith.io.tokens.rows import TokenRows
from training.loop.metrics import LossGuard
from training.loop.train_loop import train
from training.models import registry as architectures
from training.observers.observer import Observer
from training.optimization.averagers import make_averagers, parse_averagers
from training.optimization.schedule import Segment, constant_schedule
from training.optimization.step import compute_gradients
from training.plan.config import TrainConfig
from training.plan.phase_plan import DataSource, Phase, PhasePlan
from training.state.checkpoint import RunProgress, load_file, load_model, load_weights, save_file
from training.state.ranks import Ranks

ROOT = Path(__file__).resolve().parents[3]
ALONE = Ranks()


class Killed(Exception):
    """Stands for a kill at a step."""


class KillAfter(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int) -> None:
        if step == self.step:
            raise Killed


class Recorder(Observer):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.told: list[str] = []

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        self.told.append(f"start {progress.step}")

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self.rows.append(dict(metrics))

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        self.told.append(f"checkpoint {progress.epoch}")

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        self.told.append(f"end {type(error).__name__}")


def weights(config: TrainConfig, epoch: int = 3) -> dict[str, torch.Tensor]:
    return load_weights(f"{config.folder}/checkpoints/epoch_{epoch}.pt")


def log_rows(config: TrainConfig) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (Path(config.folder) / "train_log.jsonl").read_bytes().splitlines()]


def sequence_rows(config: TrainConfig) -> list[tuple[int, int, str, int]]:
    tables = [pq.read_table(path).to_pylist() for path in sorted((Path(config.folder) / "sequences").glob("*.parquet"))]
    return sorted((row["step"], row["slot"], row["shard"], row["row"]) for table in tables for row in table)


@pytest.fixture
def undisturbed(make_config: Callable[..., TrainConfig]) -> TrainConfig:
    config = make_config("undisturbed", averagers=("poly_8_1", "ema_0.9_2"))
    train(config, ALONE)
    return config


@pytest.mark.parametrize("save_every", [0, 1, 3])
def test_a_run_killed_at_any_step_ends_as_an_undisturbed_one_to_the_bit(
    make_config: Callable[..., TrainConfig], undisturbed: TrainConfig, save_every: int
) -> None:
    for step in (0, 1, 3, 4, 6, 10, 11):
        config = make_config(f"killed-{step}", averagers=undisturbed.averagers, save_every=save_every)
        with pytest.raises(Killed):
            train(config, ALONE, None, [KillAfter(step)])
        recorder = Recorder()
        train(config, ALONE, None, [recorder])
        saved = max([done for done in (4, 8) if done <= step] + [0])
        rolled = step // save_every * save_every if save_every else 0
        assert recorder.told[0] == f"start {max(saved, rolled)}"
        for key, value in weights(config).items():
            assert torch.equal(value, weights(undisturbed)[key]), (step, key)
        for averager in config.averagers:
            ours, theirs = (load_file(f"{c.folder}/checkpoints/{averager}_3.pt") for c in (config, undisturbed))
            assert all(torch.equal(value, theirs["av_model_sd"][key]) for key, value in ours["av_model_sd"].items())
        assert [row[:2] for row in sequence_rows(config)] == [row[:2] for row in sequence_rows(undisturbed)]
        assert sequence_rows(config) == sequence_rows(undisturbed)
        assert not list((Path(config.folder) / "checkpoints_rolling").glob("*"))


def test_a_run_goes_on_only_with_the_data_that_it_began_with(
    make_config: Callable[..., TrainConfig], undisturbed: TrainConfig
) -> None:
    with pytest.raises(ChangedError, match="window_shards is 2"):
        train(replace(undisturbed, window_shards=2), ALONE)
    with pytest.raises(ChangedError, match="order is 'openlm'"):
        train(replace(undisturbed, order="openlm"), ALONE)


def test_every_sequence_of_every_step_is_noted(undisturbed: TrainConfig) -> None:
    rows = sequence_rows(undisturbed)
    assert [row[:2] for row in rows] == [(step, slot) for step in range(12) for slot in range(8)]
    assert len({row[2:] for row in rows}) == 96  # 12 shards of 8: each once


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_touches_the_weights(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    config = make_config(keep_checkpoints=True)

    plain = compute_gradients
    calls = []

    def poisoned(state: Any, batch: Any, *arguments: Any, **keywords: Any) -> Any:
        calls.append(batch.origins)
        loss = plain(state, batch, *arguments, **keywords)
        if len(calls) == 7:
            loss.entropy.fill_(value)
            loss.row_losses_B[3] = math.nan
        return loss

    monkeypatch.setattr("training.loop.train_loop.compute_gradients", poisoned)
    with pytest.raises(RunFailed, match="at step 6") as failure:
        train(config, ALONE)
    worst = calls[6][3]
    assert f"{worst.shard}#{worst.row}" in str(failure.value)
    folder = Path(config.folder) / "checkpoints_diverged"
    report = json.loads((folder / "step_6.json").read_text())
    assert (report["step"], len(report["sequences"])) == (6, 8)
    assert (report["sequences"][0]["shard"], report["sequences"][0]["row"]) == (worst.shard, worst.row)
    assert all(value.isfinite().all() for value in load_weights(str(folder / "epoch_6.pt")).values())
    assert load_file(str(folder / "optimizer_6.pt"))["optimizer"]["state"][0]["step"].item() == 6
    assert len(calls) == 7


def test_an_exploding_loss_stops_the_run(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config(
        steps=24, checkpoints=1, multiple_passes=True, max_loss_rise=1.0, log_every=5,
        schedule=(
            Segment(kind="constant", steps=18, first=0.01, last=0.01),
            Segment(kind="constant", steps=6, first=50.0, last=50.0),
        ),
    )  # fmt: skip
    with pytest.raises(RunFailed, match=r"exploded to [\d.]+, from [\d.]+ on average"):
        train(config, ALONE)


def test_the_guard_speaks_only_with_enough_steps_behind_it() -> None:
    guard = LossGuard(2.0)
    assert guard.problem(3.0, 1.0) is None
    assert guard.problem(100.0, 1.0) is None  # the second step: no mean to speak of
    guard = LossGuard(2.0)
    assert all(guard.problem(3.0, 1.0) is None for _ in range(20))
    assert guard.problem(4.9, 1.0) is None
    assert "exploded" in (guard.problem(5.2, 1.0) or "")
    assert "NaN" in (guard.problem(math.nan, 1.0) or "")
    assert "gradient" in (guard.problem(3.0, math.inf) or "")


def test_a_corrupt_shard_is_named(make_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    for path in (tmp_path / "tokens").glob("*.tar"):
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ShardError, match=r"tokens/\d+\.tar: byte \d+"):
        train(make_config(), ALONE)


@pytest.mark.parametrize("prefix", ["epoch", "optimizer", "stats"])
def test_a_corrupt_checkpoint_is_named(
    make_config: Callable[..., TrainConfig], undisturbed: TrainConfig, prefix: str
) -> None:
    path = Path(undisturbed.folder) / "checkpoints" / f"{prefix}_3.pt"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=f"{prefix}_3.pt"):
        train(undisturbed, ALONE)


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "epoch_1.pt")
    with pytest.raises(InputError, match="weights and plain values"):
        load_file(str(tmp_path / "epoch_1.pt"))
    assert not (tmp_path / "sprung").exists()


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    url = str(tmp_path / "epoch_1.pt")
    save_file(url, {"state_dict": {"a": torch.ones(4)}})
    child = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
import torch
from corpusmith.errors import StorageError
from training.state.checkpoint import save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    save_file({url!r}, {{"state_dict": {{"a": torch.zeros(1_000_000)}}}})
except StorageError as error:
    sys.exit(0 if {url!r} in str(error) and "untouched" in str(error) else str(error))
sys.exit("the write went through")
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert load_weights(url)["a"].tolist() == [1.0] * 4
    assert [path.name for path in tmp_path.glob("*.pt")] == ["epoch_1.pt"]


def write_domains(folder: Path, counts: dict[str, int]) -> str:
    draws = np.random.default_rng(0)
    rows, metas = [], []
    for domain, count in counts.items():
        rows += [draws.integers(0, 4 if domain == "easy" else 32, 17).astype(np.uint32) for _ in range(count)]
        metas += [{"source": domain, "pages": []} for _ in range(count)]
    wds.write_wds_shard(str(folder / "00000001.tar"), TokenRows.of(rows, metas=metas))
    wds.write_manifest(str(folder / "manifest.jsonl"), [wds.ManifestEntry(shard="00000001", num_sequences=len(rows))])
    return str(folder / "manifest.jsonl")


def test_loss_is_logged_by_domain_and_weighted_by_it(make_config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    data = (DataSource(url=write_domains(tmp_path / "domains", {"easy": 24, "hard": 24})),)
    found = {}
    for name, factors in (("even", {}), ("easy only", {"hard": 0.0})):
        recorder = Recorder()
        config = make_config(
            name, data=data, multiple_passes=True, domain_weights=factors, log_every=4,
            schedule=constant_schedule(peak=0.02, warmup=0, total=12),
        )  # fmt: skip
        train(config, ALONE, None, [recorder])
        last = recorder.rows[-1]
        tokens, means = last["tokens_by_domain"], last["loss_by_domain"]
        assert sum(tokens.values()) == 3 * 8 * 16
        total = sum(means[domain] * tokens[domain] for domain in means) / sum(tokens.values())
        assert total == pytest.approx(last["loss"], abs=1e-5)
        found[name] = means
    assert found["easy only"]["easy"] < found["even"]["easy"]
    assert found["easy only"]["hard"] > found["even"]["hard"]


def test_phases_follow_one_another_with_their_own_data_rates_and_lengths(
    make_config: Callable[..., TrainConfig], write_tokens: Callable[..., str], tmp_path: Path
) -> None:
    other = write_tokens(tmp_path / "other", 4, 8, 8, 32, 1)
    config = make_config()
    first = replace(config.plan.phases[0], steps=4, checkpoints=1, name="stable",
                    schedule=constant_schedule(peak=0.02, warmup=2, total=4))  # fmt: skip
    second = Phase(
        name="decay", data=(DataSource(url=other, domain="choice"), DataSource(url=first.data[0].url, weight=3.0)),
        steps=3, global_batch_size=4, seq_len=8, schedule=(Segment(kind="1-sqrt", steps=3, first=0.02, last=0.0),),
        checkpoints=2,
    )  # fmt: skip
    config = replace(config, plan=PhasePlan(phases=(first, second)))
    recorder = Recorder()
    state = train(config, ALONE, None, [recorder])
    assert (state.epoch, state.step, state.samples_seen) == (3, 7, 4 * 8 + 3 * 4)
    assert recorder.told == ["start 0", "checkpoint 1", "checkpoint 2", "checkpoint 3", "end NoneType"]
    rates = [row["lr"] for row in recorder.rows]
    assert rates == pytest.approx([0.01, 0.02, 0.02, 0.02, 0.02, 0.02 * (1 - 3**-0.5), 0.02 * (1 - (2 / 3) ** 0.5)])
    assert [row["tokens"] for row in recorder.rows][-4:] == [512, 512 + 32, 512 + 64, 512 + 96]
    logged = [row for row in sequence_rows(config) if row[0] >= 4]
    assert len(logged) == 12
    assert 2 <= sum("/other/" in row[2] for row in logged) <= 4  # a quarter, to within a sequence

    killed = replace(config, folder=str(tmp_path / "killed"))
    with pytest.raises(Killed):
        train(killed, ALONE, None, [KillAfter(5)])
    train(killed, ALONE, None, [])
    assert all(torch.equal(value, weights(config)[key]) for key, value in weights(killed).items())


def test_averages_are_those_of_openlm() -> None:
    for name, expected in (("poly_3_1", 5.0), ("ema_0.9_1", 1.7829690), ("poly_8_2", 5.6)):
        model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(model.weight)
        (averager,) = make_averagers(parse_averagers(name), model)
        for value in range(1, 7):
            model.weight.data.fill_(value)
            averager.step(model)
        assert averager.average["weight"].item() == pytest.approx(expected, abs=1e-6), name
        with averager.in_place_of(model):
            assert model.weight.item() == pytest.approx(expected, abs=1e-6)
        assert model.weight.item() == 6
    assert parse_averagers("none") == ()
    with pytest.raises(InputError, match="poly_8_1"):
        parse_averagers("cubic_8")


def test_an_averaged_model_is_loaded_from_its_own_file(undisturbed: TrainConfig) -> None:
    url = f"{undisturbed.folder}/checkpoints/poly_8_1_3.pt"
    stored = load_file(url)["av_model_sd"]
    for key, value in load_model(url).state_dict().items():
        assert torch.equal(value, stored[key])


def test_the_average_of_checkpoints_starts_a_run(
    make_config: Callable[..., TrainConfig], undisturbed: TrainConfig
) -> None:
    urls = [f"{undisturbed.folder}/checkpoints/epoch_{epoch}.pt" for epoch in (1, 3)]
    still = constant_schedule(peak=0.0, warmup=0, total=12)
    config = make_config("average", average=((urls[0], 0.25), (urls[1], 0.75)), schedule=still)
    train(config, ALONE)
    for key, value in weights(config, 1).items():
        expected = 0.25 * load_weights(urls[0])[key] + 0.75 * load_weights(urls[1])[key]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


class Unigram(nn.Module):
    """The least of architectures: logits do not depend on the input."""

    def __init__(self, config: Any, grad_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Parameter(torch.zeros(config.hidden_dim))
        self.output = nn.Linear(config.hidden_dim, config.vocab_size, bias=False)

    def blocks(self) -> list[nn.Module]:
        return []

    def tie_weights(self) -> None:
        pass

    def forward(self, input_ids: Any, documents: Any = None, head: Any = None, **more: Any) -> Any:
        hidden = self.hidden.expand(*input_ids.shape, -1)
        return head(hidden, self.output) if head is not None else (self.output(hidden), hidden, None)


def test_a_second_architecture_trains_without_the_loop_knowing(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(architectures.ARCHITECTURES, "unigram", f"{__name__}:Unigram")
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Unigram.__module__])
    config = make_config()
    config = replace(config, model=replace(config.model, architecture="unigram"))
    assert train(config, ALONE).is_final
    assert log_rows(config)[-1]["loss"] < log_rows(config)[0]["loss"]
    loaded = load_model(f"{config.folder}/checkpoints/epoch_3.pt")
    assert type(loaded).__name__ == "Unigram"
    with pytest.raises(ConfigError, match="did you mean 'transformer'"):
        train(
            replace(config, folder=config.folder + "x", model=replace(config.model, architecture="transfomer")), ALONE
        )
