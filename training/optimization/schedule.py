"""Learning-rate schedules as segments: warm-up, cosine, constant, linear and 1-sqrt decay, one after the other.

A segment runs over a number of optimizer steps from one rate towards another; a schedule is a tuple of segments. The
builders give the usual ones: OpenLM's warm-up and cosine, warm-up-stable-decay (MiniCPM), and a constant rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError, did_you_mean

#: Segment kind to the share of the way from the first to the last rate, at progress 0 to 1.
_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 0.0,
    "linear": lambda progress: progress,
    "cosine": lambda progress: 0.5 * (1 - math.cos(math.pi * progress)),
    "1-sqrt": math.sqrt,
}
#: The first step already has a share of the rate, and the last step all of it.
WARMUP = "warmup"
KINDS = (WARMUP, *_SHAPES)
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
        """The rate of step `step`, counted from the segment's start."""
        warms = self.kind == WARMUP
        share = (step + 1) / self.steps if warms else _SHAPES[self.kind](step / max(1, self.steps))
        return self.first + share * (self.last - self.first)


Schedule = tuple[Segment, ...]


def rate_at(schedule: Sequence[Segment], step: int) -> float:
    """The rate of optimizer step `step`, from 0; beyond the end what the last segment ends with."""
    for segment in schedule:
        if step < segment.steps:
            return segment.rate(step)
        step -= segment.steps
    last = schedule[-1]
    return last.rate(last.steps) if last.kind != WARMUP else last.last


def schedule_steps(schedule: Sequence[Segment]) -> int:
    """Steps of all segments."""
    return sum(segment.steps for segment in schedule)


def cosine_schedule(*, peak: float, final: float, warmup: int, total: int) -> Schedule:
    """OpenLM's: linear warm-up, then half a cosine that would reach `final` at step `total`."""
    return (_warmup(peak, warmup), Segment(kind="cosine", steps=max(0, total - warmup), first=peak, last=final))


def constant_schedule(*, peak: float, warmup: int, total: int) -> Schedule:
    """Linear warm-up, then a constant rate."""
    return (_warmup(peak, warmup), Segment(kind="constant", steps=max(0, total - warmup), first=peak, last=peak))


def wsd_schedule(
    *, peak: float, final: float, warmup: int, decay_steps: int, total: int, decay: str = "linear"
) -> Schedule:
    """Warm-up, stable, decay: the last `decay_steps` fall to `final` in the shape `decay` (of `DECAYS`).

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
