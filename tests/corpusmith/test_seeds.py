"""Draws depend on their parts alone."""

from __future__ import annotations

import random
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from corpusmith.seeds import seed_python, stable_hash, uniform

PARTS = st.lists(st.one_of(st.integers(), st.text(), st.binary()), max_size=4)


def test_a_hash_is_the_same_in_another_process() -> None:
    code = "from corpusmith.seeds import stable_hash; print(stable_hash(7, 'shard', b'x', 3))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{stable_hash(7, 'shard', b'x', 3)}\n"}


@given(PARTS, PARTS)
def test_different_parts_hash_apart(first: list[object], second: list[object]) -> None:
    if first != second or [type(part) for part in first] != [type(part) for part in second]:
        assert stable_hash(*first) != stable_hash(*second)  # type: ignore[arg-type]


@given(PARTS)
def test_draws_lie_in_the_unit_interval(parts: list[object]) -> None:
    assert 0 <= uniform(*parts) < 1  # type: ignore[arg-type]


def test_seeding_repeats_pythons_draws() -> None:
    seed_python(1, "a")
    first = random.random()
    seed_python(1, "b")
    assert random.random() != first
    seed_python(1, "a")
    assert random.random() == first
