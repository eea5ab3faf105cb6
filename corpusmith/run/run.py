"""A run: its stages one after the other, resumed from their records.

The same command again: a finished run is reported, a half-done one continued, one whose config, seed, raw input or
code differs is refused with the key that changed, unless `overwrite` redoes the first stage that differs and all
after it. Only records and `plan.json` decide.

    <root>/plan.json      what defines the result: the raw input and each stage's fingerprint
    <root>/versions.json  the libraries that it was begun or last continued with
    <root>/stages/        a folder per stage (see `corpusmith.run.stage`)
    <root>/ledger.json    the counts of each stage and of the whole run
    <root>/events.jsonl   when what began and ended, and what failed
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from corpusmith.errors import ChangedError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.redact import redact_tree
from corpusmith.run.balance import SHOWN, check_stage
from corpusmith.run.fingerprint import Tree, digest, first_difference, inputs_identity
from corpusmith.run.ledger import Counts
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import ShardRecord, Stage, StagePlace, library_versions

HEADER = "stage.json"

Units = Callable[[list[ShardRef]], dict[str, str]]


def unit_per_shard(inputs: list[ShardRef]) -> dict[str, str]:
    """Each input shard is a unit of its own; what happens to it depends on it alone."""
    return {shard.name: shard.identity for shard in inputs}


def unit_per_shard_of_all(inputs: list[ShardRef]) -> dict[str, str]:
    """Each input shard is a unit, but what happens to it depends on all shards."""
    every = inputs_identity(inputs)
    return {shard.name: every for shard in inputs}


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """A stage before it runs.

    `fingerprint`: what defines its result apart from its input; `work(stage, runner)` does the pending units and
    returns a line for each that failed; `units` names its units and what each depends on; `holds_pages` as in `Stage`.
    """

    name: str
    fingerprint: Tree
    work: Callable[[Stage, Runner], list[str]]
    units: Units = unit_per_shard
    holds_pages: bool = True


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """All that defines a run's result: the raw input, the seed and the stages.

    `inputs`: the raw shards; `common`: what belongs to the run and to no stage (its key is shown when it changes).
    """

    inputs: list[ShardRef]
    stages: list[StagePlan]
    common: Tree = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunPlace:
    """Where a run lives: `root` (its `run/` folder), `output` (the last stage's shards), `errors`."""

    root: str
    output: str
    errors: str


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run treats what is there and what fails; nothing here decides its result."""

    overwrite: bool = False
    keep_stages: bool = False
    ignore_failures: bool = False


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The stages of a finished run, and whether they had all been finished before."""

    stages: list[Stage]
    was_finished: bool

    @property
    def records(self) -> list[ShardRecord]:
        """The last stage's records, by unit."""
        return list(self.stages[-1].records().values())


class Run:
    """The stages of a plan in their folders; `open_runner` makes what runs their tasks (Ray, unless a test says so)."""

    def __init__(self, place: RunPlace, plan: RunPlan, open_runner: Callable[[Execution], Runner] = Runner) -> None:
        if not plan.stages:
            raise InputError("a run needs at least one stage")
        self.place = place
        self.plan = plan
        self._open_runner = open_runner
        self._identity = digest([redact_tree(plan.common), inputs_identity(plan.inputs)])
        self._prints = self._chain()

    def _chain(self) -> list[str]:
        """Each stage's fingerprint: its own, and through the one before all that led to it.

        Secrets are no part of it: a URL that was signed anew is the same input.
        """
        prints, before = [], self._identity
        for stage in self.plan.stages:
            before = digest([before, stage.name, redact_tree(stage.fingerprint)])
            prints.append(before)
        return prints

    def _stage_place(self, index: int) -> StagePlace:
        name = f"{index:02d}-{self.plan.stages[index].name}-{self._prints[index][:8]}"
        folder = storage.join(self.place.root, "stages", name)
        last = index == len(self.plan.stages) - 1
        output = self.place.output if last else storage.join(folder, "shards")
        return StagePlace(number=index, name=name, folder=folder, output=output, errors=self.place.errors)

    def stages(self) -> list[Stage]:
        """The stages with their units, each from the records of the one before; reads the records of all."""
        stages: list[Stage] = []
        for index in range(len(self.plan.stages)):
            stages.append(self._stage(index, stages))
        return stages

    def _stage(self, index: int, stages: list[Stage]) -> Stage:
        """A stage that works on what those before it have written by now."""
        inputs = stages[index - 1].outputs() if index > 0 else self.plan.inputs
        plan = self.plan.stages[index]
        return Stage(
            place=self._stage_place(index), inputs=inputs, units=plan.units(inputs), holds_pages=plan.holds_pages
        )

    def is_finished(self) -> bool:
        """Whether every stage has all its records and the output stands."""
        return self._was_finished(self.stages())

    def _was_finished(self, stages: list[Stage]) -> bool:
        if self._stored_difference() is not None or not storage.exists(self._plan_url):
            return False
        return not any(stage.missing() for stage in stages) and not stages[-1].pending()

    def execute(self, execution: Execution, options: RunOptions) -> RunResult:
        """Bring the run to its end; see the module's docstring for what is redone.

        Raises:
            ChangedError: the stored run differs (exit code 2).
            InputError: the output folder holds files of something else, or cannot be written.
            RunFailed: shards failed.
            BalanceError: what was read is not what was kept, removed and set aside.
        """
        self._prepare(options)
        stages = self.stages()
        if self._was_finished(stages):
            self._clear_stages(len(stages) - 1, options)
            return RunResult(stages=stages, was_finished=True)
        storage.check_writable(self.place.output)
        self._warn_of_other_versions()
        self._write_plan()
        self._event("run", state="started", versions=library_versions())
        with self._open_runner(execution) as runner:
            del stages[_first_unfinished(stages) :]
            for index in range(len(stages), len(self.plan.stages)):
                stages.append(self._stage(index, stages))
                self._run_stage(stages, runner, options)
        self._write_ledger(stages)
        self._event("run", state="finished")
        return RunResult(stages=stages, was_finished=False)

    # --- what is there already -------------------------------------------------------------------------------

    @property
    def _plan_url(self) -> str:
        return storage.join(self.place.root, "plan.json")

    def _document(self) -> Tree:
        document: Tree = {
            **self.plan.common,
            "input": {shard.name: shard.identity for shard in self.plan.inputs},
            "stages": [{"name": stage.name, **stage.fingerprint} for stage in self.plan.stages],
        }
        return cast(Tree, redact_tree(document))

    def _stored_difference(self) -> tuple[str, Any, Any, int] | None:
        """The first key that differs from the stored plan, old and new value, and the stage that it concerns."""
        if not storage.exists(self._plan_url):
            return None
        old, new = storage.read_json(self._plan_url), orjson.loads(orjson.dumps(self._document()))
        old_stages, new_stages = old.pop("stages"), new.pop("stages")
        if (found := first_difference(old, new)) is not None:
            return (*found, 0)
        for index in range(max(len(old_stages), len(new_stages))):
            before = old_stages[index] if index < len(old_stages) else {}
            after = new_stages[index] if index < len(new_stages) else {}
            if (found := first_difference(before, after)) is not None:
                return (*found, index)
        return None

    def _prepare(self, options: RunOptions) -> None:
        """Refuse or clear what the stored run and the output folder hold."""
        stored = storage.exists(self._plan_url)
        difference = self._stored_difference()
        if difference is not None and not options.overwrite:
            key, old, new, _ = difference
            raise ChangedError(
                f"{key} changed since this run was started: {_shown(old)} before, {_shown(new)} now; "
                f"pass --overwrite to redo what follows from it, or choose another output folder ({self.place.root})"
            )
        if not stored and (foreign := self._files_in_output()):
            if not options.overwrite:
                raise InputError(
                    f"{self.place.output} holds {foreign} of something else; choose another folder or pass "
                    "--overwrite, which removes them"
                )
            say(f"removing {foreign} of something else from {self.place.output}")
            storage.remove_tree(self.place.output)
        if difference is not None:
            self._drop_stages(difference[3])
        elif options.overwrite and self.is_finished():
            self._drop_stages(0)

    def _files_in_output(self) -> str:
        """How many files stand in the output folder, in words; empty where there are none."""
        count = len(storage.list_files(self.place.output)) if storage.is_dir(self.place.output) else 0
        return "" if not count else "1 file" if count == 1 else f"{count:,} files"

    def _drop_stages(self, first: int) -> None:
        """Delete the stages from `first` on, whatever plan they belong to, and with them the output."""
        root = storage.join(self.place.root, "stages")
        for info in storage.list_files(root, (f"/{HEADER}",)) if storage.is_dir(root) else []:
            # what lies deeper is the record of a unit that is called like it
            is_header = storage.relative(info.url, root).count("/") == 1
            if is_header and storage.read_json(info.url).get("number", first) >= first:
                storage.remove_tree(storage.parent(info.url))
        storage.remove_tree(self.place.output)

    # --- one stage -------------------------------------------------------------------------------------------

    def _run_stage(self, stages: list[Stage], runner: Runner, options: RunOptions) -> None:
        """Do the last of the stages, and hold it against its files and the stage before."""
        stage = stages[-1]
        plan, place = self.plan.stages[stage.place.number], stage.place
        for problem in stage.foreign_records():
            say(f"warning: stage {place.name}: {problem}; it counts as none")
        self._open_stage(place)
        started = time.time()
        self._event("stage", stage=place.name, state="started", units=len(stage.units))
        failures = plan.work(stage, runner) if stage.pending() else []
        stage.read_again()
        unfinished = stage.missing()
        self._event("stage", stage=place.name, state="ended", seconds=time.time() - started, failures=failures)
        if (unfinished or failures) and not options.ignore_failures:
            lines = "\n  ".join((failures or [*stage.foreign_records(), *unfinished])[:SHOWN])
            raise RunFailed(
                f"stage {place.name}: {len(unfinished)} of {len(stage.units)} shards failed; the others are done; the "
                f"same command takes only these again:\n  {lines}"
            )
        if failures:
            say(f"stage {place.name}: went on without {len(failures)} failed shards (--ignore_failures)")
        self._check_balance(stages)
        stage.verify(runner)
        storage.remove_tree(place.scratch)
        self._clear_stages(place.number, options)

    def _clear_stages(self, index: int, options: RunOptions) -> None:
        """Delete the shards of the stages before a complete one; their records stay."""
        if not options.keep_stages:
            for before in range(index):
                storage.remove_tree(self._stage_place(before).output)

    def _open_stage(self, place: StagePlace) -> None:
        """Make the stage's folder; the output of a stage that was not begun under this fingerprint is emptied."""
        header = storage.join(place.folder, HEADER)
        if not storage.exists(header):
            storage.remove_tree(place.output)
            plan, known = self.plan.stages[place.number], self._prints[place.number]
            document = {"number": place.number, "name": plan.name, "fingerprint": known}
            document |= redact_tree(plan.fingerprint)
            storage.write_json(header, document, indent=2)
        storage.remove_leftovers(place.folder)
        storage.remove_leftovers(place.output)
        storage.remove_leftovers(place.errors)

    def _check_balance(self, stages: list[Stage]) -> None:
        """Hold the records of a stage that is complete, the last of these, against its files and the stage before."""
        stage, before = stages[-1], stages[-2] if len(stages) > 1 else None
        is_last = len(stages) == len(self.plan.stages)
        if is_last and stage.missing():
            for name in stage.unrecorded():  # what a failed shard that is gone without left behind
                storage.remove(stage.place.output_url(name))
        check_stage(stage, before, is_last=is_last)

    # --- records of the run ----------------------------------------------------------------------------------

    def _write_plan(self) -> None:
        storage.write_json(self._plan_url, self._document(), indent=2)

    def _warn_of_other_versions(self) -> None:
        """Say which libraries differ from those that began this run; bytes are promised for equal ones only."""
        url = storage.join(self.place.root, "versions.json")
        now = library_versions()
        if storage.exists(self._plan_url) and storage.exists(url):
            difference = first_difference(storage.read_json(url), now)
            if difference is not None:
                name, old, new = difference
                say(f"warning: this run was begun with {name} {old} and goes on with {new}; its bytes may differ")
        storage.write_json(url, now, indent=2)

    def _write_ledger(self, stages: list[Stage]) -> None:
        """The counts of each stage and, from first input to last output, of the run.

        Records of shards that failed, where failures are ignored, count as set aside by the stage: only the first
        stage's are unknown, and count nowhere.
        """
        whole = Counts()
        for index, stage in enumerate(stages):
            counts = stage.counts()
            whole.add(Counts(added=counts.added, removed=counts.removed, errored=counts.errored))
            if index == 0:
                whole.read = counts.read
            elif stage.missing():
                whole.quarantine(f"{stage.place.number:02d}-failed-shards", whole.kept - counts.read)
            whole.kept = counts.kept
        whole.check_balance("the run")
        document = {
            "total": whole.to_json(),
            "stages": [{"stage": stage.place.name, **stage.counts().to_json()} for stage in stages],
        }
        storage.write_json(storage.join(self.place.root, "ledger.json"), document, indent=2)

    def _event(self, kind: str, **fields: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = orjson.dumps({"time": now, "event": kind, **redact_tree(fields)})
        storage.append_bytes(storage.join(self.place.root, "events.jsonl"), line + b"\n")


def _first_unfinished(stages: list[Stage]) -> int:
    """The stage to begin with: the first with work to do, or an earlier one where its input is no longer there."""
    first = next((index for index, stage in enumerate(stages) if stage.missing()), len(stages) - 1)
    while first > 0 and stages[first - 1].is_cleared():
        first -= 1
    return first


def _shown(value: Any) -> str:
    text = "nothing" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
