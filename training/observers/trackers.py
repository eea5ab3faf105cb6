"""What a run shows of itself: TensorBoard and Weights & Biases, as `--report-to` asks, and a picture of its loss.

Follows OpenLM's `--report-to` (`tensorboard`, `wandb`, both with a comma, or `all`) and its tags `train/…`; the
losses of validation stand under `valid/<set>/…`. Departs from it in that a run that is continued goes on with the same
W&B run, in that nothing needs a network (`--wandb-offline`, or WANDB_MODE=offline), and in TensorBoard logs of an
experiment on an object store, which are written beside and copied at each checkpoint.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corpusmith.errors import InputError, did_you_mean, missing_package
from corpusmith.io import storage
from corpusmith.seeds import stable_hash
from training.observers.loss_plot import plot_run, short_name
from training.observers.observer import Observer
from training.observers.remote_sync import sync_tree
from training.observers.throughput import RunThroughput
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks

TENSORBOARD, WANDB, ALL = "tensorboard", "wandb", "all"
TENSORBOARD_FOLDER = "tensorboard"
_NOT_SCALARS = ("step", "epoch")


def make_trackers(
    report_to: str, *, project: str = "open-lm", notes: str = "", offline: bool = False
) -> list[Observer]:
    """The trackers that `--report-to` names.

    Args:
        report_to: names in a row with commas, or `all`.
        project, notes, offline: as `WandbTracker` takes them.

    Raises:
        UserError: as `tracker_names` does.
    """
    names = tracker_names(report_to)
    made: list[Observer] = []
    if TENSORBOARD in names:
        made.append(TensorBoardTracker())
    if WANDB in names:
        made.append(WandbTracker(project=project, notes=notes, offline=offline))
    return made


def tracker_names(report_to: str) -> list[str]:
    """The names in a value of `--report-to`, in a row with commas; `all` is both, an empty value none.

    Raises:
        InputError: an unknown name.
        UserError: a package that is not installed, with the command that installs it.
    """
    names = [name.strip() for name in report_to.split(",") if name.strip()]
    if ALL in names:
        names = [TENSORBOARD, WANDB]
    for name in names:
        if name not in (TENSORBOARD, WANDB):
            hint = did_you_mean(name, (TENSORBOARD, WANDB, ALL)) or f"; known: {TENSORBOARD}, {WANDB}, {ALL}"
            raise InputError(f"--report-to {name!r}{hint}")
        if importlib.util.find_spec(name) is None:
            raise missing_package(name, "wandb" if name == WANDB else "train")
    return names


def scalars(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers of a metrics line under `prefix/…`; nested ones with a further slash, the step itself left out."""
    return dict(_flat(metrics, prefix))


def _flat(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}/{key}")
        elif isinstance(value, list | tuple):
            yield from _flat({f"{key}_{index}": item for index, item in enumerate(value)}, prefix)
        elif isinstance(value, bool) or not isinstance(value, int | float) or key in _NOT_SCALARS:
            continue
        elif math.isfinite(value):
            yield f"{prefix}/{key}", float(value)


def training_scalars(metrics: Mapping[str, Any], throughput: RunThroughput) -> dict[str, float]:
    """The numbers of a logged step under `train/…`, and its model FLOPs utilisation as `train/mfu`."""
    return scalars(metrics, "train") | {"train/mfu": throughput(metrics["tokens_per_second"])}


def evaluation_scalars(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of an evaluation, under `valid/<set>/…`."""
    found: dict[str, float] = {}
    for result in results:
        name = short_name(str((result.get("val_data") or ["validation"])[0]))
        found |= scalars({key: value for key, value in result.items() if key != "val_data"}, f"valid/{name}")
    return found


class TensorBoardTracker(Observer):
    """Event files in the experiment's `tensorboard/`."""

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._utilisation = RunThroughput(config, ranks)
        target = storage.join(config.folder, TENSORBOARD_FOLDER)
        self._scratch = tempfile.TemporaryDirectory() if "://" in target else None
        self._folder = target if self._scratch is None else self._scratch.name
        self._target, self._copied = target, dict[str, tuple[int, str]]()
        make: Any = SummaryWriter
        self._writer = make(self._folder, purge_step=progress.step or None)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._write(training_scalars(metrics, self._utilisation), metrics["step"])

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self._write(scalars(metrics, "epoch"), metrics["step"])

    def on_evaluation(self, progress: RunProgress, results: Sequence[Mapping[str, Any]]) -> None:
        self._write(evaluation_scalars(results), progress.step)

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        self._writer.flush()
        self._copy()

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        self._writer.close()
        self._copy()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _copy(self) -> None:
        if self._scratch is not None:
            sync_tree(self._folder, self._target, self._copied)


class WandbTracker(Observer):
    """A Weights & Biases run, the same one where a run is continued.

    Args:
        project, notes: as W&B shows them.
        offline: write to the experiment's folder only (`wandb sync` uploads later).
    """

    def __init__(self, *, project: str, notes: str = "", offline: bool = False) -> None:
        self._project, self._notes, self._offline = project, notes, offline

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        self._utilisation = RunThroughput(config, ranks)
        wandb: Any = importlib.import_module(WANDB)
        local = "://" not in config.folder
        if local:
            os.makedirs(config.folder, exist_ok=True)
        self._run = wandb.init(
            project=self._project,
            name=config.name,
            notes=self._notes or None,
            id=f"{stable_hash(config.name, config.folder):016x}",
            resume="allow",
            config=dict(config.params),
            dir=config.folder if local else None,
            mode="offline" if self._offline else None,
        )

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._run.log(training_scalars(metrics, self._utilisation), step=metrics["step"])

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self._run.log(scalars(metrics, "epoch"), step=metrics["step"])

    def on_evaluation(self, progress: RunProgress, results: Sequence[Mapping[str, Any]]) -> None:
        self._run.log(evaluation_scalars(results), step=progress.step)

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        self._run.finish(exit_code=1 if error is not None else 0)


class LossPlot(Observer):
    """`loss.png` in the experiment's folder, drawn at the end, of a failed run too."""

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        self._folder = config.folder

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        try:
            plot_run(self._folder)
        except InputError:  # stopped before its first logged step: there is nothing to draw
            return
