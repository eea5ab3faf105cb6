"""CPU seconds of a command with its descendants, and the verdict about medians of two commits."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from tools.compare_times import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
# works until it has used so much CPU time, however long that takes
BURN = "import time\nwhile time.process_time() < {}: pass\n"
BURNED = 0.3


def row(name: str, ours: float, unit: str = "s") -> dict[str, Any]:
    return {"name": name, "ours": ours, "other": 1.0, "unit": unit, "ratio": ours, "goal": "", "met": None}


def write_repeats(folder: pathlib.Path, totals: list[float], rows: list[list[dict[str, Any]]]) -> pathlib.Path:
    folder.mkdir()
    for number, (total, measured) in enumerate(zip(totals, rows, strict=True)):
        (folder / f"ingest.{number}.total.json").write_text(json.dumps({"cpu_seconds": total}))
        (folder / f"ingest.{number}.rows.json").write_text(json.dumps({"rows": measured}))
    return folder


def show(
    tmp_path: pathlib.Path, old: list[list[dict[str, Any]]], new: list[list[dict[str, Any]]], *options: str
) -> int:
    folders = [write_repeats(tmp_path / name, [10.0] * len(rows), rows) for name, rows in (("old", old), ("new", new))]
    return main(["show", *options, *map(str, folders), "ingest"])


def measure(note: pathlib.Path, code: str) -> int:
    """In a process of its own, which waits for every child that it has."""
    script = str(ROOT / "tools" / "compare_times.py")
    command = [sys.executable, script, "measure", "--output", str(note), "--", sys.executable, "-c", code]
    return subprocess.run(command, check=False).returncode


def test_a_median_within_the_limit_passes_though_one_repeat_is_slow(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [[row("fast", seconds)] for seconds in (1.0, 1.0, 1.0)]
    new = [[row("fast", seconds)] for seconds in (9.0, 1.04, 1.0)]
    assert show(tmp_path, old, new) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ingest"
    expected = "fast old 1.000 (1.000 to 1.000) new 1.040 (1.000 to 9.000) s ratio 1.040 ok"
    assert " ".join(lines[2].split()) == expected


def test_a_median_beyond_the_limit_fails_and_is_named(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(tmp_path, [[row("fast", 1.0)]], [[row("fast", 1.06)]]) == 1
    assert capsys.readouterr().out.splitlines()[2].endswith("ratio 1.060  WORSE")


def test_the_limit_is_the_callers(tmp_path: pathlib.Path) -> None:
    assert show(tmp_path, [[row("fast", 1.0)]], [[row("fast", 1.06)]], "--limit", "0.1") == 0


def test_a_total_beyond_the_limit_fails(tmp_path: pathlib.Path) -> None:
    old = write_repeats(tmp_path / "old", [10.0], [[]])
    new = write_repeats(tmp_path / "new", [10.6], [[]])
    assert main(["show", str(old), str(new), "ingest"]) == 1


def test_short_measurements_are_judged_by_their_sum(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = [[row("a_filter", 1.0, "µs/page"), row("b_filter", 99.0, "µs/page")]]
    assert show(tmp_path, old, [[row("a_filter", 1.5, "µs/page"), row("b_filter", 99.0, "µs/page")]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith("ratio 1.500")
    assert "sum of 2 rows" in lines[4]
    assert lines[4].endswith("ratio 1.005  ok")


def test_a_row_of_milliseconds_is_shown_and_not_judged(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(tmp_path, [[row("fast", 0.005)]], [[row("fast", 0.009)]]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith("ratio 1.800")


def test_slower_short_measurements_fail_by_their_sum(tmp_path: pathlib.Path) -> None:
    assert show(tmp_path, [[row("a", 1.0, "µs/page")]], [[row("a", 1.1, "µs/page")]]) == 1


def test_rows_that_are_no_times_or_stand_on_one_side_only_are_left_out(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory, missing = row("peak memory", 1.0, "MiB"), row("no peer", float("nan"))
    old, new = [memory, missing, row("old only", 1.0)], [{**memory, "ours": 9.0}, missing, row("new only", 9.0)]
    assert show(tmp_path, [old], [new]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_cpu_seconds_of_children_and_orphans_are_counted(tmp_path: pathlib.Path) -> None:
    orphan = BURN.format(BURNED)
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}])"
    command = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n{BURN.format(BURNED)}"
    note = tmp_path / "note.json"
    assert measure(note, command) == 0
    assert json.loads(note.read_text())["cpu_seconds"] >= 2 * BURNED


def test_the_exit_code_of_a_measured_command_is_passed_on(tmp_path: pathlib.Path) -> None:
    note = tmp_path / "note.json"
    assert measure(note, "raise SystemExit(3)") == 3
