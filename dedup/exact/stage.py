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

from corpusmith.run.deciding_code import code_versions
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.stage import Stage
from corpusmith.steps.rewrite import rewrite_tasks
from corpusmith.steps.sizing import Sample, cells_for, take_sample
from dedup.exact.config import ExactConfig
from dedup.exact.drop import ExactDropTask, drop_from_shard
from dedup.exact.hash import ExactHashTask, hash_shard
from dedup.groups.examples import biggest_groups
from dedup.groups.groups import has_units, missing_cells, resolve_cells
from dedup.groups.layout import GroupsLayout, Sizes, existing_files

STAGE = "exact_dedup"
ROWS_PER_CELL = 1_000_000


def plan_stage(config: ExactConfig, step: str) -> StagePlan:
    """The stage of an exact dedup; `step` is the key under which the ledger names it, such as `04-exact_dedup`."""

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _work(stage, runner, config, step)

    return StagePlan(
        name=STAGE,
        fingerprint={"config": config.deciding(), "code": code_versions(plan_stage)},
        work=work,
        units=unit_per_shard_of_all,
    )


def count_units(config: ExactConfig, sample: Sample) -> int:
    """How many units the pages of a sample have."""
    reader = config.unit_reader()
    found = (reader.read(page) for page in sample.pages)
    return sum(len(units.ids) for units in found if not isinstance(units, str))


def _count_cells(config: ExactConfig, sample: Sample) -> Sizes:
    return {"cells": cells_for(sample.scaled(count_units(config, sample)), ROWS_PER_CELL)}


def _work(stage: Stage, runner: Runner, config: ExactConfig, step: str) -> list[str]:
    """Do what the pending shards need of the three phases; a line for each task that failed.

    Which copy is kept depends on all shards, so a shard that cannot be read stops the step after phase 1.
    """
    config.try_normalizers()
    layout = GroupsLayout.of_stage(stage, lambda: _count_cells(config, take_sample(stage.inputs)))
    existing = existing_files(layout.folder, layout.groups)
    pending, cells = set(stage.pending()), missing_cells(layout, existing)
    hashing = {
        shard.name: ExactHashTask(layout=layout, config=config, shard=shard, number=number)
        for number, shard in enumerate(stage.inputs)
        if not has_units(layout, existing, number) and (cells or shard.name in pending)
    }
    failures = stage.run_units(runner, hash_shard, hashing, label=f"{stage.place.name}: hash")
    failures = failures or resolve_cells(stage, runner, layout, cells, config.selection_reverse)
    if failures:
        return failures
    examples = biggest_groups(layout)
    dropping = {
        name: ExactDropTask(config=config, layout=layout, examples=examples.get(task.number, ()), rewrite=task)
        for name, task in rewrite_tasks(stage, step, pending).items()
    }
    return stage.run_units(runner, drop_from_shard, dropping, label=f"{stage.place.name}: drop")
