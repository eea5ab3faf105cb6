"""YAML steps to stages: each run of local steps and each global step is one; `commit` ends a stage."""

from __future__ import annotations

from baselines.core.factories import load_mapper_function
from baselines.core.processor import LocalStep, LocalTask, process_shard
from corpusmith.errors import InputError
from corpusmith.global_steps import GLOBAL_STEPS, resolve
from corpusmith.io.shards import ShardRef, shard_stem
from corpusmith.run.fingerprint import Tree, asset_hashes, code_versions
from corpusmith.run.run import StagePlan
from corpusmith.run.runner import Runner
from corpusmith.run.stage import Stage
from corpusmith.text.segment import UNICODE_VERSION
from ray_processing.pipeline_config import Commit, GlobalCall, Pipeline

PROCESSED = "_processed.jsonl"
LOCAL_MODULES = (
    "baselines.core.processor",
    "baselines.mappers.core_utils",
    "corpusmith.io.compression",
    "corpusmith.io.shards",
    "corpusmith.seeds",
    "corpusmith.text.hashing",
    "corpusmith.text.segment",
    "corpusmith.text.segment_kernels",
)


def processed_name(name: str) -> str:
    """DCLM's name of an output shard: `sub/a.jsonl.zst` gives `sub/a_processed.jsonl.zst`, which maps onto itself."""
    name = name.replace(PROCESSED, ".jsonl")
    extension = name.rsplit(".", 1)[-1]
    if extension in ("zst", "zstd", "gz"):
        extension = f"jsonl.{extension}"
    return f"{shard_stem(name)}_processed.{extension}"


def plan_stages(pipeline: Pipeline, seed: int) -> list[StagePlan]:
    """The stages of a pipeline, in order."""
    plans: list[StagePlan] = []
    local: list[LocalStep] = []
    for step in (*pipeline.steps, Commit(index=-1)):
        if isinstance(step, LocalStep):
            local.append(step)
            continue
        if local:
            plans.append(plan_local(tuple(local), seed))
            local = []
        if isinstance(step, GlobalCall):
            plans.append(_plan_global(step))
    return plans


def _plan_global(step: GlobalCall) -> StagePlan:
    plan: StagePlan = resolve(GLOBAL_STEPS[step.func].plan)(step.config, step.key)
    own = dict(plan.fingerprint)
    fingerprint = {f"steps[{step.index}]": {"func": step.func, **own.pop("config")}, **own}
    return StagePlan(name=plan.name, fingerprint=fingerprint, work=plan.work, units=plan.units)


def _step_code(step: LocalStep) -> Tree:
    """The VERSION of the module that holds a mapper of ours, or the content of the user's file."""
    module = load_mapper_function(step.func).__module__
    if "." in step.func:
        folder, _, _ = step.func.rpartition(".")
        return {"file": asset_hashes(folder.replace(".", "/") + ".py")}
    return {"code": code_versions([module])}


def plan_local(steps: tuple[LocalStep, ...], seed: int) -> StagePlan:
    """The stage of a run of local steps."""
    fingerprint: Tree = {f"steps[{step.index}]": {**step.to_json(), **_step_code(step)} for step in steps}
    fingerprint["assets"] = asset_hashes([step.arguments for step in steps])
    fingerprint["code"] = {**code_versions(LOCAL_MODULES), "unicode": UNICODE_VERSION}

    def work(stage: Stage, runner: Runner) -> list[str]:
        by_name = {shard.name: shard for shard in stage.inputs}
        names = _output_names(stage.inputs)
        tasks = {
            unit: LocalTask(
                place=stage.place,
                shard=by_name[unit],
                identity=stage.units[unit],
                output=names[unit],
                steps=steps,
                seed=seed,
            )
            for unit in stage.pending()
        }
        return stage.run_units(
            runner,
            process_shard,
            tasks,
            label=f"{stage.place.name} ({len(steps)} steps)",
            set_up="corpusmith.text.segment:warm_kernels",
        )

    return StagePlan(name="local", fingerprint=fingerprint, work=work)


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
