"""What the model knows about each block: itself, its neighbours, its place in the page, and the elements around it.

Follows the features that separated main text from the rest in Boilerpipe (text and link density of a block and its
neighbours), CETD (densities of whole elements), Readability (scores handed up to parent and grandparent) and Web2Text
(the same features at several ancestors); and adds how blocks of one kind, the same element with the same class in the
same surroundings, do together: paragraphs of an article share a kind, and so do the teasers of a list.
"""

from __future__ import annotations

import numpy as np

from corpusmith.text.kernels import I64_2D_IN, helper_kernel, kernel
from raw_sources.extractors.blocks.columns import B, N
from raw_sources.extractors.blocks.feature_names import (
    ANCESTOR,
    ANCESTORS,
    ANCESTORS_AT,
    AROUND_AT,
    BELOW_AT,
    CANDIDATE,
    ELEMENT_AT,
    FEATURES,
    KIND,
    KINDS_AT,
    NEIGHBOUR,
    NEIGHBOUR_DISTANCES,
    NEIGHBOURS_AT,
    OWN,
    PAGE,
    PARENTS_AT,
    PLACE,
    TEXT_AT,
)
from raw_sources.extractors.blocks.scan import Blocks
from raw_sources.extractors.blocks.tables import (
    ATTRIBUTE_WORDS,
    BIT,
    BITS,
    NEGATIVE,
    POSITIVE,
    TAG,
    TEXT_WORDS,
    Array,
)

_H1 = TAG["h1"]
_AGAINST = np.int64(sum(BIT[name] for name in NEGATIVE))
_FOR = np.int64(BIT[POSITIVE])
_HEADING = np.int64(BIT["<h1-h6>"])
_WORDS = len(ATTRIBUTE_WORDS)
_TEXTS = len(TEXT_WORDS)
# columns of the groups that a block belongs to: its kinds, and how often its text stands in the page
_NARROW, _WIDE, _REPEATS = range(3)
# sums of a kind
_K_BLOCKS, _K_CHARS, _K_LINKED, _K_ENDS = range(4)
_KIND_SUMS = 4
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
        node = block[B.node]
        chars = block[B.chars]
        sums[node, _N_CHARS] += chars
        sums[node, _N_LINKED] += block[B.link_chars]
        sums[node, _N_BLOCKS] += 1
        sums[node, _N_WORDS] += block[B.words]
        sums[node, _N_ENDS] += block[B.ends]
        sums[node, _N_LONG] += chars >= 100
        if chars >= 25 and 2 * block[B.link_chars] < chars:
            score = 1.0 + block[B.commas] + min(chars / 100.0, 3.0)
            parent = nodes[node, N.parent]
            sums[node, _N_SCORE] += score * 0.5
            if parent >= 0:
                sums[parent, _N_SCORE] += score
                above = nodes[parent, N.parent]
                if above >= 0:
                    sums[above, _N_SCORE] += 0.5 * score
    for node in range(len(nodes) - 1, 0, -1):
        for field in range(_N_SCORE):
            sums[nodes[node, N.parent], field] += sums[node, field]


@helper_kernel
def _best_node(sums: Array, nodes: Array) -> int:
    """The element with the best score once its links are counted against it, and what its names say."""
    best, best_score = 0, -1.0
    for node in range(len(sums)):
        score = sums[node, _N_SCORE] * (1.0 - _ratio(sums[node, _N_LINKED], sums[node, _N_CHARS]))
        own = nodes[node, N.own]
        if own & _AGAINST and nodes[node, N.depth] > 2:
            score *= 0.3
        if own & _FOR:
            score *= 1.25
        if score > best_score:
            best, best_score = node, score
    return best


@helper_kernel
def _own(block: Array, nodes: Array, repeats: int, out: Array) -> None:
    chars, words = float(block[B.chars]), float(block[B.words])
    out[OWN.log_chars] = np.log1p(chars)
    out[OWN.log_words] = np.log1p(words)
    out[OWN.link_density] = _ratio(block[B.link_chars], chars)
    out[OWN.links] = block[B.links]
    out[OWN.chars_per_word] = _ratio(chars, words)
    out[OWN.commas_per_word] = _ratio(block[B.commas], words)
    out[OWN.ends_per_word] = _ratio(block[B.ends], words)
    out[OWN.ends] = block[B.ends]
    out[OWN.last_kind] = _last_kind(block[B.last_byte])
    out[OWN.digits_per_char] = _ratio(block[B.digits], chars)
    out[OWN.capitals_per_word] = _ratio(block[B.upper], words)
    out[OWN.bold_share] = _ratio(block[B.bold], chars)
    out[OWN.wide_share] = _ratio(block[B.wide], chars)
    out[OWN.breaks] = block[B.breaks]
    out[OWN.punctuation_per_word] = _ratio(block[B.punctuation], words)
    out[OWN.begins_with_capital] = 65 <= block[B.first_byte] <= 90
    out[OWN.begins_with_digit] = 48 <= block[B.first_byte] <= 57
    out[OWN.tag] = nodes[block[B.node], N.tag]
    out[OWN.depth] = nodes[block[B.node], N.depth]
    out[OWN.repeats] = repeats


