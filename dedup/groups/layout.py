"""Where the phases of a dedup exchange their files; shards go by their number in the order of their names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from corpusmith.io import storage
from corpusmith.run.fingerprint import inputs_identity
from corpusmith.run.stage import Stage

Sizes = dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupsLayout:
    """The files of one dedup; small and picklable, the names of the shards stand in a file.

    `folder`: scratch of one identity of the input; `groups` and `members`: what is left for whoever wants to check;
    `cells`: how many ranges of ids there are.
    """

    folder: str
    groups: str
    members: str
    cells: int

    def scratch_url(self, kind: str, number: int) -> str:
        """A file of one phase: of a shard, a cell, or whatever the kind is numbered by."""
        return storage.join(self.folder, kind, f"{number:08d}.arrow")

    def units_url(self, shard: int) -> str:
        """Of a shard, the best unit of each id: a batch per cell."""
        return self.scratch_url("units", shard)

    def own_losers_url(self, shard: int) -> str:
        """Of a shard, the units that a better one of the same shard beats: one batch."""
        return self.scratch_url("own_losers", shard)

    def verdicts_url(self, cell: int) -> str:
        """What was decided in a cell: a batch per shard."""
        return self.scratch_url("verdicts", cell)

    def biggest_url(self, cell: int) -> str:
        """The biggest groups of a cell."""
        return storage.join(self.folder, "biggest", f"{cell:08d}.json")

    def groups_url(self, cell: int) -> str:
        """The groups of two or more units in a cell, a line each."""
        return storage.join(self.groups, f"cell-{cell:05d}.jsonl.zst")

    def members_url(self, shard: str) -> str:
        """The units of a shard that belong to groups, a row each."""
        return storage.join(self.members, f"{shard}.parquet")

    @property
    def names_url(self) -> str:
        """The names of the shards, in their order, and the numbers of cells."""
        return storage.join(self.folder, "shards.json")

    @classmethod
    def of_stage(cls, stage: Stage, count: Callable[[], Sizes]) -> GroupsLayout:
        """The layout of a stage; begins with empty folders unless this very input was begun here before.

        `count` tells how many cells of each kind there are to be; those called `cells` are of ids.
        """
        place = stage.place
        layout = cls(
            folder=storage.join(place.scratch, inputs_identity(stage.inputs)[:16]),
            groups=storage.join(place.folder, "groups"),
            members=storage.join(place.folder, "members"),
            cells=0,
        )
        if not storage.exists(layout.names_url):
            for folder in (place.scratch, layout.groups):
                storage.remove_tree(folder)
            names = [shard.name for shard in stage.inputs]
            for url in existing_files(layout.members) - {layout.members_url(name) for name in names}:
                storage.remove(url)
            storage.write_json(layout.names_url, {"names": names, "sizes": count()})
        return replace(layout, cells=read_sizes(layout)["cells"])


@functools.lru_cache(maxsize=2)
def _read_names(url: str) -> list[str]:
    names: list[str] = storage.read_json(url)["names"]
    return names


def shard_names(layout: GroupsLayout) -> list[str]:
    """The names of the input's shards in their order; read once per worker."""
    return _read_names(layout.names_url)


def read_sizes(layout: GroupsLayout) -> Sizes:
    """How many cells of each kind there are."""
    sizes: Sizes = storage.read_json(layout.names_url)["sizes"]
    return sizes


def existing_files(*folders: str) -> set[str]:
    """The files below folders."""
    return {info.url for folder in folders if storage.is_dir(folder) for info in storage.list_files(folder)}
