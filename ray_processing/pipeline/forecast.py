"""`corpusmith process --plan`: what a YAML would do to its input, from a seeded sample, before anything runs.

The sample goes through the very code that a run uses, in this process. Forecast are the retention after each local
step with a 95 % interval, time, memory per worker and disk; what cannot work is an error. Global steps compare all
pages of a data set, so a sample tells nothing of what they remove, only what they take; steps behind one are forecast
as if it changed nothing.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep, build_steps
from corpusmith.errors import InputError
from corpusmith.imports import resolve
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution
from corpusmith.run.stage import ShardRecord, StagePlace
from corpusmith.steps.global_steps import GLOBAL_STEPS, Needs
from corpusmith.text.segmentation.view import VIEW_BYTES_PER_CHARACTER, warm_kernels
from corpusmith.units import byte_size, duration
from ray_processing.pipeline.config import GlobalCall, Pipeline
from ray_processing.pipeline.page_sample import SampledShard, draw_sample
from ray_processing.pipeline.stages import find_files, local_runs

# The normal quantile of 97.5 % between both ends, and what lies beyond either: a pipeline shows twenty intervals of one
# sample, and Wilson's of 95 % hold less than that for some shares (Brown, Cai and DasGupta 2001).
Z = 2.241403
TAIL = 0.0125
# Up to so many pages gone, or left, their number is taken as a Poisson count: near 0 and 1 Wilson's holds too little.
RARE = 30
# A cluster of one is up after this long, and each worker has loaded the code and kernels.
START_SECONDS = 8.0
WORKER_BYTES_BESIDE = 150 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class StepForecast:
    """A step: what share of the pages read is left after it, with its 95 % interval, and its seconds over all pages.

    `after_global`: a global step stands before it, which the forecast takes to change nothing. A global step itself
    has no such figures (`retention` is None); `needs`: what it takes, where that is more than a local step does.
    """

    key: str
    retention: float | None = None
    low: float = 0.0
    high: float = 0.0
    seconds: float = 0.0
    after_global: bool = False
    needs: Needs | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a run would do. Bytes are those of files as stored; `work_seconds` is summed over all workers.

    `shared_bytes`: memory that the workers of a machine share, beside their own.
    """

    pages: int
    sampled: int
    steps: list[StepForecast]
    work_seconds: float
    wall_seconds: float
    workers: int
    worker_bytes: int
    shared_bytes: int
    output_bytes: int
    disk_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A sampled shard's way through one stage of local steps."""

    sample: SampledShard
    record: ShardRecord
    output: ShardRef


def interval(kept: int, drawn: int, counts: Sequence[tuple[int, int]] = ()) -> tuple[float, float]:
    """Return the 95 % interval of the share of pages left.

    Wilson's; exact bounds of a Poisson count where few pages are gone or left; an approximate one of a Poisson count
    where splits made more pages than were drawn.

    Args:
        kept: pages left.
        drawn: pages drawn.
        counts: both of each shard, where only some of the shards were read: then the interval is widened to what the
            shards differ by.
    """
    share = kept / drawn
    if kept > drawn:
        half = Z * math.sqrt(kept) / drawn
        low, high = share - half, share + half
    elif drawn - kept <= RARE:
        fewest, most = _count_bounds(drawn - kept)
        low, high = 1 - most / drawn, 1 - fewest / drawn
    elif kept <= RARE:
        low, high = (bound / drawn for bound in _count_bounds(kept))
    else:
        middle = (share + Z**2 / (2 * drawn)) / (1 + Z**2 / drawn)
        spread = math.sqrt(share * (1 - share) / drawn + Z**2 / (4 * drawn**2))
        half = Z * spread / (1 + Z**2 / drawn)
        low, high = middle - half, middle + half
    if len(counts) > 1:
        size = drawn / len(counts)
        variance = sum((left - share * pages) ** 2 for left, pages in counts) / (len(counts) - 1)
        half = Z * math.sqrt(variance / len(counts)) / size
        low, high = min(low, share - half), max(high, share + half)
    return max(low, 0.0), high if kept > drawn else min(high, 1.0)


def _count_bounds(count: int) -> tuple[float, float]:
    """The exact bounds of a Poisson mean of which this count was seen, TAIL beyond either."""

    def at_most(most: int, mean: float) -> float:
        terms = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))
        return math.fsum(terms)

    def mean_where(most: int, chance: float) -> float:
        low, high = 1e-9, count + 10 * math.sqrt(count + 1) + 10
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(most, middle) > chance else (low, middle)
        return low

    return (mean_where(count - 1, 1 - TAIL) if count else 0.0), mean_where(count, TAIL)


