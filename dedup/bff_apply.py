"""What a decision does to a page: text taken out, or marks put on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from corpusmith.io.shards import Page
from corpusmith.text.character_table import character_table
from corpusmith.text.kernels import I32Array, U8Array
from corpusmith.text.segment import view
from dedup import bff_config, bff_kernels
from dedup.bff_config import BffConfig

VERSION = 1

Spans = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What was decided about one page.

    `removed`: its paragraphs (U8); `document`: the whole text goes; `contained`: n-grams found, of
    `ngrams` looked up; `intervals`: tokens that substring mode removes (I32, start and end in turn).
    """

    removed: U8Array
    document: bool
    contained: int
    ngrams: int
    intervals: I32Array


def duplicate_spans(text: str, verdict: Verdict, config: BffConfig) -> Spans:
    """The parts of a text that are duplicates, in code points.

    In `old-both` these are paragraphs, also where the whole text goes; in all other modes then the whole text.
    """
    if verdict.document and config.mode != bff_kernels.OLD_BOTH:
        return [(0, len(text))]
    if config.mode == bff_kernels.SUBSTRING:
        if not len(verdict.intervals):
            return []
        seen = view(text)
        starts = bff_kernels.token_starts(seen.points, character_table(), seen.word_bounds)
        return [(int(starts[a]), int(starts[b])) for a, b in verdict.intervals.reshape(-1, 2).tolist()]
    gone = np.flatnonzero(verdict.removed).tolist()
    if not gone:
        return []
    # a paragraph ends before the line feed that begins the next
    ends = [end + number for number, end in enumerate(itertools.accumulate(map(len, text.split("\n"))))]
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
    if config.mode == bff_kernels.SUBSTRING:
        seen = view(text)
        first = int(bff_kernels.token_starts(seen.points, character_table(), seen.word_bounds)[0])
        return left[first:].rstrip() if spans[0][0] > first else left.strip()
    return left.rstrip() if config.mode == bff_kernels.BOTH else left


def annotate(page: Page, text: str, spans: Spans, verdict: Verdict, config: BffConfig) -> None:
    """Mark duplicates in a page; spans are bytes of the text as UTF-8."""
    if config.mode == bff_kernels.EXACT:
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
