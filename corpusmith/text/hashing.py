"""Stable hashes of words and n-grams, and exact counts of what repeats within one text.

Two families, for two needs. *Hashes* (`word_hashes`, `ngram_hashes`) are 64-bit numbers that are equal on every
machine and in every release of the same `HASH_GENERATION`; deduplication stores and exchanges them. *Identities*
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
    I64_OUT,
    U32_IN,
    U64_IN,
    I32Array,
    I64Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)

#: Raised when the same words give other hashes: signatures and filters made before fit no more.
HASH_GENERATION = 1

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
KEY_CHARACTERS = 7
LONG_KEY = ONE << np.uint64(63)
GLANCE_CHARACTERS = 8


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


@helper_kernel
def span_key(points: U32Array, start: int, end: int) -> np.uint64:
    """Return a number for the span [start, end): of short ones the span itself.

    Up to KEY_CHARACTERS characters below 256 are packed, the first one lowest, with the length above them; any other
    span has the highest bit set and its hash below it, so equal numbers below LONG_KEY mean equal spans.
    """
    length = end - start
    if length <= KEY_CHARACTERS:
        packed = np.uint64(0)
        wide = np.uint64(0)
        if start + KEY_CHARACTERS <= points.shape[0]:
            # always the same number of turns: cheaper than a mispredicted branch
            for k in range(KEY_CHARACTERS):
                point = points[start + k]
                packed |= np.uint64(point & 0xFF) << np.uint64(8 * k)
                wide |= np.uint64(point >> 8 != 0) << np.uint64(8 * k)
            kept = (ONE << np.uint64(8 * length)) - ONE
            packed &= kept
            wide &= kept
        else:
            for k in range(length):
                point = points[start + k]
                packed |= np.uint64(point & 0xFF) << np.uint64(8 * k)
                wide |= np.uint64(point >> 8)
        if wide == 0:
            return packed | np.uint64(length) << np.uint64(8 * KEY_CHARACTERS)
    return span_hash(points, start, end) | LONG_KEY


@helper_kernel
def same_points(points: U32Array, one: int, other: int, length: int) -> bool:
    """Whether the spans of this length that begin at `one` and `other` are equal."""
    same = True
    k = 0
    while same and k < length:
        same = points[one + k] == points[other + k]
        k += 1
    return same


@helper_kernel
def number_spans(points: U32Array, starts: I32Array, ends: I32Array, ids: I32Array) -> int:
    """Write into `ids` what `span_ids` returns; return how many distinct spans there are."""
    spans = starts.shape[0]
    first = np.empty(spans, dtype=np.int32)  # by identity: its first span
    keys = np.empty(spans, dtype=np.uint64)  # by identity
    slots = np.full(slots_for(spans), -1, dtype=np.int32)
    mask = np.uint64(slots.shape[0] - 1)
    distinct = 0
    for i in range(spans):
        start = starts[i]
        key = span_key(points, start, ends[i])
        slot = (key * PAIR_FACTOR >> SHIFT_32) & mask
        while True:
            known = slots[slot]
            if known < 0:
                slots[slot] = distinct
                first[distinct] = i
                keys[distinct] = key
                ids[i] = distinct
                distinct += 1
                break
            if keys[known] == key:
                other = first[known]
                length = ends[i] - start
                if key < LONG_KEY or (
                    ends[other] - starts[other] == length and same_points(points, starts[other], start, length)
                ):
                    ids[i] = known
                    break
            slot = (slot + ONE) & mask
    return distinct


@kernel(U32_IN, I32_IN, I32_IN)
def span_ids(points: U32Array, starts: I32Array, ends: I32Array) -> I32Array:
    """Number the distinct spans 0, 1, 2 … by first occurrence (I32, one for each span); equal exactly as strings."""
    ids = np.empty(starts.shape[0], dtype=np.int32)
    number_spans(points, starts, ends, ids)
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


@helper_kernel
def glance(points: U32Array, start: int, end: int) -> np.uint64:
    """Return a number that equal spans share and few others do, from their length and their two ends."""
    value = np.uint64(end - start)
    for k in range(min(GLANCE_CHARACTERS, end - start)):
        value = value * WORD_FACTOR + np.uint64(points[start + k])
        value = value * PAIR_FACTOR + np.uint64(points[end - 1 - k])
    return finalize(value)


@helper_kernel
def select_alike(points: U32Array, starts: I32Array, ends: I32Array, selected: I32Array) -> int:
    """Write the indexes of the spans of which another has the same glance, in order; return how many there are."""
    spans = starts.shape[0]
    glances = np.empty(spans, dtype=np.uint64)
    alike = np.zeros(spans, dtype=np.uint8)
    slots = np.full(slots_for(spans), -1, dtype=np.int32)
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(spans):
        value = glances[i] = glance(points, starts[i], ends[i])
        slot = (value >> SHIFT_32) & mask
        first = slots[slot]
        while first >= 0 and glances[first] != value:
            slot = (slot + ONE) & mask
            first = slots[slot]
        if first < 0:
            slots[slot] = i
        else:
            alike[first] = alike[i] = 1
    count = 0
    for i in range(spans):
        if alike[i]:
            selected[count] = i
            count += 1
    return count


@kernel(U32_IN, I32_IN, I32_IN, I64_OUT)
def repeated_spans(points: U32Array, starts: I32Array, ends: I32Array, totals: I64Array) -> int:
    """Fill five totals (I64): spans that occur more than once, their characters, all characters, and the first two
    once more without the first occurrence of each span.

    Spans are compared by a glance at their ends first, and only those that are not alone with it are read as a whole.
    Returns the first total.
    """
    for i in range(starts.shape[0]):
        totals[2] += ends[i] - starts[i]
    selected = np.empty(starts.shape[0], dtype=np.int32)
    count = select_alike(points, starts, ends, selected)
    if count == 0:
        return 0
    some_starts, some_ends = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
    for k in range(count):
        some_starts[k] = starts[selected[k]]
        some_ends[k] = ends[selected[k]]
    ids = np.empty(count, dtype=np.int32)
    counts = np.zeros(number_spans(points, some_starts, some_ends, ids), dtype=np.int32)
    for k in range(count):
        counts[ids[k]] += 1
    highest = np.int32(-1)
    for k in range(count):
        # names are numbered by first occurrence, so one that is not new is no higher than those before
        is_later = ids[k] <= highest
        highest = max(highest, ids[k])
        if counts[ids[k]] > 1:
            length = some_ends[k] - some_starts[k]
            totals[0] += 1
            totals[1] += length
            totals[3] += is_later
            totals[4] += is_later * length
    return int(totals[0])


@kernel(I32_IN, I64_IN, I64_IN.dtype, I64_OUT, I64_OUT, I64_OUT)
def repeated_ngrams(
    ids: I32Array, offsets: I64Array, longest: int, common: I64Array, covered: I64Array, later: I64Array
) -> int:
    """Measure what repeats, for each n from 1 to `longest`, over words given by identity.

    Args:
        ids: I32 of W words, as `span_ids` gives them.
        offsets: I64 of W + 1 running sums of the word lengths, from 0.
        longest: largest n, at least 1.
        common: filled (I64, `longest` + 1 zeros, indexed by n) with the characters of the most common n-gram times its
            count (the longest of the most common ones); 0 where no n-gram occurs twice.
        covered: filled likewise with the characters of the words under any n-gram that occurs more than once.
        later: filled likewise with those under any n-gram that occurred before.

    Returns:
        The largest n of which an n-gram repeats, 0 for none.
    """
    words = ids.shape[0]
    # the n-grams that may repeat: where they begin, and their names; how often each name occurs
    places = np.empty(words, dtype=np.int32)
    names = np.empty(words, dtype=np.int32)
    counts = np.zeros(words, dtype=np.int32)
    next_counts = np.empty(words, dtype=np.int32)
    pairs = np.empty(words, dtype=np.uint64)
    slots = np.empty(slots_for(words), dtype=np.int32)
    for i in range(words):
        places[i] = i
        names[i] = ids[i]
        counts[ids[i]] += 1
    active = words
    for n in range(1, longest + 1):
        size = slots_for(active)
        mask = np.uint64(size - 1)
        slots[:size] = -1
        best_count, best_length = 1, np.int64(0)
        total = later_total = np.int64(0)
        reached = later_reached = distinct = remaining = 0
        highest = np.int32(-1)
        for j in range(active):
            name = names[j]
            count = counts[name]
            is_later = name <= highest
            highest = max(highest, name)
            if count < 2:
                continue
            place = places[j]
            end = offsets[place + n]
            length = end - offsets[place]
            if count > best_count or (count == best_count and length > best_length):
                best_count, best_length = count, length
            total += end - offsets[max(place, reached)]
            reached = place + n
            if is_later:
                later_total += end - offsets[max(place, later_reached)]
                later_reached = place + n
            # an (n+1)-gram can repeat only where both of its n-grams do; it is named by the pair of their names
            if j + 1 == active or places[j + 1] != place + 1 or counts[names[j + 1]] < 2:
                continue
            pair = (np.uint64(name) << SHIFT_32) | np.uint64(names[j + 1])
            slot = (pair * PAIR_FACTOR >> SHIFT_32) & mask
            known = slots[slot]
            while known >= 0 and pairs[known] != pair:
                slot = (slot + ONE) & mask
                known = slots[slot]
            if known < 0:
                known = slots[slot] = distinct
                pairs[distinct] = pair
                next_counts[distinct] = 0
                distinct += 1
            next_counts[known] += 1
            places[remaining] = place
            names[remaining] = known
            remaining += 1
        if total == 0:
            return n - 1
        common[n] = best_count * best_length
        covered[n] = total
        later[n] = later_total
        active = remaining
        counts, next_counts = next_counts, counts
    return longest
