"""The progress bar of a run: steps, time left, and at each logged step loss, tokens per second and utilisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.loop.checkpoint import TrainState
from training.loop.ranks import Ranks
from training.observers.observer import ProgressBar
from training.observers.throughput import RunThroughput
from training.plan.config import TrainConfig


class TrainingBar(ProgressBar):
    """`ProgressBar` with `loss 3.21, 41.2k tokens/s, MFU 38.0 %` beside it.

    MFU is the share of the devices' peak that goes into the model's own FLOPs (`training.observers.throughput`).
    """

    def on_start(self, config: TrainConfig, ranks: Ranks, state: TrainState) -> None:
        super().on_start(config, ranks, state)
        self._utilisation = RunThroughput(config, ranks)

    def on_log(self, metrics: Mapping[str, Any]) -> None:
        if self._tracker is not None:
            share = self._utilisation(metrics["tokens_per_second"])
            self._tracker.note(
                f"loss {metrics['loss']:.3f}, {short_number(metrics['tokens_per_second'])} tokens/s, MFU {share:.1%}"
            )


def short_number(value: float) -> str:
    """`1234` as `1.23k`; three digits and k, M or G."""
    for suffix in ("", "k", "M"):
        if abs(value) < 999.5:
            return f"{value:.3g}{suffix}"
        value /= 1000
    return f"{value:.3g}G"
