"""What looks on while a run trains: the train log, the progress bar, and whatever else is given to the loop.

An observer changes nothing about a run. The loop calls its methods on rank 0 only, in this order: `on_start`; then
`on_step` after each optimizer step and `on_log` after each logged one; `on_epoch`, `on_evaluation` and
`on_checkpoint` at each checkpoint; `on_end`, also when the run fails.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from corpusmith.io import storage
from corpusmith.redact import redact
from corpusmith.run.progress import Tracker, track
from training.observers.throughput import RunThroughput
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks
from training.state.run_folder import OUT_LOG, TRAIN_LOG

#: How long lines for an object store are held.
REMOTE_SECONDS = 20.0


class Observer:
    """Does nothing; an observer overrides what it cares for."""

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        """The run begins, or goes on, where `progress` says."""

    def on_step(self, step: int) -> None:
        """Optimizer step `step` (from 0) was done."""

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        """Metrics of a logged step, under OpenLM's names without `train/`; see `training.loop.metrics`."""

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        """Metrics of the data between two checkpoints."""

    def on_evaluation(self, progress: RunProgress, results: Sequence[Mapping[str, Any]]) -> None:
        """What the on-checkpoint callable gave; `results` is what `results.jsonl` gets."""

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        """A checkpoint was written; `url` is that of its weights."""

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        """The run is over: complete, as `progress` says, or failed with `error`."""


class LogFile:
    """A log that grows line by line, on disk or on an object store; what was not flushed is lost with the process.

    A local file grows in place. An object can only be written anew as a whole, so its lines are held and written
    together every `remote_seconds`, and whenever `flush` is called.
    """

    def __init__(self, url: str, remote_seconds: float = REMOTE_SECONDS) -> None:
        self._url = url
        self._seconds = remote_seconds if "://" in url else 0.0
        self._held: list[bytes] = []
        self._written = time.monotonic()

    def append(self, line: bytes) -> None:
        """Add a line, which ends in a line end."""
        self._held.append(line)
        if time.monotonic() - self._written >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            storage.append_bytes(self._url, b"".join(self._held))
        self._held, self._written = [], time.monotonic()


class TrainLog(Observer):
    """`train_log.jsonl`: a line per logged step. A run that goes on drops the lines of steps that it does again."""

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        url = storage.join(config.folder, TRAIN_LOG)
        truncate_log(url, progress.step)
        self._file = LogFile(url)

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._file.append(orjson.dumps(dict(metrics)) + b"\n")

    def on_epoch(self, metrics: Mapping[str, Any]) -> None:
        self._file.flush()  # before the checkpoint, from which a run would go on behind these lines

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        self._file.flush()


class OutLog(Observer):
    """`out.log`: the run's story in lines for people, each with the time in UTC; one that goes on adds to it."""

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        self._file = LogFile(storage.join(config.folder, OUT_LOG))
        self._write(
            f"start at step {progress.step} of {config.plan.total_steps}: {config.name}, {ranks.world_size} processes "
            f"on {ranks.device.type}, precision {config.step.precision}, order {config.order}, seed {config.seed}"
        )

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        self._write(
            f"step {metrics['step']}: loss {metrics['loss']:.4f}, lr {metrics['lr']:.3e}, "
            f"{metrics['tokens_per_second']:.0f} tokens/s, gradient norm {metrics['gradient_norm']:.3f}"
        )

    def on_evaluation(self, progress: RunProgress, results: Sequence[Mapping[str, Any]]) -> None:
        for result in results:
            self._write(f"epoch {progress.epoch}: validation loss {result.get('loss')} on {result.get('val_data')}")

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        self._write(f"epoch {progress.epoch}: wrote {url}")

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
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

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        left = config.plan.total_steps - progress.step
        self._tracker = self._stack.enter_context(track(left, "training", "steps"))

    def on_step(self, step: int) -> None:
        if self._tracker is not None:
            self._tracker.advance(1)

    def on_end(self, progress: RunProgress | None, error: BaseException | None) -> None:
        self._stack.close()


class TrainingBar(ProgressBar):
    """`ProgressBar` with `loss 3.21, 41.2k tokens/s, MFU 38.0 %` beside it.

    MFU is the share of the devices' peak that goes into the model's own FLOPs (`training.observers.throughput`).
    """

    def on_start(self, config: TrainConfig, ranks: Ranks, progress: RunProgress) -> None:
        super().on_start(config, ranks, progress)
        self._utilisation = RunThroughput(config, ranks)

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        if self._tracker is not None:
            share = self._utilisation(metrics["tokens_per_second"])
            self._tracker.note(
                f"loss {metrics['loss']:.3f}, {short_number(metrics['tokens_per_second'])} tokens/s, MFU {share:.1%}"
            )


def truncate_log(url: str, step: int) -> None:
    """Keep the lines of a log of JSON objects whose `step` is below `step`; a line that a kill cut short goes too."""
    kept = []
    for line in storage.read_bytes(url).splitlines() if storage.exists(url) else []:
        try:
            if orjson.loads(line)["step"] < step:
                kept.append(line + b"\n")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    storage.write_bytes(url, b"".join(kept))


def short_number(value: float) -> str:
    """`1234` as `1.23k`; three digits and k, M or G."""
    for suffix in ("", "k", "M"):
        if abs(value) < 999.5:
            return f"{value:.3g}{suffix}"
        value /= 1000
    return f"{value:.3g}G"
