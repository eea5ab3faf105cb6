"""Killed workers, raylets and drivers at seeded moments: the restarted run ends with the bytes of an undisturbed one.

Twenty moments over three pipelines (local steps, exact dedup, tokenize); in every second one the driver is killed too
and started again with another number of workers. `make test` runs the first few, `make test-all` all.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from corpusmith.io.pages.shards import open_shard_writer
from corpusmith.seeds import stable_hash, uniform
from ray_processing.tokens.train_tokenizer import TokenizerTraining, train_tokenizer

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOMENTS = 20
MOMENTS_OF_MAKE_TEST = 4
SHARDS = 8
PAGES = 40
OBJECT_STORE = 80 << 20
LOCAL = (
    "- source: cc\n  steps:\n    - func: mine.slow\n    - func: random_sampling_filter\n      keep_probability: 0.8\n"
)
EXACT = "- source: cc\n  steps:\n    - func: exact_dedup\n      content_key: text\n    - func: mine.slow\n"
MINE = """
import time
def slow(page):
    time.sleep(0.01)
    if page["number"] == 13:
        raise ValueError("thirteen")
    return [page, dict(page, text="a second piece")] if page["number"] == 20 else [page]
"""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One way to disturb a run: whom to kill after how many records or spill files, and what follows.

    `joined`: on a cluster that stands already instead of one of the run's own; `cpus`: of the run before the kill;
    `restart`: CPUs of the run after it, None where the first one is left to end by itself.
    """

    pipeline: str
    victim: str
    files: int
    pause: float
    joined: bool
    cpus: int
    restart: int | None


