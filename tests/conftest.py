"""What all tests share: the real sample data, one Ray, one cache of compiled kernels, and the time of each room."""

from __future__ import annotations

import collections
import gc
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner

ROOT = pathlib.Path(__file__).resolve().parents[1]

pytest_plugins = ["tests.s3_server"]

# One for the test processes, Ray's workers and the commands that tests start; numba reads it when it is imported.
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".cache" / "numba"))
# Rooms whose kernels take about as long to compile as those of all others.
COMPILED_FIRST = ("raw_sources", "dedup baselines corpusmith")

# Continuous integration repeats the same examples, so that a change is judged by what it changed; elsewhere they are
# drawn anew.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary parameters by their argument: gzip's hold the time, and processes that share tests must agree."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real sample data: CORPUSMITH_SHARED, by default `shared` beside the checkout."""
    folder = pathlib.Path(os.environ.get("CORPUSMITH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; set CORPUSMITH_SHARED")
    return folder


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """One Ray of two CPUs for the tests of a process, up already; a command that they call in this process joins it."""
    with Runner(Execution(cpus=2)) as shared:
        shared.connect()
        yield shared


_COMPILE = """
import importlib, pathlib, sys
for room in sys.argv[1:]:
    for path in sorted(pathlib.Path(room).rglob("*.py")):
        if "@kernel(" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join(path.with_suffix("").parts))
"""


def pytest_configure(config: pytest.Config) -> None:
    """Before several processes share the tests, compile the kernels once; each of them would compile them all."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        compiling = [
            subprocess.Popen([sys.executable, "-c", _COMPILE, *rooms.split()], cwd=ROOT) for rooms in COMPILED_FIRST
        ]
        for process in compiling:
            process.wait()


def pytest_collection_finish() -> None:
    """What collecting has made stays to the end, so the garbage collector need not go through it again and again."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the tests of each room took, all processes together."""
    seconds: dict[str, float] = collections.defaultdict(float)
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            parts = pathlib.PurePosixPath(report.nodeid.partition("::")[0]).parts
            seconds["/".join(parts[:2])] += report.duration
    if seconds:
        terminalreporter.section("seconds by room")
        for room, total in sorted(seconds.items(), key=lambda item: item[1], reverse=True):
            terminalreporter.write_line(f"{total:8.1f}  {room}")
