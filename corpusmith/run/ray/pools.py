"""Where the runner submits its work: Ray tasks, or Ray actors that stay and keep what they have loaded.

Ray starts a new process for each task that asks for a GPU, and may end an idle worker, so a stage with a large model
runs on actors: one for each that runs at a time, made when it is first needed, replaced when it dies, ended with the
stage. Where the cluster has GPUs and the stage can use them, each actor has one.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from corpusmith.run.ray import worker

Resources = dict[str, Any]


class WorkerPool(Protocol):
    """What runs batches of tasks (`worker.run_batch`), wherever Ray puts them."""

    def has_capacity(self, running: int, limit: int, parallel: int) -> bool:
        """Whether another batch may be submitted.

        Args:
            running: batches that are submitted and not done.
            limit: how many Ray may hold, waiting for a CPU included.
            parallel: how many can run at a time.
        """

    def submit(self, resources: Resources, *arguments: Any) -> Any:
        """Submit `run_batch(*arguments)`; returns the reference of its result."""

    def release(self, reference: Any, *, is_alive: bool) -> None:
        """The batch behind the reference is done; `is_alive`: its worker is still there."""

    def end(self) -> bool:
        """End all workers at once, where they are this pool's own; returns whether they were."""


def open_pool(actors: Literal["cpu", "gpu"] | None) -> WorkerPool:
    """A pool of tasks, or of actors; with "gpu" each actor has a GPU where the cluster has any."""
    return TaskPool() if actors is None else ActorPool(gpus=actors == "gpu")


class TaskPool:
    """Runs each batch as a Ray task of its own."""

    def __init__(self) -> None:
        import ray

        self._run: Any = ray.remote(max_retries=0)(worker.run_batch)

    def has_capacity(self, running: int, limit: int, parallel: int) -> bool:
        """As in `WorkerPool`: some batches wait in Ray for a CPU, so that none is ever idle."""
        del parallel
        return running < limit

    def submit(self, resources: Resources, *arguments: Any) -> Any:
        """As in `WorkerPool`."""
        return self._run.options(**resources).remote(*arguments)

    def release(self, reference: Any, *, is_alive: bool) -> None:
        """As in `WorkerPool`; Ray looks after its workers itself."""

    def end(self) -> bool:
        """As in `WorkerPool`: the workers are Ray's."""
        return False


class _Worker:
    """The actor: runs batches in one process, one after the other."""

    def run_batch(self, *arguments: Any) -> Any:
        return worker.run_batch(*arguments)


class ActorPool:
    """Runs batches on actors, one at a time each; an idle one with the same resources comes first."""

    def __init__(self, *, gpus: bool) -> None:
        import ray

        self._kill = ray.kill
        self._make: Any = ray.remote(max_restarts=0)(_Worker)
        self._gpus = int(ray.cluster_resources().get("GPU", 0)) if gpus else 0  # type: ignore[no-untyped-call]
        self._idle: list[tuple[Resources, Any]] = []
        self._busy: dict[Any, tuple[Resources, Any]] = {}

    def has_capacity(self, running: int, limit: int, parallel: int) -> bool:
        """As in `WorkerPool`: no more actors than run at a time, nor than there are GPUs where each has one."""
        del limit
        return running < (min(parallel, self._gpus) if self._gpus else parallel)

    def submit(self, resources: Resources, *arguments: Any) -> Any:
        """As in `WorkerPool`."""
        wanted = {**resources, "num_gpus": 1} if self._gpus else resources
        actor = next((known for held, known in self._idle if held == wanted), None)
        if actor is None:
            self._end_idle()
            actor = self._make.options(**wanted).remote()
        self._idle = [(held, known) for held, known in self._idle if known is not actor]
        reference = actor.run_batch.remote(*arguments)
        self._busy[reference] = (wanted, actor)
        return reference

    def release(self, reference: Any, *, is_alive: bool) -> None:
        """As in `WorkerPool`."""
        resources, actor = self._busy.pop(reference)
        if is_alive:
            self._idle.append((resources, actor))
        else:
            self._kill(actor)

    def end(self) -> bool:
        """As in `WorkerPool`: the actors are this pool's."""
        self._idle += self._busy.values()
        self._busy.clear()
        self._end_idle()
        return True

    def _end_idle(self) -> None:
        """Free what idle actors hold."""
        for _, actor in self._idle:
            self._kill(actor)
        self._idle = []
