"""Which of several copies is kept: an order of pages by a value of theirs.

The newest is `selection_key: metadata.WARC-Date, selection_reverse: true`; the longest `selection_key: text,
selection_normalize: length, selection_reverse: true`; the best-scored has the score's key, reversed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import FieldError, did_you_mean
from corpusmith.io.pages.shards import Page
from corpusmith.text.normalize import DEDUP_NORMALIZERS

NUMBER_TAG = b"n"
STRING_TAG = b"s"

_SIGN = 1 << 63
_ALL_BITS = (1 << 64) - 1
_NOTHING = object()

Normalizer = Callable[[Any], Any]


def content_length(value: Any) -> int:
    """Characters of a string, or of all strings of a list."""
    return len(value) if isinstance(value, str) else sum(len(part) for part in value)


CONTENT_NORMALIZERS: Mapping[str, Normalizer] = DEDUP_NORMALIZERS
SELECTION_NORMALIZERS: Mapping[str, Normalizer] = {**DEDUP_NORMALIZERS, "length": content_length}


def check_normalizer(argument: str, name: str | None, known: Mapping[str, Normalizer]) -> None:
    """Raise FieldError for a name that is not among the known ones."""
    if name is not None and name not in known:
        hint = did_you_mean(name, known)
        raise FieldError(argument, f"unknown normalizer {name!r}{hint} (known: {', '.join(known)})")


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
class CopySelection:
    """Keeps the copy on the page with the smallest value (the largest with `reverse`) under `key`.

    `key`: a key of the page, or a path of keys joined by dots where the page has no key of that name; None: position
    alone decides. `normalize`: a name in SELECTION_NORMALIZERS.
    """

    key: str | None = None
    normalize: str | None = None
    reverse: bool = False

    def read(self, page: Page) -> bytes | str:
        """The order key of the page's value (empty without a key), or what is wrong with it."""
        if self.key is None:
            return b""
        value = _look_up(page, self.key)
        if value is _NOTHING:
            return f"the page has no key {self.key!r} to select by"
        try:
            if self.normalize is not None:
                value = SELECTION_NORMALIZERS[self.normalize](value)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            return f"{self.key!r} cannot be normalized: {type(error).__name__}: {error}"
        key = order_key(value)
        return f"{self.key!r} must hold a number or a string to select by" if key is None else key


POSITION_ALONE = CopySelection()


def _look_up(page: Page, key: str) -> Any:
    if key in page:
        return page[key]
    found: Any = page
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return _NOTHING
        found = found[part]
    return found
