"""The books: what was read equals what was kept, removed and set aside.

Counts are summed from the records of the shards, never from what a process remembers, so a continued run has the
same books as an undisturbed one (datatrove's totals, kept in memory, are wrong after a relaunch).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from corpusmith.errors import BalanceError


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

    def set_aside(self, step: str, pages: int = 1) -> None:
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
            self.set_aside(step, pages)

    def check_balance(self, where: str) -> None:
        """Raise BalanceError unless read + added = kept + removed + errored."""
        removed, errored = sum(self.removed.values()), sum(self.errored.values())
        if self.read + self.added != self.kept + removed + errored:
            raise BalanceError(
                f"the books of {where} do not balance: read {self.read} + added {self.added} != "
                f"kept {self.kept} + removed {removed} + errored {errored}"
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


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of the counts of several shards."""
    result = Counts()
    for each in counts:
        result.add(each)
    return result
