"""Mixtures: exact plans within one unit, refusals that name the line, and which rows a partial epoch takes."""

from __future__ import annotations

import pathlib
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import ConfigError, InputError
from corpusmith.mixture import (
    KEYS,
    Mixture,
    MixtureLine,
    MixtureReport,
    RowSelection,
    cut_at,
    largest_remainder,
    load_mixture,
    parse_number,
    plan_mixture,
)


def mixture(*lines: dict[str, Any], **more: Any) -> Mixture:
    return Mixture(lines=[MixtureLine(**line) for line in lines], **more)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("26e9", 26 * 10**9),
            ("26B", 26 * 10**9),
            ("26.0 B", 26 * 10**9),
            (7, 7),
            (0.25, Fraction(1, 4)),
            ("1.5k", 1500),
        ],
        *[("3T", 3 * 10**12), ("2M", 2 * 10**6), (1e-3, Fraction(1, 1000))],
    ],
)
def test_numbers_may_be_spelt_as_people_do(text: Any, value: Any) -> None:
    assert parse_number(text, "x") == value


@pytest.mark.parametrize("text", ["", "B", "-1", "1e99", "26 billion", True, None, [1], "nan"])
def test_what_is_no_number_is_refused_with_its_place(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\.yaml:3"):
        parse_number(text, "m.yaml:3")


def test_a_plan_worked_out_by_hand() -> None:
    asked = mixture(
        {"source": "a", "tokens": 100},
        {"source": "b", "repeat": 2.5},
        {"source": "c", "proportion": 0.75},
        {"source": "d", "proportion": 0.25},
        pool_tokens=500,
    )
    # 500 - 100 - 2.5 * 40 = 300 for c and d; in units of 10: 22.5 and 7.5 of 30, the tie goes to c
    plans = {plan.source: plan for plan in plan_mixture(asked, {"a": 60, "b": 40, "c": 1000, "d": 30}, unit=10)}
    assert {name: plan.target for name, plan in plans.items()} == {"a": 100, "b": 100, "c": 230, "d": 70}
    assert {name: plan.full_epochs for name, plan in plans.items()} == {"a": 1, "b": 2, "c": 0, "d": 2}
    assert {name: plan.remainder for name, plan in plans.items()} == {"a": 40, "b": 20, "c": 230, "d": 10}
    assert plans["b"].requested == 100


def test_without_a_pool_no_proportional_source_repeats() -> None:
    asked = mixture({"source": "a", "proportion": 0.5}, {"source": "b", "proportion": 0.5})
    assert [plan.target for plan in plan_mixture(asked, {"a": 700, "b": 200})] == [200, 200]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    st.integers(1, 10**6),
    st.integers(1, 50),
    st.data(),
)
def test_proportions_add_up_to_the_pool_and_each_is_within_one_unit(
    weights: list[int], pool: int, unit: int, data: st.DataObject
) -> None:
    shares = [Fraction(weight, sum(weights)) for weight in weights]
    lines = [MixtureLine(source=f"s{n}", proportion=f"{float(share):.12f}") for n, share in enumerate(shares)]
    available = {f"s{n}": unit * data.draw(st.integers(1, 10**4)) for n in range(len(weights))}
    plans = plan_mixture(Mixture(lines=lines, pool_tokens=pool), available, unit)
    assert abs(sum(plan.target for plan in plans) - pool) <= unit / 2
    for plan, share in zip(plans, shares, strict=True):
        assert abs(plan.target - share * pool) < unit + 1e-3
        assert plan.full_epochs * plan.available + plan.remainder == plan.target
        assert 0 <= plan.remainder < plan.available


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.fractions(0, 100), min_size=1, max_size=6), st.data())
def test_largest_remainder_adds_up(amounts: dict[str, Fraction], data: st.DataObject) -> None:
    low = sum(int(amount) for amount in amounts.values())
    high = sum(-int(-amount // 1) for amount in amounts.values())
    total = data.draw(st.integers(low, high))
    found = largest_remainder(amounts, total)
    assert sum(found.values()) == total
    if total - low <= sum(amount != int(amount) for amount in amounts.values()):
        assert all(abs(found[name] - amount) < 1 for name, amount in amounts.items())


def test_too_many_epochs_are_refused_or_shrink_the_whole() -> None:
    lines = [{"source": "a", "tokens": 1000}, {"source": "b", "tokens": 600}]
    available = {"a": 100, "b": 600}
    with pytest.raises(InputError, match="'a' has 100 tokens, the mixture asks for 1000: more than 4 epochs"):
        plan_mixture(mixture(*lines, max_epochs=4), available)
    with pytest.raises(InputError, match="more than 1 epochs"):
        plan_mixture(mixture(*lines, on_short="fail"), available)
    shrunk = plan_mixture(mixture(*lines, on_short="rescale", max_epochs=4), available)
    assert [plan.target for plan in shrunk] == [400, 240]
    assert [plan.target for plan in plan_mixture(mixture(*lines), available)] == [1000, 600]


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        ([{"source": "a", "tokens": 1, "repeat": 1}], {}, "exactly one of proportion, tokens, repeat"),
        ([{"source": "a"}], {}, "found none"),
        ([{"source": "", "tokens": 1}], {}, "needs a name"),
        ([{"source": "a", "tokens": 1}, {"source": "a", "tokens": 2}], {}, "stands twice"),
        ([{"source": "a", "proportion": 0.5}], {}, "add up to 0.5"),
        ([{"source": "a", "tokens": 1}], {"on_short": "cry"}, "on_short"),
        ([], {}, "at least one source"),
    ],
)
def test_nonsense_is_refused(lines: list[dict[str, Any]], more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        mixture(*lines, **more)


def test_a_source_without_tokens_is_refused_unless_nothing_is_asked_of_it() -> None:
    with pytest.raises(InputError, match="'a' has no tokens"):
        plan_mixture(mixture({"source": "a", "tokens": 5}), {})
    assert plan_mixture(mixture({"source": "a", "repeat": 0}), {})[0].target == 0


def test_fixed_lines_beyond_the_pool_are_refused() -> None:
    asked = mixture({"source": "a", "tokens": 50}, {"source": "b", "proportion": 1}, pool_tokens=40)
    with pytest.raises(InputError, match="10 tokens more than pool_tokens"):
        plan_mixture(asked, {"a": 100, "b": 100})


def test_fixed_lines_may_fill_the_pool() -> None:
    asked = mixture({"source": "a", "tokens": 40}, {"source": "b", "proportion": 1}, pool_tokens=40)
    assert [plan.target for plan in plan_mixture(asked, {"a": 100, "b": 100})] == [40, 0]


def test_proportions_may_miss_one_by_a_millionth_and_no_more() -> None:
    half = {"source": "a", "proportion": "0.5"}
    for near in ("0.500001", "0.499999"):
        mixture(half, {"source": "b", "proportion": near})
    for far in ("0.5000011", "0.4999989"):
        with pytest.raises(InputError, match="add up to"):
            mixture(half, {"source": "b", "proportion": far})


def test_a_rescaled_mixture_reads_no_source_twice_unless_it_may() -> None:
    lines = [{"source": "a", "tokens": 1000}, {"source": "b", "tokens": 600}]
    shrunk = plan_mixture(mixture(*lines, on_short="rescale"), {"a": 100, "b": 600})
    assert [plan.target for plan in shrunk] == [100, 60]


def test_a_source_may_be_read_as_often_as_allowed() -> None:
    asked = mixture({"source": "a", "tokens": 400}, max_epochs=4, on_short="fail")
    assert [plan.target for plan in plan_mixture(asked, {"a": 100})] == [400]


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.data())
def test_a_partial_epoch_is_cut_nearest_to_its_target(sizes: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, sum(sizes)))
    rows = [(10 * number, size) for number, size in enumerate(sizes)]
    threshold = cut_at(target, rows)
    taken = sum(size for key, size in rows if key < threshold)
    assert abs(taken - target) <= max(sizes) / 2
    assert threshold <= KEYS


