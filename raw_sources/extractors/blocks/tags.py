"""Reading HTML's tags: names, attributes, raw text and what is no element. Kernels that the block scanner calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from corpusmith.text.kernels import helper_kernel
from raw_sources.extractors.blocks.tables import BIT, name_code

Array = np.ndarray[Any, Any]

# what is read out of a tag: bits, a hash of its class, an alternative text, 1 or 2 for a script that is math
A_BITS, A_SIGNATURE, A_ALT_START, A_ALT_STOP, A_MATH = range(5)
ATTRIBUTE_FIELDS = 5

_CLASS, _ID, _ROLE, _ITEMPROP, _STYLE, _HIDDEN, _ALT, _ALTTEXT, _TYPE, _DISPLAY = (
    np.uint64(name_code(name))
    for name in ("class", "id", "role", "itemprop", "style", "hidden", "alt", "alttext", "type", "display")
)
_HIDDEN_BIT = np.int64(BIT["hidden"])


@helper_kernel
def find(html: Array, byte: int, start: int) -> int:
    """Where a byte next stands; the end of the page where it does not."""
    at = start
    while at < len(html) and html[at] != byte:
        at += 1
    return at


@helper_kernel
def tag_of(html: Array, start: int, letters: Array, codes: Array, tags: Array) -> tuple[int, int]:
    """The tag whose name begins here (0: unknown), and where the name ends."""
    at = start
    code = np.uint64(0)
    while at < len(html) and letters[html[at]] != 0:
        if at - start < 12:
            code = code * np.uint64(38) + letters[html[at]]
        at += 1
    found = np.searchsorted(codes, code)
    tag = tags[found] if found < len(codes) and codes[found] == code and at - start <= 12 else 0
    while at < len(html) and html[at] > 32 and html[at] != 62 and html[at] != 47:
        at += 1
        tag = 0
    return tag, at


@helper_kernel
def _is_hiding(html: Array, start: int, stop: int) -> bool:
    """Whether a style has `display: none` or `visibility: hidden`."""
    for at in range(start, stop - 3):
        if html[at] == 110 and html[at + 1] == 111 and html[at + 2] == 110 and html[at + 3] == 101:  # none
            back = at - 1
            while back > start and (html[back] == 32 or html[back] == 58):
                back -= 1
            if back - start >= 6 and html[back] == 121 and html[back - 1] == 97:  # displ-ay
                return True
        if html[at] == 58 and at + 7 < stop and html[at - 1] == 121:  # visibilit-y:
            first = at + 1 + (html[at + 1] == 32)
            if html[first] == 104 and html[first + 1] == 105 and html[first + 2] == 100:
                return True
    return False


@helper_kernel
def attributes_of(html: Array, start: int, letters: Array, step: Array, found: Array, out: Array) -> int:
    """Read a tag's attributes into `out` (fields A_…); its end."""
    at = start
    size = len(html)
    out[:] = 0
    while at < size and html[at] != 62:
        if html[at] <= 32 or html[at] == 47 or html[at] == 61:
            at += 1
            continue
        code = np.uint64(0)
        first = at
        while at < size and html[at] > 32 and html[at] != 62 and html[at] != 61 and html[at] != 47:
            if at - first < 12:
                code = code * np.uint64(38) + letters[html[at]]
            at += 1
        mark = at
        while mark < size and html[mark] <= 32:
            mark += 1
        if mark >= size or html[mark] != 61:
            if code == _HIDDEN:
                out[A_BITS] |= _HIDDEN_BIT
            continue
        at = mark + 1
        while at < size and html[at] <= 32:
            at += 1
        if at < size and (html[at] == 34 or html[at] == 39):
            value = at + 1
            stop = find(html, html[at], value)
            at = stop + 1
        else:
            value = at
            while at < size and html[at] > 32 and html[at] != 62:
                at += 1
            stop = at
        stop = min(stop, size)
        if code == _CLASS or code == _ID or code == _ROLE or code == _ITEMPROP:
            state = 0
            for place in range(value, min(stop, value + 512)):
                state = step[state, html[place]]
                out[A_BITS] |= found[state]
                if code == _CLASS:
                    out[A_SIGNATURE] = (out[A_SIGNATURE] * 31 + html[place]) & 0xFFFFFFFFFFFF
        elif code == _STYLE:
            if _is_hiding(html, value, stop):
                out[A_BITS] |= _HIDDEN_BIT
        elif code == _ALT or code == _ALTTEXT:
            out[A_ALT_START], out[A_ALT_STOP] = value, stop
        elif code == _TYPE and stop - value >= 8 and html[value] == 109 and html[value + 1] == 97:  # ma-th/tex
            out[A_MATH] = 2 if stop - value > 12 and html[stop - 1] == 121 else 1  # …; mode=displa-y
    return min(at + 1, size)


@helper_kernel
def raw_end(html: Array, start: int, tag: int, letters: Array, codes: Array, tags: Array) -> tuple[int, int]:
    """Where the text of a raw element ends, and where its closing tag does."""
    at = start
    while at < len(html):
        at = find(html, 60, at)
        if at + 1 < len(html) and html[at + 1] == 47:
            closing, end = tag_of(html, at + 2, letters, codes, tags)
            if closing == tag:
                return at, min(find(html, 62, end) + 1, len(html))
        at += 1
    return len(html), len(html)


@helper_kernel
def markup_end(html: Array, start: int) -> int:
    """The end of a comment, a declaration or a processing instruction."""
    if start + 3 < len(html) and html[start + 1] == 33 and html[start + 2] == 45 and html[start + 3] == 45:
        at = start + 4
        while at < len(html):
            at = find(html, 62, at)
            if at < len(html) and html[at - 1] == 45 and html[at - 2] == 45:
                break
            at += 1
    else:
        at = find(html, 62, start)
    return min(at + 1, len(html))
