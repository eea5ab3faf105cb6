"""The books balance, or say so."""

from __future__ import annotations

import pytest

from corpusmith.errors import BalanceError
from corpusmith.run.ledger import Counts, total


def test_read_and_added_equal_kept_removed_and_errored() -> None:
    counts = Counts(read=10, added=2, kept=7)
    counts.remove("00-a", 3)
    counts.quarantine("read")
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


def test_steps_that_tell_the_same_story_as_the_books_pass() -> None:
    counts = Counts(read=10, added=4, kept=8, removed={"00-a": 3}, errored={"read": 1, "01-b": 1, "write": 1})
    first = {"step": "00-a", "pages_in": 9, "pages_out": 10, "removed": 3, "errors": 0}  # 6 left, 4 added
    second = {"step": "01-b", "pages_in": 10, "pages_out": 9, "removed": 0, "errors": 1}
    counts.check_steps("shard x", [first, second])
    counts.check_balance("shard x")
    Counts(read=2, kept=2).check_steps("shard x", [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pages_in": 8}, "shard x: step 00-a got 8 pages, but the reader gave 9; 1 page lost between them"),
        ({"pages_in": 11}, "step 00-a got 11 pages, but the reader gave 9; 2 pages too many between them"),
        ({"removed": 2}, "step 00-a removed 2 pages and set 0 aside, but the books say 3 and 0"),
        ({"errors": 1}, "step 00-a removed 3 pages and set 1 aside, but the books say 3 and 0"),
        ({"pages_out": 5}, "step 00-a lost 1 pages that it neither removed nor set aside"),
        ({"pages_out": 7}, "the steps added 1 pages by splits, but the books say 0"),
    ],
)
def test_a_step_that_tells_another_story_is_named(change: dict[str, int], says: str) -> None:
    counts = Counts(read=10, kept=6, removed={"00-a": 3}, errored={"read": 1})
    row = {"step": "00-a", "pages_in": 9, "pages_out": 6, "removed": 3, "errors": 0}
    counts.check_steps("shard x", [row])
    with pytest.raises(BalanceError, match=says):
        counts.check_steps("shard x", [{**row, **change}])