def make_forecast(
    pipeline: Pipeline, shards: list[ShardRef], execution: Execution, *, seed: int, fraction: float, assets: str | None
) -> Forecast:
    """Run a sample of the input through the local steps and scale up.

    Args:
        pipeline: the steps.
        shards: the input.
        execution: how the run itself would be executed.
        seed: of the sample and of the steps' random draws.
        fraction: the share of the pages to sample, in (0, 1].
        assets: folder of lists and models, `sample`, or None.

    Raises:
        InputError: nothing can be drawn.
        UserError: a list or a model is missing.
    """
    with tempfile.TemporaryDirectory(prefix="corpusmith-plan-") as folder:
        sample = draw_sample(shards, folder, seed, fraction)
        warm_kernels()
        inputs = [shard.shard for shard in sample]
        way = _Way(sample=sample, shards=shards, workers=_workers(execution, shards), inputs=inputs)
        for number, run in enumerate(local_runs(pipeline)):
            if isinstance(run, GlobalCall):
                way.pass_global(run)
            else:
                way.pass_local(run, os.path.join(folder, str(number)), seed, assets)
        return way.forecast()


@dataclass(kw_only=True, slots=True)
class _Way:
    """The way of a sample through the stages of a pipeline.

    `inputs`: the sampled pages as the next stage gets them; `stored_bytes`: of the shards before it, scaled to the
    whole input (0 before the first, whose input stands anyway); `disk_bytes`: the most that stood at any time.
    """

    sample: list[SampledShard]
    shards: list[ShardRef]
    workers: int
    inputs: list[ShardRef]
    steps: list[StepForecast] = field(default_factory=list)
    set_up_seconds: float = 0.0
    work_seconds: float = 0.0
    stored_bytes: int = 0
    disk_bytes: int = 0
    after_global: bool = False

    @property
    def scale(self) -> float:
        """Bytes of content of the whole input for each byte drawn; of shards not read by the size of their files."""
        content = sum(shard.content_bytes for shard in self.sample)
        drawn = sum(shard.sampled_bytes for shard in self.sample)
        return content / max(drawn, 1) * self._unread

    @property
    def _unread(self) -> float:
        return self._total_bytes / max(sum(shard.source.bytes for shard in self.sample), 1)

    @property
    def _total_bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def pass_local(self, run: tuple[LocalStep, ...], folder: str, seed: int, assets: str | None) -> None:
        """Run local steps over the sampled shards, as their tasks would."""
        running, _ = find_files(run, assets)
        started = time.perf_counter()
        build_steps(running)
        self.set_up_seconds += time.perf_counter() - started
        parts = list(_run_sample(running, self.sample, self.inputs, folder, seed))
        self.inputs = [part.output for part in parts]
        self.work_seconds += sum(part.record.details["seconds"] for part in parts) * self.scale
        all_read = len(self.sample) == len(self.shards)
        self.steps += _step_forecasts(parts, self.scale, all_read=all_read, after_global=self.after_global)
        self._stand(round(sum(part.output.bytes for part in parts) * self.scale))

    def pass_global(self, run: GlobalCall) -> None:
        """Ask a global step what it takes over all pages of which the sample has got here."""
        reference = GLOBAL_STEPS[run.func].needs
        coming = sum(shard.bytes for shard in self.inputs) * self.scale
        needs: Needs | None = None
        if reference is not None:
            share = coming / max(self._total_bytes, 1)
            all_shards = [replace(shard, bytes=round(shard.bytes * share)) for shard in self.shards]
            needs = resolve(reference)(run.config, self.inputs, all_shards, self.workers)
        self.steps.append(StepForecast(key=run.key, needs=needs))
        self.after_global = True
        self._stand(round(coming), needs.scratch if needs is not None else 0)

    def _stand(self, written: int, scratch: int = 0) -> None:
        # a stage's shards stand until the next is complete
        self.disk_bytes = max(self.disk_bytes, self.stored_bytes + written + scratch)
        self.stored_bytes = written

    def forecast(self) -> Forecast:
        """What a run would do, when the sample has passed all stages."""
        largest = max(shard.bytes for shard in self.shards) / max(self._total_bytes, 1)
        # the largest shard is one task; nothing runs faster than it
        work = self.work_seconds * max(1 / self.workers, largest)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        longest = max(shard.longest_bytes for shard in self.sample)
        needs = [step.needs for step in self.steps if step.needs is not None]
        local = peak + longest * VIEW_BYTES_PER_CHARACTER + WORKER_BYTES_BESIDE
        return Forecast(
            pages=round(sum(shard.records for shard in self.sample) * self._unread),
            sampled=sum(shard.sampled for shard in self.sample),
            steps=self.steps,
            work_seconds=self.work_seconds,
            wall_seconds=START_SECONDS + self.set_up_seconds + work,
            workers=self.workers,
            worker_bytes=max([local, *(one.worker_memory for one in needs)]),
            shared_bytes=max((one.shared_memory for one in needs), default=0),
            output_bytes=self.stored_bytes,
            disk_bytes=self.disk_bytes,
        )


def _workers(execution: Execution, shards: Sequence[ShardRef]) -> int:
    return min(execution.cpus or os.cpu_count() or 1, len(shards))


