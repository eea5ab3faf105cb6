"""Kernels of a blocked Bloom filter: which bits an n-gram has, whether they are set, and setting them.

The filter is an array of 64-bit words in blocks of `BLOCK_WORDS` (one cache line). A 64-bit hash selects a block by its
high bits, so ranges of hashes are ranges of blocks, and then k bits in that block, with replacement. An n-gram costs
one cache miss instead of k (Putze, Sanders, Singler 2007: "Cache-, Hash- and Space-Efficient Bloom Filters").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from corpusmith.text.hashing import finalize
from corpusmith.text.kernels import (
    I64_IN,
    U8_IN,
    U8_OUT,
    U32_IN,
    U32_OUT,
    U64_IN,
    U64_OUT,
    I64Array,
    U8Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)

BLOCK_BITS = 512
BLOCK_WORDS = 8
MAX_HASHES = 32

LOW_32 = np.uint64(0xFFFFFFFF)
SHIFT_32 = np.uint64(32)
SHIFT_9 = np.uint64(9)
WORD_MASK = np.uint64(7)
BIT_MASK = np.uint64(63)
ONE = np.uint64(1)
POSITION_SEED = np.uint64(0xA0761D6478BD642F)
POSITIONS_PER_HASH = 7  # of 9 bits each
AHEAD = 64
PREFETCH = "llvm.prefetch.p0"


@helper_kernel
def block_of(value: np.uint64, blocks: np.uint64) -> np.uint64:
    """The block of a hash: the high 64 bits of `value * blocks`, so blocks rise with hashes."""
    low, high = value & LOW_32, value >> SHIFT_32
    blocks_low, blocks_high = blocks & LOW_32, blocks >> SHIFT_32
    first = high * blocks_low + ((low * blocks_low) >> SHIFT_32)
    second = (first & LOW_32) + low * blocks_high
    return high * blocks_high + (first >> SHIFT_32) + (second >> SHIFT_32)


def _prefetch_intrinsic(context: Any, words: Any, at: Any) -> Any:
    """Begin to load the cache line of `words[at]`, without waiting for it; `at` must lie in `words`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, at = arguments
        data = context.make_array(signature.args[0])(context, builder, words).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.globals.get(PREFETCH) or ir.Function(builder.module, kind, PREFETCH)
        place = builder.bitcast(builder.gep(data, [at]), byte)
        builder.call(function, [place, number(1), number(3), number(1)])  # to write, keep in all caches, data
        return context.get_dummy_value()

    return types.void(words, at), generate


_prefetch: Any = intrinsic(_prefetch_intrinsic)


@helper_kernel
def look_ahead(words: U64Array, hashes: U64Array, i: int, blocks: np.uint64, first_block: int) -> None:
    """Begin to load the block of the hash that comes `AHEAD` places after the i-th.

    In a filter larger than the caches each n-gram waits for memory, and longer for the page table where pages are
    small; begun early, these waits overlap.
    """
    if i + AHEAD < hashes.shape[0]:
        _prefetch(words, (np.int64(block_of(hashes[i + AHEAD], blocks)) - first_block) * BLOCK_WORDS)


@helper_kernel
def is_contained(words: U64Array, start: np.int64, value: np.uint64, hashes: int) -> bool:
    """Whether all bits of the hash are set in the block that begins at word `start`."""
    mixed = finalize(value ^ POSITION_SEED)
    bits = mixed
    present = ONE
    left = POSITIONS_PER_HASH
    for _ in range(hashes):
        if left == 0:
            mixed = finalize(mixed ^ POSITION_SEED)
            bits = mixed
            left = POSITIONS_PER_HASH
        present &= words[start + np.int64(bits & WORD_MASK)] >> ((bits >> np.uint64(3)) & BIT_MASK)
        bits >>= SHIFT_9
        left -= 1
    return bool(present == ONE)


@helper_kernel
def set_bits(words: U64Array, start: np.int64, value: np.uint64, hashes: int) -> np.uint32:
    """Set all bits of the hash; returns which of the k it found clear, as a mask."""
    mixed = finalize(value ^ POSITION_SEED)
    bits = mixed
    newly_set_bits = np.uint32(0)
    left = POSITIONS_PER_HASH
    for number in range(hashes):
        if left == 0:
            mixed = finalize(mixed ^ POSITION_SEED)
            bits = mixed
            left = POSITIONS_PER_HASH
        at = start + np.int64(bits & WORD_MASK)
        shift = (bits >> np.uint64(3)) & BIT_MASK
        before = words[at]
        words[at] = before | (ONE << shift)
        # no branch: in a half full filter it would be guessed wrong every other time
        newly_set_bits |= np.uint32((~before >> shift) & ONE) << np.uint32(number)
        bits >>= SHIFT_9
        left -= 1
    return newly_set_bits


