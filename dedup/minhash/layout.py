"""Where the phases of MinHash dedup exchange their files, beside those that every dedup has."""

from __future__ import annotations

from dataclasses import dataclass

from corpusmith.io import storage
from dedup.groups.layout import GroupsLayout


@dataclass(frozen=True, kw_only=True, slots=True)
class MinhashLayout:
    """The files of one MinHash dedup; small and picklable.

    `band_cells`: how many ranges of band keys; `parts`: how many parts the pages are in while clusters are found.
    """

    groups: GroupsLayout
    band_cells: int
    parts: int

    def bands_url(self, shard: int) -> str:
        """Of a shard, the band keys of its pages: by cell."""
        return self.groups.scratch_url("bands", shard)

    def pages_url(self, shard: int) -> str:
        """Of a shard, its signed pages with their sketches: one batch."""
        return self.groups.scratch_url("pages", shard)

    def edges_url(self, cell: int) -> str:
        """Of a band cell, pages that share a band: a batch per part."""
        return self.groups.scratch_url("edges", cell)

    def round_url(self, number: int, part: int) -> str:
        """What a part hands on after a half round of the star algorithm: a batch per part."""
        return self.groups.scratch_url(f"round-{number:03d}", part)

    def change_url(self, number: int, part: int) -> str:
        """How much a half round changed in a part."""
        return storage.join(self.groups.folder, f"round-{number:03d}", f"{part:08d}.json")

    def labels_url(self, part: int) -> str:
        """Of a part, pages and the first page of their cluster: a batch per shard."""
        return self.groups.scratch_url("labels", part)
