"""The ledger: what was read equals what was kept, removed and set aside.

Counts are summed from the records of the shards, never from what a process remembers, so a continued run has the
same ledger as an undisturbed one (datatrove's totals, kept in memory, are wrong after a relaunch).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from corpusmith.errors import BalanceError

#: the step that records are counted under which cannot be read
READ_STEP = "read"
#: that of pages which the writer cannot hold
WRITE_STEP = "write"
#: steps that happen in many stages and are none of the YAML's
COMMON_STEPS = frozenset((READ_STEP, WRITE_STEP))


@dataclass(kw_only=True, slots=True)
class Counts:
    """Pages of a shard or a sum of shards.

    `read` counts records, unreadable ones too (a lost rest of a file as one); `added` what splits added beyond the
    page that was split; `removed` and `errored` are by step.
    """

    read: int = 0
    added: int = 0
    kept: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    errored: dict[str, int] = field(default_factory=dict)

    def remove(self, step: str, pages: int = 1) -> None:
        """Count pages that a step removed."""
        self.removed[step] = self.removed.get(step, 0) + pages

    def quarantine(self, step: str, pages: int = 1) -> None:
        """Count pages that a step could not handle."""
        self.errored[step] = self.errored.get(step, 0) + pages

    def add(self, other: Counts) -> None:
        """Add another shard's counts to these."""
        self.read += other.read
        self.added += other.added
        self.kept += other.kept
        for step, pages in other.removed.items():
            self.remove(step, pages)
        for step, pages in other.errored.items():
            self.quarantine(step, pages)

    def check_balance(self, where: str) -> None:
        """Raise BalanceError unless read + added = kept + removed + errored."""
        removed, errored = sum(self.removed.values()), sum(self.errored.values())
        if self.read + self.added != self.kept + removed + errored:
            raise BalanceError(
                f"the books of {where} do not balance: read {self.read} + added {self.added} != "
                f"kept {self.kept} + removed {removed} + errored {errored}"
            )

    def check_steps(self, where: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Raise BalanceError unless the rows of the steps, in order, agree with these counts.

        A row holds `step`, `pages_in`, `pages_out`, `removed` and `errors`. Each step must have got what the one before
        it let out, and a page that came in must have come out, been removed or been set aside; pages that came out
        beyond that were added by a split.
        """
        arriving, added, before = self.read - self.errored.get(READ_STEP, 0), 0, "the reader"
        for row in rows:
            step, removed, errors = row["step"], row["removed"], row["errors"]
            if row["pages_in"] != arriving:
                raise BalanceError(
                    f"{where}: step {step} got {row['pages_in']} pages, but {before} gave {arriving}; "
                    f"{_difference(row['pages_in'], arriving)} between them"
                )
            counted = self.removed.get(step, 0), self.errored.get(step, 0)
            if (removed, errors) != counted:
                raise BalanceError(
                    f"{where}: step {step} removed {removed} pages and set {errors} aside, but the books say "
                    f"{counted[0]} and {counted[1]}"
                )
            grown = row["pages_out"] - (row["pages_in"] - removed - errors)
            if grown < 0:
                raise BalanceError(f"{where}: step {step} lost {-grown} pages that it neither removed nor set aside")
            added += grown
            arriving, before = row["pages_out"], f"step {step}"
        if added != self.added:
            raise BalanceError(f"{where}: the steps added {added} pages by splits, but the books say {self.added}")
        left = self.kept + self.errored.get(WRITE_STEP, 0)
        if left != arriving:
            raise BalanceError(
                f"{where}: {before} gave {arriving} pages, but {left} reached the writer; "
                f"{_difference(left, arriving)} between them"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON; steps in the order in which they first counted."""
        return {
            "read": self.read,
            "added": self.added,
            "kept": self.kept,
            "removed": dict(self.removed),
            "errored": dict(self.errored),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Counts:
        """The counts that `to_json` wrote."""
        return cls(**document)


def _difference(found: int, expected: int) -> str:
    pages = abs(found - expected)
    return f"{pages} {'page' if pages == 1 else 'pages'} {'lost' if found < expected else 'too many'}"


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of the counts of several shards."""
    result = Counts()
    for each in counts:
        result.add(each)
    return result
