"""Exact dedup: of all units with equal content in the whole dataset one is kept (`corpusmith dedup exact`).

Follows DCLM's `exact_dedup` (units, normalizers, selection, shape of the content afterwards). Departs from it:
 - ties are broken by (shard, page, unit), so results are reproducible;
 - the step never touches its input, and a retry compares the input set again, never a half-published one;
 - a page without the content or selection key is set aside and does not fail the step.

Three phases of Ray tasks over files in the stage's scratch, in a folder named by the identity of the input; a file
that stands is not made again, and each is written whole or not at all, so any task may run twice:
 1. per shard, the 128-bit ids of its units are grouped; the best unit of each id is spilled by cell (a range of ids);
 2. per cell, the ids of all shards are sorted and grouped, the unit to keep is chosen, the verdicts are spilled by
    shard, and each group is written to `groups/` for whoever wants to check;
 3. per shard, the pages are streamed again without the units that lost; what the shard has of the groups is written
    to `members/`.
Memory: some 150 bytes (and the selection value) a unit of a shard in phases 1 and 3; the same for each id and shard of
a cell in phase 2, where the number of cells comes from a sample of the input.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from corpusmith.command import make_parser, run_command
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.fingerprint import SHARD_MODULES, code_versions
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.stage import Stage
from corpusmith.steps.global_steps import Needs
from corpusmith.steps.rewrite import rewrite_tasks
from corpusmith.steps.sizing import WORKER_BYTES, DedupPlan, Phase, Sample, cells_for, read_sample, take_sample
from corpusmith.steps.standalone import add_arguments, add_selection_arguments, config_from, run_dedup
from dedup.exact.config import ExactConfig
from dedup.exact.drop import DropTask, drop_from_shard
from dedup.exact.hash import HashTask, hash_shard
from dedup.groups.examples import biggest_groups
from dedup.groups.layout import Layout, Sizes, standing
from dedup.groups.phases import cells_to_settle, has_units, settle_cells
from dedup.groups.selection import CONTENT_NORMALIZERS

VERSION = 2
MODULES = (
    *SHARD_MODULES,
    *("dedup.exact.units", "dedup.exact.stage", "dedup.exact.config", "dedup.exact.drop", "dedup.exact.hash"),
    *(
        "dedup.groups.groups",
        "dedup.groups.layout",
        "dedup.groups.members",
        "corpusmith.steps.rewrite",
        "dedup.groups.selection",
        "dedup.groups.examples",
    ),
    "corpusmith.steps.sizing",
)
STAGE = "exact_dedup"
ROWS_PER_CELL = 1_000_000
BYTES_PER_UNIT_OF_A_SHARD = 150
BYTES_PER_ROW_OF_A_CELL = 130
SPILLED_BYTES_PER_UNIT = 28


def plan_stage(config: ExactConfig, step: str) -> StagePlan:
    """The stage of an exact dedup; `step` is the key under which the books name it, such as `04-exact_dedup`."""
    modules = [*MODULES]
    if config.normalize is not None or config.selection_normalize is not None:
        modules.append("corpusmith.text.normalize")

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _work(stage, runner, config, step)

    return StagePlan(
        name=STAGE,
        fingerprint={"config": config.deciding(), "code": code_versions(modules)},
        work=work,
        units=unit_per_shard_of_all,
    )


def _count_units(config: ExactConfig, sample: Sample) -> int:
    reader = config.unit_reader()
    found = (reader.read(page) for page in sample.pages)
    return sum(len(units.ids) for units in found if not isinstance(units, str))


def _count_cells(config: ExactConfig, sample: Sample) -> Sizes:
    return {"cells": cells_for(sample.scaled(_count_units(config, sample)), ROWS_PER_CELL)}


def plan_size(config: ExactConfig, sample: Sample) -> DedupPlan:
    """What the phases will need over an input."""
    in_sample = _count_units(config, sample)
    units = sample.scaled(in_sample)
    of_shard = WORKER_BYTES + BYTES_PER_UNIT_OF_A_SHARD * sample.in_largest_shard(in_sample)
    cells = cells_for(units, ROWS_PER_CELL)
    of_cell = WORKER_BYTES + BYTES_PER_ROW_OF_A_CELL * -(-units // cells)
    spilled = SPILLED_BYTES_PER_UNIT * units
    return DedupPlan(
        title=f"exact dedup of {config.content_key!r}",
        facts=[f"about {sample.scaled(len(sample.pages)):,} pages with {units:,} units in {sample.shards:,} shards"],
        phases=[
            Phase(name="hash", tasks=sample.shards, memory=of_shard, disk=spilled),
            Phase(name="compare", tasks=cells, memory=of_cell, disk=spilled),
            Phase(name="drop", tasks=sample.shards, memory=of_shard, disk=0),
        ],
        output=sample.total_bytes,
    )


def plan_needs(config: ExactConfig, sampled: Sequence[ShardRef], shards: Sequence[ShardRef], workers: int) -> Needs:
    """What the phases will need over shards, judged by the pages of sampled ones."""
    return plan_size(config, read_sample(sampled).standing_for(shards)).needs(workers)


def _work(stage: Stage, runner: Runner, config: ExactConfig, step: str) -> list[str]:
    """Do what the pending shards need of the three phases; a line for each task that failed.

    Which copy is kept depends on all shards, so a shard that cannot be read stops the step after phase 1.
    """
    config.try_normalizers()
    layout = Layout.of_stage(stage, lambda: _count_cells(config, take_sample(stage.inputs)))
    there = standing(layout.folder, layout.groups)
    pending, cells = set(stage.pending()), cells_to_settle(layout, there)
    hashing = {
        shard.name: HashTask(layout=layout, config=config, shard=shard, number=number)
        for number, shard in enumerate(stage.inputs)
        if not has_units(layout, there, number) and (cells or shard.name in pending)
    }
    failures = stage.run_units(runner, hash_shard, hashing, label=f"{stage.place.name}: hash")
    failures = failures or settle_cells(stage, runner, layout, cells, config.selection_reverse)
    if failures:
        return failures
    shown = biggest_groups(layout)
    dropping = {
        name: DropTask(config=config, layout=layout, shown=shown.get(task.number, ()), rewrite=task)
        for name, task in rewrite_tasks(stage, step, pending).items()
    }
    return stage.run_units(runner, drop_from_shard, dropping, label=f"{stage.place.name}: drop")


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith dedup exact`."""
    parser = make_parser(
        "corpusmith dedup exact",
        "Keep one of all units (pages, or the strings of a list) with equal content.",
        "corpusmith dedup exact --input pages --output_dir unique --readable_name unique_pages --content_key url "
        "--normalize normalize_url --selection_key metadata.WARC-Date --selection_reverse",
    )
    parser.add_argument("--content_key", nargs="+", default="text", help="key of what is compared, or several together")
    parser.add_argument("--unit", choices=("content", "paragraph", "line"), default="content", help="what of it")
    parser.add_argument("--normalize", choices=sorted(CONTENT_NORMALIZERS), help="what it goes through before")
    add_selection_arguments(parser)
    add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run an exact dedup as the flags say."""
    if isinstance(arguments.content_key, list) and len(arguments.content_key) == 1:
        (arguments.content_key,) = arguments.content_key
    config = config_from(arguments, ExactConfig)
    run_dedup(arguments, partial(plan_stage, config), partial(plan_needs, config), STAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith dedup exact` and of the script."""
    return run_command(build_parser(), run, argv)
