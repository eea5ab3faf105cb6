"""Proxy runs: many small trainings side by side on Ray, as mixing needs them by the hundred.

Each run is a `TrainConfig` of its own, trained whole in one process. The processes are actors that stay warm: torch is
imported, the device is set up and compiled code is kept from run to run, while everything a run could notice is set
back before the next (random states, thread count, numeric settings, freed memory), so that a run's numbers do not
depend on what the actor did before. On a GPU several runs may share one device.

A finished run leaves `proxy_result.json` in its folder and is not trained again; one that was cut off goes on from its
last checkpoint. A run that raises, or whose process dies again and again, is a result with an error; the others go on.
Follows the idea of Ray Tune's actor reuse; departs from it in having no scheduler: who calls decides what is run.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import torch
from torch import nn

from corpusmith.errors import ChangedError, CorpusmithError, InputError
from corpusmith.io import storage
from corpusmith.run.progress import track
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.seeds import stable_hash
from training.data.token_shards import find_token_dataset
from training.loop.train_loop import train
from training.loop.validation import validation_loss
from training.observers.observer import TrainLog
from training.optimization.recipe import tf32_matmul
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks
from training.state.run_folder import CHECKPOINTS, TRAIN_LOG

RESULT_NAME = "proxy_result.json"
SPEC_NAME = "proxy.json"
POLL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySpec:
    """One run: how it is trained, and the data sets (references, manifests or tars) that it is validated on.

    `config.folder` must be the run's alone. With `keep_weights` off its checkpoints are removed when it is finished.
    """

    config: TrainConfig
    validation: tuple[str, ...] = ()
    keep_weights: bool = True

    @property
    def name(self) -> str:
        """The run's name."""
        return self.config.name


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyResult:
    """What became of a run.

    `losses` are nats per token by validation set, `domain_losses` the same by set and domain of the sequences;
    `train_loss` is the last that was logged; `curve` holds (step, loss) of each logged step; `seconds` is the time of
    the attempt that finished it; `checkpoint_url` is None where the weights were not kept. A failed run has an `error`
    and no losses.
    """

    name: str
    losses: dict[str, float]
    domain_losses: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    train_loss: float = math.nan
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    checkpoint_url: str | None = None
    error: str | None = None


def run_proxies(
    specs: Sequence[ProxySpec],
    *,
    execution: Execution | None = None,
    cpus_per_run: float = 1,
    gpus_per_run: float = 0,
    max_retries: int = 2,
    on_result: Callable[[ProxyResult], None] | None = None,
    worker: type[ProxyWorker] | None = None,
) -> list[ProxyResult]:
    """Train all runs, as many at a time as the cluster's CPUs and GPUs allow.

    Args:
        specs: the runs; names and folders must differ.
        execution: cluster to use; by default one of this machine's CPUs.
        cpus_per_run: CPUs of each run, also its number of threads; may be a share.
        gpus_per_run: GPUs of each run; 0 trains on the CPU, 0.25 puts four runs on one GPU, each with that share of
            its memory.
        max_retries: how often a run is begun again after its process died.
        on_result: called with each result as it arrives.
        worker: class of the actors, a ProxyWorker.

    Returns:
        The results in the order of `specs`.

    Raises:
        InputError: names or folders that are not distinct, or more resources than any node has.
        ChangedError: a folder holds a run of another config.
    """
    _check(specs, cpus_per_run, gpus_per_run)
    found: dict[str, ProxyResult] = {}
    for spec in specs:
        stored = _stored_result(spec)
        if stored is not None:
            found[spec.name] = stored
            if on_result is not None:
                on_result(stored)
    waiting = [spec for spec in specs if spec.name not in found]
    if waiting:
        with Runner(execution or Execution()) as runner:
            runner.connect()
            resources = {"num_cpus": cpus_per_run, "num_gpus": gpus_per_run}
            for result in _on_actors(waiting, worker or ProxyWorker, resources, max_retries):
                found[result.name] = result
                if on_result is not None:
                    on_result(result)
    return [found[spec.name] for spec in specs]


def run_proxy(spec: ProxySpec, device: torch.device | None = None) -> ProxyResult:
    """Train and validate one run in this process, and store its result in its folder.

    Raises:
        CorpusmithError: it failed.
    """
    ranks = Ranks(device=device or torch.device("cpu"))
    started = time.monotonic()
    storage.write_json(storage.join(spec.config.folder, SPEC_NAME), {"fingerprint": fingerprint(spec)})

    def validate(model: nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
        return _validate(spec, ranks, model) if progress.is_final else []

    with tf32_matmul():
        progress = train(spec.config, ranks, validate, [TrainLog()])
    result = _result(spec, progress, time.monotonic() - started)
    storage.write_json(storage.join(spec.config.folder, RESULT_NAME), dataclasses.asdict(result))
    if not spec.keep_weights:
        storage.remove_tree(storage.join(spec.config.folder, CHECKPOINTS))
    return result


def _validate(spec: ProxySpec, ranks: Ranks, model: nn.Module) -> list[dict[str, Any]]:
    """An object per validation set, as checkpoints keep them."""
    batch_spec, precision = spec.config.batch_spec(ranks), spec.config.step.precision
    results = []
    for path in spec.validation:
        found = validation_loss(model, find_token_dataset(path), batch_spec, precision=precision, ranks=ranks)
        results.append({"val_data": [path], "loss": found.loss, "loss_by_domain": found.by_domain})
    return results


def fingerprint(spec: ProxySpec) -> str:
    """16 hexadecimal digits of what decides the result: config and validation sets, not the folder."""
    config = dataclasses.replace(spec.config, folder="", params={})
    return f"{stable_hash(repr(config), *spec.validation):016x}"


class ProxyWorker:
    """A process that trains one run after another."""

    def __init__(self, cpus: float, gpus: float) -> None:
        self._threads = max(1, int(cpus))
        self._device = torch.device("cuda", 0) if gpus else torch.device("cpu")
        self._compiled_for: object = None
        if gpus and gpus < 1:
            torch.cuda.set_per_process_memory_fraction(gpus, self._device)

    def ready(self) -> bool:
        """Answers when the process is up."""
        return True

    def run(self, spec: ProxySpec) -> ProxyResult:
        """The run's result; whatever it raises becomes its error."""
        self.reset(spec)
        try:
            return run_proxy(spec, self._device)
        except CorpusmithError as error:
            return ProxyResult(name=spec.name, losses={}, error=str(error))
        except Exception as error:  # noqa: BLE001  # the run's boundary: the actor and the other runs go on
            reason = (str(error).splitlines() or [""])[0]
            return ProxyResult(name=spec.name, losses={}, error=f"{type(error).__name__}: {reason}")

    def reset(self, spec: ProxySpec) -> None:
        """Set back what one run could leave to the next; compiled code stays while the model's shape does."""
        torch.set_num_threads(self._threads)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        torch.manual_seed(spec.config.seed)
        if self._compiled_for not in (None, spec.config.model):
            torch._dynamo.reset()
        self._compiled_for = spec.config.model
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)


