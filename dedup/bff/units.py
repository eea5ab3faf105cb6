"""Dedup units: the n-grams of a page that are looked up together, before any of them is inserted.

A unit is a paragraph (`paragraph`, `old-both`), the whole text (`document`, `both`, `substring`, `exact`), or first the
whole text and then each paragraph (`naive-both`). The n-grams of a page stand in the order of its units. Paragraphs are
cut before each line feed; a page has one at least.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from corpusmith.text.kernels import I32_IN, I32Array, I64Array, helper_kernel, kernel

# The modes as kernels number them.
PARAGRAPH, DOCUMENT, BOTH, NAIVE_BOTH, OLD_BOTH, SUBSTRING, EXACT = range(7)
WHOLE_TEXT = -1  # stands for a paragraph's number


class Rules(NamedTuple):
    """What a Bloom-filter dedup is asked for, as kernels take it.

    `mode`: one of the modes above; `shortest`, `longest`: tokens of an n-gram; `threshold`: share of contained n-grams;
    `shortest_removed`: tokens that substring mode removes at least; `update`: whether what is kept is inserted.
    """

    mode: int
    shortest: int
    longest: int
    threshold: float
    shortest_removed: int
    update: bool


RULES = types.NamedTuple(  # type: ignore[no-untyped-call]
    (types.int64, types.int64, types.int64, types.float64, types.int64, types.boolean),
    Rules,
)


class DedupUnit(NamedTuple):
    """A unit within a block of n-grams.

    `page`: its page; `paragraph`: its number in the block, or `WHOLE_TEXT`; [`first`, `last`): the page's paragraphs;
    `start`: the page's first n-gram; [`begin`, `end`): the unit's n-grams.
    """

    page: int
    paragraph: int
    first: int
    last: int
    start: int
    begin: int
    end: int


@helper_kernel
def has_whole_text(mode: int) -> bool:
    """Whether the whole text of a page is a unit."""
    return mode in (DOCUMENT, BOTH, NAIVE_BOTH, SUBSTRING, EXACT)


@helper_kernel
def has_paragraphs(mode: int) -> bool:
    """Whether the paragraphs of a page are units."""
    return mode in (PARAGRAPH, OLD_BOTH, NAIVE_BOTH)


@helper_kernel
def ngrams_of(tokens: int, shortest: int, longest: int) -> int:
    """How many n-grams so many tokens have: windows of `longest`, or one of all tokens, or none."""
    if tokens >= longest:
        return tokens - longest + 1
    return 1 if tokens >= shortest else 0


@helper_kernel
def _ngrams_of_text(tokens: I32Array, first: int, last: int, rules: Rules) -> int:
    """How many n-grams the whole text of the paragraphs [first, last) has."""
    if rules.mode == EXACT:
        return 1
    whole = 0
    for paragraph in range(first, last):
        whole += tokens[paragraph]
    shortest = rules.longest if rules.mode == SUBSTRING else rules.shortest
    return ngrams_of(whole, shortest, rules.longest)


@helper_kernel
def _paragraph_unit(before: DedupUnit, paragraph: int, tokens: I32Array, rules: Rules) -> DedupUnit:
    """A paragraph of the same page as the unit before."""
    end = before.end + ngrams_of(int(tokens[paragraph]), rules.shortest, rules.longest)
    return DedupUnit(before.page, paragraph, before.first, before.last, before.start, before.end, end)


@helper_kernel
def _first_of_page(page: int, first: int, begin: int, tokens: I32Array, pages: I32Array, rules: Rules) -> DedupUnit:
    """A page's first unit; behind the last page one without n-grams."""
    last = first + (int(pages[page]) if page < pages.shape[0] else 0)
    text = DedupUnit(page, WHOLE_TEXT, first, last, begin, begin, begin)
    if page == pages.shape[0]:
        return text
    if has_whole_text(rules.mode):
        return DedupUnit(
            page, WHOLE_TEXT, first, last, begin, begin, begin + _ngrams_of_text(tokens, first, last, rules)
        )
    return _paragraph_unit(text, first, tokens, rules)


@helper_kernel
def first_unit(tokens: I32Array, pages: I32Array, rules: Rules) -> DedupUnit:
    """The first unit of a block; where there is none, its `page` is the number of pages."""
    return _first_of_page(0, 0, 0, tokens, pages, rules)


@helper_kernel
def next_unit(unit: DedupUnit, tokens: I32Array, pages: I32Array, rules: Rules) -> DedupUnit:
    """The unit behind another; behind the last its `page` is the number of pages."""
    paragraph = unit.first if unit.paragraph == WHOLE_TEXT else unit.paragraph + 1
    if has_paragraphs(rules.mode) and paragraph < unit.last:
        return _paragraph_unit(unit, paragraph, tokens, rules)
    return _first_of_page(unit.page + 1, unit.last, unit.end, tokens, pages, rules)


@kernel(I32_IN, I32_IN, RULES)
def unit_sizes(tokens: I32Array, pages: I32Array, rules: Rules) -> I64Array:
    """How many n-grams each unit has, in order.

    Args:
        tokens: tokens of each paragraph (I32). pages: paragraphs of each page (I32).
        rules: what is asked for.
    """
    sizes = np.empty(tokens.shape[0] + pages.shape[0], dtype=np.int64)
    count = 0
    unit = first_unit(tokens, pages, rules)
    while unit.page < pages.shape[0]:
        sizes[count] = unit.end - unit.begin
        count += 1
        unit = next_unit(unit, tokens, pages, rules)
    return sizes[:count].copy()
