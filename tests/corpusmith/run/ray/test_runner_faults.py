"""What befalls a run: dead workers, guilty shards and records, lost nodes, storage that comes back, an interrupt."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from corpusmith.errors import InputError, StorageError
from corpusmith.io import position
from corpusmith.io.pages.shards import ShardRef, open_shard_writer, read_records
from corpusmith.run.ray import attempts
from corpusmith.run.ray.attempts import BATCH_BYTES, BATCH_TASKS, NODE_LOSSES, Attempt, plan_batches
from corpusmith.run.ray.execution import Execution, Quarantine, TaskSpec
from corpusmith.run.ray.runner import Runner
from corpusmith.run.ray.worker import Note, is_transient, take_note, watched, with_patience
from corpusmith.run.stage import Stage, StagePlace

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

ROOT = pathlib.Path(__file__).resolve().parents[4]


# --- what is planned, without Ray ------------------------------------------------------------------------------------


def test_few_or_large_tasks_are_not_batched() -> None:
    assert [batch.indices for batch in plan_batches([10] * 31, cpus=2)] == [(index,) for index in range(31)]
    assert [len(batch.indices) for batch in plan_batches([BATCH_BYTES] * 500, cpus=2)] == [1] * 500
    assert [len(batch.indices) for batch in plan_batches([None] * 500, cpus=2)] == [1] * 500


def test_batches_hold_each_task_once_in_order_and_stay_within_their_bounds() -> None:
    sizes = [BATCH_BYTES // (1 + index % 40) for index in range(5000)]
    batches = [batch.indices for batch in plan_batches(sizes, cpus=2)]
    assert [index for batch in batches for index in batch] == list(range(5000))
    assert all(len(batch) <= BATCH_TASKS for batch in batches)
    assert all(sum(sizes[index] for index in batch) <= BATCH_BYTES for batch in batches)
    assert max(map(len, batches)) > 10
    assert len(plan_batches([1] * 100_000, cpus=2)) == -(-100_000 // BATCH_TASKS)
    assert 1500 < len(plan_batches([None] * 100_000, cpus=2)) < 10_000


def test_a_task_is_given_up_after_its_retries_and_a_lost_node_is_no_try() -> None:
    attempt = Attempt(indices=(3,))
    for deaths in range(3):
        (attempt,) = attempt.retries("worker", 3)
        assert (attempt.deaths, attempt.watch is None) == (deaths + 1, False)
    (attempt,) = attempt.retries("node", 3)
    assert attempt.retries("worker", 3) == []
    for _ in range(NODE_LOSSES - 1):
        (attempt,) = attempt.retries("node", 3)
    assert attempt.retries("node", 3) == []
    assert Attempt(indices=(3,)).retries("other", 3) == []


def test_a_batch_is_taken_apart_and_the_guilt_is_nobodys_yet() -> None:
    alone = Attempt(indices=(4, 5, 6)).retries("worker", 3)
    assert [(attempt.indices, attempt.deaths) for attempt in alone] == [((4,), 0), ((5,), 0), ((6,), 0)]
    assert len({attempt.watch for attempt in alone}) == 3


def test_after_a_death_for_memory_a_task_asks_for_more_of_its_node() -> None:
    (attempt,) = Attempt(indices=(0,)).retries("memory", 3)
    assert attempt.cpus(1, 16) == 2
    (attempt,) = attempt.retries("memory", 3)
    assert (attempt.cpus(1, 16), attempt.cpus(1, 3), attempt.cpus(4, 2)) == (4, 3, 4)
    (attempt,) = attempt.retries("worker", 3)
    assert attempt.cpus(1, 16) == 4


def test_a_given_up_task_says_how_it_died_and_where() -> None:
    note = Note(url="in/a.jsonl", record=17, stack="Fatal Python error: Segmentation fault\n\nCurrent thread …")
    attempt = Attempt(indices=(0,), deaths=3)
    assert attempt.explain("worker", "x", note) == (
        "its worker died 4 times (Segmentation fault); at last it was at record 17 of in/a.jsonl"
    )
    assert attempt.explain("memory", "x", None) == "its worker died 4 times (out of memory)"
    assert attempt.explain("other", "a\nthe last line", None) == "Ray: the last line"
    assert Attempt(indices=(0,), losses=10).explain("node", "x", None) == "its node was lost 11 times"
    assert attempt.death("Ray's words", note)["record"] == 17


# --- the worker's side, without Ray ----------------------------------------------------------------------------------


class Fails:
    """A task that fails so many times."""

    def __init__(self, times: int, error: StorageError) -> None:
        self.times, self.error, self.calls = times, error, 0

    def __call__(self, task: str) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return task


def test_a_storage_error_that_may_pass_is_tried_again_with_growing_pauses() -> None:
    pauses: list[float] = []
    fails = Fails(3, StorageError("503 slow down", transient=True))
    assert with_patience(fails, "done", pauses.append) == "done"
    assert pauses == sorted(set(pauses))
    assert len(pauses) == 3
    fails = Fails(9, StorageError("503 slow down", transient=True))
    with pytest.raises(StorageError, match="slow down"):
        with_patience(fails, "done", pauses.append)
    assert fails.calls == 4


def test_a_storage_error_for_good_is_not_tried_again() -> None:
    fails = Fails(9, StorageError("access denied"))
    with pytest.raises(StorageError, match="denied"):
        with_patience(fails, "done", lambda _: pytest.fail("slept"))
    assert fails.calls == 1


@pytest.mark.parametrize(("number", "passes"), [(errno.ESTALE, True), (errno.ETIMEDOUT, True), (errno.ENOSPC, False)])
def test_errors_of_the_system_are_known_by_their_number(number: int, passes: bool) -> None:
    error = StorageError("failed")
    error.__cause__ = OSError(number, os.strerror(number))
    assert is_transient(error) is passes


@pytest.fixture
def shard(tmp_path: pathlib.Path) -> str:
    url = str(tmp_path / "a.jsonl.zst")
    with open_shard_writer(url) as writer:
        for number in range(40):
            writer.write({"text": f"page {number}"})
    return url


@pytest.mark.parametrize(("end", "says"), [("ctypes.string_at(0)", "Segmentation fault"), ("os._exit(3)", None)])
def test_the_note_of_a_dead_worker_tells_the_record_and_the_crash(shard: str, end: str, says: str | None) -> None:
    name = f"test-{os.getpid()}"
    code = (
        "import ctypes, os, resource\n"
        "from corpusmith.io.pages.shards import read_records\n"
        "from corpusmith.run.ray.worker import watched\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"with watched({name!r}):\n"
        f"    for record in read_records({shard!r}):\n"
        f"        if record.index == 17: {end}\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode != 0
    note = take_note(name)
    assert note is not None
    assert (note.url, note.record) == (shard, 17)
    assert (says in note.stack) if says and note.stack else note.stack is None
    assert take_note(name) is None


def test_a_task_that_lives_leaves_no_note_and_is_read_the_same(shard: str) -> None:
    plain = list(read_records(shard))
    name = f"test-{os.getpid()}"
    with watched(name):
        assert list(read_records(shard)) == plain
        assert position._listener is not None
    assert position._listener is None
    assert take_note(name) is None
    with watched(name):
        pass
    assert take_note(name) is None


# --- on Ray ----------------------------------------------------------------------------------------------------------


def poison(url: str) -> int:
    """Reads a shard; dies at record 17 of one whose name says so."""
    for record in read_records(url):
        if record.index == 17 and "segfault" in url:
            ctypes.string_at(0)
        if record.index == 17 and "killed" in url:
            os.kill(os.getpid(), signal.SIGKILL)
    return len(list(read_records(url)))


def write_shards(folder: pathlib.Path, names: list[str]) -> list[ShardRef]:
    refs = []
    for name in names:
        with open_shard_writer(str(folder / name)) as writer:
            for number in range(20):
                writer.write({"text": f"page {number}"})
        refs.append(ShardRef(name=name, url=str(folder / name), identity=name, bytes=writer.bytes))
    return refs


@pytest.mark.ray
def test_a_poison_shard_is_set_apart_with_what_is_known_and_its_batch_goes_on(
    tmp_path: pathlib.Path, runner: Runner
) -> None:
    names = [f"s{number:03d}.jsonl" for number in range(46)]
    names[20], names[33] = "s020-segfault.jsonl", "s033-killed.jsonl"
    refs = write_shards(tmp_path / "in", names)
    batches = plan_batches([ref.bytes for ref in refs], cpus=2)
    assert any(20 in batch.indices and len(batch.indices) > 1 for batch in batches), "they share a Ray task"
    place = StagePlace(name="00-x", folder=str(tmp_path / "stage"), output=str(tmp_path / "o"), errors=str(tmp_path))
    stage = Stage(place=place, inputs=refs, units={ref.name: ref.identity for ref in refs})
    lines = stage.run_units(runner, poison, {ref.name: ref.url for ref in refs}, label="poison")
    assert [line.split(": ")[0] for line in lines] == ["s020-segfault.jsonl", "s033-killed.jsonl"]
    assert "its worker died 5 times (Segmentation fault); at last it was at record 17 of" in lines[0]
    assert "its worker died 5 times (killed, " in lines[1]
    files = sorted((tmp_path / "stage" / "failures").iterdir())
    assert [path.name for path in files] == ["s020-segfault.jsonl.json", "s033-killed.jsonl.json"]
    first, second = (json.loads(path.read_bytes()) for path in files)
    assert (first["unit"], first["tries"], first["record"]) == ("s020-segfault.jsonl", 5, 17)
    assert "in poison" in first["stack"]
    assert "worker died" in second["exit"]
    assert (second["shard"], second["record"], second["stack"]) == (refs[33].url, 17, None)

    # what is mended loses its file, and the others are not tried again
    tasks = {"s020-segfault.jsonl": refs[0].url}
    assert stage.run_units(runner, poison, tasks, label="mended") == []
    assert [path.name for path in (tmp_path / "stage" / "failures").iterdir()] == ["s033-killed.jsonl.json"]


def careful(url: str) -> list[int]:
    """Reads a shard whose pages may be deadly; returns the indices of those that were set aside."""
    aside = []
    for record in read_records(url):
        if record.page is None:
            assert record.error is not None
            aside.append(record.index)
        elif record.index in (5, 17) and "segfault" in url:
            ctypes.string_at(0)
        elif record.index == 17 and "killed" in url:
            os.kill(os.getpid(), signal.SIGKILL)
        elif record.index == 3 and "endless" in url:
            re.match("(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock for years
    return aside


@pytest.mark.ray
def test_poison_records_are_set_aside_and_the_decision_is_kept(tmp_path: pathlib.Path, runner: Runner) -> None:
    names = ["endless.jsonl", "good.jsonl", "killed.jsonl", "segfault.jsonl"]
    refs = write_shards(tmp_path / "in", names)
    place = StagePlace(name="00-x", folder=str(tmp_path / "stage"), output=str(tmp_path / "o"), errors=str(tmp_path))
    stage = Stage(place=place, inputs=refs, units={ref.name: ref.identity for ref in refs})
    lines = stage.run_units(
        runner, careful, {ref.name: ref.url for ref in refs}, label="x", spec=TaskSpec(record_seconds=1.0)
    )
    assert lines == []
    url = {name: ref.url for name, ref in zip(names, refs, strict=True)}
    found = stage.quarantined()
    assert {shard: sorted(records) for shard, records in found.items()} == {
        url["endless.jsonl"]: [3],
        url["killed.jsonl"]: [17],
        url["segfault.jsonl"]: [5, 17],
    }
    assert found[url["endless.jsonl"]][3] == "it took more time than a record may"
    assert "Segmentation fault" in found[url["segfault.jsonl"]][5]
    assert "twice" in found[url["killed.jsonl"]][17]

    # a run that is continued knows them from the start
    again = list(runner.map(careful, [ref.url for ref in refs], label="again", quarantine=Quarantine(records=found)))
    assert {outcome.index: (outcome.value, outcome.tries) for outcome in again} == {
        0: ([3], 1), 1: ([], 1), 2: ([17], 1), 3: ([5, 17], 1),
    }  # fmt: skip


def test_a_silent_death_convicts_nobody_until_it_happens_twice_at_one_record() -> None:
    note = Note(url="in/a.jsonl", record=17, stack=None)
    first = Attempt(indices=(0,), watch="x")
    assert first.guilty_record("worker", note) is None
    (second,) = first.retries("worker", 3, note)
    assert second.guilty_record("worker", Note(url="in/a.jsonl", record=18, stack=None)) is None
    assert second.guilty_record("node", note) is None
    guilty = second.guilty_record("worker", note)
    assert guilty is not None
    assert (guilty.url, guilty.index) == ("in/a.jsonl", 17)
    (third,) = second.retries("worker", 3, note, guilty)
    assert (third.deaths, third.quarantined, third.tries) == (1, 1, 3)


def count_calls(task: tuple[str, int]) -> int:
    folder, number = task
    with open(os.path.join(folder, f"{number:04d}"), "a") as file:
        file.write(f"{os.getpid()}\n")
    return number


@pytest.mark.ray
def test_many_tiny_tasks_share_ray_tasks_and_each_is_done_once(tmp_path: pathlib.Path, runner: Runner) -> None:
    tasks = [(str(tmp_path), number) for number in range(400)]
    outcomes = list(runner.map(count_calls, tasks, label="tiny", spec=TaskSpec(sizes=dict.fromkeys(range(400), 100))))
    assert sorted(outcome.value or 0 for outcome in outcomes) == list(range(400))
    assert all(outcome.index == outcome.value for outcome in outcomes)
    assert all(len(path.read_text().splitlines()) == 1 for path in tmp_path.iterdir())


def slow_write(task: tuple[str, int, float]) -> int:
    """Writes a shard slowly; idempotent."""
    folder, number, seconds = task
    with open_shard_writer(os.path.join(folder, f"{number:03d}.jsonl")) as writer:
        for page in range(20):
            time.sleep(seconds / 20)
            writer.write({"text": f"{number} {page}"})
    return number


@pytest.mark.ray
def test_leaving_the_loop_early_cancels_what_is_under_way(tmp_path: pathlib.Path, runner: Runner) -> None:
    tasks = [(str(tmp_path), number, 0.2 if number == 0 else 60.0) for number in range(12)]
    outcomes = runner.map(slow_write, tasks, label="slow")
    assert next(outcomes).index == 0
    outcomes.close()
    assert [path.name for path in tmp_path.glob("0*")] == ["000.jsonl"]
    tasks = [(str(tmp_path), number, 0.0) for number in range(4)]
    assert len(list(runner.map(slow_write, tasks, label="free again"))) == 4


CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.io.pages.shards import ShardRef
from corpusmith.run.stage import Stage, StagePlace
sys.path.insert(0, {tests!r})
import test_runner_faults as faults
from corpusmith.command import make_parser, run_command
def run(arguments):
    folder = {folder!r}
    place = StagePlace(name="00-x", folder=folder + "/stage", output=folder + "/out", errors=folder + "/errors")
    stage = Stage(place=place, inputs=[], units={{str(n): "" for n in range(12)}})
    with Runner(Execution({execution})) as runner:
        tasks = {{str(n): (folder + "/out", n, {seconds}) for n in range(12)}}
        print(stage.run_units(runner, faults.slow_write, tasks, label="x"), flush=True)
raise SystemExit(run_command(make_parser("x", "x", "x"), run, []))
"""


