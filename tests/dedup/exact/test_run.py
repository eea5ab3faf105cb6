"""Exact dedup as the stage of a run on Ray: the sample pages against their truth, and continuing after a kill."""

from __future__ import annotations

import pathlib

import orjson
import pyarrow.parquet as pq
import pytest

from corpusmith.io.pages.shards import list_shards, open_shard_writer, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from dedup.exact.config import ExactConfig
from dedup.exact.stage import plan_stage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("runner")]
STEP = "00-exact_dedup"


def make_run(root: pathlib.Path, source: pathlib.Path, config: ExactConfig | None = None) -> Run:
    plan = RunPlan(inputs=list_shards(str(source)), stages=[plan_stage(config or ExactConfig(), STEP)])
    place = RunPlace(root=str(root / "run"), output=str(root / "processed_data"), errors=str(root / "errors"))
    return Run(place, plan)


def execute(root: pathlib.Path, source: pathlib.Path) -> RunResult:
    return make_run(root, source).execute(Execution(cpus=2), RunOptions())


def contents(root: pathlib.Path) -> dict[str, bytes]:
    """Shards and groups of a finished run, by path."""
    run = root / "run"
    files = [*(root / "processed_data").rglob("*"), *run.rglob("groups/*"), *run.rglob("members/**/*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files if path.is_file()}


def test_removed_pages_of_the_sample_are_its_planted_copies(
    tmp_path: pathlib.Path, sample: pathlib.Path, shared_data: pathlib.Path
) -> None:
    result = execute(tmp_path, sample)
    truth = (shared_data / "data" / "pages" / "truth.jsonl").read_bytes().splitlines()
    planted = [row["pages"] for row in map(orjson.loads, truth) if row["kind"] == "exact_dup"]
    expected = sorted(sorted((page["shard"], page["line"]) for page in pages) for pages in planted)
    found: dict[str, list[tuple[str, int]]] = {}
    for shard in list_shards(str(sample)):
        members = pq.read_table(f"{result.stages[0].place.folder}/members/{shard.name}.parquet")
        for row in members.to_pylist():
            found.setdefault(row["group"], []).append((shard.name, row["page"]))
    assert sorted(found.values()) == expected
    copies = {place for group in expected for place in group[1:]}
    for shard in list_shards(str(sample)):
        left = [page for line, page in enumerate(read_shard(shard.url)) if (shard.name, line) not in copies]
        assert list(read_shard(str(tmp_path / "processed_data" / shard.name))) == left
    counts = result.stages[0].counts()
    assert (counts.read, counts.kept, counts.removed) == (11_370, 11_370 - 325, {STEP: 325})
    assert execute(tmp_path, sample).was_finished


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Four shards of line lists with many copies."""
    folder = tmp_path_factory.mktemp("small")
    for shard in range(4):
        with open_shard_writer(str(folder / f"part/{shard}.jsonl.zst")) as writer:
            for page in range(20):
                writer.write({"text": [f"line {shard * page % 9}", f"line {page}", f"own {shard} {page}"]})
    return folder


def do_work(root: pathlib.Path, source: pathlib.Path, runner: Runner) -> None:
    """The stage's work without its end, as after a kill: records and scratch stand."""
    run = make_run(root, source)
    assert run.plan.stages[0].work(run.stages()[0], runner) == []


def remove_half(root: pathlib.Path, patterns: list[str]) -> None:
    """Every second file of each pattern, from the first on."""
    for pattern in patterns:
        paths = sorted(path for path in root.glob(pattern) if path.is_file())
        assert paths
        for path in paths[::2]:
            path.unlink()


SCRATCH = "run/stages/*/scratch/*"
RECORDS = "run/stages/*/records/part/*"


@pytest.mark.parametrize(
    "removed",
    [
        [RECORDS],
        [f"{SCRATCH}/units/*", RECORDS],
        [f"{SCRATCH}/verdicts/*", f"{SCRATCH}/units/*", "processed_data/part/*"],
        [f"{SCRATCH}/own_losers/*", "run/stages/*/groups/*", RECORDS],
        [f"{SCRATCH}/shards.json", RECORDS],
    ],
)
def test_interrupted_stage_is_continued_to_the_same_bytes(
    tmp_path: pathlib.Path, small: pathlib.Path, runner: Runner, removed: list[str]
) -> None:
    do_work(tmp_path, small, runner)
    whole = contents(tmp_path)
    assert len(whole) == 9
    remove_half(tmp_path, removed)
    do_work(tmp_path, small, runner)
    assert contents(tmp_path) == whole
    assert make_run(tmp_path, small).stages()[0].pending() == []


def test_what_stands_is_not_made_again(tmp_path: pathlib.Path, small: pathlib.Path, runner: Runner) -> None:
    do_work(tmp_path, small, runner)
    remove_half(tmp_path, [RECORDS])
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{SCRATCH}/*/*")}
    do_work(tmp_path, small, runner)
    assert len(files) == 4 + 4 + 1 + 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{SCRATCH}/*/*")} == files


def test_mixed_selection_values_fail_with_both_places(tmp_path: pathlib.Path, runner: Runner) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "x", "score": 1}\n{"text": "x", "score": "1"}\n')
    run = make_run(tmp_path, tmp_path / "in", ExactConfig(selection_key="score"))
    (failure,) = run.plan.stages[0].work(run.stages()[0], runner)
    assert "a number in a.jsonl (page 0) and a string in a.jsonl (page 1)" in failure


def test_shard_that_cannot_be_read_stops_the_step_before_anything_is_dropped(
    tmp_path: pathlib.Path, runner: Runner
) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text('{"text": "x"}\n')
    run = make_run(tmp_path, tmp_path / "in")
    (tmp_path / "in" / "a.jsonl").unlink()
    (failure,) = run.plan.stages[0].work(run.stages()[0], runner)
    assert failure.startswith("a.jsonl: ")
    assert not (tmp_path / "processed_data").exists()
