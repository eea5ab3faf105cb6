"""Rows of `benchmarks/dedup.py` about MinHash and exact dedup.

Signatures: ours against datasketch (both its schemes), rensa and datatrove, on the same pages with as many hashes of
5-word shingles; ours includes finding the words, the others get text and split it at white space, which is cheaper.
Whole dedup: ours against datatrove's four stages over the same shards, one process each, reading and writing included.
Scale: CPU seconds per MB at 4 and 16 times the data against the data itself. Memory: the most that a Ray worker held
against what `--plan` says. Larger data is the source again and again with its letters rotated, so that copies of a page
share no word.
"""

from __future__ import annotations

import json
import pathlib
import resource
import statistics
import string
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from benchmarks._bench import ROOT, Row, page_shards
from corpusmith.io.shards import ShardRef, list_shards, open_shard_writer, read_shard
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, StagePlan
from corpusmith.run.runner import Execution, Outcome, Runner
from dedup import exact, minhash
from dedup.exact_config import ExactConfig
from dedup.minhash_config import MinhashConfig
from dedup.shingles import Shingler
from dedup.signatures import Family, Signer
from dedup.sizing import take_sample

PEERS = ROOT / ".peers"
PEER_SCRIPT = ROOT / "benchmarks" / "_dedup_minhash_peers.py"
FACTORS = (1, 4, 16)
HASHES = 128
FINEWEB_HASHES = 112


# --- signatures ------------------------------------------------------------------------------------------------


def sign_all(texts: Sequence[str], hashes: int, family: Family) -> None:
    """Sign every text: words, shingles, signature."""
    shingler, signer = Shingler(), Signer(hashes=hashes, family=family)
    for text in texts:
        signer.sign(shingler.hashes(text))


def sign_with_datasketch(texts: Sequence[str], scheme: str) -> None:
    """Sign every text with datasketch: 5-word shingles of white-space words, `update_batch`."""
    import datasketch

    for text in texts:
        words = text.split()
        shingles = [" ".join(words[at : at + 5]).encode() for at in range(max(len(words) - 4, 1))]
        datasketch.MinHash(num_perm=HASHES, scheme=scheme).update_batch(shingles)


