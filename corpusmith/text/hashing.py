"""Stable hashes of words and n-grams, and exact counts of what repeats within one text.

Two families, for two needs. *Hashes* (`word_hashes`, `ngram_hashes`) are 64-bit numbers that are equal on every
machine and in every release of the same `VERSION`; deduplication stores and exchanges them. *Identities*
(`span_ids`, `repeated_ngrams`) live within one text only and are exact: a span gets a number that equals another's
if and only if the code points are equal, and an n-gram gets the number of the pair of its two (n-1)-grams, so no
hash collision can change what a filter decides.

An n-gram can occur twice only if both (n-1)-grams in it do, so each n looks only at the places that n-1 left over;
for ordinary text nearly all of them are gone after n = 3.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import (
    I32_IN,
    I64_IN,
    U32_IN,
    U64_IN,
    I32Array,
    I64Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)

VERSION = 1

WORD_SEED = np.uint64(0x9E3779B97F4A7C15)
WORD_FACTOR = np.uint64(0xC2B2AE3D27D4EB4F)
NGRAM_FACTOR = np.uint64(0xD6E8FEB86659FD93)
PAIR_FACTOR = np.uint64(0x9E3779B97F4A7C15)
FINAL_FACTOR_1 = np.uint64(0xFF51AFD7ED558CCD)
FINAL_FACTOR_2 = np.uint64(0xC4CEB9FE1A85EC53)
ONE = np.uint64(1)
SHIFT_29 = np.uint64(29)
SHIFT_32 = np.uint64(32)
SHIFT_33 = np.uint64(33)
SHIFT_35 = np.uint64(35)
MINIMUM_SLOTS = 16


@helper_kernel
def finalize(value: np.uint64) -> np.uint64:
    """Spread every input bit over all 64 output bits (the finalizer of MurmurHash3)."""
    value ^= value >> SHIFT_33
    value *= FINAL_FACTOR_1
    value ^= value >> SHIFT_33
    value *= FINAL_FACTOR_2
    return value ^ (value >> SHIFT_33)


@helper_kernel
def span_hash(points: U32Array, start: int, end: int) -> np.uint64:
    """Return the 64-bit hash of the code points [start, end), taken in pairs; a last odd one pairs with 0.

    The length is part of the seed. For each pair: xor its product, rotate by 29, multiply; at the end the finalizer.
    """
    value = WORD_SEED ^ np.uint64(end - start)
    i = start
    while i < end:
        pair = np.uint64(points[i])
        if i + 1 < end:
            pair |= np.uint64(points[i + 1]) << SHIFT_32
        value ^= pair * WORD_FACTOR
        value = (value << SHIFT_29) | (value >> SHIFT_35)
        value *= PAIR_FACTOR
        i += 2
    return finalize(value)


@helper_kernel
def slots_for(entries: int) -> int:
    """Return the size of an open hash table, a power of two, that stays at most half full."""
    slots = MINIMUM_SLOTS
    while slots < 2 * entries:
        slots *= 2
    return slots


@kernel(U32_IN, I32_IN, I32_IN)
def word_hashes(points: U32Array, starts: I32Array, ends: I32Array) -> U64Array:
    """Return the stable hash of each span (U64, one for each)."""
    hashes = np.empty(starts.shape[0], dtype=np.uint64)
    for i in range(starts.shape[0]):
        hashes[i] = span_hash(points, starts[i], ends[i])
    return hashes


@kernel(U64_IN, I32_IN.dtype)
def ngram_hashes(words: U64Array, n: int) -> U64Array:
    """Return the hash of every window of n word hashes (U64, max(0, len(words) - n + 1)); n is at least 1.

    A polynomial in `NGRAM_FACTOR` modulo 2^64 over the word hashes, rolled along and then finalized.
    """
    windows = max(words.shape[0] - n + 1, 0)
    hashes = np.empty(windows, dtype=np.uint64)
    if windows == 0:
        return hashes
    leaving_factor = ONE
    for _ in range(n):
        leaving_factor *= NGRAM_FACTOR
    rolling = np.uint64(0)
    for i in range(n):
        rolling = rolling * NGRAM_FACTOR + words[i]
    hashes[0] = finalize(rolling)
    for i in range(n, words.shape[0]):
        rolling = rolling * NGRAM_FACTOR + words[i] - words[i - n] * leaving_factor
        hashes[i - n + 1] = finalize(rolling)
    return hashes


@kernel(U32_IN, I32_IN, I32_IN)
def span_ids(points: U32Array, starts: I32Array, ends: I32Array) -> I32Array:
    """Number the distinct spans 0, 1, 2 … by first occurrence (I32, one for each span); equal exactly as strings."""
    spans = starts.shape[0]
    ids = np.empty(spans, dtype=np.int32)
    first = np.empty(spans, dtype=np.int32)  # by identity: its first span
    hashes = np.empty(spans, dtype=np.uint64)  # by identity
    slots = np.full(slots_for(spans), -1, dtype=np.int32)
    mask = slots.shape[0] - 1
    distinct = 0
    for i in range(spans):
        start = starts[i]
        length = ends[i] - start
        value = span_hash(points, start, ends[i])
        slot = np.int64(value & np.uint64(mask))
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = distinct
                first[distinct] = i
                hashes[distinct] = value
                ids[i] = distinct
                distinct += 1
                break
            if hashes[known] == value:
                other = starts[first[known]]
                same = ends[first[known]] - other == length
                k = 0
                while same and k < length:
                    same = points[other + k] == points[start + k]
                    k += 1
                if same:
                    ids[i] = known
                    break
            slot = (slot + 1) & mask
    return ids


@kernel(I32_IN, I32_IN)
def running_lengths(starts: I32Array, ends: I32Array) -> I64Array:
    """Return the running sums of the lengths of the spans (I64, one more than spans), from 0."""
    sums = np.empty(starts.shape[0] + 1, dtype=np.int64)
    total = 0
    sums[0] = 0
    for i in range(starts.shape[0]):
        total += ends[i] - starts[i]
        sums[i + 1] = total
    return sums


@kernel(I32_IN, I32_IN, I32_IN)
def repeated_spans(ids: I32Array, starts: I32Array, ends: I32Array) -> I64Array:
    """Return (spans that occur more than once, their characters, all characters); every occurrence counts (I64)."""
    spans = ids.shape[0]
    counts = np.zeros(spans, dtype=np.int32)
    for i in range(spans):
        counts[ids[i]] += 1
    totals = np.zeros(3, dtype=np.int64)
    for i in range(spans):
        length = ends[i] - starts[i]
        totals[2] += length
        if counts[ids[i]] > 1:
            totals[0] += 1
            totals[1] += length
    return totals


@helper_kernel
def name_pairs(names: I64Array, places: I64Array, active: int, pair_names: I64Array, slots: I64Array) -> int:
    """Number the distinct pairs (names[p], names[p + 1]) of the active places; return how many there are.

    `slots` holds at each slot the index into `places` of the pair's first occurrence, -1 where empty.
    """
    mask = slots.shape[0] - 1
    distinct = 0
    for j in range(active):
        place = places[j]
        left, right = names[place], names[place + 1]
        key = (np.uint64(left) << SHIFT_32) | np.uint64(right)
        slot = np.int64((key * PAIR_FACTOR >> SHIFT_32) & np.uint64(mask))
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = j
                pair_names[j] = distinct
                distinct += 1
                break
            if names[places[known]] == left and names[places[known] + 1] == right:
                pair_names[j] = pair_names[known]
                break
            slot = (slot + 1) & mask
    return distinct


@helper_kernel
def measure_repeats(
    places: I64Array, pair_names: I64Array, active: int, counts: I64Array, offsets: I64Array, n: int
) -> tuple[int, int]:
    """Return (length × count of the most common n-gram, characters under any repeated n-gram); zeros if none repeats.

    Among n-grams of the same count the longest is taken; `offsets` are the running sums of the word lengths.
    """
    best_count, best_length = 1, 0
    covered = 0
    reached = 0
    for j in range(active):
        count = counts[pair_names[j]]
        if count < 2:
            continue
        place = places[j]
        length = offsets[place + n] - offsets[place]
        if count > best_count or (count == best_count and length > best_length):
            best_count, best_length = count, length
        begin = max(place, reached)
        covered += offsets[place + n] - offsets[begin]
        reached = place + n
    return best_count * best_length, covered


@kernel(I32_IN, I64_IN, I32_IN.dtype)
def repeated_ngrams(ids: I32Array, offsets: I64Array, longest: int) -> tuple[I64Array, I64Array]:
    """Measure what repeats, for each n from 1 to `longest`, over words given by identity.

    Args:
        ids: I32 of W words, as `span_ids` gives them.
        offsets: I64 of W + 1 running sums of the word lengths, from 0.
        longest: largest n, at least 1.

    Returns:
        Two arrays (I64, `longest` + 1 each), indexed by n: characters of the most common n-gram times its count (the
        longest of the most common ones), and characters of the words under any n-gram that occurs more than once.
        Both are 0 where no n-gram occurs twice.
    """
    words = ids.shape[0]
    common = np.zeros(longest + 1, dtype=np.int64)
    covered = np.zeros(longest + 1, dtype=np.int64)
    names = np.full(words + 1, -1, dtype=np.int64)  # of the n-gram at each word; -1: occurs once
    places = np.empty(words, dtype=np.int64)
    pair_names = np.empty(words, dtype=np.int64)
    active = words
    for i in range(words):
        places[i] = i
        pair_names[i] = ids[i]
    distinct = words
    for n in range(1, longest + 1):
        counts = np.zeros(distinct, dtype=np.int64)
        for j in range(active):
            counts[pair_names[j]] += 1
        common[n], covered[n] = measure_repeats(places, pair_names, active, counts, offsets, n)
        if covered[n] == 0 or n == longest:
            break
        names[:] = -1
        for j in range(active):
            if counts[pair_names[j]] > 1:
                names[places[j]] = pair_names[j]
        remaining = 0
        for j in range(active):
            place = places[j]
            if names[place] >= 0 and names[place + 1] >= 0:
                places[remaining] = place
                remaining += 1
        active = remaining
        slots = np.full(slots_for(active), -1, dtype=np.int64)
        distinct = name_pairs(names, places, active, pair_names, slots)
    return common, covered
