"""Ray: one function over many shards.

Tasks are plain Ray tasks, one per shard (several small ones together); pages travel by storage and only small values
through Ray. Every task must be idempotent: it runs again when its worker or node dies. An exception in a task is that
task's outcome and does not stop the others; a storage error that may pass is tried again by the worker.

Departs from Ray's `max_retries` in that the runner itself hands a task to Ray again after a death: Ray would repeat one
killed for memory without end, could not split a batch so that only the guilty task fails, and would not tell where the
task was. From its second try on a task is alone and watched (`corpusmith.run.ray.worker`); what turns out to be poison
is avoided by the tries that follow.

Address: the flag, then `RAY_ADDRESS`, then a cluster of one on this machine (`address="local"`: without it Ray joins
whatever cluster runs here).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import re
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from corpusmith import packages as house
from corpusmith.errors import InputError, missing_package
from corpusmith.run.progress import say, track
from corpusmith.run.ray import worker
from corpusmith.run.ray.attempts import Attempt, Poison, cause_of, plan_batches
from corpusmith.run.ray.pools import Actors, Tasks

T = TypeVar("T")
R = TypeVar("R")

OBJECT_STORE_BYTES = 256 << 20
IN_FLIGHT_PER_CPU = 4
CONNECT_SECONDS = 5.0
RESOURCES_SECONDS = 5.0
CANCEL_SECONDS = 5.0
NOTE_SECONDS = 20.0
# what a working directory may hold besides code; Ray refuses more than some hundred MB
NOT_SHIPPED = [
    "tests/",
    ".git/",
    ".venv/",
    "venv/",
    ".peers/",
    "*.zst",
    "*.gz",
    "*.tar",
    "*.parquet",
    "*.arrow",
    "*.pt",
]

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)


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
    """The Execution that the flags ask for."""
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


def parse_bytes(text: str, where: str) -> int:
    """Bytes of `512MB`, `1.5GiB` or `1000000`; InputError names `where` for anything else, and for less than 1."""
    match = _BYTES.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InputError(f"{where} must be a size like 512MB or 4GiB, got {text!r}")
    number = float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " ")
    if number < 1:
        raise InputError(f"{where} must be at least 1 byte, got {text!r}")
    return int(number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of the cluster: Ray's id of it, its CPUs, and the bytes of memory that Ray counts on it."""

    id: str
    cpus: int
    memory: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome(Generic[R]):
    """What became of one task: its value, or the error's message and traceback.

    `tries`: how often it was begun, as far as the runner knows. `death`: where a task that is given up because its
    worker died each time was at last, and what Ray says (`exit`, `shard`, `record`, `stack`).
    """

    name: str
    index: int
    value: R | None = None
    error: str | None = None
    traceback: str | None = None
    tries: int = 1
    death: dict[str, Any] | None = None


@dataclass(slots=True)
class _Flight:
    """What one `map` has waiting and under way, and the records that its tries avoid."""

    waiting: deque[Attempt]
    flying: dict[Any, Attempt] = field(default_factory=dict)
    record_seconds: float | None = None
    avoid: dict[str, dict[int, str]] = field(default_factory=dict)
    on_poison: Callable[[Poison], None] = field(default=lambda _: None)

    def watch(self, attempt: Attempt) -> worker.Watch | None:
        """How an attempt is watched: from its second try on, or because records have a limit or are to be avoided."""
        if attempt.watch is None:
            return None
        return worker.Watch(name=attempt.watch, record_seconds=self.record_seconds, avoid=self.avoid)

    def add_poison(self, poison: Poison) -> bool:
        """Avoid a record from now on; False where it was avoided already, so that it can't be the cause."""
        known = self.avoid.setdefault(poison.url, {})
        if poison.record in known:
            return False
        known[poison.record] = poison.reason
        self.on_poison(poison)
        return True


