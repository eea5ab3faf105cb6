"""The kernel of `pii_modifiers`: where the groups of digits stand that may be telephone numbers or IPv4 addresses."""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import I64_IN, U32_IN, I32Array, U32Array, helper_kernel, kernel

ZERO, NINE, PLUS, OPENING, CLOSING, BLANK, HYPHEN, FULL_STOP = (ord(character) for character in "09+() -.")
MAX_SEPARATORS = 2


@helper_kernel
def is_separator(point: np.uint32) -> bool:
    """Whether the character may stand between the digits of a number."""
    return bool(point in (HYPHEN, FULL_STOP, BLANK, OPENING, CLOSING))


@kernel(U32_IN, I64_IN.dtype, I64_IN.dtype)
def digit_groups(points: U32Array, least: int, groups: int) -> I32Array:
    """Return starts and ends (I32, 2 rows) of the stretches of digits and separators with `least` digits or more.

    A stretch begins and ends with a digit, and between two of its digits stand at most MAX_SEPARATORS separators; a
    plus sign or an opening parenthesis before it belongs to it. `groups` bounds how many there can be.
    """
    length = points.shape[0]
    spans = np.empty((2, groups), dtype=np.int32)
    count = 0
    i = 0
    while i < length:
        if not ZERO <= points[i] <= NINE:
            i += 1
            continue
        start = i
        digits = 0
        end = i
        while i < length and i - end <= MAX_SEPARATORS:
            if ZERO <= points[i] <= NINE:
                digits += 1
                end = i + 1
            elif not is_separator(points[i]):
                break
            i += 1
        i = end
        if digits >= least:
            while start > 0 and points[start - 1] in (PLUS, OPENING):
                start -= 1
            spans[0, count] = start
            spans[1, count] = end
            count += 1
    return spans[:, :count].copy()