def test_a_row_is_copied_once_more_where_its_key_lies_below_the_threshold() -> None:
    half = RowSelection(full_epochs=2, threshold=KEYS // 2)
    copies = [half.copies(1, "s", "shard", position) for position in range(1000)]
    assert set(copies) == {2, 3}
    assert 450 < copies.count(3) < 550
    assert copies == [half.copies(1, "s", "shard", position) for position in range(1000)]
    assert RowSelection(full_epochs=3) == RowSelection(full_epochs=3, threshold=0)
    assert RowSelection(full_epochs=3).copies(1, "s", "shard", 0) == 3
    assert RowSelection(full_epochs=0, threshold=KEYS).copies(1, "s", "shard", 0) == 1


def test_yaml_names_line_and_key(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("sources:\n  - {source: a, proportion: 1}\npool_tokens: 2.5B\nmax_epochs: 4\n")
    loaded = load_mixture(str(path))
    assert (loaded.lines[0].source, loaded.pool_tokens, loaded.max_epochs) == ("a", "2.5B", 4)
    for text, message in [
        ("- 1\n", "expected a mapping"),
        ("sources:\n  - 7\n", r"m\.yaml:2: sources\[0\]"),
        ("sources:\n  - {source: a, tokens: x}\n", r"m\.yaml:2: sources\[0\]\.tokens"),
        ("sources:\n  - {source: a, repeat: 1}\npool_tokens: lots\n", r"m\.yaml:3: pool_tokens"),
        ("sources:\n  - {source: a, repeat: 1}\nseed: 3\n", "unknown key"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_mixture(str(path))


def test_the_report_tells_requested_realised_and_left_over() -> None:
    plans = plan_mixture(mixture({"source": "a", "tokens": 75}, {"source": "b", "tokens": 25}), {"a": 50, "b": 100})
    report = MixtureReport(plans=plans, realised={"a": 80, "b": 20}, rows={"a": 8, "b": 2})
    document = report.to_json()
    assert document["realised_tokens"] == document["requested_tokens"] == 100
    assert document["sources"]["a"] == {
        "requested_tokens": 75, "requested_share": 0.75, "available_tokens": 50, "realised_tokens": 80,
        "realised_share": 0.8, "delta_tokens": 5, "delta_pp": pytest.approx(5), "epochs": 1.6, "leftover_tokens": 0,
        "rows": 8,
    }  # fmt: skip
    assert document["sources"]["b"]["leftover_tokens"] == 80
    assert "80.000%" in report.table()[1]
