"""Counts from a sample are near the truth in every format; plans follow them."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from corpusmith.io.pages.shards import Page, list_shards, open_shard_writer
from corpusmith.steps.needs import WORKER_BYTES
from corpusmith.steps.sizing import cells_for, take_sample
from dedup.exact import needs as exact
from dedup.exact.config import ExactConfig
from dedup.minhash import needs as minhash
from dedup.minhash.config import MinhashConfig


def pages(count: int) -> list[Page]:
    draw = np.random.default_rng(count)
    return [{"text": " ".join(draw.integers(0, 9999, int(draw.integers(50, 500))).astype(str))} for _ in range(count)]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.zst", "jsonl.gz", "parquet"])
def test_pages_are_counted_from_the_beginnings_of_some_shards(
    tmp_path: pathlib.Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpusmith.steps.sizing.SAMPLED_CONTENT_BYTES", 1 << 20)
    monkeypatch.setattr("corpusmith.steps.sizing.SAMPLED_ROWS", 500)
    sizes = [2500, 100, 900]
    for number, size in enumerate(sizes):
        with open_shard_writer(str(tmp_path / f"{number}.{suffix}")) as writer:
            for page in pages(size):
                writer.write(page)
    sample = take_sample(list_shards(str(tmp_path)))
    assert len(sample.pages) < sum(sizes)
    assert sample.scaled(len(sample.pages)) == pytest.approx(sum(sizes), rel=0.2)
    assert sample.in_largest_shard(len(sample.pages)) == pytest.approx(2500, rel=0.2)
    assert take_sample(list_shards(str(tmp_path))) == sample


def test_small_shards_are_counted_whole_and_what_cannot_be_read_is_passed_over(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\nnot JSON\n{"text": ["b", "c"]}')
    (tmp_path / "b.jsonl").write_bytes(b"")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
    shards = list_shards(str(tmp_path))
    sample = take_sample([*shards[:2], shards[2]])
    assert sample.pages == [{"text": "a"}, {"text": ["b", "c"]}]
    plan = exact.plan_size(ExactConfig(), sample)
    assert plan.phases[0].tasks == 3
    assert plan.memory >= WORKER_BYTES


def test_memory_of_a_cell_is_bounded_however_much_there_is(tmp_path: pathlib.Path) -> None:
    with open_shard_writer(str(tmp_path / "a.jsonl.zst")) as writer:
        for page in pages(100):
            writer.write(page)
    (shard,) = list_shards(str(tmp_path))
    few, many = take_sample([shard]), take_sample([shard] * 40_000)
    for small, large in (
        (exact.plan_size(ExactConfig(), few), exact.plan_size(ExactConfig(), many)),
        (minhash.plan_size(MinhashConfig(), few), minhash.plan_size(MinhashConfig(), many)),
    ):
        assert large.phases[1].tasks > 3
        assert large.memory < small.memory + 500_000_000
        assert large.disk > 1000 * small.disk


@pytest.mark.parametrize(("rows", "cells"), [(0, 1), (1, 1), (10, 1), (11, 2), (95, 10)])
def test_cells_hold_about_so_many_rows(rows: int, cells: int) -> None:
    assert cells_for(rows, 10) == cells
