"""What looks on while a run trains: the train log, the progress bar, and whatever else is given to the loop.

An observer changes nothing about a run. The loop calls its methods on rank 0 only, in this order: `on_start`; then
`on_step` after each optimizer step and `on_log` after each logged one; `on_epoch`, `on_evaluation` and
`on_checkpoint` at each checkpoint; `on_end`, also when the run fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from corpusmith.io import storage
from corpusmith.redact import redact
from corpusmith.run.progress import Tracker, track
from training.loop.checkpoint import TrainState
from training.loop.ranks import Ranks
from training.observers.log_file import LogFile
from training.plan.config import TrainConfig

TRAIN_LOG = "train_log.jsonl"
OUT_LOG = "out.log"


class Observer:
    """Does nothing; an observer overrides what it cares for."""

    def on_start(self, config: TrainConfig, ranks: Ranks, state: TrainState) -> None:
        """The run begins, or goes on, at `state`."""

    def on_step(self, step: int) -> None:
        """Optimizer step `step` (from 0) was done."""

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        """Metrics of a logged step, under OpenLM's names without `train/`; see `training.loop.metrics`."""

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Metrics of the data between two checkpoints."""

    def on_evaluation(self, state: TrainState, results: Sequence[Mapping[str, Any]]) -> None:
        """What the on-checkpoint callable gave; `results` is what `results.jsonl` gets."""

    def on_checkpoint(self, url: str, state: TrainState) -> None:
        """A checkpoint was written; `url` is that of its weights."""

    def on_end(self, state: TrainState | None, error: BaseException | None) -> None:
        """The run is over: complete at `state`, or failed with `error`."""


class TrainLog(Observer):
    """`train_log.jsonl`: a line per logged step. A run that goes on drops the lines of steps that it does again."""

    def on_start(self, config: TrainConfig, ranks: Ranks, state: TrainState) -> None:
        url = storage.join(config.folder, TRAIN_LOG)
        cut_log(url, state.step)
        self._file = LogFile(url)

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._file.append(orjson.dumps(dict(metrics)) + b"\n")

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self._file.flush()  # before the checkpoint, from which a run would go on behind these lines

    def on_end(self, state: TrainState | None, error: BaseException | None) -> None:
        self._file.flush()


class OutLog(Observer):
    """`out.log`: the run's story in lines for people, each with the time in UTC; one that goes on adds to it."""

    def on_start(self, config: TrainConfig, ranks: Ranks, state: TrainState) -> None:
        self._file = LogFile(storage.join(config.folder, OUT_LOG))
        self._write(
            f"start at step {state.step} of {config.plan.total_steps}: {config.name}, {ranks.world_size} processes "
            f"on {ranks.device.type}, precision {config.step.precision}, order {config.order}, seed {config.seed}"
        )

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._write(
            f"step {metrics['step']}: loss {metrics['loss']:.4f}, lr {metrics['lr']:.3e}, "
            f"{metrics['tokens_per_second']:.0f} tokens/s, gradient norm {metrics['gradient_norm']:.3f}"
        )

    def on_evaluation(self, state: TrainState, results: Sequence[Mapping[str, Any]]) -> None:
        for result in results:
            self._write(f"epoch {state.epoch}: validation loss {result.get('loss')} on {result.get('val_data')}")

    def on_checkpoint(self, url: str, state: TrainState) -> None:
        self._write(f"epoch {state.epoch}: wrote {url}")

    def on_end(self, state: TrainState | None, error: BaseException | None) -> None:
        self._write("complete" if error is None else f"stopped: {type(error).__name__}: {error}")
        self._file.flush()

    def _write(self, text: str) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self._file.append(f"{moment} {redact(text)}\n".encode())


class ProgressBar(Observer):
    """A bar over the steps of the run."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._tracker: Tracker | None = None

    def on_start(self, config: TrainConfig, ranks: Ranks, state: TrainState) -> None:
        left = config.plan.total_steps - state.step
        self._tracker = self._stack.enter_context(track(left, "training", "steps"))

    def on_step(self, step: int) -> None:
        if self._tracker is not None:
            self._tracker.advance(1)

    def on_end(self, state: TrainState | None, error: BaseException | None) -> None:
        self._stack.close()


def cut_log(url: str, step: int) -> None:
    """Keep the lines of a log of JSON objects whose `step` is below `step`; a line that a kill cut short goes too."""
    kept = []
    for line in storage.read_bytes(url).splitlines() if storage.exists(url) else []:
        try:
            if orjson.loads(line)["step"] < step:
                kept.append(line + b"\n")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    storage.write_bytes(url, b"".join(kept))
