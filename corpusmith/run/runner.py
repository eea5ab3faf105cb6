"""Ray: one function over many shards.

Tasks are plain Ray tasks, one per shard; pages travel by storage and only small values through Ray. Every task must
be idempotent: Ray runs it again when its worker or node dies. An exception in a task is that task's outcome and
does not stop the others.

Address: the flag, then `RAY_ADDRESS`, then a cluster of one on this machine (`address="local"`: without it Ray joins
whatever cluster runs here).
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import pathlib
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from corpusmith import house
from corpusmith.errors import CorpusmithError, InputError, missing_package
from corpusmith.run.progress import track

T = TypeVar("T")
R = TypeVar("R")

OBJECT_STORE_BYTES = 256 << 20
IN_FLIGHT_PER_CPU = 4
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a run is executed; nothing here decides its result.

    `cpus`: CPUs of the cluster of one (all of this machine by default), or how many tasks run at once in a joined one.
    `ray_address`: cluster to join. `max_retries`: how often a task is run again after its worker died.
    """

    cpus: int | None = None
    ray_address: str | None = None
    max_retries: int = 3


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of Execution to an entry's parser."""
    group = parser.add_argument_group("execution (never changes the result)")
    group.add_argument("--ray_address", help="Ray cluster to join (default: RAY_ADDRESS, else one on this machine)")
    group.add_argument("--num_cpus", type=int, help="CPUs to use on this machine (default: all)")


def execution_from(arguments: argparse.Namespace) -> Execution:
    """The Execution that the flags ask for."""
    if arguments.num_cpus is not None and arguments.num_cpus < 1:
        raise InputError(f"--num_cpus must be at least 1, got {arguments.num_cpus}")
    return Execution(cpus=arguments.num_cpus, ray_address=arguments.ray_address)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome(Generic[R]):
    """What became of one task: its value, or the error's message and traceback."""

    name: str
    index: int
    value: R | None = None
    error: str | None = None
    traceback: str | None = None


@functools.cache
def _set_up(function: str) -> None:
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)()


def _call(
    function: Callable[[T], R], task: T, set_up: str | None, folder: str
) -> tuple[R | None, str | None, str | None]:
    """Run one task on a worker; the task boundary, where any exception becomes an outcome.

    Relative paths mean the same as in the driver, as far as the worker's machine has its working directory.
    """
    try:
        if os.getcwd() != folder and os.path.isdir(folder):
            os.chdir(folder)
        if set_up is not None:
            _set_up(set_up)
        return function(task), None, None
    except CorpusmithError as error:
        return None, str(error), None
    except Exception as error:  # noqa: BLE001 - the task boundary: the other shards go on
        return None, f"{type(error).__name__}: {error}", traceback.format_exc()


def _check_reachable(address: str) -> None:
    """Raise InputError at once where nothing listens at `host:port`; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    if not separator or "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"no Ray cluster at {address}: {error.strerror or error}") from error


class Runner:
    """Runs functions over tasks on Ray; starts or joins a cluster at the first use and leaves it at the end.

    Where this process is connected to a cluster already, that one is used and left as it is.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._started = False
        self._owned = False

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            import ray

            ray.shutdown()
        self._started = self._owned = False

    def _start(self) -> None:
        if self._started:
            return
        os.environ.setdefault("NUMBA_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "corpusmith" / "numba"))
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise missing_package("ray", "all") from error
        self._started = True
        before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(house.HOME), *filter(None, before)]))
        if ray.is_initialized():
            return
        address = self._execution.ray_address or os.environ.get("RAY_ADDRESS")
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address:
            _check_reachable(address)
            try:
                ray.init(address=address, **common)
            except ConnectionError as error:
                raise InputError(f"no Ray cluster at {address}: {error}") from error
        else:
            ray.init(
                address="local",
                num_cpus=self._execution.cpus or os.cpu_count(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **common,
            )
        self._owned = True

    def _in_flight(self) -> int:
        """How many tasks to hand to Ray at a time; no more than the wanted CPUs where the cluster is another's."""
        import ray

        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        if self._execution.cpus is not None and self._execution.cpus < cpus:
            return self._execution.cpus
        return cpus * IN_FLIGHT_PER_CPU

    def _lost(self, failure: Exception) -> str:
        import ray

        if isinstance(failure, ray.exceptions.WorkerCrashedError | ray.exceptions.NodeDiedError):
            tries = self._execution.max_retries + 1
            return f"its worker died {tries} times (killed, out of memory, or a crash in native code)"
        return f"Ray: {str(failure).strip().splitlines()[-1]}"

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,
        label: str,
        unit: str = "shards",
        set_up: str | None = None,
    ) -> Iterator[Outcome[R]]:
        """Run `function` once per task and yield outcomes as they arrive; their order means nothing.

        `function` is a module-level function; tasks and results are small. `set_up` (`"module:function"`) runs once
        per worker before its first task.
        """
        if not tasks:
            return
        self._start()
        import ray

        remote: Any = ray.remote(num_cpus=1, max_retries=self._execution.max_retries)(_call)
        limit, folder = self._in_flight(), os.getcwd()
        waiting = iter(enumerate(tasks))
        flying: dict[Any, int] = {}
        with track(len(tasks), label, unit) as progress:
            while True:
                while len(flying) < limit and (following := next(waiting, None)) is not None:
                    index, task = following
                    flying[remote.remote(function, task, set_up, folder)] = index
                if not flying:
                    return
                done, _ = ray.wait(list(flying), num_returns=1)
                index = flying.pop(done[0])
                try:
                    value, error, trace = ray.get(done[0])
                except ray.exceptions.RayError as failure:
                    value, error, trace = None, self._lost(failure), str(failure)
                progress.advance()
                yield Outcome(name=name(tasks[index]), index=index, value=value, error=error, traceback=trace)
