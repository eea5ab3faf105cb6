"""Whole YAMLs against what they are measured by: the I/O floor, datatrove, plain Python with uniseg, a bare loop.

Used by `mappers.py`. All sides see the same pages in one run; CPU seconds of one process, medians over the repeats,
except for the speed-up, which is wall time.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial

from baselines.core.compiled import FilterRun, compile_steps
from baselines.core.profile import measure_floor
from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep, build_steps
from benchmarks._bench import ROOT, Row, interleaved
from corpusmith.io.pages.shards import ShardRef, read_shard
from corpusmith.run.ray.execution import Execution, TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import StagePlace
from ray_processing.pipeline.config import load_pipeline
from ray_processing.pipeline.stages import find_files, local_runs

CONFIGS = ROOT / "baselines" / "baselines_configs"
LANGUAGE_STEPS = {"detect_lang_whole_page_enricher", "language_filter"}
DATATROVE = ROOT / ".peers" / "datatrove" / "bin" / "python"
# uniseg is so slow that a sample of pages has to do
PLAIN_PAGES = 60
SPEED_UP_SHARDS = 8


def heuristics(config: str, *left_out: str) -> tuple[LocalStep, ...]:
    """The local steps of a shipped config without language ID, with our sample lists."""
    (steps,) = [run for run in local_runs(load_pipeline(str(CONFIGS / f"{config}.yaml"))) if isinstance(run, tuple)]
    kept = tuple(step for step in steps if step.func not in LANGUAGE_STEPS and step.func not in left_out)
    return find_files(kept, "sample")[0]


def run_stage(shards: Sequence[ShardRef], steps: tuple[LocalStep, ...], folder: str) -> None:
    """Run the steps over the shards as a stage does, records and errors included."""
    place = StagePlace(name="run", folder=f"{folder}/run", output=f"{folder}/run/shards", errors=f"{folder}/errors")
    for shard in shards:
        process_shard(LocalTask(place=place, shard=shard, identity="benchmark", output=shard.name, steps=steps, seed=0))


def run_floor(shards: Sequence[ShardRef], folder: str) -> None:
    """Read and write every page of the shards."""
    for shard in shards:
        measure_floor(shard.url, f"{folder}/floor/{shard.name}")


def floor_rows(shards: list[ShardRef], repeats: int) -> list[Row]:
    """Each heuristics YAML without language ID against the floor."""
    goals = {"refinedweb": 3.0}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("refinedweb", "gopher", "dolma"):
            steps = heuristics(name)
            sides = {"floor": partial(run_floor, shards, folder), name: partial(run_stage, shards, steps, folder)}
            seconds = interleaved(sides, repeats)
            ours, floor = statistics.median(seconds[name]), statistics.median(seconds["floor"])
            rows.append(_row(f"{name}.yaml without language ID / floor", ours, floor, at_most=goals.get(name)))
    return rows


def run_pages(texts: Sequence[str], steps: tuple[LocalStep, ...]) -> tuple[float, int]:
    """CPU seconds of the compiled steps over pages in memory, and how many are kept."""
    plan = compile_steps(build_steps(steps))
    # a text made afresh has no view yet
    pages = [{"text": "".join([text, ""])} for text in texts]
    kept = 0
    started = time.process_time()
    for page in pages:
        for part in plan:
            if part.decide(page)[0] >= 0 if isinstance(part, FilterRun) else not part.mapper(page):
                break
        else:
            kept += 1
    return time.process_time() - started, kept


def datatrove_rows(texts: Sequence[str]) -> list[Row]:
    """FineWeb's Gopher, C4 and own filters against datatrove's, with either of its word tokenizers."""
    name = "fineweb.yaml's filters / datatrove, {} words"
    if not DATATROVE.exists():
        return [_missing(name.format("white-space"), "datatrove is not installed: run make peers")]
    steps = tuple(
        step
        for step in heuristics("fineweb", "pii_masking_modifier")
        if step.arguments.get("length_type") != "sentence"
    )
    run_pages(texts[:20], steps)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pages.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        for words, shown, goal in (("white", "white-space", 5.0), ("own", "its own", 0.0)):
            command = [str(DATATROVE), str(pathlib.Path(__file__).with_name("_datatrove_filters.py")), str(path), words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                rows.append(_missing(name.format(shown), done.stderr.strip().splitlines()[-1]))
                continue
            result = json.loads(done.stdout.splitlines()[-1])
            ours, kept = run_pages(texts, steps)
            sys.stderr.write(f"of {len(texts)} pages ours keep {kept}, datatrove's {result['kept']}\n")
            rows.append(_row(name.format(shown), ours, result["seconds"], at_least=goal))
    return rows


def plain_rows(texts: Sequence[str]) -> list[Row]:
    """RefinedWeb's page filters against plain Python over uniseg's words."""
    try:
        from benchmarks._plain_filters import keeps
    except ImportError:
        return [_missing("RefinedWeb's filters / plain Python with uniseg", "uniseg is not installed")]
    names = {step.func for step in heuristics("gopher")}
    steps = tuple(step for step in heuristics("refinedweb") if step.func in names)
    some = texts[:: max(1, len(texts) // PLAIN_PAGES)]
    run_pages(some, steps)
    ours = min(run_pages(some, steps)[0] for _ in range(3))
    started = time.process_time()
    kept = sum(map(keeps, some))
    plain = time.process_time() - started
    ours_kept = run_pages(some, steps)[1]
    if kept != ours_kept:
        sys.stderr.write(f"plain twins keep {kept} of {len(some)} pages, ours {ours_kept}\n")
    return [_row("RefinedWeb's filters / plain Python with uniseg", ours, plain, at_least=100.0)]


def speed_up_rows(shards: list[ShardRef]) -> list[Row]:
    """Wall time of the stage on Ray with one and two CPUs, against a bare loop of one and two processes."""
    steps = heuristics("refinedweb")
    # shards of much the same size, twice as many as needed so that neither side waits for the last
    chosen = sorted(shards, key=lambda shard: -shard.bytes)[:SPEED_UP_SHARDS]
    with tempfile.TemporaryDirectory() as folder:
        bare = {count: _bare_seconds(chosen, folder, count) for count in (1, 2)}
        ray = {count: _ray_seconds(chosen, steps, folder, count) for count in (1, 2)}
    ours, other = ray[1] / ray[2], bare[1] / bare[2]
    ratio = ours / other
    return [
        Row(
            name="speed-up on 2 cores / that of a bare loop",
            ours=ours,
            other=other,
            unit="x",
            ratio=ratio,
            goal=">= 0.9",
            met=ratio >= 0.9,
        )
    ]


def _bare_seconds(shards: list[ShardRef], folder: str, processes: int) -> float:
    """Seconds of so many processes that each run their part of the shards, once they are ready."""
    code = "import sys; from benchmarks._pipelines import bare_loop; bare_loop(sys.argv[1], sys.argv[2:])"
    running = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for number in range(processes):
        urls = [shard.url for shard in shards[number::processes]]
        command = [sys.executable, "-c", code, f"{folder}/bare{number}", *urls]
        running.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
            )
        )
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    started = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.wait()
    return time.perf_counter() - started


def bare_loop(folder: str, urls: Sequence[str]) -> None:
    """What a process of the bare loop does: get ready, say so, wait for the word, run the shards."""
    from corpusmith.text.segmentation.view import warm_kernels

    warm_kernels()
    steps = heuristics("refinedweb")
    build_steps(steps)
    print("ready", flush=True)
    sys.stdin.readline()
    run_stage([ShardRef(name=os.path.basename(url), url=url, identity="", bytes=0) for url in urls], steps, folder)


def _ray_seconds(shards: list[ShardRef], steps: tuple[LocalStep, ...], folder: str, cpus: int) -> float:
    """Seconds of the stage's tasks on a Ray of so many CPUs whose workers are warm."""
    place = StagePlace(
        name="ray", folder=f"{folder}/ray{cpus}", output=f"{folder}/ray{cpus}/shards", errors=f"{folder}/errors"
    )
    tasks = [
        LocalTask(place=place, shard=shard, identity="benchmark", output=shard.name, steps=steps, seed=0)
        for shard in shards
    ]
    smallest = min(tasks, key=lambda task: task.shard.bytes)
    with Runner(Execution(cpus=cpus)) as runner:
        warm = "corpusmith.text.segmentation.view:warm_kernels"
        list(runner.map(process_shard, [smallest] * (2 * cpus), label="warm", spec=TaskSpec(set_up=warm)))
        started = time.perf_counter()
        spec = TaskSpec(set_up=warm, sizes={index: shard.bytes for index, shard in enumerate(shards)})
        outcomes = list(runner.map(process_shard, tasks, label="run", spec=spec))
        seconds = time.perf_counter() - started
    failed = [outcome.error for outcome in outcomes if outcome.error]
    if failed:
        raise RuntimeError(failed[0])
    return seconds


