"""YAML steps to stages: each run of local steps and each global step is one; `commit` ends a stage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from baselines.assets import resolve_step
from baselines.core.aliases import without_aliases
from baselines.core.factories import custom_path, load_mapper_function, looking_beside
from baselines.core.mapper_table import AGGREGATORS, MAPPERS
from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep
from corpusmith.errors import InputError
from corpusmith.imports import resolve
from corpusmith.io import storage
from corpusmith.io.pages.shards import TABLE_SUFFIXES, ShardRef, shard_stem
from corpusmith.run.deciding_code import Entry, code_versions, modules_in
from corpusmith.run.fingerprint import Tree, asset_hashes
from corpusmith.run.ray.execution import TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan
from corpusmith.run.stage import Stage
from corpusmith.steps.global_steps import GLOBAL_STEPS
from corpusmith.text.segmentation.view import UNICODE_VERSION
from ray_processing.pipeline.config import Commit, GlobalCall, Pipeline

PROCESSED = "_processed.jsonl"
LOCAL_STAGE = "local"


def processed_name(name: str) -> str:
    """DCLM's name of an output shard: `sub/a.jsonl.zst` gives `sub/a_processed.jsonl.zst`, which maps onto itself."""
    if name.endswith(TABLE_SUFFIXES):
        stem, _, extension = name.rpartition(".")
        return f"{stem.removesuffix('_processed')}_processed.{extension}"
    name = name.replace(PROCESSED, ".jsonl")
    extension = name.rsplit(".", 1)[-1]
    if extension in ("zst", "zstd", "gz"):
        extension = f"jsonl.{extension}"
    return f"{shard_stem(name)}_processed.{extension}"


def plan_stages(pipeline: Pipeline, seed: int, assets: str | None = None, *, profile: bool = False) -> list[StagePlan]:
    """Return the stages of a pipeline, in order.

    Args:
        pipeline: the checked steps.
        seed: of all random draws.
        assets: a folder of lists and models, `sample`, or None.
        profile: measure the I/O floor of each shard of local steps too, which decides nothing.

    Raises:
        InputError: a list or a model is missing.
    """
    return [
        _plan_global(run) if isinstance(run, GlobalCall) else plan_local(run, seed, assets, profile=profile)
        for run in local_runs(pipeline)
    ]


def local_runs(pipeline: Pipeline) -> list[tuple[LocalStep, ...] | GlobalCall]:
    """The steps of each stage: a run of local ones, or one global step."""
    runs: list[tuple[LocalStep, ...] | GlobalCall] = []
    local: list[LocalStep] = []
    for step in (*pipeline.steps, Commit(index=-1)):
        if isinstance(step, LocalStep):
            local.append(step)
            continue
        if local:
            runs.append(tuple(local))
            local = []
        if isinstance(step, GlobalCall):
            runs.append(step)
    return runs


def _plan_global(step: GlobalCall) -> StagePlan:
    plan: StagePlan = resolve(GLOBAL_STEPS[step.func].plan)(step.config, step.key)
    own = dict(plan.fingerprint)
    fingerprint = {f"steps[{step.index}]": {"func": step.func, **own.pop("config")}, **own}
    return StagePlan(name=plan.name, fingerprint=fingerprint, work=plan.work, units=plan.units)


def _functions(step: LocalStep) -> list[str]:
    """The functions that a step names: its mapper, what aggregates and what transforms before that."""
    names = [step.func]
    for how in step.aggregate.values():
        names += [how] if isinstance(how, str) else [how[key] for key in ("type", "transform") if key in how]
    return names


def _entries_of_ours(step: LocalStep) -> Iterator[Entry]:
    """The rows of the mappers' tables that a step uses, and the modules of ours that users' files of it import."""
    table = {**AGGREGATORS, **MAPPERS}
    for name in _functions(step):
        if "." not in name:
            yield table.get(name) or load_mapper_function(name)
    for path in _user_files(step):
        yield from modules_in(without_aliases(storage.read_bytes(path).decode("utf-8", "replace")))


def _user_files(step: LocalStep) -> list[str]:
    """The files that hold a user's functions of a step."""
    with looking_beside(step.folder):
        paths = [custom_path(name) for name in _functions(step) if "." in name]
    return [path for path in paths if os.path.isfile(path)]


def _user_code(step: LocalStep) -> Tree:
    """The content of the user's files that a step uses; nothing where all its functions are ours."""
    files = _user_files(step)
    return {"file": sorted(asset_hashes(files).values())} if files else {}


def find_files(steps: tuple[LocalStep, ...], assets: str | None) -> tuple[tuple[LocalStep, ...], dict[str, str]]:
    """The steps as they run, with the content hashes of the files that they use by the names that the YAML knows."""
    found = [resolve_step(step.func, step.arguments, assets, f"step {step.key}") for step in steps]
    running = tuple(replace(step, arguments=own.arguments) for step, own in zip(steps, found, strict=True))
    hashes: dict[str, str] = {}
    for own in found:
        for name, path in own.files.items():
            if name not in hashes:
                hashes[name] = next(iter(asset_hashes(path).values()), path)
    return running, hashes


def plan_local(
    steps: tuple[LocalStep, ...], seed: int, assets: str | None = None, *, profile: bool = False
) -> StagePlan:
    """Return the stage of a run of local steps; the other arguments are those of `plan_stages`."""
    running, hashes = find_files(steps, assets)
    fingerprint: Tree = {f"steps[{step.index}]": {**step.to_json(), **_user_code(step)} for step in steps}
    fingerprint["assets"] = {**asset_hashes([step.arguments for step in steps]), **hashes}
    entries = [entry for step in steps for entry in _entries_of_ours(step)]
    fingerprint["code"] = {**code_versions(process_shard, *entries), "unicode": UNICODE_VERSION}

    def work(stage: Stage, runner: Runner) -> list[str]:
        by_name = {shard.name: shard for shard in stage.inputs}
        names = _output_names(stage.inputs)
        tasks = {
            unit: LocalTask(
                place=stage.place,
                shard=by_name[unit],
                identity=stage.units[unit],
                output=names[unit],
                steps=running,
                seed=seed,
                profile=profile,
            )
            for unit in stage.pending()
        }
        return stage.run_units(
            runner,
            process_shard,
            tasks,
            label=f"{stage.place.name} ({len(steps)} steps)",
            spec=TaskSpec(set_up="corpusmith.text.segmentation.view:warm_kernels", actors=_actors(running)),
        )

    return StagePlan(name=LOCAL_STAGE, fingerprint=fingerprint, work=work)


def _actors(steps: tuple[LocalStep, ...]) -> Literal["cpu", "gpu"] | None:
    """Whether a step's model should stay on an actor, and whether any of these can use a GPU."""
    heavy = [
        step
        for step in steps
        if "." not in step.func and getattr(load_mapper_function(step.func), "runs_on_actors", False)
    ]
    if not heavy:
        return None
    return "cpu" if all(step.arguments.get("device") == "cpu" for step in heavy) else "gpu"


def _output_names(shards: list[ShardRef]) -> dict[str, str]:
    """Output name by input name; InputError where two inputs would write one output."""
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for shard in shards:
        output = processed_name(shard.name)
        if output in taken:
            raise InputError(f"{shard.name} and {taken[output]} would both be written to {output}; rename one of them")
        names[shard.name] = taken[output] = output
        taken[output] = shard.name
    return names
