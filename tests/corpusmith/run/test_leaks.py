"""The books catch what they are for: each leak, planted at a seam, is reported with the names of stage and shard."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from baselines.core.shard_processor import WRITE_STEP, LocalTask, ShardProcessor
from baselines.core.steps import BuiltStep, LocalStep, build_steps
from corpusmith.errors import BalanceError, CorpusmithError, RunFailed
from corpusmith.io.pages.shards import Page, Record, ShardRef, list_shards, open_shard_writer, read_records
from corpusmith.run.errors_file import QuarantineWriter
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, StagePlan, Units, unit_per_shard
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace

OpenRunner = Callable[[Execution], Runner]
SHARDS = ("a.jsonl", "part/b.jsonl.zst", "part/c.jsonl.gz")
PAGES = 9
STEP = "07-keep"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A shard to copy; what `keep` removes is booked, a page with the key `bad` is set aside."""

    place: StagePlace
    shard: ShardRef
    identity: str
    output: str


def copy(
    task: Task,
    *,
    reader: Callable[[str], Iterator[Record]] = read_records,
    repeats: int = 1,
    record: Callable[[ShardRecord], ShardRecord] = lambda record: record,
) -> None:
    counts = Counts()
    with (
        QuarantineWriter(task.place, task.shard.name, [STEP]) as aside,
        open_shard_writer(task.place.output_url(task.output)) as writer,
    ):
        for found in reader(task.shard.url):
            counts.read += 1
            page = found.page or {}
            if page.get("bad"):
                counts.quarantine(STEP)
                aside.add(STEP, found, "bad")
            elif page["number"] == 0:
                counts.remove(STEP)
            else:
                counts.kept += 1
                for _ in range(repeats):
                    writer.write(page)
    output = OutputFile(name=task.output, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    made = ShardRecord(unit=task.shard.name, identity=task.identity, outputs=[output], counts=counts)
    task.place.write_record(record(made))


def stage_of(
    function: Callable[[Task], object] = copy,
    *,
    units: Units = unit_per_shard,
    skip: str = "",
    plant: Callable[[Stage], object] = lambda stage: None,
    name: str = "copy",
) -> StagePlan:
    """A stage that copies shards; `plant` is called when its work is done, before its books are held."""

    def work(stage: Stage, runner: Runner) -> list[str]:
        by_name = {shard.name: shard for shard in stage.inputs}
        tasks = {
            unit: Task(place=stage.place, shard=by_name[unit], identity=stage.units[unit], output=unit)
            for unit in stage.pending()
            if unit != skip
        }
        failures = stage.run_units(runner, function, tasks, label=name)
        plant(stage)
        return failures

    return StagePlan(name=name, fingerprint={"name": name}, work=work, units=units)


@pytest.fixture
def inputs(tmp_path: pathlib.Path) -> list[ShardRef]:
    for name in SHARDS:
        with open_shard_writer(str(tmp_path / "pages" / name)) as writer:
            for number in range(PAGES):
                text = f"words of page {number} in {name}"
                writer.write({"number": number, "text": text, **({"bad": True} if number == 4 else {})})
    return list_shards(str(tmp_path / "pages"))


@dataclass(frozen=True)
class Line:
    """A run of stages over the shards of a test."""

    folder: pathlib.Path
    inputs: list[ShardRef]
    open_runner: OpenRunner

    def run(self, *stages: StagePlan, **options: Any) -> Run:
        out = self.folder / "out"
        place = RunPlace(root=str(out / "run"), output=str(out / "data"), errors=str(out / "errors"))
        run = Run(place, RunPlan(inputs=self.inputs, stages=list(stages)), open_runner=self.open_runner)
        run.execute(Execution(), RunOptions(**options))
        return run

    def leak(self, *stages: StagePlan, says: str, stage: str, shard: str = "part/b.jsonl.zst") -> None:
        """Run; the error must name the leak, the stage and the shard."""
        with pytest.raises((BalanceError, RunFailed)) as caught:
            self.run(*stages)
        message = str(caught.value)
        assert f"stage {stage}" in message
        assert shard in message
        assert says in message


@pytest.fixture
def line(tmp_path: pathlib.Path, inputs: list[ShardRef], in_process: OpenRunner) -> Line:
    return Line(tmp_path, inputs, in_process)


def of_b(function: Callable[..., None], **leak: Any) -> Callable[[Task], None]:
    """The copy of shard b leaks, the others do not."""
    return lambda task: function(task, **leak) if task.shard.name == "part/b.jsonl.zst" else function(task)


def edit_record(stage: Stage, unit: str, edit: Callable[[dict[str, Any]], object], name: str | None = None) -> None:
    """Change a stored record, or store the changed one as another unit's."""
    document = json.loads(pathlib.Path(stage.place.record_url(unit)).read_text())
    edit(document)
    target = pathlib.Path(stage.place.record_url(name or unit))
    target.write_text(json.dumps(document))


def test_an_undisturbed_run_raises_no_alarm_and_its_books_are_right(line: Line) -> None:
    run = line.run(stage_of(), stage_of(name="again"))
    ledger = json.loads((line.folder / "out" / "run" / "ledger.json").read_text())
    assert ledger["total"] == {
        "read": len(SHARDS) * PAGES,
        "added": 0,
        "kept": len(SHARDS) * (PAGES - 2),
        "removed": {STEP: len(SHARDS)},
        "errored": {STEP: len(SHARDS)},
    }
    assert run.is_finished()


# --- leaks in a task ----------------------------------------------------------------------------------------------


def first_half(url: str) -> Iterator[Record]:
    return (record for record in read_records(url) if record.index < 3)


def test_a_reader_that_stops_early(line: Line) -> None:
    stages = stage_of(), stage_of(of_b(copy, reader=first_half), name="again")
    line.leak(*stages, says="read 3 records, but stage 00-copy-", stage="01-again-")


def test_a_task_that_counts_its_shard_twice(line: Line) -> None:
    def twice(url: str) -> Iterator[Record]:
        yield from read_records(url)
        yield from read_records(url)

    stages = stage_of(), stage_of(of_b(copy, reader=twice), name="again")
    line.leak(*stages, says=f"read {2 * (PAGES - 2)} records, but", stage="01-again-")


def test_a_page_that_is_written_twice(line: Line) -> None:
    line.leak(stage_of(of_b(copy, repeats=2)), says="kept 7 records but wrote 14", stage="00-copy-")


def test_a_page_that_is_written_twice_behind_the_back_of_the_writer(line: Line) -> None:
    def twice(task: Task) -> None:
        def hide(record: ShardRecord) -> ShardRecord:
            return replace(record, outputs=[replace(file, records=7) for file in record.outputs])

        copy(task, repeats=2, record=hide)

    line.leak(
        stage_of(lambda task: twice(task) if "b" in task.shard.name else copy(task)),
        says="holds 14 records instead of 7",
        stage="00-copy-",
    )


def test_a_shard_that_is_read_although_it_is_not_in_the_input(line: Line) -> None:
    def foreign(task: Task) -> None:
        copy(task)
        copy(replace(task, shard=replace(task.shard, name="part/foreign.jsonl.zst"), output="foreign.jsonl.zst"))

    line.leak(
        stage_of(lambda task: foreign(task) if "b" in task.shard.name else copy(task)),
        says="is of a shard that is not in the stage's input",
        stage="00-copy-",
        shard="part/foreign.jsonl.zst",
    )


def test_two_shards_that_write_one_output(line: Line) -> None:
    line.leak(
        stage_of(lambda task: copy(replace(task, output="same.jsonl"))),
        says="wrote same.jsonl, which shard a.jsonl wrote too",
        stage="00-copy-",
    )


# --- leaks of the stage's own work --------------------------------------------------------------------------------


def test_a_shard_that_is_not_worked_on(line: Line) -> None:
    line.leak(stage_of(skip="part/b.jsonl.zst"), says="1 of 3 shards", stage="00-copy-")


def test_a_shard_that_is_no_unit(line: Line) -> None:
    def without_b(inputs: list[ShardRef]) -> dict[str, str]:
        return unit_per_shard([shard for shard in inputs if "b" not in shard.name])

    line.leak(stage_of(units=without_b), says="was skipped; it is in the stage's input", stage="00-copy-")


def test_a_stage_by_cells_that_reads_less_than_was_written(line: Line) -> None:
    def one_cell(inputs: list[ShardRef]) -> dict[str, str]:
        return {"cell-0": "all"}

    def work(stage: Stage, runner: Runner) -> list[str]:
        first = stage.inputs[0]
        copy(replace(Task(place=stage.place, shard=first, identity="all", output="x.jsonl"), shard=renamed(first)))
        return []

    def renamed(shard: ShardRef) -> ShardRef:
        return replace(shard, name="cell-0")

    cells = StagePlan(name="cells", fingerprint={}, work=work, units=one_cell)
    line.leak(stage_of(), cells, says="read 7 records, but stage 00-copy-", stage="01-cells-", shard="all cells")


def test_a_record_that_another_stage_wrote(line: Line) -> None:
    def borrow(stage: Stage) -> None:
        edit_record(stage, "part/b.jsonl.zst", lambda record: record.update(stage="00-copy-01234567"))

    line.leak(stage_of(plant=borrow), says="was written by stage 00-copy-01234567", stage="00-copy-")


def test_a_record_of_another_stage_that_stands_before_the_work_is_named_and_done_again(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    run = line.run(stage_of())
    edit_record(run.stages()[0], "part/b.jsonl.zst", lambda record: record.update(stage="03-other-01234567"))
    assert line.run(stage_of()).is_finished()
    shown = capsys.readouterr().out
    assert "part/b.jsonl.zst: its record" in shown
    assert "was written by stage 03-other-01234567; it counts as none" in shown


def test_a_shard_that_two_records_count(line: Line) -> None:
    def double(stage: Stage) -> None:
        edit_record(stage, "part/b.jsonl.zst", lambda record: None, name="part/b-again.jsonl.zst")

    line.leak(stage_of(plant=double), says="counts it a second time", stage="00-copy-")


# --- leaks in what is stored --------------------------------------------------------------------------------------


def output_of_b(stage: Stage) -> pathlib.Path:
    return pathlib.Path(stage.place.output_url("part/b.jsonl.zst"))


def error_file_of_b(stage: Stage) -> pathlib.Path:
    return pathlib.Path(stage.place.error_url(STEP, "part/b.jsonl.zst"))


def flip_last_byte(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


STORED: dict[str, tuple[Callable[[Stage], object], str]] = {
    "truncated output": (lambda s: output_of_b(s).write_bytes(output_of_b(s).read_bytes()[:-3]), "bytes instead of"),
    "changed output": (lambda s: flip_last_byte(output_of_b(s)), "another checksum"),
    "deleted output": (lambda s: output_of_b(s).unlink(), "no such file"),
    "missing error file": (lambda s: error_file_of_b(s).unlink(), "no such file"),
    "emptied error file": (lambda s: error_file_of_b(s).write_bytes(b""), "holds 0 records instead of 1"),
}


@pytest.mark.parametrize("leak", STORED)
def test_files_that_change_after_their_record(line: Line, leak: str) -> None:
    plant, says = STORED[leak]
    line.leak(stage_of(plant=plant), says=says, stage="00-copy-")


def test_a_file_in_the_output_that_no_record_tells_of(line: Line) -> None:
    def add(stage: Stage) -> None:
        output_of_b(stage).with_name("stranger.jsonl").write_bytes(b"{}\n")

    line.leak(stage_of(plant=add), says="no record tells of it", stage="00-copy-", shard="part/stranger.jsonl")


def raise_count(*keys: str) -> Callable[[dict[str, Any]], None]:
    def edit(record: dict[str, Any]) -> None:
        for key in keys:
            if key == "records":
                record["outputs"][0]["records"] += 1
            else:
                record["counts"][key] += 1

    return edit


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["kept"], "read 9 + added 0 != kept 8"),
        (["read"], "read 10 + added 0 != kept 7"),
        (["read", "kept"], "kept 8 records but wrote 7"),
        (["read", "kept", "records"], "holds 7 records instead of 8"),
    ],
)
def test_counts_that_are_edited_in_a_record(line: Line, keys: list[str], says: str) -> None:
    def edit(stage: Stage) -> None:
        edit_record(stage, "part/b.jsonl.zst", raise_count(*keys))

    line.leak(stage_of(plant=edit), says=says, stage="00-copy-")


