"""What the model knows about each block: itself, its neighbours, its place in the page, and the elements around it.

Follows the features that separated main text from the rest in Boilerpipe (text and link density of a block and its
neighbours), CETD (densities of whole elements), Readability (scores handed up to parent and grandparent) and Web2Text
(the same features at several ancestors); and adds how blocks of one kind, the same element with the same class in the
same surroundings, do together: paragraphs of an article share a kind, and so do the teasers of a list.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import helper_kernel, kernel
from raw_sources.extractors.blocks.kernels import (
    B_BITS,
    B_BOLD,
    B_BREAKS,
    B_CHARS,
    B_COMMAS,
    B_DIGITS,
    B_ENDS,
    B_FIRST_BYTE,
    B_HASH,
    B_LAST_BYTE,
    B_LINK_CHARS,
    B_LINKS,
    B_NODE,
    B_PUNCTUATION,
    B_TEXT_BITS,
    B_UPPER,
    B_WIDE,
    B_WORDS,
    I64_OUT,
    N_ALL,
    N_DEPTH,
    N_OWN,
    N_PARENT,
    N_SIGNATURE,
    N_TAG,
)
from raw_sources.extractors.blocks.scan import Blocks
from raw_sources.extractors.blocks.tables import (
    ARTICLE_WORDS,
    ATTRIBUTE_WORDS,
    BITS,
    FIRST_TAG_BIT,
    HEADING_BIT,
    NEGATIVE_TAGS,
    NEGATIVE_WORDS,
    TAG,
    TEXT_WORDS,
    Array,
)

ANCESTORS = 5
NEIGHBOURS = (-2, -1, 1, 2)
_OWN = 20
_NEIGHBOUR = 5
_PLACE = 8
_CANDIDATE = 7
_ANCESTOR = 6
_KIND = 6
_PAGE = 4
_WORDS = len(ATTRIBUTE_WORDS)
_TEXTS = len(TEXT_WORDS)
FEATURES = (
    _OWN + _TEXTS + _NEIGHBOUR * len(NEIGHBOURS) + _PLACE + _CANDIDATE + _ANCESTOR * ANCESTORS + 2 * _KIND + _PAGE
    + 2 * _WORDS + 2 * BITS
)  # fmt: skip

#: where the bits of the elements between a block and the best element's ancestors stand
FIRST_BELOW = _OWN + _TEXTS + _NEIGHBOUR * len(NEIGHBOURS) + _PLACE + _CANDIDATE
LINK_DENSITY = 2
_H1 = TAG["h1"]
_AGAINST = np.int64(sum(1 << bit for bit in NEGATIVE_WORDS) | sum(1 << FIRST_TAG_BIT + bit for bit in NEGATIVE_TAGS))
_FOR = np.int64(1 << ARTICLE_WORDS)
_HEADING = np.int64(1 << HEADING_BIT)
# sums of a node
_N_CHARS, _N_LINKED, _N_BLOCKS, _N_WORDS, _N_ENDS, _N_LONG, _N_SCORE = range(7)
_SUMS = 7


@helper_kernel
def _last_kind(byte: int) -> float:
    """How a text ends: 3 a sentence, 2 a pause, 1 a letter, 0 else."""
    if byte == 46 or byte == 33 or byte == 63 or byte == 34 or byte >= 0xE2:
        return 3.0
    if byte == 58 or byte == 44 or byte == 59:
        return 2.0
    return 1.0 if 97 <= byte <= 122 else 0.0


@helper_kernel
def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


@helper_kernel
def _sum_nodes(blocks: Array, nodes: Array, sums: Array) -> None:
    """What stands in each element, descendants included; and Readability's score of each."""
    for block in blocks:
        node = block[B_NODE]
        chars = block[B_CHARS]
        sums[node, _N_CHARS] += chars
        sums[node, _N_LINKED] += block[B_LINK_CHARS]
        sums[node, _N_BLOCKS] += 1
        sums[node, _N_WORDS] += block[B_WORDS]
        sums[node, _N_ENDS] += block[B_ENDS]
        sums[node, _N_LONG] += chars >= 100
        if chars >= 25 and 2 * block[B_LINK_CHARS] < chars:
            score = 1.0 + block[B_COMMAS] + min(chars / 100.0, 3.0)
            parent = nodes[node, N_PARENT]
            sums[node, _N_SCORE] += score * 0.5
            if parent >= 0:
                sums[parent, _N_SCORE] += score
                above = nodes[parent, N_PARENT]
                if above >= 0:
                    sums[above, _N_SCORE] += 0.5 * score
    for node in range(len(nodes) - 1, 0, -1):
        for field in range(_N_SCORE):
            sums[nodes[node, N_PARENT], field] += sums[node, field]


