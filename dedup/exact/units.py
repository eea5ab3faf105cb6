"""The dedup units of a page: what exact dedup compares, and by what it chooses the copy to keep.

Follows DCLM: a unit is the content itself where it is a string, each element where it is a list of strings; its id is
the md5 of `str(normalize(unit))`. Departs from it in that a page that has no units (no such key, another type, a
normalizer that refuses it, a selection value that cannot be ordered) is a problem of that page, not of the whole step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from corpusmith.io.pages.shards import Page
from dedup.groups.selection import POSITION_ALONE, CopySelection, Normalizer

UnitKind = Literal["content", "paragraph", "line"]
SEPARATORS = {"paragraph": "\n\n", "line": "\n"}


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
    """Finds the units of pages, and the values by which the copy to keep is chosen.

    `keys`: one key, or several whose strings are compared together, so that the page is the unit. `unit`: the content
    itself (`content`), or its paragraphs or lines that are not blank; the content is a string then.
    """

    keys: tuple[str, ...]
    unit: UnitKind = "content"
    normalize: Normalizer | None = None
    selection: CopySelection = POSITION_ALONE

    def read(self, page: Page) -> PageUnits | str:
        """The units of a page, or why it has none."""
        problem = self._problem(page)
        if problem is not None:
            return problem
        try:
            ids = self._ids(page)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            return f"{self._shown_keys} cannot be normalized: {type(error).__name__}: {error}"
        selection = self.selection.read(page)
        return selection if isinstance(selection, str) else PageUnits(ids=ids, selection=selection)

    @property
    def _shown_keys(self) -> str:
        return " and ".join(map(repr, self.keys))

    def _problem(self, page: Page) -> str | None:
        takes_lists = len(self.keys) == 1 and self.unit == "content"
        for key in self.keys:
            if key not in page:
                return f"the page has no key {key!r}"
            content = page[key]
            if not isinstance(content, str) and not (takes_lists and content_list(content) is not None):
                wanted = "a string or a list of strings" if takes_lists else "a string"
                return f"{key!r} must hold {wanted}, holds {type(content).__name__}"
        return None

    def _ids(self, page: Page) -> list[bytes]:
        if len(self.keys) == 1:
            return [unit_id(unit, self.normalize) for unit in self.texts(page)]
        each = b"".join(unit_id(page[key], self.normalize) for key in self.keys)
        return [hashlib.md5(each, usedforsecurity=False).digest()]

    def texts(self, page: Page) -> list[str]:
        """The units of a page that can be compared, as text."""
        if len(self.keys) > 1:
            return ["\n".join(page[key] for key in self.keys)]
        content = page[self.keys[0]]
        if self.unit == "content":
            return content_list(content) or []
        return [piece for piece in content.split(SEPARATORS[self.unit]) if piece.strip()]

    def without(self, page: Page, lost: Set[int]) -> str:
        """The text of a page without some of its paragraphs or lines, by their numbers; blank ones stay."""
        left, number = [], 0
        for piece in page[self.keys[0]].split(SEPARATORS[self.unit]):
            if not piece.strip():
                left.append(piece)
                continue
            if number not in lost:
                left.append(piece)
            number += 1
        return SEPARATORS[self.unit].join(left)
