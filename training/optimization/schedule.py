"""Learning-rate schedules as segments: warm-up, cosine, constant, linear and 1-sqrt decay, one after the other.

A segment runs over a number of optimizer steps from one rate towards another; a schedule is a tuple of segments. The
builders give the usual ones: OpenLM's warm-up and cosine, warm-up-stable-decay (MiniCPM), and a constant rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError, did_you_mean

#: The first step already has a share of the rate, and the last step all of it.
WARMUP = "warmup"
#: Segment kind to the share of the way from the first to the last rate, at progress 0 to 1.
_SHAPES: dict[str, Callable[[float], float]] = {
    WARMUP: lambda progress: progress,
    "constant": lambda progress: 0.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: 0.5 * (1 - math.cos(math.pi * progress)),
    "1-sqrt": math.sqrt,
}
KINDS = tuple(_SHAPES)
DECAYS = ("linear", "cosine", "1-sqrt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """`steps` optimizer steps from rate `first` towards `last`, which the step after the segment would have.

    A `warmup` has reached `last` at its last step: step s has `first + (last - first) * (s + 1) / steps`.
    """

    kind: str
    steps: int
    first: float
    last: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            hint = did_you_mean(self.kind, KINDS) or f"; known: {', '.join(KINDS)}"
            raise InputError(f"unknown learning-rate segment {self.kind!r}{hint}")
        if self.steps < 0 or self.first < 0 or self.last < 0:
            raise InputError(f"a learning-rate segment has steps and rates of at least 0, got {self}")

    def rate(self, step: int) -> float:
        """The rate of step `step`, counted from the segment's start; beyond its end what it ends with."""
        steps_done = step + 1 if self.kind == WARMUP else step
        progress = steps_done / self.steps if steps_done < self.steps else 1.0
        return self.first + _SHAPES[self.kind](progress) * (self.last - self.first)


Schedule = tuple[Segment, ...]


def rate_at(schedule: Sequence[Segment], step: int) -> float:
    """The rate of optimizer step `step`, from 0; beyond the end what the last segment ends with."""
    for segment in schedule:
        if step < segment.steps:
            return segment.rate(step)
        step -= segment.steps
    last = schedule[-1]
    return last.rate(last.steps)


def cosine_schedule(*, peak: float, final: float, warmup: int, total: int) -> Schedule:
    """OpenLM's: linear warm-up, then half a cosine that would reach `final` at step `total`.

    Args:
        peak: highest rate.
        final: last rate.
        warmup: steps of the warm-up.
        total: steps of both together.
    """
    return (_warmup(peak, warmup), Segment(kind="cosine", steps=max(0, total - warmup), first=peak, last=final))


def constant_schedule(*, peak: float, warmup: int, total: int) -> Schedule:
    """Linear warm-up, then a constant rate."""
    return (_warmup(peak, warmup), Segment(kind="constant", steps=max(0, total - warmup), first=peak, last=peak))


def wsd_schedule(
    *, peak: float, final: float, warmup: int, decay_steps: int, total: int, decay: str = "linear"
) -> Schedule:
    """Warm-up, stable, decay: the last steps fall from the peak to the final rate.

    Args:
        peak: highest rate.
        final: last rate.
        warmup: steps of the warm-up.
        decay_steps: steps of the decay.
        total: steps of all three together.
        decay: shape of the decay, one of `DECAYS`.

    Raises:
        InputError: warm-up and decay don't fit into `total`, or an unknown shape.
    """
    if decay not in DECAYS:
        raise InputError(f"unknown decay {decay!r}{did_you_mean(decay, DECAYS)}; known: {', '.join(DECAYS)}")
    stable = total - warmup - decay_steps
    if stable < 0:
        raise InputError(f"{warmup} steps of warm-up and {decay_steps} of decay do not fit into {total} steps")
    return (
        _warmup(peak, warmup),
        Segment(kind="constant", steps=stable, first=peak, last=peak),
        Segment(kind=decay, steps=decay_steps, first=peak, last=final),
    )


def _warmup(peak: float, steps: int) -> Segment:
    return Segment(kind=WARMUP, steps=steps, first=0.0, last=peak)