@helper_kernel
def _best_node(sums: Array, nodes: Array) -> int:
    """The element with the best score once its links are counted against it, and what its names say."""
    best, best_score = 0, -1.0
    for node in range(len(sums)):
        score = sums[node, _N_SCORE] * (1.0 - _ratio(sums[node, _N_LINKED], sums[node, _N_CHARS]))
        own = nodes[node, N_OWN]
        if own & _AGAINST and nodes[node, N_DEPTH] > 2:
            score *= 0.3
        if own & _FOR:
            score *= 1.25
        if score > best_score:
            best, best_score = node, score
    return best


@helper_kernel
def _own(block: Array, nodes: Array, repeats: int, out: Array) -> None:
    chars, words = float(block[B_CHARS]), float(block[B_WORDS])
    out[0] = np.log1p(chars)
    out[1] = np.log1p(words)
    out[2] = _ratio(block[B_LINK_CHARS], chars)
    out[3] = block[B_LINKS]
    out[4] = _ratio(chars, words)
    out[5] = _ratio(block[B_COMMAS], words)
    out[6] = _ratio(block[B_ENDS], words)
    out[7] = block[B_ENDS]
    out[8] = _last_kind(block[B_LAST_BYTE])
    out[9] = _ratio(block[B_DIGITS], chars)
    out[10] = _ratio(block[B_UPPER], words)
    out[11] = _ratio(block[B_BOLD], chars)
    out[12] = _ratio(block[B_WIDE], chars)
    out[13] = block[B_BREAKS]
    out[14] = _ratio(block[B_PUNCTUATION], words)
    out[15] = 65 <= block[B_FIRST_BYTE] <= 90
    out[16] = 48 <= block[B_FIRST_BYTE] <= 57
    out[17] = nodes[block[B_NODE], N_TAG]
    out[18] = nodes[block[B_NODE], N_DEPTH]
    out[19] = repeats


@helper_kernel
def _spread_bits(bits: int, number: int, out: Array, at: int) -> int:
    for bit in range(number):
        out[at + bit] = (bits >> bit) & 1
    return at + number


@helper_kernel
def _ancestors(node: int, nodes: Array, sums: Array, whole: float, out: Array, at: int) -> int:
    for level in range(ANCESTORS):
        place = at + level * _ANCESTOR
        if node < 0:
            for field in range(_ANCESTOR):
                out[place + field] = -1.0
            continue
        chars = sums[node, _N_CHARS]
        out[place] = np.log1p(chars)
        out[place + 1] = _ratio(sums[node, _N_LINKED], chars)
        out[place + 2] = np.log1p(sums[node, _N_BLOCKS])
        out[place + 3] = _ratio(chars, sums[node, _N_BLOCKS])
        out[place + 4] = _ratio(chars, whole)
        out[place + 5] = _ratio(sums[node, _N_ENDS], sums[node, _N_WORDS])
        node = nodes[node, N_PARENT]
    return at + ANCESTORS * _ANCESTOR


@helper_kernel
def _candidate(node: int, best: int, nodes: Array, sums: Array, out: Array, at: int) -> int:
    """Where a block stands to the best element: inside or not, how far from their common ancestor."""
    above = 0
    score = 0.0
    place = node
    while place >= 0:
        if place == best:
            out[at] = 1.0
        score = max(score, sums[place, _N_SCORE])
        place = nodes[place, N_PARENT]
    first, second = node, best
    up = 0
    while first != second and first >= 0 and second >= 0:
        if nodes[first, N_DEPTH] >= nodes[second, N_DEPTH]:
            first = nodes[first, N_PARENT]
            above += 1
        else:
            second = nodes[second, N_PARENT]
            up += 1
    below = np.int64(0)
    place = node
    while place != first and place >= 0:
        below |= nodes[place, N_OWN]
        place = nodes[place, N_PARENT]
    out[at + 1] = above
    out[at + 2] = up
    out[at + 3] = _ratio(score, sums[best, _N_SCORE])
    out[at + 4] = _ratio(sums[node, _N_SCORE], sums[best, _N_SCORE])
    out[at + 5] = np.log1p(sums[best, _N_CHARS])
    out[at + 6] = _ratio(sums[best, _N_LINKED], sums[best, _N_CHARS])
    return _spread_bits(int(below), BITS, out, at + _CANDIDATE)


@helper_kernel
def _kind(group: int, groups: Array, whole: float, out: Array, at: int) -> int:
    """How the blocks of one kind do together: `groups` has their number, characters, linked ones and sentences."""
    number, chars = groups[group, 0], groups[group, 1]
    out[at] = np.log1p(number)
    out[at + 1] = np.log1p(chars)
    out[at + 2] = _ratio(chars, number)
    out[at + 3] = _ratio(groups[group, 2], chars)
    out[at + 4] = _ratio(chars, whole)
    out[at + 5] = _ratio(groups[group, 3], number)
    return at + _KIND


