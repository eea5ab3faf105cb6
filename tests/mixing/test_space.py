"""Mixtures lie on the grid, add up to 1 and keep their caps; what cannot be is refused with what to change."""

from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import ConfigError, InputError
from mixing.search.mixtures.mixture_file import mixture_document, read_mixture
from mixing.search.mixtures.sampler import Sampler, dirichlet
from mixing.search.mixtures.space import GRID, Space, caps_from_tokens, make_space, mixture_id


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    shares = draw(st.lists(st.floats(0.01, 10.0), min_size=2, max_size=12))
    caps = draw(st.lists(st.floats(0.05, 1.0), min_size=len(shares), max_size=len(shares)))
    names = [f"g{index}" for index in range(len(shares))]
    caps[0] = max(caps[0], 1.2 - sum(caps[1:]))
    return make_space(dict(zip(names, shares, strict=True)), dict(zip(names, caps, strict=True)))


@given(space=spaces(), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_snapped_mixtures_add_up_keep_caps_and_lie_on_the_grid(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = dirichlet(np.full((20, len(space.names)), rng.uniform(0.05, 3.0)), rng)
    snapped = space.snap(raw)
    assert np.abs(snapped.sum(axis=1) - 1).max() < 1e-12
    assert (snapped <= space.caps + 1e-12).all()
    steps = snapped / GRID
    assert np.abs(steps - np.rint(steps)).max() < 1e-6
    assert np.array_equal(space.snap(snapped), snapped)


@given(space=spaces(), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_projection_changes_nothing_below_the_caps_and_hands_excess_on_in_proportion(space: Space, seed: int) -> None:
    raw = dirichlet(np.full((20, len(space.names)), 1.0), np.random.default_rng(seed))
    projected = space.project(raw)
    assert np.abs(projected.sum(axis=1) - 1).max() < 1e-9
    assert (projected <= space.caps + 1e-12).all()
    fits = (raw <= space.caps).all(axis=1)
    assert np.allclose(projected[fits], raw[fits])


def test_excess_goes_to_the_others_in_proportion() -> None:
    space = make_space({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.5, "b": 1.0, "c": 1.0})
    assert space.project(np.array([[0.7, 0.2, 0.1]])) == pytest.approx(np.array([[0.5, 1 / 3, 1 / 6]]))


def test_blocks_of_groups_keep_their_ratios_and_all_caps() -> None:
    shares, caps = dict.fromkeys("abcd", 1.0), {"a": 0.3, "b": 1.0, "c": 0.5, "d": 1.0}
    space = make_space(shares, caps, fixed={"block": {"a": 3, "b": 1}})
    drawn = Sampler().draw(space, 200, np.random.default_rng(0))
    assert np.abs(drawn[:, 0] - 3 * drawn[:, 1]).max() <= 4 * GRID
    assert (drawn <= space.caps + 1e-12).all()
    assert np.abs(drawn.sum(axis=1) - 1).max() < 1e-12
    # a's cap of 0.3 bounds the block at 0.4; what is left goes to groups of weight 0 by the room below their caps
    assert space.project(np.array([[1.0, 0.0, 0.0, 0.0]])) == pytest.approx(np.array([[0.3, 0.1, 0.2, 0.4]]))
    with pytest.raises(InputError, match="there is no group 'e'"):
        make_space(shares, caps, fixed={"block": {"e": 1}})
    with pytest.raises(InputError, match="stands in two blocks"):
        make_space(shares, caps, fixed={"x": {"a": 1}, "y": {"a": 1, "b": 1}})


def test_a_group_of_one_percent_with_four_epochs_never_gets_more_than_its_cap() -> None:
    caps = caps_from_tokens({"small": 1e9, "large": 99e9}, target_tokens=100e9, max_epochs=4)
    assert caps == {"small": pytest.approx(0.04), "large": 1.0}
    space = make_space({"small": 1e9, "large": 99e9}, caps)
    drawn = Sampler().draw(space, 500, np.random.default_rng(0))
    assert drawn[:, 0].max() <= 0.04


def test_an_infeasible_budget_says_what_to_raise_and_which_groups_would_be_needed() -> None:
    with pytest.raises(InputError, match=r"4 epochs of all groups are only 8e\+09: raise max_epochs to 50.*a, b"):
        caps_from_tokens({"a": 1e9, "b": 1e9}, target_tokens=100e9, max_epochs=4)
    with pytest.raises(InputError, match=r"the caps add up to 0\.5"):
        make_space({"a": 1.0, "b": 1.0}, {"a": 0.2, "b": 0.3})


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"a": 1.0}, "at least two groups"),
        ({"a": 1.0, "b": 0.0}, "'b' must be above 0"),
        ({"a": float("nan")}, "numbers"),
    ],
)
def test_spaces_that_are_none_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_space(shares)