def moment(index: int) -> Moment:
    """The moment with this number; the seed of all is fixed."""
    victim = ("driver", "worker", "raylet", "driver")[index % 4]
    pipeline = ("local", "exact", "tokenize")[index % 3]
    changed = (index // 4 + index) % 2 == 0
    cpus = 1 + stable_hash("kills: cpus", index) % 2
    most = {"local": SHARDS - 2, "exact": 2 * SHARDS, "tokenize": SHARDS + 1}[pipeline]
    return Moment(
        pipeline=pipeline,
        victim=victim,
        files=1 + stable_hash("kills: files", index) % most,
        pause=0.2 * uniform("kills: pause", index),
        joined=victim == "raylet" or index % 8 >= 4,
        cpus=cpus,
        restart=3 - cpus if changed else (cpus if victim == "driver" else None),
    )


def test_the_moments_cover_what_they_should() -> None:
    moments = [moment(index) for index in range(MOMENTS)]
    assert len({(each.pipeline, each.victim) for each in moments}) == 9
    assert sum(each.restart not in (None, each.cpus) for each in moments) == MOMENTS // 2
    assert {each.victim for each in moments[:MOMENTS_OF_MAKE_TEST]} == {"driver", "worker", "raylet"}
    assert {each.pipeline for each in moments[:MOMENTS_OF_MAKE_TEST]} == {"local", "exact", "tokenize"}
    assert {each.joined for each in moments if each.victim == "driver"} == {True, False}


def write_pages(folder: pathlib.Path, repeat: int) -> None:
    """Shards of pages, a tenth of them the same in all; `repeat` decides how long the others are."""
    for shard in range(SHARDS):
        with open_shard_writer(str(folder / f"part{shard % 2}" / f"s{shard}.jsonl.zst")) as writer:
            for number in range(PAGES):
                own = f"words of page {number} in shard {shard}, " * repeat
                text = f"the same text in many shards {number}" if number % 10 == 0 else own
                writer.write({"text": text, "number": number, "url": f"http://example.org/{shard}/{number}"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Pages, configs and a tokenizer."""
    home = tmp_path_factory.mktemp("kills")
    write_pages(home / "pages", repeat=20)
    write_pages(home / "long_pages", repeat=1000)
    (home / "mine.py").write_text(MINE)
    (home / "local.yaml").write_text(LOCAL)
    (home / "exact.yaml").write_text(EXACT)
    trained, *_ = train_tokenizer(str(home / "pages"), TokenizerTraining(vocab_size=300))
    (home / "tokenizer.json").write_bytes(trained)
    return home


def command(home: pathlib.Path, pipeline: str, out: pathlib.Path, cpus: int, address: str | None) -> list[str]:
    """The command line of a run."""
    shared = ["--readable_name", out.name, "--exp-data-dir", str(out / "db"), "--num_cpus", str(cpus)]
    shared += ["--ray_address", address] if address else []
    if pipeline == "tokenize":
        own = ["tokenize", "--input", str(home / "long_pages"), "--output", str(out / "data")]
        own += ["--tokenizer", str(home / "tokenizer.json"), "--seqlen", "31", "--wds_chunk_size", "1024"]
    else:
        own = ["process", "--raw_data_dirpath", str(home / "pages"), "--output_dir", str(out)]
        own += ["--config_path", str(home / f"{pipeline}.yaml")]
    return [sys.executable, "-m", "corpusmith", *own, *shared]


def start(home: pathlib.Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A run in a session of its own; what it says goes to a file beside its output."""
    with open(home / "said.txt", "ab") as said:
        return subprocess.Popen(
            arguments,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def result(out: pathlib.Path) -> dict[str, object]:
    """All that a run is for: data, pages set aside, and the books; by path."""
    files: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        parts = path.relative_to(out).parts
        if path.is_file() and (parts[0] == "data" or {"processed_data", "errors"} & set(parts)):
            files["/".join(parts)] = path.read_bytes()
    for path in out.rglob("ledger.json"):
        files["total"] = json.loads(path.read_bytes())["total"]
    return files


@pytest.fixture(scope="module")
def calm(home: pathlib.Path, cluster: Cluster) -> Callable[[str], dict[str, object]]:
    """The result of each pipeline's undisturbed run; made when it is first asked for."""
    known: dict[str, dict[str, object]] = {}

    def of(pipeline: str) -> dict[str, object]:
        if pipeline not in known:
            out = home / f"calm-{pipeline}"
            arguments = command(home, pipeline, out, 1, cluster.address)
            assert start(home, arguments).wait(timeout=100) == 0, said(home)
            known[pipeline] = result(out)
        return known[pipeline]

    return of


def said(home: pathlib.Path) -> str:
    """The last lines that the runs wrote."""
    return (home / "said.txt").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with one CPU; a second raylet is added by the tests that kill it."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 1, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
        whole = Cluster(initialize_head=True, head_node_args=head)
        yield whole
        whole.shutdown()  # type: ignore[no-untyped-call]


def processes(session: int, starts: bytes = b"") -> list[int]:
    """The living processes of a session whose command line starts so."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z" and line.startswith(starts):
                found.append(int(folder.name))
    return found


def parent(process_id: int) -> int | None:
    """The process that started another, None where that one is gone."""
    try:
        return int(pathlib.Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_until(holds: Callable[[], object], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for a condition; fail where it does not come to hold, or the process ends before."""
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        assert process is None or process.poll() is None, f"the run ended before {what}"
        time.sleep(0.01)


def progress(out: pathlib.Path) -> int:
    """Records and files between phases that a run has written so far."""
    return sum(
        1 for pattern in ("records", "scratch") for path in out.glob(f"**/stages/*/{pattern}/**/*") if is_file(path)
    )


def is_file(path: pathlib.Path) -> bool:
    return not path.name.startswith(".") and path.is_file()


def raylets(cluster: Cluster) -> set[int]:
    """The processes that start the workers of a cluster."""
    nodes = cluster.list_all_nodes()  # type: ignore[no-untyped-call]  # as Ray leaves it
    return {started.process.pid for node in nodes for started in node.all_processes["raylet"]}


def kill_workers(process: subprocess.Popen[bytes], joined: Cluster | None) -> None:
    """Kill the workers that are in a task of the run, on the cluster that it has joined or its own."""
    session = process.pid if joined is None else os.getsid(0)
    found: list[int] = []

    def look() -> bool:
        found[:] = processes(session, b"ray::run_batch")
        if joined is not None:  # beside it in this session are clusters of other tests
            found[:] = [worker for worker in found if parent(worker) in raylets(joined)]
        return bool(found)

    wait_until(look, "a worker was at work", process)
    for worker in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def end_session(session: int) -> None:
    """Wait until no task of a run is at work; end the agents of a killed driver's Ray, which idle for a minute."""
    wait_until(lambda: not processes(session, b"ray::run_batch"), "no worker was left")
    for agent in processes(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)


@pytest.mark.parametrize(
    "index",
    [pytest.param(index, marks=[pytest.mark.all] * (index >= MOMENTS_OF_MAKE_TEST)) for index in range(MOMENTS)],
)
def test_a_disturbed_run_ends_with_the_same_bytes(
    home: pathlib.Path, calm: Callable[[str], dict[str, object]], cluster: Cluster, index: int
) -> None:
    case = moment(index)
    expected = calm(case.pipeline)
    out = home / f"killed-{index}"
    address = cluster.address if case.joined else None
    node = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE) if case.victim == "raylet" else None
    process = start(home, command(home, case.pipeline, out, case.cpus, address))
    sessions = [process.pid]
    wait_until(lambda: progress(out) >= case.files, f"{case.files} files", process)
    time.sleep(case.pause)
    if case.victim == "worker":
        kill_workers(process, cluster if case.joined else None)
    elif node is not None:
        cluster.remove_node(node, allow_graceful=False)
    if case.restart is None:
        assert process.wait(timeout=100) == 0, said(home)
    else:
        assert process.poll() is None, "the run ended before its driver could be killed"
        process.kill()
        process.wait()
        second = start(home, command(home, case.pipeline, out, case.restart, address))
        sessions.append(second.pid)
        assert second.wait(timeout=100) == 0, said(home)
    for session in sessions:
        end_session(session)
    assert result(out) == expected
    assert not list(out.rglob(".partial-*"))
    assert not list(out.rglob("scratch/*"))