@kernel(I64_OUT, I64_OUT, I64_OUT)
def compute(blocks: Array, nodes: Array, groups: Array) -> Array:
    """The features, (blocks, FEATURES); `groups` holds each block's kinds, narrow and wide, and its repeats."""
    count = len(blocks)
    out = np.zeros((count, FEATURES), np.float32)
    sums = np.zeros((len(nodes), _SUMS), np.float64)
    _sum_nodes(blocks, nodes, sums)
    best = _best_node(sums, nodes)
    kinds = np.zeros((2, count, 4), np.float64)
    headline = -1
    for index in range(count):
        block = blocks[index]
        for which in range(2):
            group = kinds[which, groups[index, which]]
            group[0] += 1
            group[1] += block[B_CHARS]
            group[2] += block[B_LINK_CHARS]
            group[3] += block[B_ENDS]
        if headline < 0 and nodes[block[B_NODE], N_TAG] == _H1:
            headline = index
    whole = max(sums[0, _N_CHARS], 1.0)
    before = 0.0
    for index in range(count):
        block, row = blocks[index], out[index]
        node = block[B_NODE]
        parent = max(nodes[node, N_PARENT], 0)
        _own(block, nodes, groups[index, 2], row)
        at = _spread_bits(block[B_TEXT_BITS], _TEXTS, row, _OWN)
        for distance in NEIGHBOURS:
            other = index + distance
            if 0 <= other < count:
                chars = blocks[other, B_CHARS]
                row[at] = np.log1p(chars)
                row[at + 1] = _ratio(blocks[other, B_LINK_CHARS], chars)
                row[at + 2] = _last_kind(blocks[other, B_LAST_BYTE])
                row[at + 3] = nodes[blocks[other, B_NODE], N_TAG]
                row[at + 4] = blocks[other, B_NODE] == node or nodes[blocks[other, B_NODE], N_PARENT] == parent
            else:
                row[at] = -1.0
            at += _NEIGHBOUR
        row[at] = index / count
        row[at + 1] = before / whole
        row[at + 2] = index
        row[at + 3] = count - index
        row[at + 4] = min(max(index - headline, -50), 200) if headline >= 0 else -100
        row[at + 5] = (nodes[node, N_OWN] & _HEADING) != 0
        row[at + 6] = whole - before - block[B_CHARS]
        row[at + 7] = headline >= 0
        at = _candidate(node, best, nodes, sums, row, at + _PLACE)
        at = _ancestors(node, nodes, sums, whole, row, at)
        for which in range(2):
            at = _kind(groups[index, which], kinds[which], whole, row, at)
        row[at] = np.log1p(count)
        row[at + 1] = np.log1p(whole)
        row[at + 2] = _ratio(sums[0, _N_LINKED], whole)
        row[at + 3] = _ratio(sums[0, _N_LONG], count)
        at = _spread_bits(block[B_BITS] | nodes[node, N_OWN], _WORDS, row, at + _PAGE)
        at = _spread_bits(nodes[parent, N_OWN] | nodes[max(nodes[parent, N_PARENT], 0), N_OWN], _WORDS, row, at)
        _spread_bits(nodes[node, N_ALL], BITS, row, at)
        before += block[B_CHARS]
    return out


def block_features(page: Blocks) -> Array:
    """The features of a page's blocks, float32 of shape (blocks, FEATURES)."""
    if not len(page.blocks):
        return np.zeros((0, FEATURES), np.float32)
    blocks, nodes = np.ascontiguousarray(page.blocks), np.ascontiguousarray(page.nodes)
    features: Array = compute(blocks, nodes, _groups(blocks, nodes))
    return features


def _groups(blocks: Array, nodes: Array) -> Array:
    """Each block's kinds, narrow and wide, as numbers from 0, and how often its text stands in the page."""
    groups = np.zeros((len(blocks), 3), np.int64)
    node = blocks[:, B_NODE]
    parent = np.maximum(nodes[node, N_PARENT], 0)
    narrow = nodes[node, N_SIGNATURE] * 1_000_003 + nodes[parent, N_SIGNATURE]
    wide = nodes[node, N_TAG] * 1_000_003 + nodes[parent, N_SIGNATURE]
    groups[:, 0] = np.unique(narrow, return_inverse=True)[1]
    groups[:, 1] = np.unique(wide, return_inverse=True)[1]
    _, same, number = np.unique(blocks[:, B_HASH], return_inverse=True, return_counts=True)
    groups[:, 2] = number[same]
    return groups
