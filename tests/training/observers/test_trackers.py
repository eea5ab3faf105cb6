"""Trackers: what TensorBoard and W&B are told equals the train log; the bar; names and packages that are missing."""

from __future__ import annotations

import importlib.machinery
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import orjson
import pytest
import torch

from corpusmith.errors import InputError, UserError
from corpusmith.run.progress import track
from training.loop.train_loop import train
from training.main import main
from training.observers.observer import TrainingBar, TrainLog, short_number
from training.observers.trackers import (
    LossPlot,
    TensorBoardTracker,
    WandbTracker,
    evaluation_scalars,
    make_trackers,
    scalars,
)
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks

ALONE = Ranks()


def validate(model: torch.nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
    return [{"loss": 2.0 + progress.epoch, "val_data": ["sets/held_out/manifest.jsonl"], "model": "tiny"}]


def log_rows(config: TrainConfig) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in Path(config.folder, "train_log.jsonl").read_bytes().splitlines()]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def near(rows: list[dict[str, Any]], key: str) -> list[tuple[int, Any]]:
    """Steps with values that are equal to those of the rows but for rounding."""
    return [(row["step"], pytest.approx(row[key])) for row in rows]


def test_tensorboard_gets_what_the_train_log_gets(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()
    train(config, ALONE, validate, [TrainLog(), TensorBoardTracker()])
    found = events(Path(config.folder, "tensorboard"))
    rows = log_rows(config)
    assert found["train/loss"] == near(rows, "loss")
    assert found["train/lr"] == near(rows, "lr")
    assert len(found["train/mfu"]) == len(rows)
    assert all(0 < share < 1 for _, share in found["train/mfu"])
    assert found["valid/held_out/loss"] == [(4, 3.0), (8, 4.0), (12, 5.0)]
    assert [step for step, _ in found["epoch/tokens"]] == [4, 8, 12]


def test_a_continued_run_has_each_step_once_in_tensorboard(make_config: Callable[..., TrainConfig]) -> None:
    config = make_config()

    def interrupt(model: torch.nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
        if progress.epoch == 3:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        train(config, ALONE, interrupt, [TrainLog(), TensorBoardTracker()])
    train(config, ALONE, None, [TrainLog(), TensorBoardTracker()])
    assert [step for step, _ in events(Path(config.folder, "tensorboard"))["train/loss"]] == list(range(12))


class FakeRun:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.exit_code: int | None = None

    def log(self, values: dict[str, Any], step: int) -> None:
        self.rows.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeWandb(types.ModuleType):
    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.runs: list[FakeRun] = []

    def init(self, **settings: Any) -> FakeRun:
        self.runs.append(FakeRun(settings))
        return self.runs[-1]


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    """A module `wandb` that notes what it is told."""
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_gets_the_run_its_arguments_and_its_metrics(
    make_config: Callable[..., TrainConfig], fake_wandb: FakeWandb
) -> None:
    config = make_config(params={"lr": 0.02})
    (tracker,) = make_trackers("wandb", project="dcnlp", notes="why", offline=True)
    train(config, ALONE, validate, [TrainLog(), tracker])
    (run,) = fake_wandb.runs
    settings = run.settings
    assert (settings["project"], settings["name"], settings["notes"]) == ("dcnlp", "run", "why")
    assert (settings["mode"], settings["resume"], settings["config"]) == ("offline", "allow", {"lr": 0.02})
    assert settings["dir"] == config.folder
    losses = [(step, values["train/loss"]) for step, values in run.rows if "train/loss" in values]
    assert losses == [(row["step"], row["loss"]) for row in log_rows(config)]
    assert [values["valid/held_out/loss"] for _, values in run.rows if "valid/held_out/loss" in values] == [3, 4, 5]
    assert run.exit_code == 0
    steps = [step for step, _ in run.rows]
    assert steps == sorted(steps)  # W&B drops what goes back


def test_a_continued_run_is_the_same_wandb_run_and_a_failed_one_says_so(
    make_config: Callable[..., TrainConfig], fake_wandb: FakeWandb
) -> None:
    config = make_config()

    def fail(model: torch.nn.Module, progress: RunProgress) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, ALONE, fail, [WandbTracker(project="p")])
    train(config, ALONE, None, [WandbTracker(project="p")])
    first, second = fake_wandb.runs
    assert first.exit_code == 1
    assert second.exit_code == 0
    assert first.settings["id"] == second.settings["id"]
    assert re.fullmatch("[0-9a-f]{16}", first.settings["id"])


def test_names_are_checked_before_anything_is_trained(fake_wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_trackers("") == []
    assert [type(tracker) for tracker in make_trackers("all")] == [TensorBoardTracker, WandbTracker]
    assert [type(tracker) for tracker in make_trackers("tensorboard, wandb")] == [TensorBoardTracker, WandbTracker]
    with pytest.raises(InputError, match="did you mean 'tensorboard'"):
        make_trackers("tensorbord")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"'wandb' is not installed; run: pip install 'corpusmith\[wandb\]'"):
        make_trackers("wandb")


def test_only_finite_numbers_are_scalars_and_nested_ones_get_a_path() -> None:
    row = {
        "step": 3, "loss": 1.5, "name": "x", "final": True, "bad": float("nan"), "loss_by_domain": {"web": 2.0},
        "next_shard_per_source": [4, 5],
    }  # fmt: skip
    assert scalars(row, "train") == {
        "train/loss": 1.5, "train/loss_by_domain/web": 2.0, "train/next_shard_per_source_0": 4.0,
        "train/next_shard_per_source_1": 5.0,
    }  # fmt: skip


def test_validation_sets_are_told_apart_by_name() -> None:
    results = [{"loss": 1.0, "val_data": ["a/c4_val.json"]}, {"loss": 2.0, "val_data": ["b/manifest.jsonl"]}]
    assert evaluation_scalars(results) == {"valid/c4_val/loss": 1.0, "valid/b/loss": 2.0}


def test_a_run_leaves_a_picture_of_its_loss_and_one_without_a_step_leaves_none(
    make_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = make_config()
    train(config, ALONE, None, [TrainLog(), LossPlot()])
    assert Path(config.folder, "loss.png").read_bytes().startswith(b"\x89PNG")
    plot = LossPlot()
    plot.on_start(make_config("other"), ALONE, RunProgress())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train_log.jsonl").touch()
    plot.on_end(None, None)
    assert not (tmp_path / "other" / "loss.png").exists()


def test_the_bar_tells_loss_tokens_per_second_and_utilisation(
    make_config: Callable[..., TrainConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.observers.throughput.peak_flops", lambda device, precision: 1e9)
    monkeypatch.setattr("corpusmith.run.progress.PLAIN_LINE_SECONDS", 0.0)
    train(make_config(), ALONE, None, [TrainingBar()])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("training:")]
    pattern = r"training: \d+/12 steps, [\d.]+/s, loss \d\.\d{3}, [\d.]+[kM]? tokens/s, MFU \d+\.\d%, \d+ s left"
    assert [line for line in lines if re.fullmatch(pattern, line)], lines


def test_a_note_stands_beside_the_rate_until_another_does(capsys: pytest.CaptureFixture[str]) -> None:
    with track(3, "work", "steps") as tracker:
        tracker.note("loss 1.0")
        tracker.advance()
        tracker.note("loss 0.5")
    assert re.search(r"work: 1 steps in .* \([\d.]+/s, loss 0\.5\)", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999.4, "999"), (1234, "1.23k"), (999_600, "1M"), (45_600_000, "45.6M"), (2.5e9, "2.5G")],
)
def test_numbers_are_shortened_to_three_digits(value: float, text: str) -> None:
    assert short_number(value) == text


def test_the_trainers_flags_bring_trackers_the_plot_and_the_remote_copy(
    write_tokens: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_tokens(tmp_path / "small", 12, 8, 16, 16)
    command = [
        "--dataset-manifest", manifest, "--data-key", "json.gz", "--model", "open_lm_test_tiny",
        "--train-num-samples", str(32 * 16), "--epochs", "2", "--global-batch-size", "8", "--name", "demo", "--logs",
        str(tmp_path / "logs"), "--warmup", "2", "--log-every-n-steps", "2", "--report-to", "tensorboard",
        "--remote-sync", str(tmp_path / "remote"),
    ]  # fmt: skip
    assert main(command) == 0
    folder, remote = tmp_path / "logs" / "demo", tmp_path / "remote" / "demo"
    assert len(events(folder / "tensorboard")["train/loss"]) == 6
    for name in ("loss.png", "train_log.jsonl", "params.txt", "checkpoints/epoch_2.pt", "out.log"):
        assert (folder / name).read_bytes() == (remote / name).read_bytes()
    capsys.readouterr()
    assert main([*command, "--report-to", "tensorbord", "--name", "other"]) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err
    assert not (tmp_path / "logs" / "other").exists()
