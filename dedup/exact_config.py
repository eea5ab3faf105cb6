"""What exact dedup is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from corpusmith.run.fingerprint import Tree
from dedup.content_units import UnitReader
from dedup.selection import CONTENT_NORMALIZERS, SELECTION_NORMALIZERS, Selection, check_normalizer

VERSION = 2
_WITHOUT_EFFECT = ("sync_to_input", "working_dir")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactConfig:
    """What exact dedup compares and which copy it keeps.

    `content_key`: key that holds a string or a list of strings; `normalize`: a name in DEDUP_NORMALIZERS, applied
    before comparing. `selection_key` (also a path such as `metadata.WARC-Date`): the copy on the page with the
    smallest value here is kept (the largest with `selection_reverse`), after `selection_normalize`, a normalizer or
    `length`; without it the first one by shard, page and unit. `sync_to_input` and `working_dir` are accepted and
    have no effect. DCLM takes an unknown normalizer name for none; here it raises ValueError.
    """

    content_key: str = "text"
    normalize: str | None = None
    selection_key: str | None = None
    selection_normalize: str | None = None
    selection_reverse: bool = False
    sync_to_input: bool = False
    working_dir: str | None = None

    def __post_init__(self) -> None:
        check_normalizer("normalize", self.normalize, CONTENT_NORMALIZERS)
        check_normalizer("selection_normalize", self.selection_normalize, SELECTION_NORMALIZERS)

    def deciding(self) -> Tree:
        """The arguments that decide the result."""
        return {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}

    @property
    def selection(self) -> Selection:
        """By what the copy to keep is chosen."""
        return Selection(key=self.selection_key, normalize=self.selection_normalize, reverse=self.selection_reverse)

    def unit_reader(self) -> UnitReader:
        """The reader of units that these arguments ask for."""
        return UnitReader(
            content_key=self.content_key,
            normalize=None if self.normalize is None else CONTENT_NORMALIZERS[self.normalize],
            selection=self.selection,
        )

    def try_normalizers(self) -> None:
        """Call the normalizers once: one whose package is missing says so before anything starts (UserError)."""
        for name in (self.normalize, self.selection_normalize):
            if name is not None:
                SELECTION_NORMALIZERS[name]("é")
