"""What each phase of a dedup needs of memory and disk, as `--plan` prints it and forecasts use it."""

from __future__ import annotations

from dataclasses import dataclass

from corpusmith.steps.global_steps import Needs
from corpusmith.units import byte_size, number

# What a worker takes before it holds any data: Python, Ray's worker, numpy, pyarrow, numba. Measured (x86-64, Python
# 3.11): 315 MB with the kernels from numba's cache, 390 MB in the first worker, which compiles them.
WORKER_BYTES = 350_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseNeeds:
    """A phase of a dedup: how many tasks it has, the memory of one (bytes), what it leaves on disk (bytes)."""

    name: str
    tasks: int
    memory: int
    disk: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupPlan:
    """What a dedup will need; `facts` are lines about the input, `output` the bytes of its shards at most."""

    title: str
    facts: list[str]
    phases: list[PhaseNeeds]
    output: int

    @property
    def memory(self) -> int:
        """The most memory of any task, in bytes."""
        return max(phase.memory for phase in self.phases)

    @property
    def disk(self) -> int:
        """The most scratch disk that is used at any time, in bytes."""
        return sum(phase.disk for phase in self.phases)

    def needs(self, workers: int) -> Needs:
        """What the dedup takes with so many workers, and the lines of `render`."""
        lines = self.render(workers).split("\n")
        return Needs(lines=lines, worker_memory=self.memory, shared_memory=0, scratch=self.disk)

    def render(self, workers: int) -> str:
        """The plan as text, for so many workers."""
        rows = [("phase", "tasks", "memory a task", "scratch disk")]
        rows += [
            (phase.name, number(phase.tasks), byte_size(phase.memory), byte_size(phase.disk)) for phase in self.phases
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [self.title, *(f"  {fact}" for fact in self.facts), ""]
        lines += ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines += [
            "",
            f"  memory: {byte_size(self.memory)} a worker, {byte_size(self.memory * workers)} for {workers}",
            f"  disk:   {byte_size(self.disk)} of scratch while it runs, {byte_size(self.output)} of output at most",
        ]
        return "\n".join(lines)