def test_counts_of_two_shards_that_are_edited_so_that_the_sums_agree(line: Line) -> None:
    def shift(stage: Stage) -> None:
        edit_record(stage, "a.jsonl", lambda record: record["counts"].update(read=8, removed={STEP: 1}))
        edit_record(stage, "part/b.jsonl.zst", lambda record: record["counts"].update(read=6, added=1))

    line.leak(stage_of(), stage_of(plant=shift, name="again"), says="read 6 records, but stage", stage="01-again-")


# --- leaks between the steps of a shard ---------------------------------------------------------------------------

STEPS = (
    LocalStep(index=0, func="pieces.in_three"),
    LocalStep(index=1, func="word_counter_enricher"),
    LocalStep(index=2, func="page_length_filter", arguments={"length_type": "word", "min_length": 2}),
)


class DropsBetweenSteps(ShardProcessor):
    def _step(self, built: BuiltStep, pages: list[Page], record: Record) -> list[Page]:
        given = super()._step(built, pages, record)
        return given[:-1] if built.position == 1 and record.index == 5 else given


class LosesAPieceOfASplit(ShardProcessor):
    def _step(self, built: BuiltStep, pages: list[Page], record: Record) -> list[Page]:
        given = super()._step(built, pages, record)
        return given[1:] if built.position == 0 and record.index == 5 else given


