"""What a decision does to a page: text taken out, or marks put on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from corpusmith.io.pages.shards import Page
from corpusmith.text.kernels import I32Array, I64Array, U8Array
from corpusmith.text.segmentation.character_table import character_table
from corpusmith.text.segmentation.view import view
from dedup.bff import config as bff_config
from dedup.bff.config import BffConfig
from dedup.bff.hash_kernels import token_starts
from dedup.bff.units import BOTH, EXACT, NAIVE_BOTH, OLD_BOTH, PARAGRAPH, SUBSTRING, unit_sizes

Spans = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What was decided about one page.

    `removed`: a byte for each paragraph, 1 where it goes; `document`: the whole text goes; `contained`: n-grams found,
    of `ngrams` looked up; `intervals`: tokens that substring mode removes (I32, start and end in turn).
    """

    removed: bytes
    document: bool
    contained: int
    ngrams: int
    intervals: I32Array


def verdicts(
    tokens: I32Array, pages: I32Array, decided: Mapping[str, np.ndarray], config: BffConfig
) -> Iterator[Verdict]:
    """The verdicts of a block's pages, in order: see `NgramBlock` and `Decisions` for the arrays."""
    by_page = [pages, decided["documents"], decided["counts"], decided["interval_counts"]]
    by_page.append(_ngrams_looked_up(tokens, pages, decided["documents"], config))
    removed, paragraph, interval = decided["removed"].tobytes(), 0, 0
    for paragraphs, document, contained, intervals, ngrams in zip(*(row.tolist() for row in by_page), strict=True):
        yield Verdict(
            removed=removed[paragraph : paragraph + paragraphs],
            document=bool(document),
            contained=contained,
            ngrams=ngrams,
            intervals=decided["intervals"][interval : interval + 2 * intervals],
        )
        paragraph += paragraphs
        interval += 2 * intervals


def _ngrams_looked_up(tokens: I32Array, pages: I32Array, documents: U8Array, config: BffConfig) -> I64Array:
    """Of how many n-grams of each page the decision counts those contained, (pages,)."""
    sizes = unit_sizes(tokens, pages, config.rules)
    if config.mode in (PARAGRAPH, OLD_BOTH):
        units = pages
    elif config.mode == NAIVE_BOTH:  # the whole text and its paragraphs, of which one or the other counts
        units = pages + 1
    else:
        units = np.ones(len(pages), dtype=np.int32)
    ends = np.concatenate(([0], np.cumsum(units)))
    before = np.concatenate(([0], np.cumsum(sizes)))
    totals: I64Array = before[ends[1:]] - before[ends[:-1]]
    if config.mode != NAIVE_BOTH:
        return totals
    whole = sizes[ends[:-1]]
    return np.where(documents, whole, totals - whole)


def duplicate_spans(text: str, verdict: Verdict, config: BffConfig) -> Spans:
    """The parts of a text that are duplicates, in code points.

    In `old-both` these are paragraphs, also where the whole text goes; in all other modes then the whole text.
    """
    if verdict.document and config.mode != OLD_BOTH:
        return [(0, len(text))]
    if config.mode == SUBSTRING:
        if not len(verdict.intervals):
            return []
        seen = view(text)
        starts = token_starts(seen.points, character_table(), seen.word_bounds)
        return [(int(starts[a]), int(starts[b])) for a, b in verdict.intervals.reshape(-1, 2).tolist()]
    if 1 not in verdict.removed:
        return []
    # a paragraph ends before the line feed that begins the next
    ends = [end + number for number, end in enumerate(itertools.accumulate(map(len, text.split("\n"))))]
    gone = (number for number, is_gone in enumerate(verdict.removed) if is_gone)
    return [(ends[number - 1] if number else 0, ends[number]) for number in gone]


def text_left(text: str, spans: Spans, verdict: Verdict, config: BffConfig) -> str:
    """The text without its duplicates; as it is where it has none."""
    if verdict.document:
        return ""
    if not spans:
        return text
    kept, at = [], 0
    for start, end in spans:
        kept.append(text[at:start])
        at = end
    kept.append(text[at:])
    left = "".join(kept)
    if config.mode == SUBSTRING:
        seen = view(text)
        first = int(token_starts(seen.points, character_table(), seen.word_bounds)[0])
        return left[first:].rstrip() if spans[0][0] > first else left.strip()
    return left.rstrip() if config.mode == BOTH else left


def annotate(page: Page, text: str, spans: Spans, verdict: Verdict, config: BffConfig) -> None:
    """Mark duplicates in a page; spans are bytes of the text as UTF-8."""
    if config.mode == EXACT:
        page[bff_config.EXACT] = verdict.document
        return
    page[bff_config.SPANS] = _in_bytes(text, spans)
    page[bff_config.CONTAINED] = verdict.contained
    page[bff_config.DOCUMENT] = verdict.document


def _in_bytes(text: str, spans: Spans) -> list[list[int]]:
    if text.isascii():
        return [[start, end] for start, end in spans]
    found, at, offset = [], 0, 0
    for start, end in spans:
        begin = offset + len(text[at:start].encode("utf-8", "surrogatepass"))
        offset = begin + len(text[start:end].encode("utf-8", "surrogatepass"))
        at = end
        found.append([begin, offset])
    return found