def processes_of(session: int) -> list[str]:
    """Command lines of the living processes of a session."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(line)
    return found


def start(tmp_path: pathlib.Path, execution: str, seconds: float, **environment: str) -> subprocess.Popen[str]:
    tests = str(pathlib.Path(__file__).parent)
    code = CODE.format(tests=tests, folder=str(tmp_path), execution=execution, seconds=seconds)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), tests]), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: object, process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        assert process is None or process.poll() is None
        time.sleep(0.05)
    assert condition()


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_leaves_no_process_and_no_file(tmp_path: pathlib.Path) -> None:
    # notes of what runs beside this test are none of its business; Ray's sockets need a short path
    notes = tmp_path / "notes"
    notes.mkdir()
    process = start(tmp_path, "cpus=2", 20.0, TMPDIR=str(notes), RAY_TMPDIR=tempfile.gettempdir())
    wait_until(lambda: list((tmp_path / "out").glob(".partial-*")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the driver and all that Ray started
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; run the same command again to continue"
    assert "Traceback" not in errors
    wait_until(lambda: not processes_of(process.pid), seconds=20)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != notes]
    assert not list(notes.glob("corpusmith-*.note"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Ray of one head without work and, by `add`, nodes; joined by drivers of their own."""
    from ray.cluster_utils import Cluster

    paths = [str(ROOT), str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
        whole = Cluster(initialize_head=True, head_node_args=head)
        yield whole
        whole.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_lost_in_mid_job_loses_no_task(tmp_path: pathlib.Path, cluster: Cluster) -> None:
    node = cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
    process = start(tmp_path, f"ray_address={cluster.address!r}", 1.0)
    wait_until(lambda: len(list((tmp_path / "out").glob("0*.jsonl"))) >= 3, process)
    cluster.remove_node(node, allow_graceful=False)
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "[]" in output.splitlines(), "no task failed"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:03d}.jsonl" for n in range(12)]
    for number in range(12):
        pages = [record.page for record in read_records(str(tmp_path / "out" / f"{number:03d}.jsonl"))]
        assert pages == [{"text": f"{number} {page}"} for page in range(20)]


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_on_a_joined_cluster_frees_it(tmp_path: pathlib.Path, cluster: Cluster) -> None:
    process = start(tmp_path, f"ray_address={cluster.address!r}", 20.0)
    wait_until(lambda: list((tmp_path / "out").glob(".partial-*")), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    process = start(tmp_path, f"ray_address={cluster.address!r}", 0.1)
    assert process.communicate(timeout=60)[0].count("[]") == 1


GREEDY = """
import sys
sys.path.insert(0, {tests!r})
import test_runner_faults as faults
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
with Runner(Execution(cpus=2, max_retries=1)) as runner:
    for outcome in runner.map(faults.take_memory, [6 << 30, 0], label="x"):
        print(outcome.index, outcome.tries, outcome.error, "OOM kill reason" in str(outcome.death), sep="|")
"""


def take_memory(size: int) -> int:
    """Takes so many bytes, a piece at a time, and holds them."""
    held: list[bytearray] = []
    while sum(map(len, held)) < size:
        held.append(bytearray(b"x" * (64 << 20)))
        time.sleep(0.02)
    return size


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.all
def test_a_task_that_ray_kills_for_memory_is_set_apart_and_the_others_go_on(tmp_path: pathlib.Path) -> None:
    with open("/proc/meminfo") as file:
        info = {line.split(":")[0]: int(line.split()[1]) << 10 for line in file}
    if info["MemAvailable"] < 8 << 30:
        pytest.skip("needs 8 GiB of free memory")
    threshold = 1 - (info["MemAvailable"] - (2 << 30)) / info["MemTotal"]
    tests = str(pathlib.Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", GREEDY.format(tests=tests)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), tests]),
            "RAY_memory_usage_threshold": f"{threshold:.3f}",
            "RAY_memory_monitor_refresh_ms": "100",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{6 << 30}|2|its worker died 2 times (out of memory)|True" in done.stdout.splitlines()
    assert "0|1|None|False" in done.stdout.splitlines()


SHIPPED = """
import pathlib, sys
sys.path.insert(0, {tests!r})
import test_runner_faults as faults
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
with Runner(Execution(ray_address={address!r}, ship_working_dir=True)) as runner:
    for outcome in runner.map(faults.shipped_files, ["mine.py"], label="x"):
        print(outcome.value or outcome.error)
"""


def shipped_files(name: str) -> str:
    """What the worker's own copy of the driver's working directory holds, and whether a module of it is imported."""
    import importlib
    import sys

    folder = next(path for path in sys.path if "working_dir_files" in path)
    found = sorted(path.name for path in pathlib.Path(folder).iterdir())
    return f"{' '.join(found)}: {importlib.import_module(name.removesuffix('.py')).VALUE}"


@pytest.mark.ray
@pytest.mark.slow
def test_the_working_directory_is_sent_to_the_nodes_when_asked_for(tmp_path: pathlib.Path, cluster: Cluster) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("")
    (tmp_path / "big.zst").write_bytes(b"data")
    (tmp_path / "mine.py").write_text("VALUE = 'from the driver'\n")
    tests = str(pathlib.Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", SHIPPED.format(tests=tests, address=cluster.address)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), tests])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mine.py: from the driver" in done.stdout.splitlines()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("execution", "says"),
    [
        (Execution(task_cpus=99), "--ray_num_cpus asks for 99 CPUs, but the largest node has 2"),
        (Execution(task_memory=1 << 60), "--memory_per_task asks for 1152921504606846976 bytes"),
    ],
)
def test_a_wish_that_no_node_can_fulfil_is_refused(runner: Runner, execution: Execution, says: str) -> None:
    with pytest.raises(InputError, match=says), Runner(execution) as greedy:
        list(greedy.map(str, [1], label="never"))


@pytest.mark.ray
def test_memory_and_cpus_of_a_task_bound_how_many_run_at_once(tmp_path: pathlib.Path, runner: Runner) -> None:
    with Runner(Execution(task_cpus=2, task_memory=1 << 20)) as wide:
        outcomes = list(wide.map(overlaps, [str(tmp_path)] * 4, label="wide"))
    assert [outcome.value for outcome in outcomes] == [False] * 4


def overlaps(folder: str) -> bool:
    """Whether another task is at work at the same time."""
    mark = pathlib.Path(folder) / "busy"
    found = mark.exists()
    mark.touch()
    time.sleep(0.2)
    mark.unlink(missing_ok=True)
    return found


def test_ray_names_the_causes_that_are_told_apart() -> None:
    exceptions = pytest.importorskip("ray").exceptions
    assert attempts.cause_of(exceptions.WorkerCrashedError()) == "worker"
    assert attempts.cause_of(exceptions.OutOfMemoryError("x")) == "memory"
    # the words of a death may name memory as one of several causes; only the type tells
    assert attempts.cause_of(exceptions.RayActorError(error_msg="killed by the OOM killer, or ray stop")) == "worker"
    assert attempts.cause_of(exceptions.NodeDiedError("x")) == "node"
    assert attempts.cause_of(exceptions.TaskCancelledError()) == "other"
