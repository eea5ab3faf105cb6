"""Ray: one function over many shards.

Tasks are plain Ray tasks, one per shard (several small ones together); pages travel by storage and only small values
through Ray. Every task must be idempotent: it runs again when its worker or node dies. An exception in a task is that
task's outcome and does not stop the others; a storage error that may pass is tried again by the worker.

Departs from Ray's `max_retries` in that the runner itself hands a task to Ray again after a death: Ray would repeat one
killed for memory without end, could not split a batch so that only the guilty task fails, and would not tell where the
task was. From its second try on a task is alone and watched (`corpusmith.run.ray.worker`); a record that turns out to
be the cause is quarantined: the tries that follow avoid it.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from corpusmith.run.progress import track
from corpusmith.run.ray import worker
from corpusmith.run.ray.attempts import Attempt, cause_of, plan_batches
from corpusmith.run.ray.cluster import RESOURCES_SECONDS, Cluster, ClusterNode, affinity
from corpusmith.run.ray.execution import Execution, Quarantine, TaskSpec
from corpusmith.run.ray.pools import WorkerPool, open_pool

T = TypeVar("T")
R = TypeVar("R")

CANCEL_SECONDS = 5.0
NOTE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome(Generic[R]):
    """What became of one task: its value, or the error's message and traceback.

    `tries`: how often it was begun, as far as the runner knows. `death`: where a task that is given up because its
    worker died each time was at last, and what Ray says (`exit`, `shard`, `record`, `stack`).
    """

    index: int
    value: R | None = None
    error: str | None = None
    traceback: str | None = None
    tries: int = 1
    death: dict[str, Any] | None = None


@dataclass(kw_only=True, slots=True)
class _InFlight:
    """The attempts of one `map`: those that wait, those that run, by the reference of their result, and where."""

    waiting: deque[Attempt]
    pool: WorkerPool
    quarantine: Quarantine
    record_seconds: float | None
    running: dict[Any, Attempt] = field(default_factory=dict)

    def watch(self, attempt: Attempt) -> worker.Watch | None:
        """How an attempt is watched: from its second try on, or because records have a limit or are to be avoided."""
        if attempt.watch is None:
            return None
        return worker.Watch(name=attempt.watch, record_seconds=self.record_seconds, avoid=self.quarantine.records)


class Runner:
    """Runs functions over tasks on Ray; starts or joins a cluster at the first use and leaves it at the end.

    Where this process is connected to a cluster already, that one is used and left as it is.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._cluster = Cluster(execution)

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.leave()

    def connect(self) -> None:
        """Start or join the cluster now, for a caller that has actors of its own."""
        self._cluster.start()

    def nodes(self) -> list[ClusterNode]:
        """The nodes that are alive and have CPUs, this machine's first, then by id; starts or joins the cluster."""
        self._cluster.start()
        return self._cluster.nodes()

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        label: str,
        unit: str = "shards",
        spec: TaskSpec[int] | None = None,
        quarantine: Quarantine | None = None,
    ) -> Generator[Outcome[R], None, None]:
        """Run `function` once per task and yield outcomes as they arrive; their order means nothing.

        Closing the iterator, or an interrupt, cancels what is under way (what had to be killed for that may leave
        temporary files: `storage.remove_leftovers`).

        Args:
            function: a module-level function; tasks and results are small.
            tasks: what it is called with, one by one; an outcome tells the index of its task.
            label: what the progress display calls the work.
            unit: what it calls the tasks.
            spec: how the tasks are run; sizes and nodes by index.
            quarantine: the records that tasks avoid; those found while they run are added.
        """
        if not tasks:
            return
        self._cluster.start()
        import ray

        spec, quarantine, folder = spec or TaskSpec(), quarantine or Quarantine(), os.getcwd()
        self._cluster.refresh_limits()
        work = self._plan(len(tasks), spec, quarantine)
        with track(len(tasks), label, unit) as progress, self._cancelling(work):
            while work.waiting or work.running:
                self._cluster.refresh_limits()
                while work.waiting and work.pool.has_capacity(
                    len(work.running), self._cluster.limit, self._cluster.parallel
                ):
                    attempt = work.waiting.popleft()
                    batch = [tasks[index] for index in attempt.indices]
                    arguments = (function, batch, spec.set_up, folder, work.watch(attempt))
                    work.running[work.pool.submit(self._resources(attempt, spec), *arguments)] = attempt
                done, _ = ray.wait(list(work.running), num_returns=1, timeout=RESOURCES_SECONDS)
                for reference in done:
                    for outcome in self._handle_result(work, reference):
                        progress.advance()
                        yield outcome

    def _plan(self, count: int, spec: TaskSpec[int], quarantine: Quarantine) -> _InFlight:
        """The first attempts at `count` tasks, in order."""
        sizes = spec.sizes or {}
        planned = plan_batches([sizes.get(index) for index in range(count)], self._cluster.parallel)
        if spec.record_seconds is not None or quarantine.records:
            planned = [replace(attempt, watch=uuid.uuid4().hex) for attempt in planned]
        return _InFlight(
            waiting=deque(planned),
            pool=open_pool(spec.actors),
            quarantine=quarantine,
            record_seconds=spec.record_seconds,
        )

    def _resources(self, attempt: Attempt, spec: TaskSpec[int]) -> dict[str, Any]:
        """What to ask Ray for."""
        node = spec.nodes.get(attempt.indices[0]) if spec.nodes is not None and len(attempt.indices) == 1 else None
        wanted = {"num_cpus": attempt.cpus(self._execution.task_cpus, self._cluster.node_cpus), **affinity(node)}
        memory = self._execution.task_memory
        return wanted if memory is None else {**wanted, "memory": memory}

    # --- what comes back -------------------------------------------------------------------------------------

    def _handle_result(self, work: _InFlight, reference: Any) -> list[Outcome[Any]]:
        """The outcomes of a finished attempt; none where its worker died and retries wait instead."""
        import ray

        attempt = work.running.pop(reference)
        try:
            results = ray.get(reference)
        except ray.exceptions.RayError as failure:
            work.pool.release(reference, is_alive=False)
            return self._handle_failure(work, attempt, failure)
        work.pool.release(reference, is_alive=True)
        return [
            Outcome(index=index, value=value, error=error, traceback=trace, tries=attempt.tries)
            for index, (value, error, trace) in zip(attempt.indices, results, strict=True)
        ]

    def _handle_failure(self, work: _InFlight, attempt: Attempt, failure: Exception) -> list[Outcome[Any]]:
        """Let the retries of an attempt wait, and quarantine the guilty record; its outcome where it is given up."""
        cause, note = cause_of(failure), self._take_note(attempt)
        guilty = attempt.guilty_record(cause, note)
        if guilty is not None and not work.quarantine.add(guilty):
            guilty = None
        retries = attempt.retries(cause, self._execution.max_retries, note, guilty)
        if retries:
            work.waiting.extendleft(reversed(retries))
            return []
        message = str(failure).strip() or type(failure).__name__
        (index,) = attempt.indices
        error, death = attempt.explain(cause, message, note), attempt.death(message, note)
        return [Outcome(index=index, error=error, tries=attempt.tries, death=death)]

    def _take_note(self, attempt: Attempt) -> worker.Note | None:
        """The note that a dead worker left, from whichever node it lies on."""
        if attempt.watch is None:
            return None
        if (note := worker.take_note(attempt.watch)) is not None:
            return note
        import ray

        take: Any = ray.remote(num_cpus=0, max_retries=0)(worker.take_note)
        asked = [
            take.options(**affinity(node, soft=False)).remote(attempt.watch) for node in self._cluster.other_node_ids()
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
    def _cancelling(self, work: _InFlight) -> Iterator[None]:
        """Cancel what still runs when the block ends early: gently, so that writers remove their files, then hard.

        Actors end with the block in any case; they cannot be cancelled gently.
        """
        import ray

        is_over = False
        try:
            yield
            is_over = True
        finally:
            if not work.pool.end() and not is_over:
                with contextlib.suppress(ray.exceptions.RayError):
                    self._cancel(work)

    def _cancel(self, work: _InFlight) -> None:
        import ray

        left = list(work.running)
        for force in (False, True):
            for reference in left:
                ray.cancel(reference, force=force)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=CANCEL_SECONDS)
        for attempt in work.running.values():
            self._take_note(attempt)
        work.running.clear()
