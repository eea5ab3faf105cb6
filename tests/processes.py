"""What tests that kill runs need: runs in sessions of their own, the right moment, their processes, and their end."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTPUT = "said.txt"


def start(home: pathlib.Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A command of this checkout in a session of its own; what it prints goes to a file in `home`."""
    with open(home / OUTPUT, "ab") as printed:
        return subprocess.Popen(
            arguments,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )


def printed(home: pathlib.Path) -> str:
    """The last lines that the commands started in `home` printed."""
    return (home / OUTPUT).read_text(errors="replace")[-3000:]


def wait_until(holds: Callable[[], object], what: str, process: subprocess.Popen[bytes], seconds: int = 150) -> None:
    """Wait while a run goes on; fails where it ends, or the time is over, before something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        assert process.poll() is None, f"the run ended before {what}"
        time.sleep(0.002)


def processes(session: int, starts: bytes = b"") -> list[int]:
    """The living processes of a session whose command line starts so."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                line = (folder / "cmdline").read_bytes()
                if int(fields[3]) == session and fields[0] != "Z" and line.startswith(starts):
                    found.append(int(folder.name))
    return found


def kill(process_ids: list[int]) -> None:
    """Kill them; one that is gone is fine."""
    for process_id in process_ids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


def kill_workers(process: subprocess.Popen[bytes]) -> None:
    """Kill the workers of a run as soon as one is at work."""
    workers: list[int] = []

    def found() -> list[int]:
        workers.extend(processes(process.pid, b"ray::run_batch"))
        return workers

    wait_until(found, "a worker worked", process)
    kill(workers)