def _run_sample(
    steps: tuple[LocalStep, ...], sample: list[SampledShard], inputs: list[ShardRef], folder: str, seed: int
) -> Iterator[_Part]:
    """Run one stage over the sampled shards, as its tasks would."""
    place = StagePlace(name="00-plan", folder=folder, output=f"{folder}/shards", errors=f"{folder}/errors")
    for drawn, shard in zip(sample, inputs, strict=True):
        process_shard(LocalTask(place=place, shard=shard, identity="sample", output=shard.name, steps=steps, seed=seed))
        record = ShardRecord.from_json(storage.read_json(place.record_url(shard.name)))
        (file,) = record.outputs
        output = ShardRef(name=file.name, url=place.output_url(file.name), identity=file.checksum, bytes=file.bytes)
        yield _Part(sample=drawn, record=record, output=output)


def _step_forecasts(parts: list[_Part], scale: float, *, all_read: bool, after_global: bool) -> Iterator[StepForecast]:
    drawn = sum(part.sample.sampled for part in parts)
    for rows in zip(*(part.record.details["steps"] for part in parts), strict=True):
        counts = [(row["pages_out"], part.sample.sampled) for row, part in zip(rows, parts, strict=True)]
        kept = sum(left for left, _ in counts)
        low, high = interval(kept, drawn, () if all_read else counts)
        yield StepForecast(
            key=rows[0]["step"],
            retention=kept / drawn,
            low=low,
            high=high,
            seconds=sum(row["seconds"] for row in rows) * scale,
            after_global=after_global,
        )


def check_possible(forecast: Forecast, output_dir: str, execution: Execution, free: int | None, memory: int) -> None:
    """Refuse what cannot work.

    Args:
        forecast: of the run.
        output_dir: as the user gave it, for the message.
        execution: how the run would be executed.
        free: bytes free where the output goes; None where that is not known.
        memory: bytes of this machine, which say nothing of a cluster that is joined.

    Raises:
        InputError: too little disk, or more memory than there is.
    """
    if free is not None and forecast.disk_bytes > free:
        raise InputError(
            f"{output_dir}: the run would need about {byte_size(forecast.disk_bytes)} of disk at its peak, but "
            f"{byte_size(free)} are free; give another --output_dir"
        )
    if execution.task_memory is not None and execution.task_memory < forecast.worker_bytes:
        raise InputError(
            f"--memory_per_task is {byte_size(execution.task_memory)}, but a worker needs about "
            f"{byte_size(forecast.worker_bytes)} (code, models and the longest page)"
        )
    joined = execution.ray_address or os.environ.get("RAY_ADDRESS")
    if not joined and forecast.worker_bytes > memory:
        raise InputError(
            f"a worker needs about {byte_size(forecast.worker_bytes)} of memory (code, models and the longest page), "
            f"but this machine has {byte_size(memory)}"
        )
    if not joined and forecast.shared_bytes + forecast.worker_bytes > memory:
        raise InputError(
            f"the filter of a Bloom-filter dedup takes {byte_size(forecast.shared_bytes)} and a worker about "
            f"{byte_size(forecast.worker_bytes)}, but this machine has {byte_size(memory)} of memory; lower "
            "expected_ngram_count, raise fp_rate, or run on a cluster"
        )
    if not joined and forecast.shared_bytes + forecast.worker_bytes * forecast.workers > memory:
        fitting = max(1, (memory - forecast.shared_bytes) // forecast.worker_bytes)
        raise InputError(
            f"{forecast.workers} workers need about {byte_size(forecast.worker_bytes)} of memory each"
            f"{_beside(forecast)}, but this machine has {byte_size(memory)}; give --num_cpus {fitting}"
        )


def _beside(forecast: Forecast) -> str:
    return f" beside {byte_size(forecast.shared_bytes)} that they share" if forecast.shared_bytes else ""


def free_bytes(url: str) -> int | None:
    """Bytes free where a local folder is or would be made; None for a remote one."""
    if "://" in url:
        return None
    folder = os.path.abspath(url)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def report_forecast(forecast: Forecast) -> None:
    """Print what is forecast."""
    say(f"forecast from {forecast.sampled:,} of about {forecast.pages:,} pages")
    width = max(len(step.key) for step in forecast.steps)
    say(f"  {'step':<{width}}  pages left (95 % interval)       time")
    for step in forecast.steps:
        if step.retention is None:
            say(f"  {step.key:<{width}}  not forecast from a sample")
            for line in step.needs.lines if step.needs is not None else ():
                say(f"  {'':<{width}}    {line}".rstrip())
            continue
        shares = f"{step.retention:7.2%}  ({step.low:.2%} to {step.high:.2%})"
        mark = "  if the global step before changes nothing" if step.after_global else ""
        say(f"  {step.key:<{width}}  {shares:<30} {duration(step.seconds):>8}{mark}")
    beside = ", without the global steps" if any(step.retention is None for step in forecast.steps) else ""
    wall, workers = duration(forecast.wall_seconds), forecast.workers
    say(f"  time:   {duration(forecast.work_seconds)} of work, about {wall} with {workers} workers{beside}")
    say(f"  memory: about {byte_size(forecast.worker_bytes)} for each worker{_beside(forecast)}")
    peak, end = byte_size(forecast.disk_bytes), byte_size(forecast.output_bytes)
    say(f"  disk:   about {peak} at the peak, {end} in the end{beside}")