class RepeatsAPage(ShardProcessor):
    def _step(self, built: BuiltStep, pages: list[Page], record: Record) -> list[Page]:
        return super()._step(built, pages * 2 if built.position == 2 and record.index == 5 else pages, record)


class ForgetsAPageAfterTheLastStep(ShardProcessor):
    def _write(self, page: Page, piece: int, record: Record) -> None:
        if (record.index, piece) != (5, 1):
            super()._write(page, piece, record)


class MiscountsASplit(ShardProcessor):
    def process(self, record: Record) -> None:
        super().process(record)
        self.counts.added += record.index == 5


class MiscountsARemoval(ShardProcessor):
    def process(self, record: Record) -> None:
        super().process(record)
        self.tallies[2].removed += record.index == 5


class LosesWithinAStep(ShardProcessor):
    def process(self, record: Record) -> None:
        super().process(record)
        self.tallies[2].pages_out -= record.index == 5


def processing(leaky: type[ShardProcessor]) -> Callable[[Task], None]:
    """The steps over a shard as `process_shard` takes them, with a leak in shard b."""

    def function(task: Task) -> None:
        own = LocalTask(
            place=task.place, shard=task.shard, identity=task.identity, output=task.output, steps=STEPS, seed=0
        )
        kind = leaky if "b" in task.shard.name else ShardProcessor
        keys = [*(step.key for step in STEPS), WRITE_STEP]
        with (
            QuarantineWriter(task.place, task.shard.name, keys) as aside,
            open_shard_writer(task.place.output_url(task.output)) as writer,
        ):
            processor = kind(own, build_steps(STEPS), writer, aside)
            for record in read_records(task.shard.url):
                processor.process(record)
        output = OutputFile(name=task.output, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
        task.place.write_record(
            ShardRecord(
                unit=task.shard.name,
                identity=task.identity,
                outputs=[output],
                counts=processor.counts,
                details=processor.details(),
            )
        )

    return function


@pytest.fixture
def pieces(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "def in_three(page):\n    return [dict(page, piece=piece) for piece in range(3)]\n"
    (tmp_path / "pieces.py").write_text(code)


@pytest.mark.usefixtures("pieces")
def test_honest_steps_raise_no_alarm(line: Line) -> None:
    line.run(stage_of(processing(ShardProcessor)))
    total = json.loads((line.folder / "out" / "run" / "ledger.json").read_text())["total"]
    assert (total["read"], total["added"], total["kept"]) == (27, 54, 81)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(
    ("leaky", "says"),
    [
        (
            DropsBetweenSteps,
            "step 02-page_length_filter got 26 pages, but step 01-word_counter_enricher gave 27; 1 page lost",
        ),
        (LosesAPieceOfASplit, "step 01-word_counter_enricher got 26 pages, but step 00-in_three gave 27; 1 page lost"),
        (RepeatsAPage, "step 02-page_length_filter got 30 pages, but step 01-word_counter_enricher gave 27; 3 pages"),
        (ForgetsAPageAfterTheLastStep, "step 02-page_length_filter gave 27 pages, but 26 reached the writer"),
        (MiscountsASplit, "the steps added 18 pages by splits, but the books say 19"),
        (MiscountsARemoval, "step 02-page_length_filter removed 1 pages and set 0 aside, but the books say 0 and 0"),
        (LosesWithinAStep, "step 02-page_length_filter lost 1 pages that it neither removed nor set aside"),
    ],
)
def test_leaks_between_steps_are_named_with_the_step(line: Line, leaky: type[ShardProcessor], says: str) -> None:
    line.leak(stage_of(processing(leaky)), says=says, stage="00-copy-")


def test_what_an_earlier_stage_set_aside_under_a_common_name_survives_the_later_stages(line: Line) -> None:
    for number, name in ((0, "00-first-aaaaaaaa"), (2, "02-third-bbbbbbbb")):
        errors = str(line.folder / "errors")
        place = StagePlace(number=number, name=name, folder=str(line.folder), output="", errors=errors)
        with QuarantineWriter(place, "a.jsonl", [WRITE_STEP]) as quarantine:
            quarantine.add(WRITE_STEP, Record(0, 0, b"{}", {}, None), name)
    for folder, name in (("write", "00-first-aaaaaaaa"), ("02-write", "02-third-bbbbbbbb")):
        rows = (line.folder / "errors" / folder / "a.jsonl.errors.jsonl").read_text().splitlines()
        assert [json.loads(row)["error"] for row in rows] == [name]


def test_what_a_failed_shard_left_in_the_output_goes_where_failures_are_ignored(line: Line) -> None:
    def fails_after_its_output(task: Task) -> None:
        def refuse(record: ShardRecord) -> ShardRecord:
            raise CorpusmithError("disk full")

        copy(task, record=refuse) if "b" in task.shard.name else copy(task)

    line.run(stage_of(fails_after_its_output), ignore_failures=True)
    found = {
        str(path.relative_to(line.folder / "out" / "data")) for path in (line.folder / "out" / "data").rglob("*.*")
    }
    assert found == {"a.jsonl", "part/c.jsonl.gz"}