def _affinity(node: str | None) -> dict[str, Any]:
    """What tells Ray to run a task on a node while that one is there."""
    if node is None:
        return {}
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}


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
        self._limit = self._parallel = 1
        self._limit_until = 0.0
        self._node_cpus = 1

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            import ray

            ray.shutdown()
        self._started = self._owned = False

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        name: Callable[[T], str] = str,
        label: str,
        unit: str = "shards",
        set_up: str | None = None,
        sizes: Sequence[int | None] | None = None,
        nodes: Sequence[str | None] | None = None,
        record_seconds: float | None = None,
        avoid: Mapping[str, Mapping[int, str]] | None = None,
        on_poison: Callable[[Poison], None] | None = None,
        actors: Literal["cpu", "gpu"] | None = None,
    ) -> Generator[Outcome[R], None, None]:
        """Run `function` once per task and yield outcomes as they arrive; their order means nothing.

        `function` is a module-level function; tasks and results are small. `set_up` (`"module:function"`) runs once
        per worker before its first task. `sizes`: bytes of each task's input, where known; small ones share a Ray
        task. `nodes`: the node on which each task should run, where that matters; another takes it only where that one
        is gone, and such a task should be given a size that keeps it alone. `record_seconds`: CPU time after which a
        record ends its worker and is poison; every try is watched then. `avoid`: records known to be poison, and why;
        `on_poison` is told of each that is found. `actors`: run on Ray actors that keep what they have loaded from task
        to task; with "gpu" each has a GPU where the cluster has any. Closing the iterator, or an interrupt, cancels
        what is under way (what had to be killed for that may leave temporary files:
        `storage.remove_leftovers`).
        """
        if not tasks:
            return
        self._start()
        import ray

        hands: Tasks | Actors = Tasks() if actors is None else Actors(gpus=actors == "gpu")
        folder = os.getcwd()
        self._refresh_limit()
        planned = plan_batches(sizes or [None] * len(tasks), self._parallel)
        if record_seconds is not None or avoid:
            planned = [replace(attempt, watch=uuid.uuid4().hex) for attempt in planned]
        flight = _Flight(waiting=deque(planned), record_seconds=record_seconds)
        flight.avoid = {url: dict(records) for url, records in (avoid or {}).items()}
        flight.on_poison = on_poison or flight.on_poison
        with track(len(tasks), label, unit) as progress, self._cancelling(flight, hands):
            while flight.waiting or flight.flying:
                self._refresh_limit()
                while flight.waiting and hands.room(len(flight.flying), self._limit, self._parallel):
                    attempt = flight.waiting.popleft()
                    batch = [tasks[index] for index in attempt.indices]
                    node = nodes[attempt.indices[0]] if nodes is not None and len(attempt.indices) == 1 else None
                    resources = {**self._resources(attempt), **_affinity(node)}
                    reference = hands.give(resources, function, batch, set_up, folder, flight.watch(attempt))
                    flight.flying[reference] = attempt
                done, _ = ray.wait(list(flight.flying), num_returns=1, timeout=RESOURCES_SECONDS)
                for reference in done:
                    for outcome in self._landed(flight, hands, reference, lambda index: name(tasks[index])):
                        progress.advance()
                        yield outcome

    def connect(self) -> None:
        """Start or join the cluster now, for a caller that has actors of its own."""
        self._start()

    # --- the cluster -----------------------------------------------------------------------------------------

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
        if not ray.is_initialized():
            self._connect()
            self._owned = True
        self._check_fits()

    def _connect(self) -> None:
        import ray

        address = self._execution.ray_address or os.environ.get("RAY_ADDRESS")
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self._execution.ship_working_dir:
            common["runtime_env"] = {"working_dir": os.getcwd(), "excludes": NOT_SHIPPED}
        if address:
            _check_reachable(address)
            try:
                ray.init(address=address, **common)
            except ConnectionError as error:
                raise InputError(f"no Ray cluster at {address}: {error}") from error
            return
        ray.init(
            address="local",
            num_cpus=self._execution.cpus or os.cpu_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **common,
        )

    def nodes(self) -> list[Node]:
        """The nodes that are alive and have CPUs, this machine's first, then by id; starts or joins the cluster."""
        self._start()
        import ray

        here = ray.get_runtime_context().get_node_id()
        found = [
            Node(
                id=node["NodeID"],
                cpus=int(node["Resources"].get("CPU", 0)),
                memory=int(node["Resources"].get("memory", 0)),
            )
            for node in self._nodes()
        ]
        return sorted((node for node in found if node.cpus), key=lambda node: (node.id != here, node.id))

    def _nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive."""
        import ray

        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [node for node in nodes if node["Alive"]]

    def _check_fits(self) -> None:
        """Refuse tasks that no node of this machine's cluster could ever hold; in a joined one nodes may still come."""
        nodes = [node["Resources"] for node in self._nodes()]
        self._node_cpus = int(max((node.get("CPU", 0) for node in nodes), default=1))
        memory = max((node.get("memory", 0) for node in nodes), default=0)
        wishes = [("--ray_num_cpus", self._execution.task_cpus, self._node_cpus, "CPUs")]
        if self._execution.task_memory is not None:
            wishes.append(("--memory_per_task", self._execution.task_memory, int(memory), "bytes"))
        for flag, wanted, there, unit in wishes:
            if wanted <= there:
                continue
            message = f"{flag} asks for {wanted} {unit}, but the largest node has {there}"
            if not (self._execution.ray_address or os.environ.get("RAY_ADDRESS")):
                raise InputError(message)
            say(f"warning: {message}; waiting for a larger one to join")

    def _refresh_limit(self) -> None:
        """How many tasks to hand to Ray at a time; no more than the wanted CPUs where the cluster is another's."""
        import ray

        now = time.monotonic()
        if now < self._limit_until:
            return
        self._limit_until = now + RESOURCES_SECONDS
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        wanted, each = self._execution.cpus, self._execution.task_cpus
        bounded = wanted is not None and wanted < cpus
        self._parallel = max(1, (wanted if wanted is not None and bounded else cpus) // each)
        self._limit = self._parallel * (1 if bounded else IN_FLIGHT_PER_CPU)

    def _resources(self, attempt: Attempt) -> dict[str, Any]:
        """What to ask Ray for."""
        memory = self._execution.task_memory
        cpus = attempt.cpus(self._execution.task_cpus, self._node_cpus)
        return {"num_cpus": cpus} if memory is None else {"num_cpus": cpus, "memory": memory}

    # --- what comes back -------------------------------------------------------------------------------------

    def _landed(
        self, flight: _Flight, hands: Tasks | Actors, reference: Any, name: Callable[[int], str]
    ) -> list[Outcome[Any]]:
        """The outcomes of a finished attempt; where its worker died what follows waits instead."""
        import ray

        attempt = flight.flying.pop(reference)
        try:
            results = ray.get(reference)
        except ray.exceptions.RayError as failure:
            hands.take_back(reference, alive=False)
            cause = cause_of(failure)
            note = self._take_note(attempt)
            poison = attempt.poison(cause, note)
            if poison is not None and not flight.add_poison(poison):
                poison = None
            following = attempt.following(cause, self._execution.max_retries, note, poison)
            if following:
                flight.waiting.extendleft(reversed(following))
                return []
            says = str(failure).strip() or type(failure).__name__
            (index,) = attempt.indices
            error, death = attempt.explain(cause, says, note), attempt.death(says, note)
            return [Outcome(name=name(index), index=index, error=error, tries=attempt.tries, death=death)]
        hands.take_back(reference, alive=True)
        return [
            Outcome(name=name(index), index=index, value=value, error=error, traceback=trace, tries=attempt.tries)
            for index, (value, error, trace) in zip(attempt.indices, results, strict=True)
        ]

    def _take_note(self, attempt: Attempt) -> worker.Note | None:
        """The note that a dead worker left, from whichever node it lies on."""
        if attempt.watch is None:
            return None
        if (note := worker.take_note(attempt.watch)) is not None:
            return note
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = ray.get_runtime_context().get_node_id()
        take: Any = ray.remote(num_cpus=0, max_retries=0)(worker.take_note)
        asked = [
            take.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                attempt.watch
            )
            for node in self._nodes()
            if node["NodeID"] != here
        ]
        if not asked:
            return None
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=NOTE_SECONDS)
        for reference in answered:
            with contextlib.suppress(ray.exceptions.RayError):
                found: worker.Note | None = ray.get(reference)
                if found is not None:
                    return found
        return None

    # --- the end before the end ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _cancelling(self, flight: _Flight, hands: Tasks | Actors) -> Iterator[None]:
        """Cancel what still flies when the block ends early: gently, so that writers remove their files, then hard.

        Actors end with the block in any case; they cannot be cancelled gently.
        """
        try:
            yield
        except BaseException:
            import ray

            if not hands.end():
                with contextlib.suppress(ray.exceptions.RayError):
                    self._cancel(flight)
            raise
        hands.end()

    def _cancel(self, flight: _Flight) -> None:
        import ray

        left = list(flight.flying)
        for force in (False, True):
            for reference in left:
                ray.cancel(reference, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=CANCEL_SECONDS)
        for attempt in flight.flying.values():
            self._take_note(attempt)
        flight.flying.clear()
