"""Mappers against results that DCLM's own gave: 33,898 calls over web pages, TeX, repositories, threads, formulas.

A row of results.jsonl: a case's steps, as in a YAML, the kind of its pages, and for each page its number, a hash of
what came out (none where DCLM raises) and how many pages these were. Python's generator is seeded with the page's
number before each call.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pathlib
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from baselines.core.factories import get_mapper
from tests.doors.tables import table

CALLS, RAISED = 33_898, 425
DIGITS = 16

#: mappers that need a model or are random: not among the cases
LEFT_OUT = {
    "alphabetic_characters_to_tokens_filter",
    "classify_fasttext_hq_prob_enricher",
    "detect_lang_paragraph_enricher",
    "detect_lang_whole_page_enricher",
    "html_content_extraction_modifier",
    "ken_lm_perplexity_enricher",
    "random_sampling_filter",
    "stackexchange_html_extraction_modifier",
    "starcoder_v2_format_modifier",
    "url_removal_modifier",
}
MAPPERS = sorted(set(table("yaml_keys_of_dclm")) - LEFT_OUT)

Page = dict[str, Any]
Mapper = Callable[[Page], Any]


class Golden:
    """The cases by the mapper that they end with, and the pages by kind and number."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.cases: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in (folder / "results.jsonl").read_text().splitlines():
            case = json.loads(line)
            self.cases[case["steps"][-1]["func"]].append(case)
        kinds = {case["kind"] for cases in self.cases.values() for case in cases}
        self.pages: dict[str, dict[int, Page]] = {}
        for kind in sorted(kinds):
            with (folder / f"{kind}.jsonl").open() as lines:
                self.pages[kind] = {row["i"]: row["page"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def golden(shared_data: pathlib.Path) -> Golden:
    folder = shared_data / "data" / "dclm" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no results of DCLM's mappers at {folder}")
    return Golden(folder)


def outcome(mappers: list[Mapper], page: Page, number: int) -> tuple[str | None, int]:
    """The hash of the pages that come out and their number; (None, 0) where a step fails."""
    pages = [page]
    for mapper in mappers:
        following: list[Page] = []
        for each in pages:
            random.seed(number)
            result = mapper(each)
            if not isinstance(result, list):
                return None, 0
            following += result
        pages = following
    return hashlib.sha1(json.dumps(pages).encode()).hexdigest()[:DIGITS], len(pages)


@pytest.mark.filterwarnings("ignore")  # key_name_modifier tells of pages that have both keys
@pytest.mark.parametrize("mapper", MAPPERS)
def test_a_mapper_gives_what_dclms_gives(golden: Golden, mapper: str) -> None:
    differing = []
    for case in golden.cases[mapper]:
        pages = golden.pages[case["kind"]]
        mappers = [get_mapper(**step, _safe=True) for step in case["steps"]]
        for number, wanted, count in case["rows"]:
            found = outcome(mappers, copy.deepcopy(pages[number]), number)
            if wanted is not None and found != (wanted, count):
                differing.append(f"{case['case']} on {case['kind']} {number}: {count} pages expected, {found[1]} came")
    assert differing == []


def test_the_results_cover_each_mapper_that_is_not_left_out(golden: Golden) -> None:
    assert sorted(golden.cases) == MAPPERS
    hashes = [wanted for cases in golden.cases.values() for case in cases for _, wanted, _ in case["rows"]]
    assert (len(hashes) - hashes.count(None), hashes.count(None)) == (CALLS, RAISED)