@helper_kernel
def clear_bits(words: U64Array, start: np.int64, value: np.uint64, hashes: int, newly_set_bits: np.uint32) -> None:
    """Clear those bits of the hash that `set_bits` found clear."""
    mixed = finalize(value ^ POSITION_SEED)
    bits = mixed
    left = POSITIONS_PER_HASH
    for number in range(hashes):
        if left == 0:
            mixed = finalize(mixed ^ POSITION_SEED)
            bits = mixed
            left = POSITIONS_PER_HASH
        if (newly_set_bits >> np.uint32(number)) & np.uint32(1):
            words[start + np.int64(bits & WORD_MASK)] &= ~(ONE << ((bits >> np.uint64(3)) & BIT_MASK))
        bits >>= SHIFT_9
        left -= 1


@kernel(U64_OUT, U64_IN, U8_IN, types.int64, types.uint64, types.int64)
def insert_marked(
    words: U64Array, hashes: U64Array, marked: U8Array, k: int, blocks: np.uint64, first_block: int
) -> int:
    """Insert the hashes that are marked (U8, 0 or 1); returns how many of them set a bit.

    `words` holds the blocks from `first_block` on, of `blocks` in the whole filter; all hashes must lie in them.
    """
    new_ngrams = 0
    for i in range(hashes.shape[0]):
        look_ahead(words, hashes, i, blocks, first_block)
        if marked[i]:
            start = (np.int64(block_of(hashes[i], blocks)) - first_block) * BLOCK_WORDS
            if set_bits(words, start, hashes[i], k) != 0:
                new_ngrams += 1
    return new_ngrams


@kernel(U64_IN, U64_IN, types.int64, types.uint64, types.int64, U8_OUT)
def probe(words: U64Array, hashes: U64Array, k: int, blocks: np.uint64, first_block: int, contained: U8Array) -> None:
    """Note in `contained` (U8, one for each hash) which hashes the filter contains."""
    for i in range(hashes.shape[0]):
        look_ahead(words, hashes, i, blocks, first_block)
        start = (np.int64(block_of(hashes[i], blocks)) - first_block) * BLOCK_WORDS
        contained[i] = is_contained(words, start, hashes[i], k)


@kernel(U64_IN, types.uint64)
def blocks_of(hashes: U64Array, blocks: np.uint64) -> I64Array:
    """The block of each hash (I64) in a filter of so many blocks."""
    found = np.empty(hashes.shape[0], dtype=np.int64)
    for i in range(hashes.shape[0]):
        found[i] = np.int64(block_of(hashes[i], blocks))
    return found


@kernel(U64_OUT, U64_IN, I64_IN, U8_IN, types.int64, types.uint64, types.int64, U8_OUT, U32_OUT)
def check_and_insert(
    words: U64Array,
    hashes: U64Array,
    unit_ngrams: I64Array,
    marked: U8Array,
    k: int,
    blocks: np.uint64,
    first_block: int,
    contained: U8Array,
    newly_set_bits: U32Array,
) -> None:
    """Unit by unit: note which of its n-grams are contained, then insert those that are marked.

    `unit_ngrams`: how many of `hashes` belong to each unit, in order. `newly_set_bits` (U32, one for each hash): those
    of each insertion, for `undo`.
    """
    begin = 0
    for unit in range(unit_ngrams.shape[0]):
        end = begin + unit_ngrams[unit]
        for i in range(begin, end):
            look_ahead(words, hashes, i, blocks, first_block)
            start = (np.int64(block_of(hashes[i], blocks)) - first_block) * BLOCK_WORDS
            contained[i] = is_contained(words, start, hashes[i], k)
        for i in range(begin, end):
            newly_set_bits[i] = 0
            if marked[i]:
                start = (np.int64(block_of(hashes[i], blocks)) - first_block) * BLOCK_WORDS
                newly_set_bits[i] = set_bits(words, start, hashes[i], k)
        begin = end


@kernel(U64_OUT, U64_IN, types.int64, types.uint64, types.int64, U32_IN)
def undo(
    words: U64Array, hashes: U64Array, k: int, blocks: np.uint64, first_block: int, newly_set_bits: U32Array
) -> None:
    """Take back the insertions of `check_and_insert`; each bit was set by one of them alone, so the order is free."""
    for i in range(hashes.shape[0]):
        look_ahead(words, hashes, i, blocks, first_block)
        if newly_set_bits[i] != 0:
            start = (np.int64(block_of(hashes[i], blocks)) - first_block) * BLOCK_WORDS
            clear_bits(words, start, hashes[i], k, newly_set_bits[i])


@kernel(U64_IN)
def count_set_bits(words: U64Array) -> np.int64:
    """How many bits are set."""
    total = np.int64(0)
    for i in range(words.shape[0]):
        value = words[i]
        value -= (value >> ONE) & np.uint64(0x5555555555555555)
        value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
        value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total += np.int64((value * np.uint64(0x0101010101010101)) >> np.uint64(56))
    return total
