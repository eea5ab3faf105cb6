"""Learning rates: the measured fixture of section 5, and the other shapes by hand."""

import math
from typing import Any

import pytest

from corpusmith.errors import InputError
from training.optimization.schedule import (
    KINDS,
    Segment,
    constant_schedule,
    cosine_schedule,
    rate_at,
    wsd_schedule,
)

PEAK, FINAL = 0.003, 3e-5


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1.5e-6), (999, 0.0015), (1999, 0.003), (2000, 0.003), (4925, 0.001515), (7849, 3.0000214e-05)],
)
def test_cosine_of_openlm(step: int, rate: float) -> None:
    schedule = cosine_schedule(peak=PEAK, final=FINAL, warmup=2000, total=7850)
    assert rate_at(schedule, step) == pytest.approx(rate, rel=1e-7)


def test_cosine_without_warmup_starts_at_the_top_and_a_long_warmup_never_gets_there() -> None:
    assert rate_at(cosine_schedule(peak=PEAK, final=FINAL, warmup=0, total=10), 0) == PEAK
    assert rate_at(cosine_schedule(peak=PEAK, final=FINAL, warmup=100, total=10), 9) == pytest.approx(PEAK / 10)


def test_constant_after_warmup() -> None:
    schedule = constant_schedule(peak=PEAK, warmup=4, total=10)
    assert [rate_at(schedule, step) for step in (0, 3, 4, 9, 50)] == [PEAK / 4, PEAK, PEAK, PEAK, PEAK]


@pytest.mark.parametrize(
    ("decay", "quarter"),
    [("linear", 0.75), ("1-sqrt", 0.5), ("cosine", 0.5 * (1 + math.cos(math.pi / 4)))],
)
def test_warmup_stable_decay(decay: str, quarter: float) -> None:
    schedule = wsd_schedule(peak=1.0, final=0.0, warmup=2, decay_steps=8, total=20, decay=decay)
    assert sum(segment.steps for segment in schedule) == 20
    assert [rate_at(schedule, step) for step in (0, 1, 2, 11, 12)] == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert rate_at(schedule, 14) == pytest.approx(quarter)
    assert rate_at(schedule, 20) == pytest.approx(0.0)


def test_one_minus_sqrt_is_the_formula_of_ettin() -> None:
    # alpha + (1 - alpha) (1 - sqrt(n / D)) of the peak, at a quarter of D
    segment = Segment(kind="1-sqrt", steps=100, first=8e-4, last=0.5 * 8e-4)
    assert segment.rate(25) == pytest.approx(8e-4 * (0.5 + 0.5 * 0.5))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "constant"])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_beyond_its_end_a_schedule_has_the_rate_that_its_last_segment_ends_with(kind: str, steps: int) -> None:
    schedule = (Segment(kind=kind, steps=steps, first=0.25, last=0.5),)
    assert [rate_at(schedule, step) for step in (steps, steps + 1, 100)] == [0.5, 0.5, 0.5]


def test_a_warmup_reaches_its_rate_with_its_last_step_and_others_with_the_step_after() -> None:
    warmup, linear = (Segment(kind=kind, steps=4, first=0.0, last=1.0) for kind in ("warmup", "linear"))
    assert [warmup.rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [linear.rate(step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_warmup_and_decay_may_fill_all_steps_and_no_more() -> None:
    filled = wsd_schedule(peak=1.0, final=0.0, warmup=6, decay_steps=4, total=10)
    assert [segment.steps for segment in filled] == [6, 0, 4]
    assert rate_at(filled, 5) == rate_at(filled, 6) == 1.0
    with pytest.raises(InputError, match="do not fit into 9 steps"):
        wsd_schedule(peak=1.0, final=0.0, warmup=6, decay_steps=4, total=9)


def test_a_segment_refuses_less_than_nothing_and_takes_nothing() -> None:
    assert Segment(kind="linear", steps=0, first=0.0, last=0.0).rate(0) == 0.0
    values: dict[str, Any] = {"kind": "linear", "steps": 1, "first": 0.0, "last": 0.0}
    for wrong in ({"steps": -1}, {"first": -1e-9}, {"last": -1e-9}):
        with pytest.raises(InputError, match="at least 0"):
            Segment(**(values | wrong))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit into 10 steps"):
        wsd_schedule(peak=1.0, final=0.0, warmup=6, decay_steps=5, total=10)
    with pytest.raises(InputError, match="did you mean 'linear'"):
        wsd_schedule(peak=1.0, final=0.0, warmup=0, decay_steps=5, total=10, decay="linar")
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        Segment(kind="cosin", steps=1, first=1.0, last=0.0)
