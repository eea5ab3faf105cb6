"""A stage: a function over shards, with a record for each unit of its work.

A unit is a shard of the input (or a cell, or whatever the stage's plan names). Its record tells what it read, what
became of it, and the size and checksum of each file that it wrote; the record is written after the files, both
atomically, so a unit whose record stands is done. Who restarts a killed stage finds out from the records alone.

    run/stages/NN-name-<fingerprint8>/
      stage.json        the fingerprint
      records/          one JSON per unit
      shards/           the stage's output (the last stage of a run writes to the run's output folder instead)
      scratch/          what only the stage itself needs; removed when it is complete
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

from corpusmith.errors import CorpusmithError, RunFailed
from corpusmith.io import storage
from corpusmith.io.shards import ShardRef, file_checksum
from corpusmith.run.ledger import Counts, total
from corpusmith.run.runner import Runner

T = TypeVar("T")

DECIDING_LIBRARIES = (
    *("numpy", "numba", "orjson", "backports.zstd", "isal", "pyarrow", "xxhash"),
    *("resiliparse", "fastwarc", "tokenizers", "tiktoken"),
)
VERIFY_BATCH = 64


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

    `unit`: its name; `identity`: what changes when its input does; `counts`: the books; `details`: what the report
    and the views show (steps, samples, histograms, seconds), never read to decide anything.
    """

    unit: str
    identity: str
    outputs: list[OutputFile]
    counts: Counts
    details: dict[str, Any] = field(default_factory=dict)

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
    """Where a stage's work goes; small and picklable, what a task on a worker needs of its stage."""

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
        """Where pages of a shard that a step could not handle are set aside."""
        return storage.join(self.errors, step, f"{shard}.errors.jsonl")

    def write_record(self, record: ShardRecord) -> None:
        """Write a unit's record; it must balance, and its files must stand already."""
        record.counts.check_balance(f"stage {self.name}, shard {record.unit}")
        storage.write_json(self.record_url(record.unit), record.to_json())


class Stage:
    """One stage of a run: its units, their records and its output.

    `units` maps each unit's name to the identity of what it is made from; `inputs` are the shards of the stage before.
    """

    def __init__(self, *, place: StagePlace, inputs: list[ShardRef], units: dict[str, str]) -> None:
        self.place = place
        self.inputs = inputs
        self.units = units
        self._read: dict[str, ShardRecord] | None = None

    def records(self) -> dict[str, ShardRecord]:
        """The valid records by unit, in the order of the units; a record made from other input counts as none."""
        if self._read is not None:
            return self._read
        root = storage.join(self.place.folder, "records")
        if not storage.is_dir(root):
            return {}
        found: dict[str, ShardRecord] = {}
        for info in storage.list_files(root, (".json",)):
            record = ShardRecord.from_json(storage.read_json(info.url))
            if self.units.get(record.unit) == record.identity:
                found[record.unit] = record
        self._read = {unit: found[unit] for unit in self.units if unit in found}
        return self._read

    def lacking(self) -> list[str]:
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

    def outputs(self) -> list[ShardRef]:
        """The files that the recorded units wrote, sorted by name; their identity is their checksum."""
        files = [file for record in self.records().values() for file in record.outputs]
        return [
            ShardRef(name=file.name, url=self.place.output_url(file.name), identity=file.checksum, bytes=file.bytes)
            for file in sorted(files, key=lambda file: file.name)
        ]

    def counts(self) -> Counts:
        """The books of the stage, summed from its records."""
        return total(record.counts for record in self.records().values())

    def is_cleared(self) -> bool:
        """Whether the output of this stage was deleted because the next stage is complete."""
        present = self._present()
        return any(present.get(shard.name) != shard.bytes for shard in self.outputs())

    def run_units(
        self,
        runner: Runner,
        function: Callable[[T], object],
        tasks: dict[str, T],
        *,
        label: str,
        unit: str = "shards",
        set_up: str | None = None,
    ) -> list[str]:
        """Run `function(task)` for each unit; returns a line for each unit that failed, sorted by unit."""
        names = sorted(tasks)
        failures: list[tuple[str, str, str | None]] = []
        self._read = None
        outcomes = runner.map(
            function, [tasks[name] for name in names], name=lambda _: "", label=label, unit=unit, set_up=set_up
        )
        for outcome in outcomes:
            if outcome.error is not None:
                failures.append((names[outcome.index], outcome.error, outcome.traceback))
        failures.sort()
        for name, _, trace in failures:
            if trace:
                storage.write_bytes(storage.join(self.place.folder, "failures", f"{name}.txt"), trace.encode())
        return [f"{name}: {error}" for name, error, _ in failures]

    def verify(self, runner: Runner) -> None:
        """Read every output back and hold its size and checksum against its record; RunFailed names what differs."""
        names = self.outputs()
        batches = [
            [(ref.url, ref.bytes, ref.identity) for ref in names[start : start + VERIFY_BATCH]]
            for start in range(0, len(names), VERIFY_BATCH)
        ]
        wrong: list[str] = []
        for outcome in runner.map(check_files, batches, label=f"{self.place.name}: verify", unit="batches"):
            wrong.extend(outcome.value if outcome.value is not None else [str(outcome.error)])
        if wrong:
            raise RunFailed(f"stage {self.place.name}: output differs from its record: {'; '.join(sorted(wrong)[:5])}")


def check_files(files: list[tuple[str, int, str]]) -> list[str]:
    """A line for each (url, bytes, checksum) that does not hold."""
    wrong = []
    for url, size, checksum in files:
        try:
            found = storage.stat(url).size
            if found != size:
                wrong.append(f"{url} has {found} bytes instead of {size}")
            elif file_checksum(url) != checksum:
                wrong.append(f"{url} has another checksum")
        except CorpusmithError as error:
            wrong.append(str(error))
    return wrong
