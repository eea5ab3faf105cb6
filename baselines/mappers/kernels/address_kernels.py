"""The kernels of `addresses`: where the web addresses and the IPv4 addresses of a text begin and end.

Texts are code points (U32); what is to be deleted comes back as starts and ends (I32, 2 rows), in order and apart. Each
full stop is looked at once, so the time grows with the length of the text alone.
"""

from __future__ import annotations

import string
from collections.abc import Iterable

import numpy as np

from corpusmith.text.kernels import (
    I32_IN,
    U8_IN,
    U16_IN,
    U32_IN,
    I32Array,
    U8Array,
    U16Array,
    U32Array,
    helper_kernel,
    kernel,
)
from corpusmith.text.segmentation.character_table import ALNUM, SPACE

MAX_HOST = 256
MAX_SPACES = 10
MAX_NUMBER = 3
BLOCK = 16
FULL_STOP, COLON, SLASH, UNDERSCORE, ZERO, TWO, NINE = (ord(character) for character in ".:/_029")
HOST, TAIL, OTHER = 1, 2, 4
HOST_CHARACTERS = string.ascii_letters + string.digits + "-@:%._+~#="
TAIL_CHARACTERS = string.ascii_letters + string.digits + "-()@:%_+.~#?&/="


def ascii_classes(others: Iterable[str] = ()) -> U8Array:
    """Which ASCII characters may stand in a host (HOST), behind a domain (TAIL), or first in `others` (OTHER)."""
    classes = np.zeros(128, dtype=np.uint8)
    for name in others:
        if not name:
            classes |= np.uint8(OTHER)
        elif name[0].isascii():
            classes[ord(name[0])] |= OTHER
    for characters, bit in ((HOST_CHARACTERS, HOST), (TAIL_CHARACTERS, TAIL)):
        classes[[ord(character) for character in characters]] |= bit
    return classes


@helper_kernel
def is_of(points: U32Array, classes: U8Array, i: int, bit: int) -> bool:
    """Whether character i is of an ASCII class."""
    return bool(points[i] < 128 and classes[points[i]] & bit)


@helper_kernel
def full_stops(points: U32Array) -> I32Array:
    """Return where the full stops of a text are (I32)."""
    length = points.shape[0]
    stops = np.empty(length, dtype=np.int32)
    count = 0
    i = 0
    while i < length:
        if i + BLOCK <= length:
            # most blocks have none: a constant number of comparisons without a branch is one instruction
            found = False
            for k in range(BLOCK):
                found |= points[i + k] == FULL_STOP
            if not found:
                i += BLOCK
                continue
        for k in range(i, min(i + BLOCK, length)):
            if points[k] == FULL_STOP:
                stops[count] = k
                count += 1
        i += BLOCK
    return stops[:count]


@helper_kernel
def tail_end(points: U32Array, classes: U8Array, i: int) -> int:
    """Return where the characters end, from `i` on, that may follow a domain or a number."""
    while i < points.shape[0] and is_of(points, classes, i, TAIL):
        i += 1
    return i


@helper_kernel
def is_word(points: U32Array, table: U16Array, i: int) -> bool:
    """Whether `re` counts character i as one of a word; False outside the text."""
    return bool(0 <= i < points.shape[0] and (table[points[i]] & ALNUM or points[i] == UNDERSCORE))


@helper_kernel
def is_digit(points: U32Array, i: int) -> bool:
    """Whether character i is one of 0 to 9; False past the end."""
    return bool(i < points.shape[0] and ZERO <= points[i] <= NINE)


@helper_kernel
def equals_at(points: U32Array, start: int, names: U32Array, first: int, last: int) -> bool:
    """Whether the text at `start` goes on with the characters [first, last) of the names."""
    if start + last - first > points.shape[0]:
        return False
    same = True
    k = first
    while same and k < last:
        same = points[start + k - first] == names[k]
        k += 1
    return same


@helper_kernel
def has_slashes(points: U32Array, start: int, position: int) -> bool:
    """Whether `://` stands before `start`, at or behind `position`."""
    return bool(
        start - 3 >= position
        and points[start - 1] == SLASH
        and points[start - 2] == SLASH
        and points[start - 3] == COLON
    )


@helper_kernel
def extend_left(
    points: U32Array,
    table: U16Array,
    start: int,
    position: int,
    schemes: U32Array,
    scheme_bounds: I32Array,
    bound: bool,
) -> int:
    """Return where a match begins whose host begins at `start`: a scheme and white space belong to it.

    With `bound`, a scheme that a word character touches does not.
    """
    if has_slashes(points, start, position):
        for k in range(scheme_bounds.shape[0] - 1):
            first, last = scheme_bounds[k], scheme_bounds[k + 1]
            begin = start - (last - first)
            if begin >= position and equals_at(points, begin, schemes, first, last):
                if not bound or not is_word(points, table, begin - 1):
                    start = begin
                break
    lowest = max(position, start - MAX_SPACES)
    while start > lowest and table[points[start - 1]] & SPACE:
        start -= 1
    return start


@helper_kernel
def plain_end(points: U32Array, table: U16Array, start: int, names: U32Array, bounds: I32Array, slots: I32Array) -> int:
    """Return the end of the run of word characters at `start` if it is one of the names; -1 if it is none."""
    longest = bounds[bounds.shape[0] - 1]
    value = np.uint64(0)
    end = start
    while is_word(points, table, end):
        if end - start == longest:
            return -1
        value = next_hash(value, points[end])
        end += 1
    if end == start:
        return -1
    mask = slots.shape[0] - 1
    slot = np.int64(value >> np.uint64(33)) & mask
    while slots[slot] >= 0:
        first, last = bounds[slots[slot]], bounds[slots[slot] + 1]
        if last - first == end - start and equals_at(points, start, names, first, last):
            return end
        slot = (slot + 1) & mask
    return -1


