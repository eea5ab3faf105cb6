"""Examples for the report: of the biggest groups of a dedup the kept unit and the first of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corpusmith.io import storage
from corpusmith.io.pages.shards import Page
from corpusmith.steps.rewrite import shown_page
from dedup.groups.groups import BIGGEST, group_name
from dedup.groups.layout import GroupsLayout, shard_names
from dedup.groups.members import Members

EXAMPLES_OF_A_GROUP = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleGroup:
    """A group that the report shows, by the unit that is kept (number of its shard, page, unit), and its size."""

    shard: int
    page: int
    unit: int
    size: int


def biggest_groups(layout: GroupsLayout) -> dict[int, tuple[ExampleGroup, ...]]:
    """The biggest groups of all cells, for each shard (by number) those that it has members of."""
    found: list[tuple[ExampleGroup, list[int]]] = []
    for cell in range(layout.cells):
        for row in storage.read_json(layout.biggest_url(cell)):
            shard, page, unit = row["kept"]
            found.append((ExampleGroup(shard=shard, page=page, unit=unit, size=row["size"]), [shard, *row["shards"]]))
        found.sort(key=lambda entry: (-entry[0].size, entry[0].shard, entry[0].page, entry[0].unit))
        del found[BIGGEST:]
    by_shard: dict[int, tuple[ExampleGroup, ...]] = {}
    for group, shards in found:
        for shard in dict.fromkeys(shards):
            by_shard[shard] = (*by_shard.get(shard, ()), group)
    return by_shard


class ExampleMembers:
    """Which members of a shard the report shows: of each of these groups the kept one and the first others.

    `rows`: those that have passed.
    """

    def __init__(self, layout: GroupsLayout, groups: Sequence[ExampleGroup], members: Members) -> None:
        self.rows: list[dict[str, Any]] = []
        self._names = shard_names(layout)
        self._members = members
        self._by_place: dict[tuple[int, int], ExampleGroup] = {}
        for group in groups:
            mine = np.flatnonzero(
                (members.kept_shard == group.shard)
                & (members.kept_page == group.page)
                & (members.kept_unit == group.unit)
            )
            first = mine[~members.is_kept[mine]][:EXAMPLES_OF_A_GROUP]
            for member in (*mine[members.is_kept[mine]].tolist(), *first.tolist()):
                self._by_place[int(members.page[member]), int(members.unit[member])] = group

    def take(self, index: int, page: Page, units: Callable[[], list[str]]) -> None:
        """Take the members in a page that are to be shown."""
        if not self._by_place:
            return
        texts: list[str] | None = None
        for member in self._members.of_page(index):
            unit = int(self._members.unit[member])
            group = self._by_place.get((index, unit))
            if group is not None:
                texts = units() if texts is None else texts
                name = group_name(self._names[group.shard], group.page, group.unit)
                row = {"group": name, "size": group.size, "kept": bool(self._members.is_kept[member]), "index": index}
                self.rows.append({**row, **shown_page(page, texts[unit])})
