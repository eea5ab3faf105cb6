"""What a person sees while a run works: a bar with rate and time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from corpusmith.redact import redact

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_LINE_SECONDS = 10.0
_PLAIN: ContextVar[bool] = ContextVar("plain lines", default=False)


def say(text: str) -> None:
    """Print a line to standard output, without secrets."""
    sys.stdout.write(redact(text) + "\n")
    sys.stdout.flush()


class Tracker(Protocol):
    """A progress display of one piece of work."""

    def advance(self, steps: int = 1) -> None: ...

    def note(self, text: str) -> None:
        """Show a few words beside the rate from now on."""


class _PlainLines:
    def __init__(self, label: str, total: int, unit: str, within: Tracker | None = None) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._within = within
        self._done, self._note = 0, ""
        self._started = self._reported = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if self._within is not None:
            self._within.advance(steps)
        now = time.monotonic()
        if now - self._reported >= PLAIN_LINE_SECONDS:
            self._reported = now
            self._report(now)

    def note(self, text: str) -> None:
        self._note = f", {text}" if text else ""

    def _report(self, now: float) -> None:
        seconds = max(now - self._started, 1e-9)
        rate = self._done / seconds
        left = (self._total - self._done) / rate if rate else 0.0
        say(f"{self._label}: {self._done}/{self._total} {self._unit}, {rate:.1f}/s{self._note}, {left:.0f} s left")

    def finish(self) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        say(f"{self._label}: {self._done} {self._unit} in {seconds:.1f} s ({self._done / seconds:.1f}/s{self._note})")


@contextlib.contextmanager
def plain_lines(wanted: bool = True) -> Iterator[None]:
    """Within the block, show plain lines on a terminal too; nothing changes where they are not wanted."""
    token = _PLAIN.set(wanted or _PLAIN.get())
    try:
        yield
    finally:
        _PLAIN.reset(token)


@contextlib.contextmanager
def track(total: int, label: str, unit: str = "shards", within: Tracker | None = None) -> Iterator[Tracker]:
    """Show the progress of a piece of work; call `.advance()` for each unit that is done.

    Plain lines where standard error is no terminal, or within `plain_lines`.

    Args:
        total: how many units there are.
        label: what the work is called.
        unit: what its units are called.
        within: the tracker of a larger work of the same unit, of which this is a part: it advances too, and on a
            terminal both bars are shown together.
    """
    if isinstance(within, _Bar):
        bar = _Bar(within.progress, label, total, unit, within)
        try:
            yield bar
        finally:
            within.progress.remove_task(bar.task)
        return
    if not sys.stderr.isatty() or _PLAIN.get():
        lines = _PlainLines(label, total, unit, within)
        yield lines
        lines.finish()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]}{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, label, total, unit)


class _Bar:
    """One bar of a display."""

    def __init__(self, progress: Progress, label: str, total: int, unit: str, within: Tracker | None = None) -> None:
        self.progress = progress
        self.task = progress.add_task(label, total=total, rate="", note="", unit=unit)
        self._within = within
        self._started = time.monotonic()
        self._done = 0

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        self.progress.update(self.task, advance=steps, rate=f"{rate:.1f}/s")
        if self._within is not None:
            self._within.advance(steps)

    def note(self, text: str) -> None:
        self.progress.update(self.task, note=f", {text}" if text else "")