def cpu_seconds(function: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of this process, after one call to warm up on the same work."""
    function()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def peer_seconds(peer: str, task: str, *arguments: str) -> float | str:
    """CPU seconds that a peer says it needed in its own environment, or why there is no figure."""
    python = PEERS / peer / "bin" / "python"
    if not (PEERS / peer / ".installed").exists():
        return f"{peer} is not installed; run: make peers"
    command = [str(python), str(PEER_SCRIPT), task, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"{peer} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def ratio_row(name: str, ours: float, other: float | str, goal: float) -> Row:
    """A row whose goal is that the other takes so many times as long; one without a figure says why."""
    if isinstance(other, str):
        return Row(name=f"{name} ({other})", ours=ours, other=0.0, unit="s", ratio=0.0, goal=f">= {goal:g}", met=None)
    ratio = other / ours
    return Row(name=name, ours=ours, other=other, unit="s", ratio=ratio, goal=f">= {goal:g}", met=ratio >= goal)


def signature_rows(shards: Sequence[ShardRef], repeats: int) -> list[Row]:
    """Signatures of all pages of some shards."""
    texts = [page["text"] for shard in shards for page in read_shard(shard.url)]
    affine = cpu_seconds(lambda: sign_all(texts, HASHES, "affine32"), repeats)
    mersenne = cpu_seconds(lambda: sign_all(texts, HASHES, "mersenne61"), repeats)
    fineweb = cpu_seconds(lambda: sign_all(texts, FINEWEB_HASHES, "affine32"), repeats)
    theirs = cpu_seconds(lambda: sign_with_datasketch(texts, "affine32"), 1)
    legacy = cpu_seconds(lambda: sign_with_datasketch(texts, "legacy"), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "texts.json"
        path.write_text(json.dumps(texts))
        rensa = peer_seconds("rensa", "rensa", str(path), str(HASHES))
        cminhash = peer_seconds("rensa", "rensa-c", str(path), str(HASHES))
        datatrove = peer_seconds("datatrove", "datatrove-signatures", str(path))
    return [
        ratio_row("signatures: datasketch (its default) / ours", affine, theirs, 10),
        ratio_row("signatures: datasketch (legacy) / ours", affine, legacy, 10),
        ratio_row("signatures: datasketch (legacy) / ours by its arithmetic", mersenne, legacy, 8),
        ratio_row("signatures: rensa RMinHash / ours", affine, rensa, 3),
        ratio_row("signatures: rensa CMinHash / ours", affine, cminhash, 3),
        ratio_row("signatures: datatrove 14 x 8 / ours", fineweb, datatrove, 10),
    ]


# --- the whole -------------------------------------------------------------------------------------------------


class InProcess(Runner):
    """Runs tasks in this process, so that its CPU time is the work's."""

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Generator[Outcome[Any]]:
        for index, task in enumerate(tasks):
            yield Outcome(name=str(index), index=index, value=function(task))


def run_stage(
    stage: StagePlan, shards: list[ShardRef], folder: str, open_runner: Callable[[Execution], Runner] = InProcess
) -> None:
    """Run one stage over shards as a run of its own."""
    place = RunPlace(root=f"{folder}/run", output=f"{folder}/processed_data", errors=f"{folder}/errors")
    run = Run(place, RunPlan(inputs=shards, stages=[stage]), open_runner)
    run.execute(Execution(cpus=1), RunOptions())


def stage_seconds(stage: StagePlan, shards: list[ShardRef]) -> float:
    """CPU seconds of a stage from its input to its output."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        run_stage(stage, shards, folder)
        return time.process_time() - started


def whole_rows(shards: list[ShardRef]) -> list[Row]:
    """The whole MinHash dedup against datatrove's."""
    stage = partial(minhash.plan_stage, MinhashConfig(), "00-minhash_dedup")
    stage_seconds(stage(), shards[:1])
    ours = stage_seconds(stage(), shards)
    with tempfile.TemporaryDirectory() as folder:
        for shard in shards:
            with open_shard_writer(f"{folder}/in/{shard.name}") as writer:
                for number, page in enumerate(read_shard(shard.url)):
                    writer.write({"text": page["text"], "id": f"{shard.name}/{number}", "url": page.get("url")})
        theirs = peer_seconds("datatrove", "datatrove-dedup", folder)
    return [ratio_row("whole MinHash dedup: datatrove's four stages / ours", ours, theirs, 4)]


# --- scale -----------------------------------------------------------------------------------------------------


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


def stages() -> dict[str, tuple[Callable[[], StagePlan], Callable[..., Any]]]:
    """What is measured at each scale: the stage and its plan."""
    pages, lines = ExactConfig(), MinhashConfig()
    return {
        "exact": (partial(exact.plan_stage, pages, "00-exact_dedup"), partial(exact.plan_size, pages)),
        "MinHash": (partial(minhash.plan_stage, lines, "00-minhash_dedup"), partial(minhash.plan_size, lines)),
    }


def scale_rows(shards: list[ShardRef], factors: Sequence[int]) -> list[Row]:
    """Seconds per MB and memory at each multiple of the data."""
    rows: list[Row] = []
    per_megabyte: dict[str, float] = {}
    for factor in factors:
        with tempfile.TemporaryDirectory() as folder:
            data = multiply(shards, f"{folder}/in", factor)
            megabytes = sum(shard.bytes for shard in data) / 1e6
            for name, (stage, plan) in stages().items():
                seconds = stage_seconds(stage(), data) / megabytes
                first = per_megabyte.setdefault(name, seconds)
                ratio = seconds / first
                title = f"{name} dedup: CPU seconds a compressed MB, {factor}x / 1x data"
                rows.append(
                    Row(name=title, ours=seconds, other=first, unit="s", ratio=ratio, goal="<= 1.2", met=ratio <= 1.2)
                )
                rows.append(memory_row(f"{name} dedup: worker memory / plan, {factor}x data", stage(), plan, data))
    return rows


def worker_peak(_: int) -> int:
    """The most memory that the worker which runs this ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_row(title: str, stage: StagePlan, plan: Callable[..., Any], data: list[ShardRef]) -> Row:
    """The most memory of a worker of a fresh Ray against the plan's word."""
    planned = plan(take_sample(data)).memory
    with tempfile.TemporaryDirectory() as folder, Runner(Execution(cpus=1)) as ray:
        peaks = [outcome.value or 0 for outcome in ray.map(worker_peak, [0], label="start")]
        run_stage(stage, data, folder, Runner)
        peaks += [outcome.value or 0 for outcome in ray.map(worker_peak, [0, 1], label="peak")]
    ratio = max(peaks) / planned
    met = 0.8 <= ratio <= 1.2
    return Row(
        name=title, ours=max(peaks) / 1e6, other=planned / 1e6, unit="MB", ratio=ratio, goal="0.8 to 1.2", met=met
    )


def minhash_rows(source: str, quick: bool) -> list[Row]:
    """All rows; a quick run takes a quarter of the shards and goes to 4 times the data."""
    shards = page_shards(source, quick)
    found = signature_rows(shards, 1 if quick else 3)
    found += whole_rows(shards)
    found += scale_rows(shards, FACTORS[:2] if quick else FACTORS)
    return found
