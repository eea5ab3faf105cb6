"""A dedup by itself: one global step as a run of its own, for `corpusmith dedup …` and the scripts of `dedup`.

<output_dir>/processed_data/   the shards under their names, without what was removed
<output_dir>/errors/, run/     as in every run; what was found stands in run/stages/00-…/groups/ and members/
<output_dir>/report.html
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from corpusmith.errors import FieldError, InputError
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, list_shards
from corpusmith.report.command import write_report
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import add_execution_arguments, execution_from
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult, StagePlan
from corpusmith.steps.global_steps import Needs
from corpusmith.steps.sizing import spread

C = TypeVar("C")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of every dedup that writes a data set."""
    parser.add_argument("--input", required=True, help="folder of page shards")
    parser.add_argument("--output_dir", required=True, help="folder of the result: processed_data/, errors/, run/")
    parser.add_argument("--readable_name", required=True, help="name of the data set and of its reference JSON")
    parser.add_argument("--plan", action="store_true", help="print the memory and disk that it needs, and stop")
    parser.add_argument("--exp-data-dir", default="exp_data", help="folder of the reference JSONs (default exp_data)")
    parser.add_argument("--overwrite", action="store_true", help="redo a finished or changed run")
    add_execution_arguments(parser)


def add_selection_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose which copy is kept."""
    parser.add_argument("--selection_key", help="keep the copy with the smallest value here (default: the first copy)")
    parser.add_argument("--selection_normalize", help="what the value goes through: a normalizer, or `length`")
    parser.add_argument("--selection_reverse", action="store_true", help="keep the largest value")


def config_from(arguments: argparse.Namespace, kind: type[C]) -> C:
    """A dataclass whose fields are flags of the same names; InputError where it refuses a value."""
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    given = {field.name: getattr(arguments, field.name) for field in fields if hasattr(arguments, field.name)}
    try:
        return kind(**given)
    except FieldError as error:
        raise InputError(f"--{error}") from error


def run_dedup(
    arguments: argparse.Namespace,
    make_stage: Callable[[str], StagePlan],
    plan_needs: Callable[[Sequence[ShardRef], Sequence[ShardRef], int], Needs],
    name: str,
) -> None:
    """Print the plan, or run the stage that `make_stage(step)` gives as a run of its own, and tell what came of it."""
    shards = list_shards(arguments.input)
    execution = execution_from(arguments)
    if arguments.plan:
        for line in plan_needs(spread(shards), shards, execution.cpus or os.cpu_count() or 1).lines:
            say(line)
        return
    base = arguments.output_dir.rstrip("/")
    data = storage.join(base, "processed_data") + "/"
    source = arguments.input.rstrip("/") + "/"
    if data.startswith(source) or source.startswith(data):
        raise InputError(f"the output folder {data} and the input {arguments.input} lie in each other; choose another")
    reference = expdb.reference_path(arguments.exp_data_dir, "untokenized", arguments.readable_name)
    expdb.refuse_foreign_reference(reference, data, arguments.overwrite)
    place = RunPlace(root=storage.join(base, "run"), output=data, errors=storage.join(base, "errors"))
    run = Run(place, RunPlan(inputs=shards, stages=[make_stage(f"00-{name}")]))
    result = run.execute(execution, RunOptions(overwrite=arguments.overwrite))
    if not result.was_finished or not storage.exists(reference):
        _write_reference(arguments, reference, data, shards)
        write_report(base, arguments.exp_data_dir)
    _tell(result, data)


def _write_reference(arguments: argparse.Namespace, url: str, data: str, shards: list[ShardRef]) -> None:
    found = expdb.find_dataset(arguments.exp_data_dir, "dataset_url", arguments.input, tokenized=False)
    commit, diff = expdb.git_state()
    reference = expdb.DatasetReference(
        name=arguments.readable_name,
        dataset_url=data,
        manifest_url=None,
        sources=[{"uuid": found[1]["uuid"], "name": found[1]["name"]}] if found is not None else [],
        tokenized=False,
        tokenizer=None,
        num_tokens=None,
        size=sum(info.size for info in storage.list_files(data)),
        dcnlp_commit_hash=commit,
        dcnlp_diff=diff,
        data_key=shards[0].name.rsplit(".", 1)[-1],
    )
    expdb.write_reference(reference, url, overwrite=True)


def _tell(result: RunResult, data: str) -> None:
    (stage,) = result.stages
    counts = stage.counts()
    say("finished before; nothing was recomputed" if result.was_finished else "finished")
    say(
        f"  pages: {counts.read} read = {counts.kept} kept + {sum(counts.removed.values())} removed + "
        f"{sum(counts.errored.values())} set aside"
    )
    say(f"  data:   {data}")
    say(f"  groups: {storage.join(stage.place.folder, 'groups')} (and members/ beside it)")