def _on_actors(
    specs: Sequence[ProxySpec], worker: type[ProxyWorker], resources: dict[str, float], max_retries: int
) -> Iterator[ProxyResult]:
    """The results as they arrive, from as many actors as the cluster holds at a time."""
    import ray

    cpus, gpus = resources["num_cpus"], resources["num_gpus"]
    remote: Any = ray.remote
    make = remote(max_restarts=-1, max_task_retries=max_retries, **resources)(worker)
    actors = [make.remote(cpus, gpus) for _ in range(min(len(specs), _num_actors(resources)))]
    waiting = list(reversed(specs))
    in_flight: dict[Any, tuple[Any, ProxySpec]] = {}
    try:
        with track(len(specs), "proxies", "runs") as progress:
            idle = list(actors)
            while waiting or in_flight:
                while waiting and idle:
                    actor, spec = idle.pop(), waiting.pop()
                    in_flight[actor.run.remote(spec)] = (actor, spec)
                done, _ = ray.wait(list(in_flight), num_returns=1, timeout=POLL_SECONDS)
                for reference in done:
                    actor, spec = in_flight.pop(reference)
                    idle.append(actor)
                    progress.advance()
                    yield _handle_result(reference, spec)
    finally:
        for actor in actors:
            ray.kill(actor)


def _handle_result(reference: Any, spec: ProxySpec) -> ProxyResult:
    """The result of a finished call; a process that died too often is an error."""
    import ray

    try:
        result: ProxyResult = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return ProxyResult(name=spec.name, losses={}, error=f"its process died: {reason}")
    return result


def _num_actors(resources: dict[str, float]) -> int:
    """How many actors the cluster holds at a time.

    Raises:
        InputError: not even one.
    """
    import ray

    available = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wanted = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
    count = min(int(available.get(kind, 0) / amount + 1e-9) for kind, amount in wanted.items() if amount)
    if count < 1:
        asked = ", ".join(f"{amount:g} {kind}" for kind, amount in wanted.items() if amount)
        has = ", ".join(f"{available.get(kind, 0):g} {kind}" for kind in wanted)
        raise InputError(f"a proxy run asks for {asked}, but the cluster has {has}")
    return count


def _result(spec: ProxySpec, progress: RunProgress, seconds: float) -> ProxyResult:
    folder = spec.config.folder
    rows = [orjson.loads(line) for line in storage.read_bytes(storage.join(folder, TRAIN_LOG)).splitlines()]
    curve = [(row["step"], row["loss"]) for row in rows]
    return ProxyResult(
        name=spec.name,
        losses={one["val_data"][0]: one["loss"] for one in progress.evaluation},
        domain_losses={one["val_data"][0]: one["loss_by_domain"] for one in progress.evaluation},
        train_loss=curve[-1][1],
        steps=progress.step,
        tokens=spec.config.tokens_before(progress.step),
        seconds=seconds,
        curve=curve,
        checkpoint_url=storage.join(folder, CHECKPOINTS, f"epoch_{progress.epoch}.pt") if spec.keep_weights else None,
    )


def _stored_result(spec: ProxySpec) -> ProxyResult | None:
    """The result of an earlier, finished run in the spec's folder.

    Raises:
        ChangedError: the folder holds a run of another config.
    """
    url = storage.join(spec.config.folder, SPEC_NAME)
    if not storage.exists(url):
        return None
    if storage.read_json(url).get("fingerprint") != fingerprint(spec):
        raise ChangedError(
            f"{spec.config.folder} holds a run of another config than {spec.name!r} has now; remove it or choose "
            "another folder"
        )
    result = storage.join(spec.config.folder, RESULT_NAME)
    if not storage.exists(result):
        return None
    row = storage.read_json(result)
    return ProxyResult(**row | {"curve": [(step, loss) for step, loss in row["curve"]]})


def _check(specs: Sequence[ProxySpec], cpus: float, gpus: float) -> None:
    for what, values in (("name", [s.name for s in specs]), ("folder", [s.config.folder for s in specs])):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InputError(f"two proxy runs have the {what} {twice!r}")
    if cpus <= 0 or gpus < 0:
        raise InputError(f"a proxy run needs more than 0 CPUs and at least 0 GPUs, got {cpus:g} and {gpus:g}")
