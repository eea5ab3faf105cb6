"""How work is executed: the cluster, what a task takes of it, how a task is watched. Nothing here decides a result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from corpusmith.errors import InputError
from corpusmith.run.ray.attempts import QuarantinedRecord
from corpusmith.units import parse_bytes

K = TypeVar("K")


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a run is executed; nothing here decides its result.

    `cpus`: CPUs of the cluster of one (all of this machine by default), or how many are used at once in a joined one.
    `ray_address`: cluster to join. `max_retries`: how often a task is run again after its worker died.
    `task_cpus`: CPUs that Ray reserves for each task. `task_memory`: bytes of memory that it reserves (default: none,
    so that only CPUs bound how many run at once). `ship_working_dir`: send the working directory to the workers.
    """

    cpus: int | None = None
    ray_address: str | None = None
    max_retries: int = 3
    task_cpus: int = 1
    task_memory: int | None = None
    ship_working_dir: bool = False


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of Execution to an entry's parser."""
    group = parser.add_argument_group("execution (never changes the result)")
    group.add_argument("--ray_address", help="Ray cluster to join (default: RAY_ADDRESS, else one on this machine)")
    group.add_argument("--num_cpus", type=int, help="CPUs to use on this machine (default: all)")
    group.add_argument("--ray_num_cpus", type=int, default=1, help="CPUs reserved for each task (default 1)")
    group.add_argument("--memory_per_task", help="memory reserved for each task, like 4GiB (default: none)")
    group.add_argument(
        "--ray_use_working_dir",
        action="store_true",
        help="send the working directory (code, YAML, mappers of your own; not tests/) to the nodes of the cluster",
    )


def execution_from(arguments: argparse.Namespace) -> Execution:
    """The Execution that the flags ask for; InputError for a number below 1 or a size that is none."""
    for flag in ("num_cpus", "ray_num_cpus"):
        count = getattr(arguments, flag)
        if count is not None and count < 1:
            raise InputError(f"--{flag} must be at least 1, got {count}")
    memory = arguments.memory_per_task
    return Execution(
        cpus=arguments.num_cpus,
        ray_address=arguments.ray_address,
        task_cpus=arguments.ray_num_cpus,
        task_memory=None if memory is None else parse_bytes(memory, "--memory_per_task"),
        ship_working_dir=arguments.ray_use_working_dir,
    )


# without slots: `TaskSpec[str](…)` of a frozen class with slots is a TypeError in Python 3.11
@dataclass(frozen=True, kw_only=True)
class TaskSpec(Generic[K]):
    """How the tasks of one `map` are run; K is what names a task: its index (`Runner.map`), its unit (`Stage`).

    `set_up` (`"module:function"`) runs once per worker before its first task. `sizes`: bytes of each task's input,
    where known; small ones share a Ray task. `nodes`: the node on which a task should run, where that matters; another
    takes it only where that one is gone, and such a task should be given a size that keeps it alone.
    `record_seconds`: CPU time after which a record ends its worker and is quarantined; every try is watched then.
    `actors`: run on Ray actors that keep what they have loaded from task to task; with "gpu" each has a GPU where the
    cluster has any.
    """

    set_up: str | None = None
    sizes: Mapping[K, int] | None = None
    nodes: Mapping[K, str] | None = None
    record_seconds: float | None = None
    actors: Literal["cpu", "gpu"] | None = None


@dataclass(slots=True)
class Quarantine:
    """The records that tries avoid because they ended a worker: by shard and index, and how.

    `on_add` gets all of them when one is found while tasks run.
    """

    records: dict[str, dict[int, str]] = field(default_factory=dict)
    on_add: Callable[[dict[str, dict[int, str]]], None] = field(default=lambda _: None)

    def add(self, record: QuarantinedRecord) -> bool:
        """Avoid a record from now on; False where it was avoided already, so that it can't be the cause."""
        known = self.records.setdefault(record.url, {})
        if record.index in known:
            return False
        known[record.index] = record.reason
        self.on_add(self.records)
        return True
