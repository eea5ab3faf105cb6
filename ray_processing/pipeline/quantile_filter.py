"""`quantile_filter`: keep the best share of pages by a score, as a global step.

DCLM-Baseline keeps the tenth of all pages that its classifier likes best; upstream finds that threshold by hand on a
sample and writes it into a YAML. Here it is found on all pages, in two passes over the shards:
 1. per shard, the scores of its pages; then one task selects, digit by digit, the score that the share ends at;
 2. per shard, the pages at least as good are written.
The result equals `quality_filter` with that threshold. Pages that tie with it all stay, so the share may come out
larger.
Memory: 8 bytes a page of one shard.
"""

from __future__ import annotations

import math
import struct
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from corpusmith.io import storage
from corpusmith.io.pages.shards import Page, ShardRef, read_records
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.fingerprint import inputs_identity
from corpusmith.run.ledger import READ_STEP
from corpusmith.run.progress import say
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.stage import Stage
from corpusmith.steps.rewrite import RewriteTask, open_rewrite, rewrite_tasks, write_record

DIGIT_BITS = 16
SIGN = 1 << 63

U64Array = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileConfig:
    """Which pages stay: `keep_fraction` (0 to 1) of those that have a score, the highest first.

    `key`: where an enricher put the score; `lower_better`: the lowest first (perplexity); `key_must_exist`: a page
    without a score is set aside, else it has the worst one.
    """

    key: str
    keep_fraction: float
    lower_better: bool = False
    key_must_exist: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.keep_fraction <= 1:
            raise ValueError(f"keep_fraction must lie in (0, 1], got {self.keep_fraction}")

    def score(self, page: Page) -> float | str:
        """A page's score, higher better, or why it has none."""
        if self.key not in page:
            return -math.inf if not self.key_must_exist else f"the page has no score {self.key!r}"
        value = page[self.key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"the score {self.key!r} must be a number, is {type(value).__name__}"
        try:
            number = float(value)
        except OverflowError:
            return f"the score {self.key!r} is too large a number"
        if math.isnan(number):
            return f"the score {self.key!r} is not a number"
        return (-number if self.lower_better else number) + 0.0


def keys_of(scores: npt.NDArray[np.float64]) -> U64Array:
    """Integers (U64) in the order of the scores."""
    bits = scores.view(np.uint64)
    negative = bits >> np.uint64(63) == 1
    return np.where(negative, ~bits, bits | np.uint64(SIGN))


def score_of(key: int) -> float:
    """The score of a key."""
    bits = key & ~SIGN if key & SIGN else ~key & (1 << 64) - 1
    (score,) = struct.unpack("<d", struct.pack("<Q", bits))
    return float(score)


def pages_to_keep(scored: int, fraction: float) -> int:
    """The share of so many pages, rounded up; the fraction is taken as it is written, not as its float."""
    return math.ceil(Fraction(repr(float(fraction))) * scored)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileLayout:
    """Where the passes exchange their files."""

    folder: str

    def scores_url(self, number: int) -> str:
        """The keys of a shard's scores."""
        return storage.join(self.folder, f"{number:08d}.scores")

    @property
    def threshold_url(self) -> str:
        """What was selected."""
        return storage.join(self.folder, "threshold.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreTask:
    """A shard whose scores are to be collected."""

    layout: QuantileLayout
    config: QuantileConfig
    shard: ShardRef
    number: int


def collect_scores(task: ScoreTask) -> None:
    """Write the keys of a shard's scores; pages without one have none here."""
    scores = array("d")
    for record in read_records(task.shard.url):
        if record.page is not None and not isinstance(found := task.config.score(record.page), str):
            scores.append(found)
    keys = keys_of(np.array(scores, dtype=np.float64))
    storage.write_bytes(task.layout.scores_url(task.number), keys.astype("<u8").tobytes())


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectTask:
    """All shards' scores, of which one is to be selected."""

    layout: QuantileLayout
    config: QuantileConfig
    shards: int


def select_threshold(task: SelectTask) -> None:
    """Write the score of the last page that stays (null where there is no score), and the pages on both sides of it."""

    def keys() -> Iterator[U64Array]:
        for number in range(task.shards):
            yield np.frombuffer(storage.read_bytes(task.layout.scores_url(number)), dtype="<u8")

    scored = sum(len(part) for part in keys())
    left = pages_to_keep(scored, task.config.keep_fraction)
    chosen = better = 0
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS) if scored else ():
        counts = np.zeros(1 << DIGIT_BITS, dtype=np.int64)
        for part in keys():
            inside = part if shift + DIGIT_BITS == 64 else part[part >> np.uint64(shift + DIGIT_BITS) == chosen]
            digits = (inside >> np.uint64(shift)) & np.uint64((1 << DIGIT_BITS) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << DIGIT_BITS)
        from_top = np.cumsum(counts[::-1])
        position = int(np.searchsorted(from_top, left))
        before = int(from_top[position - 1]) if position else 0
        left -= before
        better += before
        chosen = chosen << DIGIT_BITS | (1 << DIGIT_BITS) - 1 - position
        ties = int(counts[(1 << DIGIT_BITS) - 1 - position])
    score = score_of(chosen) if scored else None
    document = {
        # JSON has no infinity, which is the score of pages without one
        "score": score if score is not None and math.isfinite(score) else None,
        "keeps_all": score == -math.inf,
        "scored": scored,
        "kept": better + ties if scored else 0,
    }
    storage.write_json(task.layout.threshold_url, document)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterTask:
    """A shard to be written without the pages below the threshold (a score, higher better)."""

    config: QuantileConfig
    threshold: float
    rewrite: RewriteTask


def filter_shard(task: FilterTask) -> None:
    """Write a shard without the pages below the threshold, then its record."""
    started, config = time.perf_counter(), task.config
    with open_rewrite(task.rewrite) as rewrite:
        for record in read_records(task.rewrite.shard.url):
            rewrite.counts.read += 1
            if record.page is None:
                rewrite.quarantine(READ_STEP, record, record.error or "unreadable")
                continue
            score = config.score(record.page)
            if isinstance(score, str):
                rewrite.quarantine(task.rewrite.step, record, score)
            elif score < task.threshold:
                rewrite.remove(record.index, record.page, "", f"{config.key} {record.page.get(config.key)}")
            else:
                rewrite.keep(record, record.page)
    sign = -1.0 if config.lower_better else 1.0
    threshold = sign * task.threshold if math.isfinite(task.threshold) else None
    write_record(
        rewrite,
        rewrite.details(func="quantile_filter", arguments=asdict(config), started=started, threshold=threshold),
    )


def plan_stage(config: QuantileConfig, step: str) -> StagePlan:
    """The stage of a quantile filter; `step` is the key under which counts and report name it."""

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _work(stage, runner, config, step)

    return StagePlan(
        name="quantile_filter",
        fingerprint={"config": asdict(config), "code": code_versions(plan_stage)},
        work=work,
        units=unit_per_shard_of_all,
    )


def _work(stage: Stage, runner: Runner, config: QuantileConfig, step: str) -> list[str]:
    """Do what the pending shards need of both passes; a line for each task that failed."""
    place = stage.place
    layout = QuantileLayout(folder=storage.join(place.scratch, inputs_identity(stage.inputs)[:16]))
    if not storage.exists(layout.threshold_url):
        scoring = {
            shard.name: ScoreTask(layout=layout, config=config, shard=shard, number=number)
            for number, shard in enumerate(stage.inputs)
            if not storage.exists(layout.scores_url(number))
        }
        failures = stage.run_units(runner, collect_scores, scoring, label=f"{place.name}: scores")
        selecting = {"threshold": SelectTask(layout=layout, config=config, shards=len(stage.inputs))}
        failures = failures or stage.run_units(
            runner, select_threshold, selecting, label=f"{place.name}: threshold", unit="tasks"
        )
        if failures:
            return failures
    found = storage.read_json(layout.threshold_url)
    threshold = math.inf if found["score"] is None else float(found["score"])
    if found["keeps_all"] or not found["scored"]:
        threshold = -math.inf
    shown = -threshold if config.lower_better and math.isfinite(threshold) else threshold
    say(f"{step}: {found['kept']:,} of {found['scored']:,} pages stay, by a {config.key} of {shown!r} or better")
    filtering = {
        name: FilterTask(config=config, threshold=threshold, rewrite=task)
        for name, task in rewrite_tasks(stage, step, set(stage.pending())).items()
    }
    return stage.run_units(runner, filter_shard, filtering, label=f"{place.name}: filter")
