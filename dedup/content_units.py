"""The content units of a page: what exact dedup compares, and by what it chooses the copy to keep.

Follows DCLM: a unit is the content itself where it is a string, each element where it is a list of strings; its id is
the md5 of `str(normalize(unit))`. Departs from it in that a page that has no units (no such key, another type, a
normalizer that refuses it, a selection value that cannot be ordered) is a problem of that page, not of the whole step.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from corpusmith.io.shards import Page

VERSION = 1
NUMBER_TAG = b"n"
STRING_TAG = b"s"

_SIGN = 1 << 63
_ALL_BITS = (1 << 64) - 1

Normalizer = Callable[[Any], Any]


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


def order_key(value: object) -> bytes | None:
    """Bytes that compare as the value does: strings by code point, numbers exactly, numbers before strings.

    Booleans are the numbers 0 and 1. None for what has no order here: null, lists, objects, NaN, infinity, integers
    that lie more than 2**63 from any float.
    """
    if isinstance(value, str):
        return STRING_TAG + value.encode("utf-8", "surrogatepass")
    if not isinstance(value, int | float):
        return None
    try:
        nearest = float(value)
    except OverflowError:
        return None
    if not math.isfinite(nearest):
        return None
    # Rounding to float never reverses an order, so what it took away decides between integers of one float.
    remainder = value - int(nearest) if isinstance(value, int) else 0
    if not -_SIGN <= remainder < _SIGN:
        return None
    (bits,) = struct.unpack(">Q", struct.pack(">d", nearest + 0.0))
    bits ^= _ALL_BITS if bits & _SIGN else _SIGN
    return NUMBER_TAG + struct.pack(">QQ", bits, remainder + _SIGN)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageUnits:
    """The ids of a page's units in their order (16 bytes each), and the order key of its selection value."""

    ids: list[bytes]
    selection: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitReader:
    """Finds the units of pages; `selection_key` None means that position alone chooses the copy to keep."""

    content_key: str
    normalize: Normalizer | None = None
    selection_key: str | None = None
    selection_normalize: Normalizer | None = None

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
        selection = self._selection(page)
        return selection if isinstance(selection, str) else PageUnits(ids=ids, selection=selection)

    def _selection(self, page: Page) -> bytes | str:
        """The order key of the page's selection value (empty without a selection key), or what is wrong with it."""
        if self.selection_key is None:
            return b""
        if self.selection_key not in page:
            return f"the page has no key {self.selection_key!r} to select by"
        value = page[self.selection_key]
        try:
            if self.selection_normalize is not None:
                value = self.selection_normalize(value)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            return f"{self.selection_key!r} cannot be normalized: {type(error).__name__}: {error}"
        key = order_key(value)
        return f"{self.selection_key!r} must hold a number or a string to select by" if key is None else key
