"""Exact dedup as a global step: of all units with equal content in the whole dataset one is kept.

Follows DCLM's `exact_dedup` (units, normalizers, selection, shape of the content afterwards). Departs from it:
 - ties are broken by (shard, page, unit), so results are reproducible;
 - the step never touches its input, and a retry compares the input set again, never a half-published one;
 - a page without the content or selection key is set aside and does not fail the step.

Three phases of Ray tasks over files in the stage's scratch, in a folder named by the identity of the input; a file
that stands is not made again, and each is written whole or not at all, so any task may run twice:
 1. per shard, the 128-bit ids of its units are spilled by cell (a range of ids);
 2. per cell, the ids of all shards are sorted and grouped, the unit to keep is chosen, the others are spilled by
    shard, and each group is written to `groups/` for whoever wants to check;
 3. per shard, the pages are streamed again without the units that lost.
Memory: some 32 bytes (and the selection value) a unit of a shard in phases 1 and 3, of a cell in phase 2; a group lies
in one cell, so a unit that stands in a dataset a thousand million times needs a worker with the memory for its rows.
"""

from __future__ import annotations

from corpusmith.io import storage
from corpusmith.run.fingerprint import SHARD_MODULES, code_versions, inputs_identity
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.runner import Runner
from corpusmith.run.stage import Stage
from dedup.exact_config import ExactConfig, Layout, prepare
from dedup.exact_drop import DropTask, drop_from_shard
from dedup.exact_groups import CellTask, HashTask, hash_shard, settle_cell

VERSION = 1
# A cell's rows stay near 64 MiB (32 bytes each as they are sorted) as long as units take 128 bytes of input or more.
INPUT_BYTES_PER_CELL = 256 << 20


def plan_stage(config: ExactConfig, step: str) -> StagePlan:
    """The stage of an exact dedup; `step` is the key under which the books name it, such as `04-exact_dedup`."""
    modules = [
        *SHARD_MODULES,
        "dedup.content_units",
        "dedup.exact",
        "dedup.exact_config",
        "dedup.exact_drop",
        "dedup.exact_groups",
    ]
    if config.normalize is not None or config.selection_normalize is not None:
        modules.append("corpusmith.text.normalize")

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _work(stage, runner, config, step)

    return StagePlan(
        name="exact_dedup",
        fingerprint={"config": config.deciding(), "code": code_versions(modules)},
        work=work,
        units=unit_per_shard_of_all,
    )


def _layout(stage: Stage) -> Layout:
    cells = max(1, -(-sum(shard.bytes for shard in stage.inputs) // INPUT_BYTES_PER_CELL))
    return Layout(
        folder=storage.join(stage.place.scratch, inputs_identity(stage.inputs)[:16]),
        groups=storage.join(stage.place.folder, "groups"),
        cells=cells,
    )


def _standing(folder: str) -> set[str]:
    return {info.url for info in storage.list_files(folder)} if storage.is_dir(folder) else set()


def _work(stage: Stage, runner: Runner, config: ExactConfig, step: str) -> list[str]:
    """Do what the pending shards need of the three phases; a line for each task that failed.

    Which copy is kept depends on all shards, so a shard that cannot be read stops the step after phase 1.
    """
    reader = config.unit_reader()
    for normalize in (reader.normalize, reader.selection_normalize):
        if normalize is not None:
            normalize("é")  # a normalizer whose package is missing says so before anything starts
    layout, place = _layout(stage), stage.place
    prepare(layout, place.scratch, stage.inputs)
    pending = set(stage.pending())
    standing = _standing(layout.folder) | _standing(layout.groups)
    cells = [
        cell
        for cell in range(layout.cells)
        if layout.lost_url(cell) not in standing or layout.groups_url(cell) not in standing
    ]
    numbered = list(enumerate(stage.inputs))
    hashing = {
        shard.name: HashTask(layout=layout, config=config, shard=shard, number=number)
        for number, shard in numbered
        if layout.units_url(number) not in standing and (cells or shard.name in pending)
    }
    failures = stage.run_units(runner, hash_shard, hashing, label=f"{place.name}: hash")
    if failures:
        return failures
    settling = {
        f"cell-{cell:05d}": CellTask(layout=layout, cell=cell, reverse=config.selection_reverse) for cell in cells
    }
    failures = stage.run_units(runner, settle_cell, settling, label=f"{place.name}: compare", unit="cells")
    if failures:
        return failures
    dropping = {
        shard.name: DropTask(
            layout=layout,
            config=config,
            shard=shard,
            number=number,
            place=place,
            identity=stage.units[shard.name],
            step=step,
        )
        for number, shard in numbered
        if shard.name in pending
    }
    return stage.run_units(runner, drop_from_shard, dropping, label=f"{place.name}: drop")
