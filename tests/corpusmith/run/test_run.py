"""What a run does again, refuses, clears and reports, decided by records and plan alone; no Ray here."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from corpusmith.errors import ChangedError, InputError, RunFailed, ShardError
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, list_shards, open_shard_writer, read_shard
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import (
    Run,
    RunOptions,
    RunPlace,
    RunPlan,
    RunResult,
    StagePlan,
    Units,
    unit_per_shard,
    unit_per_shard_of_all,
)
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace

OpenRunner = Callable[[Execution], Runner]
SHARDS = ("a.jsonl", "b.jsonl", "c.jsonl")


@dataclass
class Line:
    """A run of stages that append a letter to each text, and a list of what was worked on: `stage:shard`."""

    folder: pathlib.Path
    open_runner: OpenRunner
    letters: str = "xyz"
    broken: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    common: dict[str, object] = field(default_factory=lambda: {"seed": 0})
    units: Units = unit_per_shard

    def stage(self, letter: str, number: int) -> StagePlan:
        def task(work: tuple[StagePlace, ShardRef, str]) -> None:
            place, shard, identity = work
            if f"{letter}:{shard.name}" in self.broken:
                raise ShardError(shard.name, 7, "damaged")
            with open_shard_writer(place.output_url(shard.name)) as writer:
                for page in read_shard(shard.url):
                    writer.write({"text": page["text"] + letter})
            file = OutputFile(name=shard.name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
            counts = Counts(read=writer.records, kept=writer.records)
            place.write_record(ShardRecord(unit=shard.name, identity=identity, outputs=[file], counts=counts))
            self.done.append(f"{letter}:{shard.name}")

        def work(stage: Stage, runner: Runner) -> list[str]:
            by_name = {shard.name: shard for shard in stage.inputs}
            tasks = {unit: (stage.place, by_name[unit], stage.units[unit]) for unit in stage.pending()}
            return stage.run_units(runner, task, tasks, label=letter)

        return StagePlan(
            name="append", fingerprint={f"steps[{number}]": {"letter": letter}}, work=work, units=self.units
        )

    def plan(self) -> Run:
        out = self.folder / "out"
        place = RunPlace(root=str(out / "run"), output=str(out / "data"), errors=str(out / "errors"))
        stages = [self.stage(letter, number) for number, letter in enumerate(self.letters)]
        inputs = list_shards(str(self.folder / "pages"))
        return Run(place, RunPlan(inputs=inputs, stages=stages, common=self.common), open_runner=self.open_runner)

    def run(self, **options: bool) -> RunResult:
        self.done.clear()
        return self.plan().execute(Execution(), RunOptions(**options))

    def texts(self) -> dict[str, str]:
        """The text of each shard of the output."""
        data = self.folder / "out" / "data"
        return {path.name: next(read_shard(str(path)))["text"] for path in sorted(data.glob("*.jsonl"))}

    def kept_stages(self) -> list[str]:
        """The numbers of the stages whose shards still stand."""
        return sorted(path.parent.name[:2] for path in (self.folder / "out" / "run" / "stages").glob("*/shards"))


def write_page(folder: pathlib.Path, name: str, text: str) -> None:
    with open_shard_writer(str(folder / "pages" / name)) as writer:
        writer.write({"text": text})


@pytest.fixture
def line(tmp_path: pathlib.Path, in_process: OpenRunner) -> Line:
    for name in SHARDS:
        write_page(tmp_path, name, name[0])
    return Line(tmp_path, in_process)


def test_stages_run_in_order_and_the_last_writes_the_output(line: Line) -> None:
    result = line.run()
    assert line.done == [f"{letter}:{name}" for letter in "xyz" for name in SHARDS]
    assert line.texts() == {"a.jsonl": "axyz", "b.jsonl": "bxyz", "c.jsonl": "cxyz"}
    assert line.kept_stages() == [], "the shards of a stage go when the next is complete"
    assert [record.unit for record in result.records] == list(SHARDS)
    assert not result.was_finished


def test_a_finished_run_is_reported_and_not_done_again(line: Line) -> None:
    line.run()
    assert line.run().was_finished
    assert line.done == []


def test_stages_are_kept_on_demand(line: Line) -> None:
    line.run(keep_stages=True)
    assert line.kept_stages() == ["00", "01"]
    line.run()
    assert line.kept_stages() == [], "and cleared by the next run that does not ask for them"


def test_each_record_is_read_once_in_a_run(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    read_json = storage.read_json

    def counting(url: str) -> Any:
        reads[url] += "/records/" in url
        return read_json(url)

    monkeypatch.setattr(storage, "read_json", counting)
    for _ in ("done", "reported"):
        line.run()
        assert {url: times for url, times in reads.items() if times > 1} == {}
        assert sum(reads.values()) == len("xyz") * len(SHARDS)
        reads.clear()


def test_stages_are_dropped_by_their_number_and_not_by_their_name(line: Line) -> None:
    line.letters = "x" * 12
    line.run(keep_stages=True)
    later = line.folder / "out" / "run" / "stages" / "100-append-01234567"
    later.mkdir()
    (later / "stage.json").write_text('{"number": 100}')
    line.letters = "x" * 11 + "y"
    line.run(overwrite=True)
    assert line.done == [f"y:{name}" for name in SHARDS]
    assert not later.exists()


def test_a_shard_that_fails_ends_the_run_after_the_others_and_is_taken_alone_next_time(line: Line) -> None:
    line.broken = {"y:b.jsonl"}
    with pytest.raises(RunFailed, match=r"stage 01-append-\w{8}: 1 of 3 shards failed(.|\n)*b.jsonl: byte 7: damaged"):
        line.run()
    assert line.done == ["x:a.jsonl", "x:b.jsonl", "x:c.jsonl", "y:a.jsonl", "y:c.jsonl"]
    line.broken = set()
    line.run()
    assert line.done == ["y:b.jsonl", "z:a.jsonl", "z:b.jsonl", "z:c.jsonl"]
    assert line.texts()["b.jsonl"] == "bxyz"


def test_failures_can_be_ignored_and_made_good_later(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.broken = {"y:b.jsonl"}
    line.run(ignore_failures=True, keep_stages=True)
    assert list(line.texts()) == ["a.jsonl", "c.jsonl"]
    assert "went on without 1 failed shards" in capsys.readouterr().out
    ledger = json.loads((line.folder / "out" / "run" / "ledger.json").read_text())
    assert ledger["total"] == {"read": 3, "added": 0, "kept": 2, "removed": {}, "errored": {"01-failed-shards": 1}}
    line.broken = set()
    assert not line.run(keep_stages=True).was_finished
    assert line.done == ["y:b.jsonl", "z:b.jsonl"]
    assert list(line.texts()) == list(SHARDS)


def test_where_each_shard_depends_on_all_a_late_one_redoes_them(line: Line) -> None:
    line.units = unit_per_shard_of_all
    line.broken = {"x:b.jsonl"}
    line.run(ignore_failures=True, keep_stages=True)
    line.broken = set()
    line.run(keep_stages=True)
    assert line.done == ["x:b.jsonl", *(f"{letter}:{name}" for letter in "yz" for name in SHARDS)]


def test_an_output_that_is_gone_is_made_again_from_the_first_stage_that_must(line: Line) -> None:
    line.run()
    (line.folder / "out" / "data" / "b.jsonl").unlink()
    line.run()
    # the shards between were deleted with the end of the run, so all that led to it is made again
    assert [entry for entry in line.done if entry.startswith("z")] == ["z:b.jsonl"]
    assert line.texts()["b.jsonl"] == "bxyz"


def test_with_the_stages_kept_only_the_missing_output_is_made_again(line: Line) -> None:
    line.run(keep_stages=True)
    (line.folder / "out" / "data" / "b.jsonl").write_bytes(b"short")
    line.run(keep_stages=True)
    assert line.done == ["z:b.jsonl"]


def test_a_changed_step_is_refused_by_its_key_and_redone_on_demand_from_there(line: Line) -> None:
    line.run(keep_stages=True)
    line.letters = "xwz"
    with pytest.raises(ChangedError, match=r"steps\[1\]\.letter changed since .*: \"y\" before, \"w\" now"):
        line.run(keep_stages=True)
    assert line.texts()["a.jsonl"] == "axyz"
    line.run(keep_stages=True, overwrite=True)
    assert line.done == [f"{letter}:{name}" for letter in "wz" for name in SHARDS]
    assert line.texts()["a.jsonl"] == "axwz"


@pytest.mark.parametrize("letters", ["xy", "xyzz"])
def test_another_number_of_stages_is_refused(line: Line, letters: str) -> None:
    line.run()
    line.letters = letters
    with pytest.raises(ChangedError, match=r"changed since"):
        line.run()
    line.run(overwrite=True)
    assert line.texts()["c.jsonl"] == f"c{letters}"


def test_another_seed_or_input_is_refused_by_name(line: Line) -> None:
    line.run()
    line.common = {"seed": 1}
    with pytest.raises(ChangedError, match=r"^seed changed since this run was started: 0 before, 1 now"):
        line.run()
    line.common = {"seed": 0}
    write_page(line.folder, "b.jsonl", "another text")
    with pytest.raises(ChangedError, match=r"^input\.b\.jsonl changed"):
        line.run()
    write_page(line.folder, "d.jsonl", "a new shard")
    line.run(overwrite=True)
    assert list(line.texts()) == [*SHARDS, "d.jsonl"]
    assert line.texts()["b.jsonl"] == "another textxyz"


def test_a_long_value_is_shown_in_part(line: Line) -> None:
    line.common = {"note": "n" * 500}
    line.run()
    line.common = {"note": "m" * 500}
    with pytest.raises(ChangedError) as caught:
        line.run()
    assert "nnn..." in str(caught.value)
    assert len(str(caught.value)) < 600


def test_overwriting_a_finished_run_that_does_not_differ_redoes_all_of_it(line: Line) -> None:
    line.run()
    assert not line.run(overwrite=True).was_finished
    assert len(line.done) == 3 * len(SHARDS)


def test_overwriting_a_half_done_run_that_does_not_differ_continues_it(line: Line) -> None:
    line.broken = {"z:c.jsonl"}
    with pytest.raises(RunFailed):
        line.run()
    line.broken = set()
    line.run(overwrite=True)
    assert line.done == ["z:c.jsonl"]


def test_an_output_folder_that_holds_something_else_is_refused_or_emptied_on_demand(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    data = line.folder / "out" / "data"
    data.mkdir(parents=True)
    (data / "thesis.txt").write_text("years of work")
    (data / "thesis.bak").write_text("years of work")
    with pytest.raises(InputError, match=r"holds 2 files of something else.*removes them"):
        line.run()
    assert (data / "thesis.txt").exists()
    line.run(overwrite=True)
    assert "removing 2 files of something else" in capsys.readouterr().out
    assert sorted(path.name for path in data.iterdir()) == list(SHARDS)


def test_a_run_needs_a_stage(line: Line) -> None:
    line.letters = ""
    with pytest.raises(InputError, match="at least one stage"):
        line.run()


def test_ledger_and_events_tell_the_run(line: Line) -> None:
    line.broken = {"y:b.jsonl"}
    with pytest.raises(RunFailed):
        line.run()
    line.broken = set()
    line.run()
    root = line.folder / "out" / "run"
    ledger = json.loads((root / "ledger.json").read_text())
    assert ledger["total"] == {"read": 3, "added": 0, "kept": 3, "removed": {}, "errored": {}}
    assert [stage["kept"] for stage in ledger["stages"]] == [3, 3, 3]
    events = [json.loads(row) for row in (root / "events.jsonl").read_text().splitlines()]
    states = [(event["event"], event.get("stage", "")[:2], event["state"]) for event in events]
    assert states == [
        ("run", "", "started"),
        ("stage", "00", "started"), ("stage", "00", "ended"),
        ("stage", "01", "started"), ("stage", "01", "ended"),
        ("run", "", "started"),
        ("stage", "01", "started"), ("stage", "01", "ended"),
        ("stage", "02", "started"), ("stage", "02", "ended"),
        ("run", "", "finished"),
    ]  # fmt: skip
    assert events[4]["failures"] == ["b.jsonl: b.jsonl: byte 7: damaged"]
