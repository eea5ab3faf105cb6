"""Progress: a part advances the whole, as lines and as bars."""

from __future__ import annotations

import io
import sys

import pytest

from corpusmith.run.progress import plain_lines, track


def test_a_part_advances_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with track(5, "all", "rows") as whole:
        for size in (2, 3):
            with track(size, f"part of {size}", "rows", within=whole) as part:
                part.advance(size)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines] == ["part of 2: 2 rows", "part of 3: 3 rows", "all: 5 rows"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_can_be_had_on_a_terminal_and_end_with_their_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    for wanted in (True, False):
        with plain_lines(wanted), track(1, "x") as tracker:
            assert hasattr(tracker, "progress") is not wanted
    with track(1, "x") as tracker:
        assert hasattr(tracker, "progress")


def test_on_a_terminal_both_bars_are_shown_and_the_parts_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with track(4, "all", "rows") as whole:
        with track(2, "part", "rows", within=whole) as part:
            part.advance()
            shown = [(task.description, task.completed) for task in whole.progress.tasks]  # type: ignore[attr-defined]
        left = [(task.description, task.completed) for task in whole.progress.tasks]  # type: ignore[attr-defined]
    assert shown == [("all", 1), ("part", 1)]
    assert left == [("all", 1)]
    assert "part" in terminal.getvalue()
