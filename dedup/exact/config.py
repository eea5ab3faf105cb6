"""What exact dedup is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from corpusmith.errors import FieldError
from corpusmith.run.fingerprint import Tree
from dedup.exact.units import UnitKind, UnitReader
from dedup.groups.selection import CONTENT_NORMALIZERS, SELECTION_NORMALIZERS, CopySelection, check_normalizer

_WITHOUT_EFFECT = ("sync_to_input", "working_dir")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactConfig:
    """What exact dedup compares and which copy it keeps.

    `content_key`: key that holds a string or a list of strings, whose elements are compared one by one; or a list of
    keys whose strings are compared together. `unit`: compare the content, or its paragraphs (between pairs of line
    feeds) or lines, blank ones left alone. `normalize`: a name in DEDUP_NORMALIZERS, applied before comparing.
    `selection_key` (also a path such as `metadata.WARC-Date`): the copy on the page with the smallest value here is
    kept (the largest with `selection_reverse`), after `selection_normalize`, a normalizer or `length`; without it the
    first one by shard, page and unit. `sync_to_input` and `working_dir` are accepted and have no effect. DCLM takes an
    unknown normalizer name for none; here it raises FieldError.
    """

    content_key: str | list[str] = "text"
    unit: UnitKind = "content"
    normalize: str | None = None
    selection_key: str | None = None
    selection_normalize: str | None = None
    selection_reverse: bool = False
    sync_to_input: bool = False
    working_dir: str | None = None

    def __post_init__(self) -> None:
        if not self.keys or len(set(self.keys)) < len(self.keys):
            raise FieldError("content_key", f"must be a key, or a list of different keys, got {self.content_key!r}")
        if len(self.keys) > 1 and self.unit != "content":
            raise FieldError("unit", f"{self.unit}s are of one key, got {self.content_key!r}")
        check_normalizer("normalize", self.normalize, CONTENT_NORMALIZERS)
        check_normalizer("selection_normalize", self.selection_normalize, SELECTION_NORMALIZERS)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys whose content is compared."""
        return (self.content_key,) if isinstance(self.content_key, str) else tuple(self.content_key)

    def deciding(self) -> Tree:
        """The arguments that decide the result."""
        return {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}

    @property
    def selection(self) -> CopySelection:
        """By what the copy to keep is chosen."""
        return CopySelection(key=self.selection_key, normalize=self.selection_normalize, reverse=self.selection_reverse)

    def unit_reader(self) -> UnitReader:
        """The reader of units that these arguments ask for."""
        return UnitReader(
            keys=self.keys,
            unit=self.unit,
            normalize=None if self.normalize is None else CONTENT_NORMALIZERS[self.normalize],
            selection=self.selection,
        )

    def try_normalizers(self) -> None:
        """Call the normalizers once: one whose package is missing says so before anything starts (UserError)."""
        for name in (self.normalize, self.selection_normalize):
            if name is not None:
                SELECTION_NORMALIZERS[name]("é")
