"""Learning rates: the measured fixture of section 5, and the other shapes by hand."""

import math

import pytest

from corpusmith.errors import InputError
from training.optimization.schedule import (
    Segment,
    constant_schedule,
    cosine_schedule,
    rate_at,
    schedule_steps,
    wsd_schedule,
)

PEAK, FINAL = 0.003, 3e-5


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1.5e-6), (999, 0.0015), (1999, 0.003), (2000, 0.003), (4925, 0.001515), (7849, 3.0000214e-05)],
)
def test_cosine_of_openlm(step, rate):
    schedule = cosine_schedule(peak=PEAK, final=FINAL, warmup=2000, total=7850)
    assert rate_at(schedule, step) == pytest.approx(rate, rel=1e-7)


def test_cosine_without_warmup_starts_at_the_top_and_a_long_warmup_never_gets_there():
    assert rate_at(cosine_schedule(peak=PEAK, final=FINAL, warmup=0, total=10), 0) == PEAK
    assert rate_at(cosine_schedule(peak=PEAK, final=FINAL, warmup=100, total=10), 9) == pytest.approx(PEAK / 10)


def test_constant_after_warmup():
    schedule = constant_schedule(peak=PEAK, warmup=4, total=10)
    assert [rate_at(schedule, step) for step in (0, 3, 4, 9, 50)] == [PEAK / 4, PEAK, PEAK, PEAK, PEAK]


@pytest.mark.parametrize(
    ("decay", "quarter"),
    [("linear", 0.75), ("1-sqrt", 0.5), ("cosine", 0.5 * (1 + math.cos(math.pi / 4)))],
)
def test_warmup_stable_decay(decay, quarter):
    schedule = wsd_schedule(peak=1.0, final=0.0, warmup=2, decay_steps=8, total=20, decay=decay)
    assert schedule_steps(schedule) == 20
    assert [rate_at(schedule, step) for step in (0, 1, 2, 11, 12)] == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert rate_at(schedule, 14) == pytest.approx(quarter)
    assert rate_at(schedule, 20) == pytest.approx(0.0)


def test_one_minus_sqrt_is_the_formula_of_ettin():
    # alpha + (1 - alpha) (1 - sqrt(n / D)) of the peak, at a quarter of D
    segment = Segment(kind="1-sqrt", steps=100, first=8e-4, last=0.5 * 8e-4)
    assert segment.rate(25) == pytest.approx(8e-4 * (0.5 + 0.5 * 0.5))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="do not fit into 10 steps"):
        wsd_schedule(peak=1.0, final=0.0, warmup=6, decay_steps=5, total=10)
    with pytest.raises(InputError, match="did you mean 'linear'"):
        wsd_schedule(peak=1.0, final=0.0, warmup=0, decay_steps=5, total=10, decay="linar")
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        Segment(kind="cosin", steps=1, first=1.0, last=0.0)