def test_the_id_of_a_mixture_is_that_of_its_weights_by_name_in_any_order() -> None:
    assert mixture_id(["a", "b"], np.array([0.3, 0.7])) == mixture_id(["b", "a"], np.array([0.7, 0.3]))
    assert mixture_id(["a", "b"], np.array([0.3, 0.7])) != mixture_id(["a", "b"], np.array([0.7, 0.3]))
    assert re.fullmatch("[0-9a-f]{16}", mixture_id(["a", "b"], np.array([0.3, 0.7])))


# --- the start sampler ---------------------------------------------------------------------------------------------


def sampler_space() -> Space:
    shares = {f"g{index:02}": 1.0 + index for index in range(12)}
    total = sum(shares.values())
    return make_space(shares, {name: min(1.0, 15 * share / total) for name, share in shares.items()})


def test_ten_thousand_draws_are_mixtures_without_doubles_or_dust_and_their_mean_is_the_tempered_prior() -> None:
    space, sampler = sampler_space(), Sampler()
    drawn = sampler.draw(space, 10_000, np.random.default_rng(3))
    assert len(drawn) == 10_000
    assert np.abs(drawn.sum(axis=1) - 1).max() < 1e-12
    assert (drawn <= space.caps + 1e-12).all()
    assert not ((drawn > 0) & (drawn < GRID - 1e-12)).any()
    assert len({row.tobytes() for row in drawn}) == 10_000
    # caps reject draws of the smallest groups, which moves the mean; without them nothing does
    free = make_space(space.as_dict(space.prior))
    mean = sampler.draw(free, 10_000, np.random.default_rng(3)).mean(axis=0)
    assert np.abs(mean - sampler.center(space)).max() < 0.01


def test_draws_depend_on_the_seed_only() -> None:
    space = sampler_space()
    first, same, other = (Sampler().draw(space, 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_caps_that_reject_nearly_all_draws_still_give_as_many() -> None:
    space = make_space(dict.fromkeys("abcdefgh", 1.0), dict.fromkeys("abcdefgh", 0.13))
    drawn = Sampler().draw(space, 64, np.random.default_rng(0))
    assert len(drawn) == 64
    assert (drawn <= 0.13 + 1e-12).all()


# --- mixture files -------------------------------------------------------------------------------------------------


def write(path: pathlib.Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def test_a_mixture_file_is_read_back_in_the_order_of_the_groups(space: Space, tmp_path: pathlib.Path) -> None:
    weights = space.snap(np.arange(6.0)[None])[0]
    path = write(tmp_path / "m.json", mixture_document(space, weights, "a test"))
    assert list(read_mixture(path, space.names).values()) == weights.tolist()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"groups": {"a": 0.5, "b": 0.4}}, "add up to 0.9 instead of 1"),
        ({"groups": {"a": 1.5, "b": -0.5}}, r"groups\.a: expected a weight from 0 to 1, got 1.5"),
        ({"groups": {"a": 0.5, "c": 0.5}}, "missing: b; unknown: c"),
        ({"groups": {"a": 0.5, "b": 0.5}, "id": "0" * 16}, "does not belong to these weights"),
        ({"weights": {}}, "the key 'groups'"),
    ],
)
def test_a_wrong_mixture_file_is_refused_by_name(document: object, message: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_mixture(write(tmp_path / "m.json", document), ["a", "b"])