@helper_kernel
def next_hash(value: np.uint64, point: int) -> np.uint64:
    """Hash of a name that goes on with this character."""
    return (value ^ np.uint64(point)) * np.uint64(0x9E3779B97F4A7C15)


@kernel(U32_IN, I32_IN)
def name_slots(names: U32Array, bounds: I32Array) -> I32Array:
    """Return the hash table (I32, a power of two of slots) of names that are cut out of `names` at `bounds`.

    The last bound is no name's end: it holds the length of the longest name.
    """
    count = bounds.shape[0] - 2
    size = 4
    while size < 4 * count:
        size *= 2
    slots = np.full(size, -1, dtype=np.int32)
    for index in range(count):
        value = np.uint64(0)
        for k in range(bounds[index], bounds[index + 1]):
            value = next_hash(value, names[k])
        slot = np.int64(value >> np.uint64(33)) & (size - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = index
    return slots


@helper_kernel
def domain_end(
    points: U32Array,
    table: U16Array,
    classes: U8Array,
    dot: int,
    names: U32Array,
    bounds: I32Array,
    slots: I32Array,
    others: U32Array,
    other_bounds: I32Array,
) -> int:
    """Return where the longest top-level domain behind this dot ends, a word boundary behind it; -1 if none."""
    start = dot + 1
    known = plain_end(points, table, start, names, bounds, slots)
    if start == points.shape[0] or (points[start] < 128 and not classes[points[start]] & OTHER):
        return known
    for k in range(other_bounds.shape[0] - 1):
        first, last = other_bounds[k], other_bounds[k + 1]
        end = start + last - first
        if 0 <= end <= known:
            break
        if equals_at(points, start, others, first, last) and is_word(points, table, end - 1) != is_word(
            points, table, end
        ):
            return int(end)
    return known


@kernel(U32_IN, U16_IN, U8_IN, U32_IN, I32_IN, I32_IN, U32_IN, I32_IN, U32_IN, I32_IN)
def web_addresses(
    points: U32Array,
    table: U16Array,
    classes: U8Array,
    names: U32Array,
    bounds: I32Array,
    slots: I32Array,
    others: U32Array,
    other_bounds: I32Array,
    schemes: U32Array,
    scheme_bounds: I32Array,
) -> I32Array:
    """Return the matches of pattern U in a text.

    `names`, `bounds`, `slots`: the domains of word characters alone (see `name_slots`); `others`: the rest, the longest
    first.
    """
    length = points.shape[0]
    stops = full_stops(points)
    spans = np.empty((2, stops.shape[0]), dtype=np.int32)
    count = 0
    position = 0
    for dot in stops:
        if dot < position:
            continue
        end = domain_end(points, table, classes, dot, names, bounds, slots, others, other_bounds)
        if end < 0:
            continue
        host = dot
        lowest = max(position, dot - MAX_HOST)
        while host > lowest and is_of(points, classes, host - 1, HOST):
            host -= 1
        if host == dot:
            continue
        # the host is as long as it can be, so the last dot before a domain within its reach counts
        reach = dot
        furthest = min(length, host + MAX_HOST + 1)
        while reach < furthest and is_of(points, classes, reach, HOST):
            reach += 1
        for later in range(reach - 1, dot, -1):
            if points[later] == FULL_STOP:
                later_end = domain_end(points, table, classes, later, names, bounds, slots, others, other_bounds)
                if later_end >= 0:
                    end = later_end
                    break
        spans[0, count] = extend_left(points, table, host, position, schemes, scheme_bounds, False)
        position = spans[1, count] = tail_end(points, classes, end)
        count += 1
    return spans[:, :count].copy()


@helper_kernel
def number_end(points: U32Array, start: int) -> int:
    """Return where a number of one to three digits, of three not above 299, ends; -1 if none stands at `start`."""
    end = start
    while end - start <= MAX_NUMBER and is_digit(points, end):
        end += 1
    if end == start or end - start > MAX_NUMBER or (end - start == MAX_NUMBER and points[start] > TWO):
        return -1
    return end


@helper_kernel
def number_start(points: U32Array, table: U16Array, dot: int, position: int) -> int:
    """Return where the number before the dot begins, if it is a part of an address and no word touches it; else -1."""
    start = dot
    lowest = max(position, dot - MAX_NUMBER - 1)
    while start > lowest and is_digit(points, start - 1):
        start -= 1
    digits = dot - start
    if digits == 0 or digits > MAX_NUMBER or (digits == MAX_NUMBER and points[start] > TWO):
        return -1
    return -1 if is_word(points, table, start - 1) else start


@kernel(U32_IN, U16_IN, U8_IN, U32_IN, I32_IN)
def ipv4_addresses(
    points: U32Array, table: U16Array, classes: U8Array, schemes: U32Array, scheme_bounds: I32Array
) -> I32Array:
    """Return the matches of pattern V in a text."""
    length = points.shape[0]
    stops = full_stops(points)
    spans = np.empty((2, stops.shape[0]), dtype=np.int32)
    count = 0
    position = 0
    for dot in stops:
        if dot < position:
            continue
        second = number_end(points, dot + 1)
        if second < 0 or second >= length or points[second] != FULL_STOP:
            continue
        third = number_end(points, second + 1)
        if third < 0 or third >= length or points[third] != FULL_STOP or not is_digit(points, third + 1):
            continue
        start = number_start(points, table, dot, position)
        if start < 0:
            continue
        spans[0, count] = extend_left(points, table, start, position, schemes, scheme_bounds, True)
        position = spans[1, count] = tail_end(points, classes, third + 1)
        count += 1
    return spans[:, :count].copy()
