"""Rows of `benchmarks/dedup.py` about scale: CPU seconds per MB and memory at 1, 4 and 16 times the data.

Larger data is the source again and again with its letters rotated, so that copies of a page share no word and what
grows with the distinct content (cells, filter) grows. Memory of exact and MinHash dedup: the most that a worker of a
fresh Ray held (its resident set), against what `--plan` says of a worker. Of the Bloom-filter dedup: all processes of
the command with two workers, what they share counted once, and the filter, against the plan's sum.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import resource
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from benchmarks._bench import ROOT, Row, page_shards
from corpusmith.errors import CorpusmithError
from corpusmith.io.pages.shards import ShardRef, list_shards, open_shard_writer, read_shard
from corpusmith.run.ray.cluster import ClusterNode
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome, Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, StagePlan
from corpusmith.steps.sizing import take_sample
from dedup.bff import stage as bff_stage
from dedup.bff.config import BffConfig
from dedup.exact import needs as exact_needs
from dedup.exact import stage as exact
from dedup.exact.config import ExactConfig
from dedup.minhash import needs as minhash_needs
from dedup.minhash import stage as minhash
from dedup.minhash.config import MinhashConfig

FACTORS = (1, 4, 16)
FLAT = 1.2
TOLERANCE = 0.2
WORKERS = 2
PLANNED = re.compile(r"^memory: +([\d,]+) bytes", re.MULTILINE)


class InProcess(Runner):
    """Runs tasks one after the other in this process, so that its CPU time is the work's."""

    def nodes(self) -> list[ClusterNode]:
        """One node, this machine."""
        return [ClusterNode(id="here", cpus=1, memory=0)]

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Generator[Outcome[Any]]:
        """Run each task; an error ends the benchmark."""
        for index, task in enumerate(tasks):
            yield Outcome(index=index, value=function(task))


def run_stage(
    stage: StagePlan,
    shards: Sequence[ShardRef],
    folder: str | pathlib.Path,
    open_runner: Callable[[Execution], Runner] = InProcess,
) -> None:
    """Run one stage over shards as a run of its own."""
    place = RunPlace(root=f"{folder}/run", output=f"{folder}/processed_data", errors=f"{folder}/errors")
    run = Run(place, RunPlan(inputs=list(shards), stages=[stage]), open_runner)
    run.execute(Execution(cpus=1), RunOptions())


def stage_seconds(stage: StagePlan, shards: Sequence[ShardRef]) -> float:
    """CPU seconds of a stage from its input to its output."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        run_stage(stage, shards, folder)
        return time.process_time() - started


# --- larger data ------------------------------------------------------------------------------------------------


def rotated(text: str, places: int) -> str:
    """The text with its ASCII letters moved on by so many places."""
    lower, upper = string.ascii_lowercase, string.ascii_uppercase
    moved = lower[places:] + lower[:places] + upper[places:] + upper[:places]
    return text.translate(str.maketrans(lower + upper, moved))


def multiply(shards: Sequence[ShardRef], folder: str, factor: int) -> list[ShardRef]:
    """The shards `factor` times, each copy with other letters."""
    for copy in range(factor):
        for shard in shards:
            with open_shard_writer(f"{folder}/{copy:02d}/{shard.name}") as writer:
                for page in read_shard(shard.url):
                    writer.write({**page, "text": rotated(page["text"], copy)})
    return list_shards(folder)


# --- memory -----------------------------------------------------------------------------------------------------


def worker_peak(_: int) -> int:
    """The most memory that the worker which runs this ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_of_worker(stage: StagePlan, shards: Sequence[ShardRef]) -> int:
    """The most memory that a worker of a fresh Ray held over a stage."""
    with tempfile.TemporaryDirectory() as folder, Runner(Execution(cpus=1)) as ray:
        peaks = [outcome.value or 0 for outcome in ray.map(worker_peak, [0], label="start")]
        run_stage(stage, shards, folder, Runner)
        peaks += [outcome.value or 0 for outcome in ray.map(worker_peak, [0, 1], label="peak")]
    return max(peaks)


def _session_bytes(session: int) -> int:
    """Memory of the processes of a session: their proportional share, without what they map of shared memory."""
    total = 0
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_File:")):
                    total += int(line.split()[1]) << 10
    return total


