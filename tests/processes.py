"""What tests that kill runs need: the processes of a session, and their end."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal


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
