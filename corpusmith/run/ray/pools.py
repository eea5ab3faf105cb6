"""What the runner hands its work to: Ray tasks, or Ray actors that stay and keep what they have loaded.

Ray starts a new process for each task that asks for a GPU, and may end an idle worker, so a stage with a large model
runs on actors: one for each that runs at a time, made when it is first needed, replaced when it dies, ended with the
stage. Where the cluster has GPUs and the stage can use them, each actor has one.
"""

from __future__ import annotations

from typing import Any

from corpusmith.run.ray import worker

Resources = dict[str, Any]


class Tasks:
    """Hands each piece of work to a Ray task of its own."""

    def __init__(self) -> None:
        import ray

        self._run: Any = ray.remote(max_retries=0)(worker.run_batch)

    def room(self, flying: int, limit: int, parallel: int) -> bool:
        """Whether another piece of work may be handed over: some wait in Ray for a CPU, so that none is ever idle."""
        del parallel
        return flying < limit

    def give(self, resources: Resources, *arguments: Any) -> Any:
        """Hand over work; returns the reference of its result."""
        return self._run.options(**resources).remote(*arguments)

    def take_back(self, reference: Any, alive: bool) -> None:
        """The work behind the reference is done; `alive`: its worker is still there."""

    def end(self) -> bool:
        """End all workers at once, where they are these hands' own; returns whether they were."""
        return False


class _Worker:
    """The actor: runs batches in one process, one after the other."""

    def run_batch(self, *arguments: Any) -> Any:
        return worker.run_batch(*arguments)


class Actors:
    """Hands work to actors, one piece at a time each; an idle one with the same resources comes first."""

    def __init__(self, *, gpus: bool) -> None:
        import ray

        self._kill = ray.kill
        self._make: Any = ray.remote(max_restarts=0)(_Worker)
        total = int(ray.cluster_resources().get("GPU", 0)) if gpus else 0  # type: ignore[no-untyped-call]
        self._gpus = total
        self._idle: list[tuple[Resources, Any]] = []
        self._busy: dict[Any, tuple[Resources, Any]] = {}

    def room(self, flying: int, limit: int, parallel: int) -> bool:
        """Whether another actor may work: no more than run at a time, nor than there are GPUs where each has one."""
        del limit
        return flying < (min(parallel, self._gpus) if self._gpus else parallel)

    def give(self, resources: Resources, *arguments: Any) -> Any:
        """Hand over work; returns the reference of its result."""
        wanted = {**resources, "num_gpus": 1} if self._gpus else resources
        actor = next((known for own, known in self._idle if own == wanted), None)
        if actor is None:
            self._end_idle()
            actor = self._make.options(**wanted).remote()
        self._idle = [(own, known) for own, known in self._idle if known is not actor]
        reference = actor.run_batch.remote(*arguments)
        self._busy[reference] = (wanted, actor)
        return reference

    def take_back(self, reference: Any, alive: bool) -> None:
        """The work behind the reference is done; `alive`: its actor is still there."""
        actor = self._busy.pop(reference)
        if alive:
            self._idle.append(actor)
        else:
            self._kill(actor[1])

    def end(self) -> bool:
        """End all actors at once."""
        self._idle += self._busy.values()
        self._busy.clear()
        self._end_idle()
        return True

    def _end_idle(self) -> None:
        """Free what idle actors hold."""
        for _, actor in self._idle:
            self._kill(actor)
        self._idle = []
