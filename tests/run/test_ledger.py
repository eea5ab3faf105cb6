"""The books balance, or say so."""

from __future__ import annotations

import pytest

from corpusmith.errors import BalanceError
from corpusmith.run.ledger import Counts, total


def test_read_and_added_equal_kept_removed_and_errored() -> None:
    counts = Counts(read=10, added=2, kept=7)
    counts.remove("00-a", 3)
    counts.set_aside("read")
    with pytest.raises(
        BalanceError, match=r"books of shard x .* read 10 \+ added 2 != kept 7 \+ removed 3 \+ errored 1"
    ):
        counts.check_balance("shard x")
    counts.remove("00-a")
    counts.check_balance("shard x")


def test_sums_are_by_step_and_survive_json() -> None:
    first = Counts(read=3, kept=1, removed={"00-a": 2})
    second = Counts(read=4, added=1, kept=2, removed={"00-a": 1, "01-b": 1}, errored={"read": 1})
    both = total([first, second])
    assert both == Counts(read=7, added=1, kept=3, removed={"00-a": 3, "01-b": 1}, errored={"read": 1})
    assert Counts.from_json(both.to_json()) == both
