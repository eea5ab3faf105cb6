"""What the records of a dedup tell of duplicates, merged: by domain, by similarity, and the biggest groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeGuard

from corpusmith.report.values import as_dict, as_int, as_rows

GROUPS_SHOWN = 10
MEMBERS_SHOWN = 3
REPEATED_SHOWN = 20
MAX_DOMAINS = 100_000
MAX_REPEATED = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupMember:
    """A page of a group that is shown: whether it was kept, where it stood, how it began."""

    is_kept: bool
    shard: str
    index: int
    url: str | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainFacts:
    """A domain's pages, those of them that were removed, and the tokens that its pages lost."""

    pages: int = 0
    removed: int = 0
    tokens: int = 0


@dataclass(kw_only=True, slots=True)
class DuplicateFacts:
    """Duplicates of one step over all shards.

    `domains`: each shard tells of those that lost most. Pages in bins of equal width from 0 to 1: `similarity`, removed
    ones by their similarity to the kept one, and `known`, those that lost text by the share of their n-grams that was
    seen before. `groups`: (size, members) by name. `repeated`: (copies, the first) of the texts removed most often.
    """

    domains: dict[str, DomainFacts] = field(default_factory=dict)
    similarity: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    groups: dict[str, tuple[int, list[GroupMember]]] = field(default_factory=dict)
    repeated: dict[str, tuple[int, GroupMember]] = field(default_factory=dict)

    def add(self, shard: str, found: dict[str, Any]) -> None:
        """Add what one shard's record tells."""
        for name, counts in as_dict(found.get("domains")).items():
            self._add_domain(name, counts)
        self.similarity = _added(self.similarity, found.get("similarity"))
        self.known = _added(self.known, found.get("known"))
        for row in as_rows(found.get("groups")):
            self._add_member(_member(shard, row), row)
        for row in as_rows(found.get("repeated")):
            self._add_repeated(_member(shard, row), row)

    def _add_domain(self, name: str, counts: object) -> None:
        before = self.domains.get(name)
        if before is None and len(self.domains) >= MAX_DOMAINS:
            return
        before = before or DomainFacts()
        pages, removed, tokens = [as_int(count) or 0 for count in counts] if _is_triple(counts) else (0, 0, 0)
        self.domains[name] = DomainFacts(
            pages=before.pages + pages, removed=before.removed + removed, tokens=before.tokens + tokens
        )

    def _add_member(self, member: GroupMember, row: dict[str, Any]) -> None:
        _, members = self.groups.setdefault(str(row.get("group")), (as_int(row.get("size")) or 0, []))
        members.append(member)
        members.sort(key=lambda one: (not one.is_kept, one.shard, one.index))
        del members[1 + MEMBERS_SHOWN :]

    def _add_repeated(self, first: GroupMember, row: dict[str, Any]) -> None:
        key = str(row.get("key"))
        if key in self.repeated or len(self.repeated) < MAX_REPEATED:
            copies, first = self.repeated.get(key, (0, first))
            self.repeated[key] = copies + (as_int(row.get("copies")) or 0), first

    def biggest(self) -> list[tuple[str, int, list[GroupMember]]]:
        """The biggest groups: name, size, members with the kept one first."""
        ordered = sorted(self.groups.items(), key=lambda entry: (-entry[1][0], entry[0]))
        return [(name, size, members) for name, (size, members) in ordered[:GROUPS_SHOWN]]

    def most_repeated(self) -> list[tuple[int, GroupMember]]:
        """The texts removed most often: how often at least, and the first of them."""
        ordered = sorted(self.repeated.items(), key=lambda entry: (-entry[1][0], entry[0]))
        return [found for _, found in ordered[:REPEATED_SHOWN]]


def _member(shard: str, row: dict[str, Any]) -> GroupMember:
    url, text = row.get("url"), row.get("text")
    return GroupMember(
        is_kept=row.get("kept") is True,
        shard=shard,
        index=as_int(row.get("index")) or 0,
        url=url if isinstance(url, str) else None,
        text=text if isinstance(text, str) else "",
    )


def _added(bins: list[int], more: object) -> list[int]:
    counts = [as_int(count) or 0 for count in more] if isinstance(more, list) else []
    return [left + right for left, right in zip_longest(bins, counts, fillvalue=0)]


def _is_triple(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and len(value) == 3
