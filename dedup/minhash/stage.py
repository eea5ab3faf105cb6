"""MinHash-LSH dedup: of pages that are nearly equal one is kept (`corpusmith dedup minhash`).

Follows FineWeb's and RefinedWeb's recipe: 5-word shingles, MinHash signatures cut into bands, pages that share a band
are linked, linked pages are a cluster, of a cluster one page is kept. Departs from datatrove's four stages in that the
page to keep is chosen by any key, in that no file is written per band, and in what is left for whoever wants to check:
each cluster with its size (`groups/`), and each page of a cluster with its similarity to the kept one (`members/`).

Phases of Ray tasks over files in the stage's scratch, each written whole or not at all and never made again:
 1. sign: per shard, band keys are spilled by cell, sketches by page;
 2. link: per cell of band keys, pages with equal keys become edges;
 3. cluster: connected components of the edges, in one task where they fit, else by stars in rounds over parts;
 4. choose: clusters become groups, and the page to keep is chosen as in exact dedup;
 5. drop: per shard, the pages are streamed again.
The result depends on neither the number of workers nor that of cells and parts.
"""

from __future__ import annotations

import itertools

from corpusmith.io import storage
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.ray.execution import TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.stage import Stage
from corpusmith.steps.rewrite import rewrite_tasks
from corpusmith.steps.sizing import Sample, cells_for, take_sample
from corpusmith.text.segmentation.view import UNICODE_VERSION
from dedup.groups.examples import biggest_groups
from dedup.groups.groups import has_units, missing_cells, resolve_cells
from dedup.groups.layout import GroupsLayout, Sizes, existing_files, read_sizes
from dedup.minhash.clusters import (
    BandTask,
    LabelTask,
    StarTask,
    UnitsTask,
    label_part,
    link_cell,
    spill_clustered_pages,
    star,
)
from dedup.minhash.config import MinhashConfig
from dedup.minhash.drop import MinhashDropTask, drop_near_duplicates
from dedup.minhash.layout import MinhashLayout
from dedup.minhash.sign import SignTask, sign_shard

STAGE = "minhash_dedup"
WARM = "dedup.minhash.sign:warm_kernels"
BAND_ROWS_PER_CELL = 2_000_000
PAGES_PER_PART = 8_000_000
PAGES_PER_CELL = 500_000


def plan_stage(config: MinhashConfig, step: str) -> StagePlan:
    """The stage of a MinHash dedup; `step` is the key under which the ledger names it, such as `04-minhash_dedup`."""

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _MinhashWork(stage, runner, config, step).run()

    return StagePlan(
        name=STAGE,
        fingerprint={"config": config.deciding(), "code": {**code_versions(plan_stage), "unicode": UNICODE_VERSION}},
        work=work,
        units=unit_per_shard_of_all,
    )


def count_cells(config: MinhashConfig, sample: Sample) -> Sizes:
    """How many cells of bands, parts of pages and cells of clusters an input needs."""
    pages, (bands, _) = sample.scaled(len(sample.pages)), config.bands_and_rows
    return {
        "band_cells": cells_for(pages * bands, BAND_ROWS_PER_CELL),
        "parts": cells_for(pages, PAGES_PER_PART),
        "cells": cells_for(pages, PAGES_PER_CELL),
    }


class _MinhashWork:
    """The phases of one stage; each makes what does not stand yet, and returns a line for each task that failed."""

    def __init__(self, stage: Stage, runner: Runner, config: MinhashConfig, step: str) -> None:
        self._stage, self._runner, self._config, self._step = stage, runner, config, step
        groups = GroupsLayout.of_stage(stage, lambda: count_cells(config, take_sample(stage.inputs)))
        sizes = read_sizes(groups)
        self._layout = MinhashLayout(groups=groups, band_cells=sizes["band_cells"], parts=sizes["parts"])
        self._existing = existing_files(groups.folder, groups.groups)

    def run(self) -> list[str]:
        """Do all phases; which page is kept depends on all shards, so any failure before the last stops the step."""
        for phase in (self._sign, self._link, self._cluster, self._choose):
            failures = phase()
            if failures:
                return failures
        return self._drop()

    def _sign(self) -> list[str]:
        layout = self._layout
        tasks = {
            shard.name: SignTask(layout=layout, config=self._config, shard=shard, number=number)
            for number, shard in enumerate(self._stage.inputs)
            if not {layout.bands_url(number), layout.pages_url(number)} <= self._existing
        }
        label = f"{self._stage.place.name}: sign"
        return self._stage.run_units(self._runner, sign_shard, tasks, label=label, spec=TaskSpec(set_up=WARM))

    def _link(self) -> list[str]:
        layout = self._layout
        tasks = {
            f"bands-{cell:06d}": BandTask(layout=layout, cell=cell)
            for cell in range(layout.band_cells)
            if layout.edges_url(cell) not in self._existing
        }
        label = f"{self._stage.place.name}: link"
        return self._stage.run_units(self._runner, link_cell, tasks, label=label, unit="cells")

    def _cluster(self) -> list[str]:
        layout = self._layout
        if all(layout.labels_url(part) in self._existing for part in range(layout.parts)):
            return []
        half_rounds = 0
        if layout.parts > 1:
            half_rounds, failures = self._stars()
            if failures:
                return failures
        tasks = {
            f"part-{part:06d}": LabelTask(layout=layout, part=part, half_rounds=half_rounds)
            for part in range(layout.parts)
            if layout.labels_url(part) not in self._existing
        }
        label = f"{self._stage.place.name}: cluster"
        return self._stage.run_units(self._runner, label_part, tasks, label=label, unit="parts")

    def _stars(self) -> tuple[int, list[str]]:
        """Half rounds until a large and a small one change nothing: how many, and what failed."""
        layout, changed_before = self._layout, True
        for number in itertools.count():
            tasks = {
                f"stars-{number:03d}-{part:06d}": StarTask(layout=layout, number=number, part=part)
                for part in range(layout.parts)
                if not {layout.round_url(number, part), layout.change_url(number, part)} <= self._existing
            }
            label = f"{self._stage.place.name}: stars {number // 2 + 1}"
            failures = self._stage.run_units(self._runner, star, tasks, label=label, unit="parts")
            if failures:
                return number, failures
            changes = (storage.read_json(layout.change_url(number, part)) for part in range(layout.parts))
            changed = any(change["changed"] for change in changes)
            if number % 2 and not changed and not changed_before:
                break
            changed_before = changed
        return number + 1, []

    def _choose(self) -> list[str]:
        layout = self._layout
        tasks = {
            shard.name: UnitsTask(layout=layout, config=self._config, number=number)
            for number, shard in enumerate(self._stage.inputs)
            if not has_units(layout.groups, self._existing, number)
        }
        label = f"{self._stage.place.name}: choose"
        failures = self._stage.run_units(self._runner, spill_clustered_pages, tasks, label=label)
        cells = missing_cells(layout.groups, self._existing)
        reverse = self._config.selection_reverse
        return failures or resolve_cells(self._stage, self._runner, layout.groups, cells, reverse)

    def _drop(self) -> list[str]:
        examples = biggest_groups(self._layout.groups)
        tasks = {
            name: MinhashDropTask(
                layout=self._layout, config=self._config, examples=examples.get(task.number, ()), rewrite=task
            )
            for name, task in rewrite_tasks(self._stage, self._step, set(self._stage.pending())).items()
        }
        label = f"{self._stage.place.name}: drop"
        return self._stage.run_units(self._runner, drop_near_duplicates, tasks, label=label)
