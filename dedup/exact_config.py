"""What exact dedup is asked for, and where its three phases exchange their files."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass

from corpusmith.errors import did_you_mean
from corpusmith.io import storage
from corpusmith.io.shards import ShardRef
from corpusmith.run.fingerprint import Tree
from corpusmith.text.normalize import DEDUP_NORMALIZERS
from dedup.content_units import Normalizer, UnitReader

VERSION = 1
_WITHOUT_EFFECT = ("sync_to_input", "working_dir")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactConfig:
    """What exact dedup compares and which copy it keeps.

    `content_key`: key that holds a string or a list of strings; `normalize`: a name in DEDUP_NORMALIZERS, applied
    before comparing; `selection_key`: the copy on the page with the smallest value here is kept (the largest with
    `selection_reverse`), after `selection_normalize`; without it the first one by shard, page and unit.
    `sync_to_input` and `working_dir` are accepted and have no effect. DCLM takes an unknown normalizer name for
    none; here it raises ValueError.
    """

    content_key: str = "text"
    normalize: str | None = None
    selection_key: str | None = None
    selection_normalize: str | None = None
    selection_reverse: bool = False
    sync_to_input: bool = False
    working_dir: str | None = None

    def __post_init__(self) -> None:
        for key in ("normalize", "selection_normalize"):
            name = getattr(self, key)
            if name is not None and name not in DEDUP_NORMALIZERS:
                known = ", ".join(DEDUP_NORMALIZERS)
                hint = did_you_mean(name, DEDUP_NORMALIZERS)
                raise ValueError(f"{key}: unknown normalizer {name!r}{hint} (known: {known})")

    def deciding(self) -> Tree:
        """The arguments that decide the result."""
        return {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}

    def unit_reader(self) -> UnitReader:
        """The reader of units that these arguments ask for."""
        return UnitReader(
            content_key=self.content_key,
            normalize=_normalizer(self.normalize),
            selection_key=self.selection_key,
            selection_normalize=_normalizer(self.selection_normalize),
        )


def _normalizer(name: str | None) -> Normalizer | None:
    return None if name is None else DEDUP_NORMALIZERS[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where the phases exchange their files; small and picklable, the names of the shards stand in a file.

    `folder`: scratch of one identity of the input; `groups`: the folder of the groups; `cells`: how many ranges of
    ids there are. Shards go by their number in the order of their names.
    """

    folder: str
    groups: str
    cells: int

    def units_url(self, shard: int) -> str:
        """What phase 1 writes of a shard: a batch per cell."""
        return storage.join(self.folder, "units", f"{shard:08d}.arrow")

    def lost_url(self, cell: int) -> str:
        """What phase 2 writes of a cell: a batch per shard."""
        return storage.join(self.folder, "lost", f"{cell:05d}.arrow")

    def groups_url(self, cell: int) -> str:
        """The groups of two or more units in a cell, a line each."""
        return storage.join(self.groups, f"cell-{cell:05d}.jsonl.zst")

    @property
    def names_url(self) -> str:
        """The names of the shards, in their order."""
        return storage.join(self.folder, "shards.json")


@functools.lru_cache(maxsize=2)
def _read_names(url: str) -> list[str]:
    names: list[str] = storage.read_json(url)
    return names


def shard_names(layout: Layout) -> list[str]:
    """The names of the input's shards in their order; read once per worker."""
    return _read_names(layout.names_url)


def prepare(layout: Layout, scratch: str, inputs: list[ShardRef]) -> None:
    """Begin with empty folders unless this very input was begun here before."""
    if not storage.exists(layout.names_url):
        storage.remove_tree(scratch)
        storage.remove_tree(layout.groups)
        storage.write_json(layout.names_url, [shard.name for shard in inputs])
