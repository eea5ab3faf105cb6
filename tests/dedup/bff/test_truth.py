"""The Bloom-filter dedup against what is known about the sample pages, on Ray, by DCLM-Baseline's parameters."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from corpusmith.io.pages.shards import list_shards, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan
from dedup.bff.blocks import NgramBlockBuilder, resolve_in_order
from dedup.bff.bloom.filter import shape_for
from dedup.bff.config import BffConfig
from dedup.bff.stage import plan_stage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("runner")]
RECIPE: dict[str, Any] = {"min_ngram_size": 13, "max_ngram_size": 13, "filtering_threshold": 0.8, "fp_rate": 0.01}
Pages = dict[tuple[str, int], str]


@pytest.fixture(scope="module")
def pages(shared_data: pathlib.Path) -> Pages:
    """The texts of the sample pages by shard and line, in input order."""
    return {
        (shard.name, line): page["text"]
        for shard in list_shards(str(shared_data / "data" / "pages"))
        if shard.name.startswith("shard_")
        for line, page in enumerate(read_shard(shard.url))
    }


@pytest.fixture(scope="module")
def truth(shared_data: pathlib.Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (shared_data / "data" / "pages" / "truth.jsonl").read_bytes().splitlines()]


def of_kind(truth: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (row for row in truth if row["kind"] == kind)


def place_of(page: dict[str, Any]) -> tuple[str, int]:
    return page["shard"], page["line"]


def run_stage(root: pathlib.Path, shared_data: pathlib.Path, remove_type: str) -> Pages:
    """The texts that are left, by shard and line, on two workers."""
    source = shared_data / "data" / "pages"
    inputs = [shard for shard in list_shards(str(source)) if shard.name.startswith("shard_")]
    config = BffConfig(remove_type=remove_type, annotate=True, round_bytes=4 << 20, **RECIPE)
    place = RunPlace(root=str(root / "run"), output=str(root / "out"), errors=str(root / "errors"))
    plan = RunPlan(inputs=inputs, stages=[plan_stage(config, "00-bff")])
    result = Run(place, plan).execute(Execution(cpus=2), RunOptions())
    assert result.stages[0].counts().kept == 11_370
    left: Pages = {}
    for shard in list_shards(str(root / "out")):
        for line, page in enumerate(read_shard(shard.url)):
            if remove_type == "exact":
                left[shard.name, line] = "" if page["bff_exact_duplicate"] else page["text"]
                continue
            data = page["text"].encode()
            for start, end in reversed(page["bff_duplicate_spans"]):
                data = data[:start] + data[end:]
            left[shard.name, line] = "" if page["bff_duplicate_document"] else data.decode()
    return left


@pytest.fixture(scope="module")
def without_paragraphs(tmp_path_factory: pytest.TempPathFactory, shared_data: pathlib.Path) -> Pages:
    return run_stage(tmp_path_factory.mktemp("paragraph"), shared_data, "paragraph")


def test_each_planted_paragraph_stays_once_and_goes_everywhere_else(
    pages: Pages, truth: list[dict[str, Any]], without_paragraphs: Pages
) -> None:
    gone = later = 0
    for row in of_kind(truth, "boilerplate"):
        first, *others = sorted(place_of(entry["page"]) for entry in row["pages"])
        assert row["paragraph"] in without_paragraphs[first]
        assert all(row["paragraph"] in pages[place] for place in others)
        later += len(others)
        gone += sum(row["paragraph"] not in without_paragraphs[place] for place in others)
    assert later == 561 - 12
    assert gone / later >= 0.99


def repeated_lines(text: str, row: dict[str, Any]) -> list[str]:
    """The lines of 13 words or more of the block that was planted several times."""
    blocks = text.split("\n\n")
    (block,) = {each for each in blocks if len(each.split()) == row["words"] and blocks.count(each) >= row["times"]}
    return [line for line in block.split("\n") if len(line.split()) >= 13]


def test_repeats_inside_a_page_stay_once(pages: Pages, truth: list[dict[str, Any]], without_paragraphs: Pages) -> None:
    counts = []
    for row in of_kind(truth, "repeat_inside"):
        place = place_of(row["page"])
        for line in repeated_lines(pages[place], row):
            assert pages[place].split("\n").count(line) >= row["times"]
            counts.append(without_paragraphs[place].split("\n").count(line))
    assert len(counts) >= 40
    assert max(counts) == 1
    assert sum(counts) / len(counts) > 0.9  # the others stand in an earlier page too


def test_exact_copies_go_as_whole_documents(
    truth: list[dict[str, Any]], tmp_path: pathlib.Path, shared_data: pathlib.Path
) -> None:
    left = run_stage(tmp_path, shared_data, "exact")
    copies = {
        place for row in of_kind(truth, "exact_dup") for place in sorted(place_of(page) for page in row["pages"])[1:]
    }
    removed = {place for place, text in left.items() if not text}
    assert copies <= removed
    assert len(removed - copies) / (len(left) - len(copies)) <= RECIPE["fp_rate"]


@pytest.mark.parametrize("rate", [0.01, 0.3])
@pytest.mark.parametrize("threshold", [0.8, 0.0])
def test_no_larger_share_of_new_paragraphs_goes_than_the_stated_rate(
    pages: Pages, rate: float, threshold: float
) -> None:
    config = BffConfig(**{**RECIPE, "fp_rate": rate, "filtering_threshold": threshold})
    builder = NgramBlockBuilder(config)
    for text in pages.values():
        builder.add(text)
    block = builder.take()
    sizes = np.maximum(block.tokens.astype(np.int64) - 12, 0)
    # where each n-gram stands for the first time
    order = np.argsort(block.hashes, kind="stable")
    is_first = np.append(True, block.hashes[order][1:] != block.hashes[order][:-1])
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[is_first][np.cumsum(is_first) - 1]
    starts = (np.cumsum(sizes) - sizes)[sizes > 0]
    is_new = np.minimum.reduceat(first, starts) >= starts
    shape = shape_for(int(is_first.sum()), rate)
    words = np.zeros(shape.blocks * 8, dtype=np.uint64)
    decided, _ = resolve_in_order(block, config, words, shape)
    removed = decided.removed[sizes > 0]
    short = is_new & (sizes[sizes > 0] == 1)
    assert is_new.sum() > 50_000
    assert short.sum() > 2_000
    # a paragraph of one n-gram goes where that is a false positive; longer ones hardly ever, by the usual threshold
    assert removed[short].mean() <= rate
    assert threshold == 0.0 or removed[is_new].mean() <= rate
    assert removed[~is_new].mean() > 0.3