def texts_of(shards: Sequence[ShardRef]) -> list[str]:
    """The texts of all pages."""
    return [page["text"] for shard in shards for page in read_shard(shard.url)]


def goal_rows(shards: list[ShardRef], quick: bool) -> list[Row]:
    """The rows with goals, each part with a word on the terminal while it runs."""
    texts = texts_of(shards)
    parts: list[tuple[str, Callable[[], list[Row]]]] = [
        ("floor", lambda: floor_rows(shards, 1 if quick else 5)),
        ("datatrove", lambda: datatrove_rows(texts)),
        ("plain Python", lambda: plain_rows(texts)),
        ("speed-up", lambda: speed_up_rows(shards)),
    ]
    rows = []
    for label, part in parts:
        sys.stderr.write(f"{label} …\n")
        rows += part()
    return rows


def _row(name: str, ours: float, other: float, *, at_most: float | None = None, at_least: float | None = None) -> Row:
    """A row in seconds; with `at_least` the ratio tells how many times faster ours is."""
    ratio = ours / other if at_least is None else other / ours
    goal, met = "", None
    if at_most is not None:
        goal, met = f"<= {at_most:g}", ratio <= at_most
    if at_least:
        goal, met = f">= {at_least:g} x faster", ratio >= at_least
    return Row(name=name, ours=ours, other=other, unit="s", ratio=ratio, goal=goal, met=met)


def _missing(name: str, why: str) -> Row:
    nothing = float("nan")
    return Row(name=f"{name}: {why}", ours=nothing, other=nothing, unit="s", ratio=nothing, goal="", met=None)
