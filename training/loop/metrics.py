"""What is measured of a run's steps: the metrics of a logged step, loss per domain, and a guard against divergence.

Metrics bear OpenLM's names without `train/`. Departs from it in that `loss` is the mean over all steps since the last
logged one and over all ranks, and in `tokens`, which counts the steps done. `samples_per_second` are tokens per
second, as OpenLM has it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from training.data.batch import Batch
from training.optimization.step import StepLoss
from training.state.ranks import Ranks, gather_json, sum_over_ranks

#: By domain: the sum of the losses of its targets, and their number.
DomainTotals = dict[str, tuple[float, int]]

GUARD_WINDOW = 64
GUARD_LEAST = 16


class StepMetrics:
    """Collects steps, the first one `step`, until a line of metrics is taken; all ranks use it alike."""

    def __init__(self, ranks: Ranks, step: int) -> None:
        self._ranks = ranks
        self._reset(step)

    def _reset(self, step: int) -> None:
        self._first, self._time = step, time.perf_counter()
        self._losses: list[float] = []
        self._seconds: dict[str, float] = {}
        self._by_domain: DomainTotals = {}

    def add_seconds(self, name: str, seconds: float) -> None:
        """Time spent on something."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def add(self, loss: StepLoss, batch: Batch, mean_loss: float) -> None:
        """Take in a step; `mean_loss` is that over all ranks."""
        self._losses.append(mean_loss)
        for name, seconds in loss.seconds.items():
            self.add_seconds(f"{name}_time", seconds)
        named = [origin.domain for origin in batch.origins]
        if any(named):
            rows = zip(named, loss.row_losses_B.tolist(), loss.row_tokens_B.tolist(), strict=True)
            for domain, total, tokens in rows:
                add_domain_loss(self._by_domain, domain, total, tokens)

    def take_line(self, step: int, tokens: int, tokens_before: int, loss: StepLoss, rate: float) -> dict[str, Any]:
        """The metrics of the steps collected, after which collecting begins anew; all ranks call it.

        Args:
            step: the last step collected.
            tokens: of all steps up to here.
            tokens_before: of all steps before the first one collected.
            loss: of the last step.
            rate: its learning rate.
        """
        count = len(self._losses)
        seconds = max(time.perf_counter() - self._time, 1e-9)
        per_second = (tokens - tokens_before) / seconds
        row: dict[str, Any] = {
            "step": step,
            "loss": sum(self._losses) / count,
            "lr": rate,
            "tokens": tokens,
            "tokens_per_second": per_second,
            "samples_per_second": per_second,
            "samples_per_second_per_gpu": per_second / self._ranks.world_size,
            "gradient_norm": float(loss.gradient_norm),
            "batch_time": seconds / count,
        }
        row |= {name: value / count for name, value in sorted(self._seconds.items())}
        row |= self._domain_means()
        self._reset(step + 1)
        return row

    def _domain_means(self) -> dict[str, Any]:
        """Loss and number of targets by domain, over all ranks; nothing where no sequence names one."""
        totals = sum_domains(gather_json(self._by_domain, self._ranks))
        known = {name: values for name, values in sorted(totals.items()) if name and values[1]}
        if not known:
            return {}
        return {
            "loss_by_domain": {name: loss / tokens for name, (loss, tokens) in known.items()},
            "tokens_by_domain": {name: tokens for name, (_, tokens) in known.items()},
        }

    @property
    def first_step(self) -> int:
        """The first step that was not yet logged."""
        return self._first


def add_domain_loss(totals: DomainTotals, domain: str, loss: float, tokens: int) -> None:
    """Add a loss summed over so many targets to the totals of a domain."""
    losses_before, tokens_before = totals.get(domain, (0.0, 0))
    totals[domain] = (losses_before + loss, tokens_before + tokens)


def sum_domains(by_rank: Iterable[DomainTotals]) -> DomainTotals:
    """The totals of all ranks together."""
    totals: DomainTotals = {}
    for of_rank in by_rank:
        for domain, (loss, tokens) in of_rank.items():
            add_domain_loss(totals, domain, loss, tokens)
    return totals


class LossGuard:
    """Tells when a run has diverged: NaN, infinity, or a loss far above that of the recent steps.

    Args:
        max_rise: nats above the mean of the last `GUARD_WINDOW` steps.
    """

    def __init__(self, max_rise: float) -> None:
        self._max_rise = max_rise
        self._recent: deque[float] = deque(maxlen=GUARD_WINDOW)

    def problem(self, loss: float, gradient_norm: float) -> str | None:
        """What is wrong with a step, or None; a good step is remembered."""
        if math.isnan(loss):
            return "the loss became NaN"
        if math.isinf(loss):
            return "the loss became infinite"
        if not math.isfinite(gradient_norm):
            return "the gradient became NaN or infinite"
        if len(self._recent) >= GUARD_LEAST:
            mean = sum(self._recent) / len(self._recent)
            if loss > mean + self._max_rise:
                return f"the loss exploded to {loss:.2f}, from {mean:.2f} on average"
        self._recent.append(loss)
        return None

    @property
    def recent(self) -> list[float]:
        """Losses of the last good steps."""
        return list(self._recent)


def mean_over_ranks(value: Tensor, ranks: Ranks) -> float:
    """The mean of a scalar over ranks."""
    return sum_over_ranks(value, ranks).item() / ranks.world_size