def _filter_bytes() -> int:
    """What filters of ours take in shared memory."""
    found = 0
    for path in pathlib.Path("/dev/shm").glob(f"corpusmith-bloom-{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            found += path.stat().st_blocks * 512
    return found


def peak_of_command(command: list[str]) -> int:
    """Peak memory of a command, all that it starts, and the filters that they share."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _session_bytes(process.pid) + _filter_bytes())
        time.sleep(0.2)
    if process.returncode:
        raise CorpusmithError(f"{' '.join(command)}: exit code {process.returncode}")
    return peak


def bff_memory(source: str) -> tuple[int, int]:
    """Peak memory of `dedup/bff` over a folder, and what its `--plan` says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "dedup" / "bff.py"), "--inputs", source, "--output-directory"]
        command += [f"{folder}/out", "--min-ngram-size", "13", "--max-ngram-size", "13", "--remove-type", "old-both"]
        command += ["-t", str(WORKERS), "--no-progress-bar", "--fp-rate", "1e-9"]
        planned = subprocess.run([*command, "--plan"], check=True, capture_output=True, text=True).stdout
        found = PLANNED.search(planned)
        if found is None:
            raise CorpusmithError(f"no line about memory in: {planned}")
        return peak_of_command(command), int(found[1].replace(",", ""))


# --- rows -------------------------------------------------------------------------------------------------------


def _stages() -> dict[str, Callable[[], StagePlan]]:
    bff = BffConfig(remove_type="old-both", min_ngram_size=13, max_ngram_size=13)
    return {
        "exact": partial(exact.plan_stage, ExactConfig(), "00-exact_dedup"),
        "MinHash": partial(minhash.plan_stage, MinhashConfig(), "00-minhash_dedup"),
        "BFF": partial(bff_stage.plan_stage, bff, "00-bff"),
    }


def _memory_row(name: str, factor: int, peak: int, planned: int) -> Row:
    ratio = peak / planned
    return Row(
        name=f"{name} dedup: memory / plan, {factor}x data",
        ours=peak / 1e6,
        other=planned / 1e6,
        unit="MB",
        ratio=ratio,
        goal=f"{1 - TOLERANCE:g} to {1 + TOLERANCE:g}",
        met=abs(ratio - 1) <= TOLERANCE,
    )


def _seconds_rows(shards: Sequence[ShardRef], data: Sequence[ShardRef], factor: int) -> list[Row]:
    """Seconds per MB over the larger data against those over the data itself, which is timed before and after."""
    rows = []
    for name, stage in _stages().items():
        before = stage_seconds(stage(), shards)
        larger = stage_seconds(stage(), data) / _megabytes(data)
        first = (before + stage_seconds(stage(), shards)) / 2 / _megabytes(shards)
        ratio = larger / first
        title = f"{name} dedup: CPU seconds a compressed MB, {factor}x / 1x data"
        goal, met = f"<= {FLAT:g}", ratio <= FLAT
        rows.append(Row(name=title, ours=larger, other=first, unit="s", ratio=ratio, goal=goal, met=met))
    return rows


def _megabytes(shards: Sequence[ShardRef]) -> float:
    return sum(shard.bytes for shard in shards) / 1e6


def scale_rows(source: str, quick: bool) -> list[Row]:
    """Seconds per MB and memory at each multiple of the data; a quick run goes to 4 times a quarter of the shards."""
    rows = list[Row]()
    plans = {
        "exact": partial(exact_needs.plan_size, ExactConfig()),
        "MinHash": partial(minhash_needs.plan_size, MinhashConfig()),
    }
    bff_stage.warm_kernels()
    for factor in FACTORS[:2] if quick else FACTORS:
        with tempfile.TemporaryDirectory() as folder:
            shards = page_shards(source, quick)
            data = multiply(shards, f"{folder}/in", factor)
            if factor > 1:
                rows += _seconds_rows(multiply(shards, f"{folder}/once", 1), data, factor)
            for name, plan in plans.items():
                planned = plan(take_sample(data)).memory
                rows.append(_memory_row(name, factor, peak_of_worker(_stages()[name](), data), planned))
            rows.append(_memory_row("BFF", factor, *bff_memory(f"{folder}/in")))
    return rows
