"""What all tests share: where the real sample data lies, and one environment for everything that Ray starts."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import hypothesis
import pytest

from corpusmith.run.ray.runner import Execution, Runner

ROOT = pathlib.Path(__file__).resolve().parents[1]

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
    """One Ray of two CPUs for the tests of a session."""
    with Runner(Execution(cpus=2)) as shared:
        yield shared