@helper_kernel
def _spread_bits(bits: int, number: int, out: Array, at: int) -> None:
    for bit in range(number):
        out[at + bit] = (bits >> bit) & 1


@helper_kernel
def _neighbours(index: int, blocks: Array, nodes: Array, out: Array) -> None:
    node = blocks[index, B.node]
    parent = max(nodes[node, N.parent], 0)
    for number in range(len(NEIGHBOUR_DISTANCES)):
        at = NEIGHBOURS_AT + number * len(NEIGHBOUR)
        other = index + NEIGHBOUR_DISTANCES[number]
        if not 0 <= other < len(blocks):
            out[at + NEIGHBOUR.log_chars] = -1.0
            continue
        block = blocks[other]
        out[at + NEIGHBOUR.log_chars] = np.log1p(block[B.chars])
        out[at + NEIGHBOUR.link_density] = _ratio(block[B.link_chars], block[B.chars])
        out[at + NEIGHBOUR.last_kind] = _last_kind(block[B.last_byte])
        out[at + NEIGHBOUR.tag] = nodes[block[B.node], N.tag]
        out[at + NEIGHBOUR.is_sibling] = block[B.node] == node or nodes[block[B.node], N.parent] == parent


@helper_kernel
def _ancestors(node: int, nodes: Array, sums: Array, whole: float, out: Array) -> None:
    for level in range(ANCESTORS):
        at = ANCESTORS_AT + level * len(ANCESTOR)
        if node < 0:
            for field in range(len(ANCESTOR)):
                out[at + field] = -1.0
            continue
        chars = sums[node, _N_CHARS]
        out[at + ANCESTOR.log_chars] = np.log1p(chars)
        out[at + ANCESTOR.link_density] = _ratio(sums[node, _N_LINKED], chars)
        out[at + ANCESTOR.log_blocks] = np.log1p(sums[node, _N_BLOCKS])
        out[at + ANCESTOR.chars_per_block] = _ratio(chars, sums[node, _N_BLOCKS])
        out[at + ANCESTOR.share_of_chars] = _ratio(chars, whole)
        out[at + ANCESTOR.ends_per_word] = _ratio(sums[node, _N_ENDS], sums[node, _N_WORDS])
        node = nodes[node, N.parent]


@helper_kernel
def _candidate(node: int, best: int, nodes: Array, sums: Array, out: Array) -> None:
    """Where a block stands to the best element: inside or not, how far from their common ancestor."""
    above = 0
    score = 0.0
    place = node
    while place >= 0:
        if place == best:
            out[CANDIDATE.is_inside] = 1.0
        score = max(score, sums[place, _N_SCORE])
        place = nodes[place, N.parent]
    first, second = node, best
    up = 0
    while first != second and first >= 0 and second >= 0:
        if nodes[first, N.depth] >= nodes[second, N.depth]:
            first = nodes[first, N.parent]
            above += 1
        else:
            second = nodes[second, N.parent]
            up += 1
    below = np.int64(0)
    place = node
    while place != first and place >= 0:
        below |= nodes[place, N.own]
        place = nodes[place, N.parent]
    out[CANDIDATE.levels_up] = above
    out[CANDIDATE.levels_down] = up
    out[CANDIDATE.best_score_above] = _ratio(score, sums[best, _N_SCORE])
    out[CANDIDATE.own_score] = _ratio(sums[node, _N_SCORE], sums[best, _N_SCORE])
    out[CANDIDATE.log_chars] = np.log1p(sums[best, _N_CHARS])
    out[CANDIDATE.link_density] = _ratio(sums[best, _N_LINKED], sums[best, _N_CHARS])
    _spread_bits(int(below), BITS, out, BELOW_AT)


