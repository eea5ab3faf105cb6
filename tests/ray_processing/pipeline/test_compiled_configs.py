"""Every shipped config does to real pages, compiled, what it means: page for page, step for step."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from baselines.assets import SAMPLE, resolve_step
from baselines.core.compiled import FilterRun, compile_steps
from baselines.core.shard_processor import LocalTask, ShardProcessor, StepResult, run_in_order
from baselines.core.steps import LocalStep, build_steps
from corpusmith.io.pages.shards import Page, Record, ShardRef, dump_page, read_records
from corpusmith.run.stage import StagePlace
from ray_processing.pipeline.config import load_pipeline

CONFIGS = pathlib.Path(__file__).resolve().parents[3] / "baselines" / "baselines_configs"
# its model is on the Hub
NEED_NETWORK = {"fineweb_edu"}
SEED = 5


class Lines:
    """Collects what a shard's writer and its error files are given."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.examples: list[dict[str, Any]] = []
        self.errors: list[tuple[str, int, int, str]] = []

    def write_line(self, line: bytes) -> None:
        self.written.append(line)

    def add(self, step: str, record: Record, reason: str, piece: int = 0) -> None:
        self.errors.append((step, record.index, piece, reason))


def local_runs(name: str) -> list[tuple[LocalStep, ...]]:
    """The local steps of a config, cut where a global step or a commit stands, with the sample lists."""
    runs: list[list[LocalStep]] = [[]]
    for step in load_pipeline(str(CONFIGS / f"{name}.yaml")).steps:
        if isinstance(step, LocalStep):
            arguments = resolve_step(step.func, step.arguments, SAMPLE, step.key).arguments
            runs[-1].append(replace(step, arguments=arguments))
        else:
            runs.append([])
    return [tuple(run) for run in runs if run]


def compiled(steps: tuple[LocalStep, ...], records: Iterable[Record]) -> tuple[Lines, list[tuple[int, int, int]]]:
    """What the processor writes, sets aside and counts: pages in, removed and errors of each step."""
    lines, place = Lines(), StagePlace(name="00-local", folder="", output="", errors="")
    shard = ShardRef(name="s", url="s", identity="", bytes=0)
    task = LocalTask(place=place, shard=shard, identity="", output="", steps=steps, seed=SEED)
    processor = ShardProcessor(task, build_steps(steps), lines, lines)  # type: ignore[arg-type]
    for record in records:
        processor.process(record)
    processor.finish()
    rows = processor.details()["steps"]
    return lines, [(row["pages_in"], row["removed"], row["errors"]) for row in rows]


def in_order(steps: tuple[LocalStep, ...], records: Iterable[Record]) -> tuple[Lines, list[tuple[int, int, int]]]:
    """The same by what a pipeline means: a page after the other and a step after the other."""
    lines, built = Lines(), build_steps(steps)
    counts = [[0, 0, 0] for _ in steps]

    def run(record: Record) -> list[Page]:
        def report(result: StepResult) -> None:
            count = counts[result.built.position]
            count[0] += 1
            if result.problem is not None:
                count[2] += 1
                lines.add(result.built.key, record, result.problem, result.piece)
            elif not result.pages:
                count[1] += 1

        assert record.page is not None
        return run_in_order(built, [record.page], (SEED, "s", record.index), report)

    for record in records:
        lines.written += [dump_page(page) for page in run(record)]
    return lines, [tuple(row) for row in counts]  # type: ignore[misc]


def records_of(pages: list[Page]) -> Iterable[Record]:
    """The pages as a reader gives them, each with a text of its own."""
    return (
        Record(index=index, page=orjson.loads(orjson.dumps(page)), raw=b"", offset=0, error=None)
        for index, page in enumerate(pages)
    )


def compare(name: str, pages: list[Page]) -> None:
    """Hold each run of local steps against its meaning; a run's pages are the next one's."""
    for steps in local_runs(name):
        found, rows = compiled(steps, records_of(pages))
        expected, expected_rows = in_order(steps, records_of(pages))
        assert rows == expected_rows
        assert found.written == expected.written
        assert sorted(found.errors) == sorted(expected.errors)
        pages = [orjson.loads(line) for line in found.written]


def read_pages(shared: pathlib.Path, every: int) -> list[Page]:
    """Real pages, one of so many."""
    paths = sorted((shared / "data" / "pages").glob("shard_*.jsonl.zst"))
    records = [record for path in paths for record in read_records(str(path))]
    return [record.page for record in records[::every] if record.page is not None]


SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in NEED_NETWORK)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_sample_of_the_pages_goes_the_same_way(name: str, shared_data: pathlib.Path) -> None:
    for package in ("fasttext", "langdetect", "nltk"):
        pytest.importorskip(package)
    compare(name, read_pages(shared_data, 40))


@pytest.mark.all
@pytest.mark.parametrize("name", SHIPPED)
def test_all_pages_go_the_same_way(name: str, shared_data: pathlib.Path) -> None:
    compare(name, read_pages(shared_data, 1))


def test_the_configs_have_runs_to_compile() -> None:
    plans = {name: [part for run in local_runs(name) for part in compile_steps(build_steps(run))] for name in SHIPPED}
    assert {"refinedweb", "fineweb", "gopher"} <= {
        name for name, plan in plans.items() if any(isinstance(part, FilterRun) for part in plan)
    }
