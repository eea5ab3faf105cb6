"""The Bloom-filter dedup (DCLM's BFF) as a global step, equal to one sequential pass in input order.

Rounds of shards go through three phases in a pipeline: while a round is resolved (`dedup.bff.resolve`, or
`resolve_split` where the filter is split), the next is hashed (`hash`) and the one before is written (`write`). Only
resolving touches the filter, which lies in memory that all processes of a node map (`bloom.shared_memory`). Round size,
workers and parts decide nothing about the result: the design is "Bloom-filter dedup that survives retries" of this
project's architecture.

Departs from upstream in what `tests.oracles.bff_reference` spells out: order is the input's, `both` and `naive-both` do
what they were meant to, sides of the threshold are as documented, pages keep all their keys, a page whose text is blank
is counted as removed, and a filter filled beyond its rate stops the run (upstream goes on and removes nearly all).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corpusmith.errors import CorpusmithError, InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.fingerprint import digest, inputs_identity
from corpusmith.run.progress import say
from corpusmith.run.ray.cluster import ClusterNode
from corpusmith.run.ray.execution import TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import StagePlan
from corpusmith.run.stage import Stage
from corpusmith.steps.rewrite import RewriteTask
from dedup.bff.blocks import NgramBlockBuilder, resolve_in_order
from dedup.bff.bloom.filter import FilterShape
from dedup.bff.bloom.kernels import BLOCK_BITS
from dedup.bff.bloom.shared_memory import remove_shared
from dedup.bff.config import BffConfig
from dedup.bff.hash import BffHashTask
from dedup.bff.layout import BffLayout, cut_rounds
from dedup.bff.plan import FilterOrigin, FilterPlan, describe, find_origin, plan_filter, snapshot_interval
from dedup.bff.resolve import ForgetTask, PartTask, ResolveTask, SaveTask
from dedup.bff.resolve_split import DecideTask, PassTask
from dedup.bff.write import WriteTask

NODE_SHARE = 0.9
ALONE_BYTES = 1 << 40  # a task of such a size shares no batch
OnValue = Callable[[str, Any], None]
Task = BffHashTask | ResolveTask | PassTask | DecideTask | PartTask | SaveTask | WriteTask | ForgetTask


def perform(task: Task) -> Any:
    """Run a task on a worker."""
    return task.run()


def plan_stage(config: BffConfig, step: str) -> StagePlan:
    """The stage of a Bloom-filter dedup; `step` is the key under which the ledger names it, such as `05-bff`."""

    def units(inputs: list[ShardRef]) -> dict[str, str]:
        parent = find_origin(config, inputs).parent
        every = inputs_identity(inputs) if parent is None else digest([inputs_identity(inputs), parent])
        return {shard.name: every for shard in inputs}

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _BffWork(stage, runner, config, step).run()

    return StagePlan(
        name="bff",
        fingerprint={"config": config.deciding(), "code": code_versions(plan_stage)},
        work=work,
        units=units,
    )


def make_layout(
    stage: Stage,
    config: BffConfig,
    origin: FilterOrigin,
    plan: FilterPlan,
    rounds: Sequence[tuple[int, int]],
    parts: int,
) -> BffLayout:
    """What the tasks of a stage know; its digest names the scratch folder."""
    shape = plan.shape
    identity = digest(
        [inputs_identity(stage.inputs), config.deciding(), origin.parent, [shape.blocks, shape.hashes], rounds, parts]
    )
    scratch = stage.place.scratch
    place = scratch if "://" in scratch else os.path.abspath(scratch)
    return BffLayout(
        folder=storage.join(scratch, identity[:16]),
        config=config,
        shape=shape,
        parts=parts,
        name=digest([place])[:16],
        identity=identity,
        source=config.bloom_filter_file if origin.header is not None and not origin.is_own else None,
    )


def count_parts(shape_bytes: int, config: BffConfig, nodes: Sequence[ClusterNode]) -> int:
    """How many parts the filter needs; InputError where the nodes have not the memory for them."""
    smallest = min((node.memory for node in nodes if node.memory), default=0)
    capacity = int(NODE_SHARE * smallest)
    parts = -(-shape_bytes // (config.filter_part_bytes or capacity or shape_bytes))
    per_node = -(-parts // max(1, len(nodes)))
    if capacity and per_node * (shape_bytes // parts) > capacity:
        raise InputError(
            f"the filter takes {shape_bytes:,} bytes, and the {len(nodes)} nodes offer {capacity:,} each (90 % of "
            "their memory); lower expected_ngram_count, raise fp_rate, or add nodes"
        )
    return parts


@dataclass(slots=True)
class _BffWork:
    """One run of the stage."""

    stage: Stage
    runner: Runner
    config: BffConfig
    step: str
    nodes: list[ClusterNode] = field(default_factory=list)
    rounds: list[tuple[int, int]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    new_ngrams: int = 0
    snapshot: int = 0
    layout: BffLayout = field(init=False)
    plan: FilterPlan = field(init=False)
    origin: FilterOrigin = field(init=False)

    def run(self) -> list[str]:
        """Bring the stage to its end; a line for each task that failed."""
        stage, config = self.stage, self.config
        self.origin = find_origin(config, stage.inputs)
        self.plan = plan_filter(config, stage.inputs, self.origin)
        self.nodes = self.runner.nodes()
        self.rounds = cut_rounds(stage.inputs, config.round_bytes)
        parts = count_parts(self.plan.shape.bytes, config, self.nodes)
        self.layout = make_layout(stage, config, self.origin, self.plan, self.rounds, parts)
        say(describe(self.plan, config, parts))
        try:
            failures = self._run()
        except CorpusmithError:
            self._forget()
            raise
        except BaseException:
            self._forget_here()
            raise
        self._forget()
        return failures

    def _run(self) -> list[str]:
        committed, last = self._continue(), len(self.rounds)
        if committed < last and self.origin.is_own and self.origin.parent is not None:
            raise InputError(
                f"{self.config.bloom_filter_file} is what this step saved; to do the step again, put back the filter "
                f"file that it began with (checksum {self.origin.parent})"
            )
        self._check_fill()
        failures = self._map({}, self._hashing(committed)) if committed < last else []
        for number in range(committed, last):
            if failures:
                return failures
            beside = {**self._writing(number), **self._hashing(number + 1)}
            failures = self._resolve(number, beside) if self.layout.parts == 1 else self._resolve_split(number, beside)
            if not failures:
                self._commit(number)
                self._check_fill()
        failures = failures or self._finish()
        return failures or self._map({}, self._writing(last))

    # --- tasks of the phases ---------------------------------------------------------------------------------

    def _map(self, parts: Mapping[int, Task], tasks: Mapping[str, Task], on_value: OnValue | None = None) -> list[str]:
        """Run tasks together, those of parts of the filter alone and on the nodes of their parts."""
        if not parts and not tasks:
            return []
        alone = {f"part {part}": task for part, task in parts.items()}
        sizes = {name: _input_bytes(task) for name, task in tasks.items()}
        return self.stage.run_units(
            self.runner,
            perform,
            {**alone, **tasks},
            label=self.stage.place.name,
            unit="tasks",
            spec=TaskSpec(
                set_up="dedup.bff.stage:warm_kernels",
                sizes={**sizes, **dict.fromkeys(alone, ALONE_BYTES)},
                nodes={f"part {part}": self.nodes[part % len(self.nodes)].id for part in parts},
            ),
            on_value=on_value,
        )

    def _hashing(self, number: int) -> dict[str, Task]:
        """Tasks that hash those shards of a round that are not hashed yet."""
        if number >= len(self.rounds):
            return {}
        inputs, layout = self.stage.inputs, self.layout
        return {
            f"hash {inputs[shard].name}": BffHashTask(layout=layout, shard=inputs[shard], number=shard)
            for shard in range(*self.rounds[number])
            if not storage.exists(layout.inserts_url(shard))
        }

    def _writing(self, before: int) -> dict[str, Task]:
        """Tasks that write the pending shards of all rounds before one; each is given out once."""
        end = self.rounds[before - 1][1] if before else 0
        numbers = [number for number in self.pending if number < end]
        self.pending = [number for number in self.pending if number >= end]
        stage = self.stage
        return {
            f"write {stage.inputs[number].name}": WriteTask(
                layout=self.layout, rewrite=RewriteTask.of(stage, number, self.step)
            )
            for number in numbers
        }

    def _takes_snapshot(self, number: int) -> bool:
        return number + 1 - self.snapshot >= snapshot_interval(self.plan.shape.bytes, self.config.round_bytes)

    def _resolve(self, number: int, beside: dict[str, Task]) -> list[str]:
        """Resolve a round in one task, other tasks beside it."""
        task = ResolveTask(
            layout=self.layout, number=number, snapshot=self.snapshot, takes_snapshot=self._takes_snapshot(number)
        )
        return self._map({0: task}, beside)

    def _resolve_split(self, number: int, beside: dict[str, Task]) -> list[str]:
        """Resolve a round by passes of all parts until nothing changes, commit it, and replay the parts to it."""
        layout, parts = self.layout, range(self.layout.parts)
        shards = range(*self.rounds[number])
        changed, new_ngrams = True, 0
        while changed:
            passes = {part: PassTask(layout=layout, part=part, number=number, snapshot=self.snapshot) for part in parts}
            values: dict[str, Any] = {}
            if failures := self._map(passes, beside, values.__setitem__):
                return failures
            new_ngrams, beside = sum(int(values[f"part {part}"]) for part in parts), {}
            deciding = {
                f"decide {self.stage.inputs[shard].name}": DecideTask(layout=layout, number=number, shard=shard)
                for shard in shards
            }
            values = {}
            if failures := self._map({}, deciding, values.__setitem__):
                return failures
            changed = any(values.values())
        storage.write_json(layout.commit_url(number), {"fresh": new_ngrams})
        takes = self._takes_snapshot(number)
        if failures := self._map(self._replaying(number + 1, takes), {}):
            return failures
        if takes:
            storage.write_json(layout.snapshot_done_url(number + 1), {})
        return []

    def _replaying(self, rounds: int, takes_snapshot: bool) -> dict[int, Task]:
        """Tasks that replay all parts to so many rounds."""
        return {
            part: PartTask(
                layout=self.layout, part=part, rounds=rounds, snapshot=self.snapshot, takes_snapshot=takes_snapshot
            )
            for part in range(self.layout.parts)
        }

    # --- what exists, and what is no longer needed -----------------------------------------------------------

    def _continue(self) -> int:
        """The number of rounds that are committed; begins anew where the scratch is of something else or has gaps."""
        layout, stage = self.layout, self.stage
        positions = {shard.name: number for number, shard in enumerate(stage.inputs)}
        self.pending = sorted(positions[name] for name in stage.pending())
        committed = 0
        if storage.exists(layout.rounds_url):
            while committed < len(self.rounds) and storage.exists(layout.commit_url(committed)):
                self._read_commit(committed)
                committed += 1
            if not self._has_gaps(committed):
                return committed
        storage.remove_tree(stage.place.scratch)
        storage.write_json(layout.rounds_url, self.rounds)
        self.new_ngrams = self.snapshot = 0
        return 0

    def _has_gaps(self, committed: int) -> bool:
        """Whether something is missing that the filter, or a shard that is to be written, needs."""
        layout = self.layout
        end = self.rounds[committed - 1][1] if committed else 0
        kept = range(self.rounds[self.snapshot][0] if self.snapshot < len(self.rounds) else end, end)
        needed = [url(shard) for shard in kept for url in (layout.ngrams_url, layout.inserts_url)]
        needed += [
            url(shard) for shard in self.pending if shard < end for url in (layout.decisions_url, layout.pages_url)
        ]
        existing = {info.url for info in storage.list_files(layout.folder)}
        return any(url not in existing for url in needed)

    def _read_commit(self, number: int) -> None:
        self.new_ngrams += int(storage.read_json(self.layout.commit_url(number))["fresh"])
        if storage.exists(self.layout.snapshot_done_url(number + 1)):
            self.snapshot = number + 1

    def _commit(self, number: int) -> None:
        """Take note of a resolved round, and remove the hashes that the last snapshot made needless."""
        before = self.snapshot
        self._read_commit(number)
        layout = self.layout
        if self.snapshot == before:
            return
        for resolved in range(before, self.snapshot):
            for shard in range(*self.rounds[resolved]):
                storage.remove(layout.ngrams_url(shard))
                storage.remove(layout.inserts_url(shard))
        if before:
            storage.remove(layout.snapshot_done_url(before))
            for part in range(layout.parts):
                storage.remove(layout.snapshot_url(before, part))

    def _check_fill(self) -> None:
        """Stop where the filter holds more than its rate allows."""
        plan, rate = self.plan, self.config.fp_rate
        if not plan.is_overfilled(self.new_ngrams, rate):
            return
        held = plan.inserted + self.new_ngrams
        raise InputError(
            f"the filter is filled beyond its rate: it was made for {plan.ngrams:,} n-grams at a false-positive rate "
            f"of {rate:g} ({plan.shape.bytes:,} bytes, {plan.shape.hashes} hashes), and {held:,} are in it already, "
            f"which means {plan.shape.rate(held):.3g}; it would remove what is no duplicate. Set expected_ngram_count "
            "to the distinct n-grams of all input (and of what the filter file holds)"
        )

    def _finish(self) -> list[str]:
        """After the last round: the figures of the filter, and its file."""
        stage, layout, last = self.stage, self.layout, len(self.rounds)
        saves = self.config.saves and not self.origin.is_own
        figures_url = storage.join(stage.place.folder, "filter.json")
        if not saves and storage.exists(figures_url):
            return []
        set_bits: dict[str, Any] = {}
        failures = self._map(self._replaying(last, saves), {}, set_bits.__setitem__)
        if failures:
            return failures
        shape, inserted = layout.shape, self.plan.inserted + self.new_ngrams
        figures = {
            "bytes": shape.bytes,
            "hashes": shape.hashes,
            "parts": layout.parts,
            "sized_for_ngrams": self.plan.ngrams,
            "ngrams": inserted,
            "ngrams_of_this_input": self.new_ngrams,
            "false_positive_rate": shape.rate(inserted),
            "set_bits": sum(set_bits.values()) / (shape.blocks * BLOCK_BITS),
        }
        storage.write_json(figures_url, figures, indent=2)
        say(
            f"BFF: {self.new_ngrams:,} n-grams inserted, {inserted:,} in the filter; {100 * figures['set_bits']:.1f} % "
            f"of its bits are set, false-positive rate {figures['false_positive_rate']:.2g}"
        )
        return self._save(inserted) if saves else []

    def _save(self, inserted: int) -> list[str]:
        config, shape = self.config, self.layout.shape
        header = {
            "unit": config.unit,
            "ngram": config.max_ngram_size,
            "hashing": config.hashing(),
            "blocks": shape.blocks,
            "hashes": shape.hashes,
            "ngrams": self.plan.ngrams,
            "rate": config.fp_rate,
            "inserted": inserted,
            "before": self.plan.inserted,
            "made_from": self.origin.made_from,
            "parent": self.origin.parent,
        }
        task = SaveTask(layout=self.layout, path=str(config.bloom_filter_file), header=header, rounds=len(self.rounds))
        return self._map({}, {"save the filter": task})

    def _forget(self) -> None:
        """Give the filter's memory back on all nodes."""
        self._forget_here()
        if len(self.nodes) > 1:
            tasks = [ForgetTask(layout=self.layout) for _ in self.nodes]
            nodes = {index: node.id for index, node in enumerate(self.nodes)}
            spec = TaskSpec(sizes=dict.fromkeys(nodes, ALONE_BYTES), nodes=nodes)
            for _ in self.runner.map(perform, tasks, label="free memory", unit="nodes", spec=spec):
                continue

    def _forget_here(self) -> None:
        for part in range(self.layout.parts):
            remove_shared(self.layout.shared_name(part))


def _input_bytes(task: Task) -> int:
    """Bytes of input of a task, so that small ones share a batch."""
    if isinstance(task, BffHashTask):
        return task.shard.bytes
    return task.rewrite.shard.bytes if isinstance(task, WriteTask) else ALONE_BYTES


def warm_kernels() -> None:
    """Call the kernels once per worker, so that no shard pays for loading them."""
    config = BffConfig(remove_type="naive-both", min_ngram_size=1, max_ngram_size=2)
    builder = NgramBlockBuilder(config)
    builder.add("warm the kernels\n")
    resolve_in_order(builder.take(), config, np.zeros(8, dtype=np.uint64), FilterShape(blocks=1, hashes=1))
