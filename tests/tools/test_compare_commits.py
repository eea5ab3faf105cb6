"""The command line of `tools/compare_commits.sh`: what it would run, and one line for each mistake."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "compare_commits.sh"


def compare(*arguments: str, shared: pathlib.Path | str = "/nonexistent") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CORPUSMITH_SHARED": str(shared)}
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["HEAD"], "two commits are needed"),
        (["HEAD", "HEAD", "HEAD"], "two commits are needed"),
        (["HEAD", "no_such_commit"], "unknown commit: no_such_commit"),
        (["--frobnicate", "HEAD", "HEAD"], "unknown option --frobnicate"),
        (["HEAD", "HEAD", "--repeats"], "--repeats needs a value"),
        (["--repeats", "0", "HEAD", "HEAD"], "--repeats must be"),
        (["--cpus", "two", "HEAD", "HEAD"], "--cpus must be"),
        (["--limit", "5%", "HEAD", "HEAD"], "--limit must be"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = compare(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_has_an_example() -> None:
    done = compare("--help")
    assert done.returncode == 0
    assert "example:\n  tools/compare_commits.sh" in done.stdout


def test_without_real_pages_the_runs_over_them_are_left_out_with_a_line() -> None:
    done = compare("--list", "HEAD", "HEAD")
    assert done.returncode == 0
    assert "no real pages at /nonexistent/data/pages" in done.stderr
    runs = done.stdout.split()
    assert "demo" in runs
    assert not [run for run in runs if run.startswith(("process_", "dedup_"))]


def test_every_shipped_config_and_every_format_is_run_or_named_as_left_out(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data" / "pages").mkdir(parents=True)
    done = compare("--list", "--whole", "HEAD", "HEAD", shared=tmp_path)
    assert done.returncode == 0
    tracked = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD", "baselines/baselines_configs/"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    configs = {pathlib.PurePath(path).stem for path in tracked.stdout.split() if path.endswith(".yaml")}
    runs = set(done.stdout.split())
    left_out = {config for config in configs if f"process_{config}: left out" in done.stderr}
    assert {f"process_{config}" for config in configs - left_out} == {run for run in runs if "process_" in run}
    assert left_out == {"fineweb_edu"}
    for file_format in ("wds", "mds", "parquet", "bin"):
        assert {f"tokenize_{file_format}", f"tokenize_{file_format}_mixture"} <= runs


def test_a_shard_that_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "data" / "pages").mkdir(parents=True)
    done = compare("--list", "HEAD", "HEAD", shared=tmp_path)
    assert done.returncode == 2
    assert "error: no shard " in done.stderr
