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

import argparse
import itertools
from collections.abc import Sequence
from functools import partial

from corpusmith.command import make_parser, run_command
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.fingerprint import SHARD_MODULES, code_versions
from corpusmith.run.ray.execution import TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.stage import Stage
from corpusmith.steps.global_steps import Needs
from corpusmith.steps.rewrite import rewrite_tasks
from corpusmith.steps.sizing import WORKER_BYTES, DedupPlan, Phase, Sample, cells_for, read_sample, take_sample
from corpusmith.steps.standalone import add_arguments, add_selection_arguments, config_from, run_dedup
from corpusmith.text.segmentation.view import UNICODE_VERSION
from dedup.groups.examples import biggest_groups
from dedup.groups.layout import Layout, Sizes, read_sizes, standing
from dedup.groups.phases import cells_to_settle, has_units, settle_cells
from dedup.minhash.clusters import (
    EDGES_HELD,
    BandTask,
    LabelTask,
    StarTask,
    UnitsTask,
    label_part,
    link_cell,
    spill_clustered_pages,
    star,
)
from dedup.minhash.config import PRESETS, MinhashConfig
from dedup.minhash.drop import MinhashDropTask, drop_near_duplicates
from dedup.minhash.layout import MinhashLayout
from dedup.minhash.sign import ROWS_HELD, SignTask, sign_shard
from dedup.minhash.signatures import SKETCH_PLACES

VERSION = 1
STAGE = "minhash_dedup"
WARM = "dedup.minhash.sign:warm_kernels"
MODULES = (
    *SHARD_MODULES,
    *("corpusmith.text.hashing", "corpusmith.text.segmentation.view"),
    *(
        "dedup.groups.groups",
        "dedup.groups.layout",
        "dedup.groups.members",
        "dedup.minhash.stage",
        "dedup.minhash.clusters",
    ),
    *(
        "dedup.minhash.config",
        "dedup.minhash.drop",
        "dedup.minhash.layout",
        "dedup.minhash.sign",
        "corpusmith.steps.rewrite",
    ),
    *(
        "dedup.groups.selection",
        "dedup.minhash.shingles",
        "dedup.groups.examples",
        "dedup.minhash.signatures",
        "corpusmith.steps.sizing",
        "dedup.minhash.connected_components",
    ),
)
BAND_ROWS_PER_CELL = 2_000_000
PAGES_PER_PART = 8_000_000
PAGES_PER_CELL = 500_000
# What --plan reckons with, measured by benchmarks/dedup.py; one page in CLUSTERED is taken to have near duplicates.
BYTES_PER_HELD_ROW = 60
BYTES_PER_BAND_ROW = 70
BYTES_PER_EDGE = 100
BYTES_PER_PAGE_OF_A_SHARD = 100
SKETCH_BYTES_PER_PLACE = 3
BYTES_PER_CHARACTER = 60
CLUSTERED = 2


def plan_stage(config: MinhashConfig, step: str) -> StagePlan:
    """The stage of a MinHash dedup; `step` is the key under which the books name it, such as `04-minhash_dedup`."""
    modules = [*MODULES]
    if config.selection_normalize is not None:
        modules.append("corpusmith.text.normalize")

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _Work(stage, runner, config, step).run()

    return StagePlan(
        name=STAGE,
        fingerprint={"config": config.deciding(), "code": {**code_versions(modules), "unicode": UNICODE_VERSION}},
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


class _Work:
    """The phases of one stage; each makes what does not stand yet, and returns a line for each task that failed."""

    def __init__(self, stage: Stage, runner: Runner, config: MinhashConfig, step: str) -> None:
        self._stage, self._runner, self._config, self._step = stage, runner, config, step
        groups = Layout.of_stage(stage, lambda: count_cells(config, take_sample(stage.inputs)))
        sizes = read_sizes(groups)
        self._layout = MinhashLayout(groups=groups, band_cells=sizes["band_cells"], parts=sizes["parts"])
        self._there = standing(groups.folder, groups.groups)

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
            if not {layout.bands_url(number), layout.pages_url(number)} <= self._there
        }
        label = f"{self._stage.place.name}: sign"
        return self._stage.run_units(self._runner, sign_shard, tasks, label=label, spec=TaskSpec(set_up=WARM))

    def _link(self) -> list[str]:
        layout = self._layout
        tasks = {
            f"bands-{cell:06d}": BandTask(layout=layout, cell=cell)
            for cell in range(layout.band_cells)
            if layout.edges_url(cell) not in self._there
        }
        label = f"{self._stage.place.name}: link"
        return self._stage.run_units(self._runner, link_cell, tasks, label=label, unit="cells")

    def _cluster(self) -> list[str]:
        layout = self._layout
        if all(layout.labels_url(part) in self._there for part in range(layout.parts)):
            return []
        half_rounds = 0
        if layout.parts > 1:
            half_rounds, failures = self._stars()
            if failures:
                return failures
        tasks = {
            f"part-{part:06d}": LabelTask(layout=layout, part=part, half_rounds=half_rounds)
            for part in range(layout.parts)
            if layout.labels_url(part) not in self._there
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
                if not {layout.round_url(number, part), layout.change_url(number, part)} <= self._there
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
            if not has_units(layout.groups, self._there, number)
        }
        label = f"{self._stage.place.name}: choose"
        failures = self._stage.run_units(self._runner, spill_clustered_pages, tasks, label=label)
        cells = cells_to_settle(layout.groups, self._there)
        reverse = self._config.selection_reverse
        return failures or settle_cells(self._stage, self._runner, layout.groups, cells, reverse)

    def _drop(self) -> list[str]:
        shown = biggest_groups(self._layout.groups)
        tasks = {
            name: MinhashDropTask(
                layout=self._layout, config=self._config, shown=shown.get(task.number, ()), rewrite=task
            )
            for name, task in rewrite_tasks(self._stage, self._step, set(self._stage.pending())).items()
        }
        label = f"{self._stage.place.name}: drop"
        return self._stage.run_units(self._runner, drop_near_duplicates, tasks, label=label)


