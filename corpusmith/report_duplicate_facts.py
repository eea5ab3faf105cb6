"""What the records of a dedup tell of duplicates, merged: by domain, by similarity, and the biggest groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from corpusmith.report_values import as_dict, as_int, as_rows

GROUPS_SHOWN = 10
MEMBERS_SHOWN = 3
MAX_DOMAINS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A page of a group that is shown: whether it was kept, where it stood, how it began."""

    is_kept: bool
    shard: str
    index: int
    url: str | None
    text: str


@dataclass(kw_only=True, slots=True)
class DuplicateFacts:
    """Duplicates of one step over all shards.

    `domains`: pages and removed pages by domain (each shard tells of those that lost most); `similarity`: removed pages
    by their similarity to the kept one, in bins of equal width from 0 to 1; `groups`: (size, members) by name.
    """

    domains: dict[str, tuple[int, int]] = field(default_factory=dict)
    similarity: list[int] = field(default_factory=list)
    groups: dict[str, tuple[int, list[Member]]] = field(default_factory=dict)

    def add(self, shard: str, found: dict[str, Any]) -> None:
        """Add what one shard's record tells."""
        for name, counts in as_dict(found.get("domains")).items():
            pages, removed = [as_int(count) or 0 for count in counts] if _is_pair(counts) else (0, 0)
            before = self.domains.get(name)
            if before is not None or len(self.domains) < MAX_DOMAINS:
                before = before or (0, 0)
                self.domains[name] = before[0] + pages, before[1] + removed
        bins = found.get("similarity")
        if isinstance(bins, list):
            counts = [as_int(count) or 0 for count in bins]
            self.similarity = [left + right for left, right in zip_longest(self.similarity, counts, fillvalue=0)]
        for row in as_rows(found.get("groups")):
            self._add_member(shard, row)

    def _add_member(self, shard: str, row: dict[str, Any]) -> None:
        url, text = row.get("url"), row.get("text")
        member = Member(
            is_kept=row.get("kept") is True,
            shard=shard,
            index=as_int(row.get("index")) or 0,
            url=url if isinstance(url, str) else None,
            text=text if isinstance(text, str) else "",
        )
        _, members = self.groups.setdefault(str(row.get("group")), (as_int(row.get("size")) or 0, []))
        members.append(member)
        members.sort(key=lambda one: (not one.is_kept, one.shard, one.index))
        del members[1 + MEMBERS_SHOWN :]

    def biggest(self) -> list[tuple[str, int, list[Member]]]:
        """The biggest groups: name, size, members with the kept one first."""
        ordered = sorted(self.groups.items(), key=lambda entry: (-entry[1][0], entry[0]))
        return [(name, size, members) for name, (size, members) in ordered[:GROUPS_SHOWN]]


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2
