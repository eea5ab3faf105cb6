"""The content units of a page: what exact dedup compares, and by what it chooses the copy to keep.

Follows DCLM: a unit is the content itself where it is a string, each element where it is a list of strings; its id is
the md5 of `str(normalize(unit))`. Departs from it in that a page that has no units (no such key, another type, a
normalizer that refuses it, a selection value that cannot be ordered) is a problem of that page, not of the whole step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from corpusmith.io.shards import Page
from dedup.selection import POSITION_ALONE, Normalizer, Selection

VERSION = 2


def content_list(content: object) -> list[str] | None:
    """The units of a page's content in their order; None where it is neither a string nor a list of strings."""
    if isinstance(content, str):
        return [content]
    if isinstance(content, list) and all(isinstance(unit, str) for unit in content):
        return content
    return None


def unit_id(unit: str, normalize: Normalizer | None = None) -> bytes:
    """The 16 bytes of a unit's md5, after `normalize`; lone surrogates are encoded as they are."""
    text = unit if normalize is None else str(normalize(unit))
    return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class PageUnits:
    """The ids of a page's units in their order (16 bytes each), and the order key of its selection value."""

    ids: list[bytes]
    selection: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitReader:
    """Finds the units of pages, and the values by which the copy to keep is chosen."""

    content_key: str
    normalize: Normalizer | None = None
    selection: Selection = POSITION_ALONE

    def read(self, page: Page) -> PageUnits | str:
        """The units of a page, or why it has none."""
        if self.content_key not in page:
            return f"the page has no key {self.content_key!r}"
        units = content_list(page[self.content_key])
        if units is None:
            kind = type(page[self.content_key]).__name__
            return f"{self.content_key!r} must hold a string or a list of strings, holds {kind}"
        try:
            ids = [unit_id(unit, self.normalize) for unit in units]
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            return f"{self.content_key!r} cannot be normalized: {type(error).__name__}: {error}"
        selection = self.selection.read(page)
        return selection if isinstance(selection, str) else PageUnits(ids=ids, selection=selection)
