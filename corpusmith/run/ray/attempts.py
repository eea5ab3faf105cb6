"""What is handed to Ray together, and what to try after a worker or a node died; no Ray in here but its error names.

A batch whose worker died is taken apart: each of its tasks is tried alone, so that only the guilty one fails. A task
alone is tried again, watched, until its worker died `max_retries + 1` times; lost nodes are counted apart, because
they are rarely a task's fault. After a death for memory it asks for twice the CPUs, so that fewer share the memory.

A record at which a watched worker ran out of its time or crashed, or died twice without a word, is quarantined: the
next try avoids it (its reader sets it aside), and such a death is none of those that are counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from corpusmith.run.ray.worker import Note

NODE_LOSSES = 10
MAX_QUARANTINED = 100
BATCH_BYTES = 1 << 20
BATCH_TASKS = 64
BATCHES_PER_CPU = 8
BATCHES_PER_CPU_OF_UNKNOWN_SIZE = 256

Cause = Literal["worker", "memory", "node", "other"]


def cause_of(failure: Exception) -> Cause:
    """Why Ray could not finish a task: its worker died, was killed for memory, its node was lost, or something else."""
    from ray import exceptions

    if isinstance(failure, exceptions.OutOfMemoryError):
        return "memory"
    if isinstance(failure, exceptions.WorkerCrashedError | exceptions.RayActorError):
        return "worker"
    if isinstance(failure, exceptions.NodeDiedError | exceptions.LocalRayletDiedError | exceptions.ObjectLostError):
        return "node"
    return "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedRecord:
    """A record that ended its worker, and how: its shard, and its index there."""

    url: str
    index: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Tasks (by index) that are handed to Ray together, and what befell them before.

    `deaths`: how often their worker died while only they ran; `losses`: how often their node was lost;
    `out_of_memory`: how many of the deaths were for memory; `watch`: name of the note that the worker leaves;
    `suspect`: shard and index of the record at which it died last, without a word; `quarantined`: how many records
    were found to be the cause of a death.
    """

    indices: tuple[int, ...]
    deaths: int = 0
    losses: int = 0
    out_of_memory: int = 0
    watch: str | None = None
    suspect: tuple[str, int] | None = None
    quarantined: int = 0

    @property
    def tries(self) -> int:
        """How often the task alone was begun, this time included."""
        return self.deaths + self.losses + self.quarantined + 1

    def cpus(self, wanted: int, most: int) -> int:
        """CPUs to ask Ray for: `wanted`, doubled after each death for memory up to those of the largest node."""
        return max(wanted, min(wanted << self.out_of_memory, most))

    def guilty_record(self, cause: Cause, note: Note | None) -> QuarantinedRecord | None:
        """The record that the note convicts, if it does."""
        if note is None or note.url is None or note.record is None or cause not in ("worker", "memory"):
            return None
        if self.quarantined >= MAX_QUARANTINED:
            return None
        if note.is_late:
            reason = "it took more time than a record may"
        elif note.stack is not None:
            reason = f"its worker crashed in native code ({_crash(note.stack)})"
        elif self.suspect == (note.url, note.record):
            reason = "its worker died at it twice (killed, or out of memory)"
        else:
            return None
        return QuarantinedRecord(url=note.url, index=note.record, reason=reason)

    def retries(
        self, cause: Cause, max_retries: int, note: Note | None = None, guilty: QuarantinedRecord | None = None
    ) -> list[Attempt]:
        """What to try after Ray could not finish this one; nothing where that is enough or would not help.

        Args:
            cause: why Ray could not finish it.
            max_retries: after how many deaths of its worker a task is given up.
            note: what the dead worker left.
            guilty: the record that the next try will avoid.
        """
        if len(self.indices) > 1:
            return [Attempt(indices=(index,), watch=uuid.uuid4().hex) for index in self.indices]
        lost = cause == "node"
        if guilty is not None:
            return [replace(self, watch=uuid.uuid4().hex, suspect=None, quarantined=self.quarantined + 1)]
        if cause == "other" or (self.losses >= NODE_LOSSES if lost else self.deaths >= max_retries):
            return []
        suspect = None
        if note is not None and note.url is not None and note.record is not None:
            suspect = (note.url, note.record)
        return [
            replace(
                self,
                deaths=self.deaths + (not lost),
                losses=self.losses + lost,
                out_of_memory=self.out_of_memory + (cause == "memory"),
                watch=uuid.uuid4().hex,
                suspect=suspect,
            )
        ]

    def explain(self, cause: Cause, message: str, note: Note | None) -> str:
        """One line about why the task is given up; `message` is Ray's."""
        if cause == "other":
            return f"Ray: {message.splitlines()[-1]}"
        if cause == "node":
            return f"its node was lost {self.losses + 1} times"
        reason = "out of memory" if cause == "memory" else "killed, out of memory, or a crash in native code"
        if note is not None and note.stack:
            reason = _crash(note.stack)
        at = f"; at last it was at record {note.record} of {note.url}" if note is not None and note.url else ""
        return f"its worker died {self.deaths + self.quarantined + 1} times ({reason}){at}"

    def death(self, message: str, note: Note | None) -> dict[str, Any]:
        """What is known about the end of a task that is given up, as JSON."""
        known: dict[str, Any] = {"exit": message}
        if note is not None:
            known |= {"shard": note.url, "record": note.record, "stack": note.stack}
        return known


def _crash(stack: str) -> str:
    """What faulthandler calls the end that it describes."""
    return stack.splitlines()[0].removeprefix("Fatal Python error: ")


def plan_batches(sizes: Sequence[int | None], cpus: int) -> list[Attempt]:
    """Group small tasks (sizes in bytes of input, by index) into batches worth a Ray task, in order.

    A batch ends at BATCH_BYTES or BATCH_TASKS; where there are few tasks it ends earlier, so that each CPU has at
    least BATCHES_PER_CPU of them. Tasks of unknown size share a batch only where there are very many.
    """
    most = min(BATCH_TASKS, max(1, len(sizes) // (cpus * BATCHES_PER_CPU)))
    unknown = BATCH_BYTES // min(BATCH_TASKS, max(1, len(sizes) // (cpus * BATCHES_PER_CPU_OF_UNKNOWN_SIZE)))
    batches: list[Attempt] = []
    batch: list[int] = []
    total = 0
    for index, size in enumerate(sizes):
        weight = unknown if size is None else size
        if batch and (len(batch) >= most or total + weight > BATCH_BYTES):
            batches.append(Attempt(indices=tuple(batch)))
            batch, total = [], 0
        batch.append(index)
        total += weight
    if batch:
        batches.append(Attempt(indices=tuple(batch)))
    return batches