@helper_kernel
def _kind(sums: Array, whole: float, out: Array, at: int) -> None:
    """How the blocks of one kind do together, by their sums."""
    number, chars = sums[_K_BLOCKS], sums[_K_CHARS]
    out[at + KIND.log_blocks] = np.log1p(number)
    out[at + KIND.log_chars] = np.log1p(chars)
    out[at + KIND.chars_per_block] = _ratio(chars, number)
    out[at + KIND.link_density] = _ratio(sums[_K_LINKED], chars)
    out[at + KIND.share_of_chars] = _ratio(chars, whole)
    out[at + KIND.ends_per_block] = _ratio(sums[_K_ENDS], number)


@helper_kernel
def _sum_kinds(blocks: Array, groups: Array) -> Array:
    """The sums of each kind, narrow and wide: (2, blocks, _KIND_SUMS)."""
    kinds = np.zeros((2, len(blocks), _KIND_SUMS), np.float64)
    for index in range(len(blocks)):
        block = blocks[index]
        for which in (_NARROW, _WIDE):
            sums = kinds[which, groups[index, which]]
            sums[_K_BLOCKS] += 1
            sums[_K_CHARS] += block[B.chars]
            sums[_K_LINKED] += block[B.link_chars]
            sums[_K_ENDS] += block[B.ends]
    return kinds


@helper_kernel
def _first_headline(blocks: Array, nodes: Array) -> int:
    """The first block in an `h1`, or -1."""
    for index in range(len(blocks)):
        if nodes[blocks[index, B.node], N.tag] == _H1:
            return index
    return -1


@kernel(I64_2D_IN, I64_2D_IN, I64_2D_IN)
def compute(blocks: Array, nodes: Array, groups: Array) -> Array:
    """The features, (blocks, FEATURES); `groups` holds each block's kinds, narrow and wide, and its repeats."""
    count = len(blocks)
    out = np.zeros((count, FEATURES), np.float32)
    sums = np.zeros((len(nodes), _SUMS), np.float64)
    _sum_nodes(blocks, nodes, sums)
    best = _best_node(sums, nodes)
    kinds = _sum_kinds(blocks, groups)
    headline = _first_headline(blocks, nodes)
    whole = max(sums[0, _N_CHARS], 1.0)
    before = 0.0
    for index in range(count):
        block, row = blocks[index], out[index]
        node = block[B.node]
        parent = max(nodes[node, N.parent], 0)
        _own(block, nodes, groups[index, _REPEATS], row)
        _spread_bits(block[B.text_bits], _TEXTS, row, TEXT_AT)
        _neighbours(index, blocks, nodes, row)
        row[PLACE.share_of_blocks] = index / count
        row[PLACE.share_of_chars] = before / whole
        row[PLACE.blocks_before] = index
        row[PLACE.blocks_left] = count - index
        row[PLACE.blocks_after_headline] = min(max(index - headline, -50), 200) if headline >= 0 else -100
        row[PLACE.is_heading] = (nodes[node, N.own] & _HEADING) != 0
        row[PLACE.chars_left] = whole - before - block[B.chars]
        row[PLACE.has_headline] = headline >= 0
        _candidate(node, best, nodes, sums, row)
        _ancestors(node, nodes, sums, whole, row)
        for which in (_NARROW, _WIDE):
            _kind(kinds[which, groups[index, which]], whole, row, KINDS_AT + which * len(KIND))
        row[PAGE.log_blocks] = np.log1p(count)
        row[PAGE.log_chars] = np.log1p(whole)
        row[PAGE.link_density] = _ratio(sums[0, _N_LINKED], whole)
        row[PAGE.share_of_long_blocks] = _ratio(sums[0, _N_LONG], count)
        _spread_bits(block[B.bits] | nodes[node, N.own], _WORDS, row, ELEMENT_AT)
        _spread_bits(nodes[parent, N.own] | nodes[max(nodes[parent, N.parent], 0), N.own], _WORDS, row, PARENTS_AT)
        _spread_bits(nodes[node, N.all], BITS, row, AROUND_AT)
        before += block[B.chars]
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
    node = blocks[:, B.node]
    parent = np.maximum(nodes[node, N.parent], 0)
    narrow = nodes[node, N.signature] * 1_000_003 + nodes[parent, N.signature]
    wide = nodes[node, N.tag] * 1_000_003 + nodes[parent, N.signature]
    groups[:, _NARROW] = np.unique(narrow, return_inverse=True)[1]
    groups[:, _WIDE] = np.unique(wide, return_inverse=True)[1]
    _, same, number = np.unique(blocks[:, B.hash], return_inverse=True, return_counts=True)
    groups[:, _REPEATS] = number[same]
    return groups
