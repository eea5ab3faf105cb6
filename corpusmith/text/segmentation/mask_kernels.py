"""Bit masks over 64 characters at a time: what makes counting cheap where most characters need no decision.

A block's mask has bit k set where character k of the block has a flag. Counting the words of a block is then a few
operations on masks instead of 64 branches, most of whose mispredictions would cost more than all else. Characters past
the end of the text have no flag; who needs them to be something says so.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import U8Array, U32Array, U64Array, helper_kernel

BLOCK = 64
U64 = np.uint64
ZERO, ONE = U64(0), U64(1)
ALL = U64(0xFFFF_FFFF_FFFF_FFFF)
LOW_BITS = U64(0x0101_0101_0101_0101)
GATHER = U64(0x0102_0408_1020_4080)
PAIRS, NIBBLES, BYTES = U64(0x5555_5555_5555_5555), U64(0x3333_3333_3333_3333), U64(0x0F0F_0F0F_0F0F_0F0F)


@helper_kernel
def popcount(mask: np.uint64) -> int:
    """How many bits are set."""
    mask -= (mask >> ONE) & PAIRS
    mask = (mask & NIBBLES) + ((mask >> U64(2)) & NIBBLES)
    mask = (mask + (mask >> U64(4))) & BYTES
    return int((mask * LOW_BITS) >> U64(56))


@helper_kernel
def lowest(mask: np.uint64) -> np.uint64:
    """The lowest set bit alone."""
    return mask & (~mask + ONE)


@helper_kernel
def block_flags(points: U32Array, flags: U8Array, base: int, eights: U64Array) -> None:
    """Fill the flags of the 64 characters from `base` on, a byte each, eight in each number; 0 past the end."""
    if base + BLOCK <= points.shape[0]:
        for group in range(8):
            start = base + 8 * group
            eight = ZERO
            for k in range(8):
                eight |= U64(flags[points[start + k]]) << U64(8 * k)
            eights[group] = eight
        return
    eights[:] = ZERO
    for k in range(points.shape[0] - base):
        eights[k >> 3] |= U64(flags[points[base + k]]) << U64(8 * (k & 7))


@helper_kernel
def mask_of(eights: U64Array, bit: int) -> np.uint64:
    """The mask of one flag of a block."""
    mask = ZERO
    for group in range(8):
        mask |= (((eights[group] >> U64(bit)) & LOW_BITS) * GATHER >> U64(56)) << U64(8 * group)
    return mask


@helper_kernel
def inside(base: int, length: int) -> np.uint64:
    """The bits of a block that stand for characters of the text."""
    return ALL if base + BLOCK <= length else (ONE << U64(length - base)) - ONE


@helper_kernel
def run_starts(mask: np.uint64, carry: np.uint64) -> np.uint64:
    """Where runs of set bits begin; `carry` is the last bit of the block before."""
    return mask & ~((mask << ONE) | carry)


@helper_kernel
def add_carrying(mask: np.uint64, starts: np.uint64, carry: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Sum of two masks and a carry, and the carry to the next block.

    With `starts` the first bits of runs and `mask` some bits of the runs, a bit of the sum behind a run is set exactly
    where the whole run is in `mask`: the carry of its first bit went through.
    """
    part = mask + starts
    whole = part + carry
    return whole, ONE if part < mask or whole < part else ZERO