# --- by itself --------------------------------------------------------------------------------------------------


def plan_size(config: MinhashConfig, sample: Sample) -> DedupPlan:
    """What the phases will need over an input."""
    pages, of_shard = sample.scaled(len(sample.pages)), sample.in_largest_shard(len(sample.pages))
    bands, rows = config.bands_and_rows
    sizes = count_cells(config, sample)
    of_page = SKETCH_BYTES_PER_PLACE * min(bands * rows, SKETCH_PLACES) + BYTES_PER_PAGE_OF_A_SHARD
    text = BYTES_PER_CHARACTER * max((len(str(page.get(config.content_key))) for page in sample.pages), default=0)
    signing = BYTES_PER_HELD_ROW * min(ROWS_HELD, of_shard * bands) + of_page * of_shard + text
    linking = BYTES_PER_BAND_ROW * -(-pages * bands // sizes["band_cells"])
    in_clusters = -(-pages // CLUSTERED)
    clustering = BYTES_PER_EDGE * min(EDGES_HELD, in_clusters if sizes["parts"] == 1 else PAGES_PER_PART)
    choosing = of_page * max(of_shard, -(-in_clusters // sizes["cells"]))
    phases = [
        ("sign", sample.shards, signing, pages * (12 * bands + min(bands * rows, SKETCH_PLACES) + 4)),
        ("link", sizes["band_cells"], linking, 16 * in_clusters * sizes["band_cells"]),
        ("cluster", sizes["parts"], clustering, 12 * in_clusters),
        ("choose", sample.shards + sizes["cells"], choosing, in_clusters * (2 * min(bands * rows, SKETCH_PLACES) + 64)),
        ("drop", sample.shards, of_page * of_shard + text, 0),
    ]
    return DedupPlan(
        title=f"MinHash dedup of {config.content_key!r}: {bands} bands of {rows} rows, {config.hash_family}",
        facts=[f"about {pages:,} pages with {pages * bands:,} bands in {sample.shards:,} shards"],
        phases=[
            Phase(name=name, tasks=tasks, memory=WORKER_BYTES + more, disk=disk) for name, tasks, more, disk in phases
        ],
        output=sample.total_bytes,
    )


def plan_needs(config: MinhashConfig, sampled: Sequence[ShardRef], shards: Sequence[ShardRef], workers: int) -> Needs:
    """What the phases will need over shards, judged by the pages of sampled ones."""
    return plan_size(config, read_sample(sampled).standing_for(shards)).needs(workers)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith dedup minhash`."""
    parser = make_parser(
        "corpusmith dedup minhash",
        "Keep one of each cluster of pages that are nearly equal.",
        "corpusmith dedup minhash --input pages --output_dir unique --readable_name unique_pages --preset fineweb",
    )
    parser.add_argument("--content_key", default="text", help="what is compared (default text)")
    parser.add_argument("--ngram_size", type=int, default=5, help="words or characters of a shingle (default 5)")
    parser.add_argument("--ngram", choices=("word", "character"), default="word", help="what shingles are made of")
    shown = ", ".join(f"{name} {bands} x {rows}" for name, (bands, rows) in PRESETS.items())
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"bands x rows: {shown} (default fineweb)")
    parser.add_argument("--bands", type=int, help="number of bands, with --rows")
    parser.add_argument("--rows", type=int, help="hash functions of a band")
    parser.add_argument("--threshold", type=float, help="choose bands and rows for this Jaccard similarity")
    parser.add_argument("--num_hashes", type=int, help="hash functions, with --threshold (default 128)")
    parser.add_argument("--hash_family", choices=("affine32", "mersenne61"), default="affine32", help="as datasketch's")
    parser.add_argument("--seed", type=int, default=1, help="seed of the hash functions (default 1, as datasketch's)")
    parser.add_argument("--annotate", action="store_true", help="keep all pages and tell their cluster under `minhash`")
    parser.add_argument("--cluster_size_key", help="key under which kept pages get the size of their cluster")
    add_selection_arguments(parser)
    add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run a MinHash dedup as the flags say."""
    config = config_from(arguments, MinhashConfig)
    run_dedup(arguments, partial(plan_stage, config), partial(plan_needs, config), STAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith dedup minhash` and of the script."""
    return run_command(build_parser(), run, argv)
