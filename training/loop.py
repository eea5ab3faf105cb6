"""The training loop: one step, one epoch (the data between two checkpoints), a whole run with resume.

Follows OpenLM's loop: epochs of fresh shards until `total_steps`, micro-batches weighted by their sequences, a
checkpoint after each epoch, resume from the latest one at epoch granularity, a tolerance for epochs that run short of
data. Departs from it in that a resumed run gives the weights of an undisturbed one, because nothing random outlives
an epoch; in that the tolerance counts only data that the manifest promised, not what unequal shards leave over; and in
the log, which is JSON lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor, nn

from corpusmith.errors import InputError, RunFailed
from corpusmith.io import storage, wds
from corpusmith.io.wds import ManifestEntry
from corpusmith.run.progress import Tracker, say, track
from corpusmith.seeds import stable_hash
from training.checkpoint import (
    CHECKPOINTS,
    FAILED_CHECKPOINTS,
    PARAMS_NAME,
    TrainState,
    delete_checkpoint,
    latest_checkpoint,
    load_into,
    load_optimizer_state,
    load_state,
    load_weights,
    save_checkpoint,
    write_model_config,
)
from training.distributed import Ranks, check_equal, sum_over_ranks, true_everywhere, wait_for_all, wrap_model
from training.loader import Batch, BatchSpec, epoch_batches, nominal_steps, possible_steps, select_shards
from training.model import Transformer
from training.model_config import ModelConfig
from training.params import params_text
from training.recipe import (
    Recipe,
    autocast,
    clip_gradients,
    language_model_loss,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)

TRAIN_LOG = "train_log.jsonl"

#: Called after the last step of each epoch with the model and the state; gives the evaluation's objects.
OnCheckpoint = Callable[[Transformer, TrainState], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run, as the loop needs it.

    `folder` is the experiment's folder; `global_batch_size` and `sequences_per_epoch` count sequences;
    `accumulation` is the number of micro-batches per step; `num_checkpoints` and `total_steps` (in the recipe) say
    how long to train; `params` are the further lines of `params.txt`.
    """

    name: str
    folder: str
    model: ModelConfig
    recipe: Recipe
    manifest_urls: list[str]
    data_key: str
    global_batch_size: int
    accumulation: int
    sequences_per_epoch: int
    num_checkpoints: int
    seed: int
    workers: int = 2
    precision: str = "fp32"
    multiple_passes: bool = False
    grad_checkpointing: bool = False
    compile: bool = False
    pretrained: str | None = None
    log_every: int = 20
    tolerate_error_p: float = 0.09
    tolerate_num_checkpoints: int = 0
    keep_checkpoints: bool = False
    params: dict[str, Any] = field(default_factory=dict)

    def batch_spec(self, ranks: Ranks) -> BatchSpec:
        """How this rank batches its sequences."""
        return BatchSpec(
            seq_len=self.model.seq_len,
            vocab_size=self.model.vocab_size,
            batch_size=self.global_batch_size // ranks.world_size,
            rank=ranks.rank,
            world_size=ranks.world_size,
            workers=self.workers,
            data_key=self.data_key,
        )


@dataclass(kw_only=True)
class Trainer:
    """What a step changes, and what it runs on; `network` is `model`, compiled or wrapped for several ranks."""

    config: TrainConfig
    ranks: Ranks
    model: Transformer
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def total_steps(sequences_per_epoch: int, num_checkpoints: int, global_batch_size: int) -> int:
    """Optimizer steps of a run.

    Raises:
        InputError: not even one.
    """
    steps = sequences_per_epoch * num_checkpoints // global_batch_size
    if steps == 0:
        raise InputError(
            f"{sequences_per_epoch * num_checkpoints} sequences make no step of {global_batch_size}; "
            "use more tokens or a smaller --global-bs"
        )
    return steps


def train(config: TrainConfig, ranks: Ranks, on_checkpoint: OnCheckpoint | None = None) -> TrainState:
    """Train until `total_steps`, continuing the latest checkpoint of `config.folder`; all ranks call it together.

    Returns:
        The state of the final checkpoint.

    Raises:
        InputError: data, weights or batch sizes that can't be used.
        RunFailed: the loss became NaN, ranks disagree, or too many epochs ran short of data.
    """
    _check_batches(config, ranks)
    trainer, state = _prepare(config, ranks)
    data = [wds.read_manifest(url) for url in config.manifest_urls]
    state = state if state.next_shards else dataclasses.replace(state, next_shards=[0] * len(data))
    short_epochs = 0
    with _progress(config, state, ranks) as progress:
        while state.step < config.recipe.total_steps:
            state, enough = _run_epoch(trainer, data, state, progress)
            if on_checkpoint is not None:
                state = dataclasses.replace(state, evaluation=on_checkpoint(trainer.model, state))
            _save(trainer, state, failed=not enough)
            short_epochs += not enough
            if short_epochs > config.tolerate_num_checkpoints:
                raise RunFailed(
                    f"epoch {state.epoch} found fewer sequences than the manifest says ({state.percentage_seen:.1f} % "
                    "of its steps were done): some are missing or too short (see --data-tolerate-error-p)"
                )
    return state


def _run_epoch(
    trainer: Trainer, data: list[list[ManifestEntry]], state: TrainState, progress: Tracker | None
) -> tuple[TrainState, bool]:
    """Choose the shards of an epoch and train on them: the state after it, and whether it saw enough of its data."""
    config, ranks = trainer.config, trainer.ranks
    spec = config.batch_spec(ranks)
    folders = [storage.parent(url) for url in config.manifest_urls]
    chosen = select_shards(
        data, config.sequences_per_epoch, state.next_shards, workers=config.workers, world_size=ranks.world_size,
        seed=config.seed, multiple_passes=config.multiple_passes,
    )  # fmt: skip
    check_equal(stable_hash(repr(chosen)), "the shards of the epoch", ranks)
    expected = possible_steps(chosen, spec)
    batches = epoch_batches(folders, chosen, spec, seed=config.seed, epoch=state.epoch)
    step = _train_epoch(trainer, batches, state.step, progress)
    done, final = step - state.step, step >= config.recipe.total_steps
    after = TrainState(
        epoch=state.epoch + 1,
        step=step,
        samples_seen=state.samples_seen + done * config.global_batch_size,
        next_shards=chosen.next_shards,
        is_final=final,
        percentage_seen=100.0 * done / nominal_steps(chosen, spec),
        shards=" ".join(shard_expression(*pair) for pair in zip(folders, chosen.shards, strict=True)),
    )
    return after, final or done >= (1 - config.tolerate_error_p) * expected


def train_step(trainer: Trainer, batch: Batch, step: int) -> Tensor:
    """One optimizer step on this rank's batch; returns the batch's mean cross entropy in nats, without z-loss."""
    config, device = trainer.config, trainer.ranks.device
    set_learning_rate(trainer.optimizer, learning_rate(config.recipe, step))
    trainer.optimizer.zero_grad(set_to_none=True)
    x_BT, y_BT = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in batch)
    micro = len(x_BT) // config.accumulation
    entropy = torch.zeros((), device=device)
    for start in range(0, len(x_BT), micro):
        share = micro / len(x_BT)
        last = start + micro == len(x_BT)
        with _gradient_sync(trainer.network, last):
            with autocast(config.precision, device):
                logits_BTV = trainer.network(x_BT[start : start + micro])[0]
            loss, part = language_model_loss(logits_BTV, y_BT[start : start + micro], config.recipe.z_loss)
            trainer.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        entropy += part.detach() * share
    trainer.scaler.unscale_(trainer.optimizer)
    clip_gradients(trainer.model.parameters(), config.recipe.clip_norm)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    return entropy


def make_trainer(config: TrainConfig, ranks: Ranks, weights: dict[str, Tensor] | None = None, url: str = "") -> Trainer:
    """Build model, optimizer and scaler; `weights`, from `url`, replace the initial ones."""
    _seed_all(config.seed)
    model = Transformer(config.model, config.grad_checkpointing)
    if weights is not None:
        load_into(model, weights, url)
    model.to(ranks.device).train()
    network: Any = torch.compile(model) if config.compile else model
    return Trainer(
        config=config,
        ranks=ranks,
        model=model,
        network=wrap_model(network, ranks),
        optimizer=make_optimizer(model, config.recipe),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=config.precision == "amp"),
    )


def _prepare(config: TrainConfig, ranks: Ranks) -> tuple[Trainer, TrainState]:
    """Fresh, pretrained or resumed; rank 0 writes `params.txt` before any weights are loaded."""
    checkpoints = storage.join(config.folder, CHECKPOINTS)
    resumed = latest_checkpoint(checkpoints)
    check_equal(stable_hash(resumed or ""), "the checkpoints to resume from", ranks)
    if ranks.leads:
        _write_params(config, ranks, resumed)
    if resumed is None:
        weights = None if config.pretrained is None else load_weights(config.pretrained)
        trainer, state = make_trainer(config, ranks, weights, config.pretrained or ""), TrainState()
    else:
        state, weights = load_state(resumed, config.seed)
        trainer = make_trainer(config, ranks, weights, resumed)
        stored = load_optimizer_state(resumed)
        trainer.optimizer.load_state_dict(stored["optimizer"])
        if "scaler" in stored:
            trainer.scaler.load_state_dict(stored["scaler"])
        if ranks.leads:
            say(f"continuing {config.name} at step {state.step} from {resumed}")
    if ranks.leads:
        _cut_log(storage.join(config.folder, TRAIN_LOG), state.step)
    return trainer, state


def _train_epoch(trainer: Trainer, batches: Iterator[Batch], step: int, progress: Tracker | None) -> int:
    """Train on the batches of an epoch, until a rank has none left or the run is complete; returns the next step."""
    config, ranks = trainer.config, trainer.ranks
    log = _TrainLog(trainer, step)
    trainer.model.train()
    unlogged: Tensor | None = None
    while step < config.recipe.total_steps:
        batch = next(batches, None)
        if not true_everywhere(batch is not None, ranks) or batch is None:
            break
        unlogged = train_step(trainer, batch, step)
        if step % config.log_every == 0:
            log.write(step, unlogged)
            unlogged = None
        step += 1
        if progress is not None:
            progress.advance(1)
    if unlogged is not None:  # the last step is always looked at, so that no checkpoint holds NaN unnoticed
        log.write(step - 1, unlogged)
    return step


class _TrainLog:
    """Lines of the train log: step, loss (mean over ranks), lr, tokens so far, tokens per second since the last."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self._config, self._ranks = trainer.config, trainer.ranks
        self._path = storage.join(trainer.config.folder, TRAIN_LOG)
        self._step, self._time = step, time.perf_counter()

    def write(self, step: int, entropy: Tensor) -> None:
        """Log the step that was just done; all ranks call it.

        Raises:
            RunFailed: the loss is NaN.
        """
        loss = sum_over_ranks(entropy, self._ranks).item() / self._ranks.world_size
        if math.isnan(loss):
            raise RunFailed(f"the loss became NaN at step {step}; lower --lr, or use a longer --warmup")
        now = time.perf_counter()
        tokens_per_step = self._config.global_batch_size * self._config.model.seq_len
        done = step + 1 - self._step
        if self._ranks.leads:
            row = {
                "step": step,
                "loss": loss,
                "lr": learning_rate(self._config.recipe, step),
                "tokens": (step + 1) * tokens_per_step,
                "tokens_per_second": done * tokens_per_step / max(now - self._time, 1e-9),
            }
            storage.append_bytes(self._path, orjson.dumps(row) + b"\n")
        self._step, self._time = step + 1, now


def shard_expression(folder: str, shards: list[str]) -> str:
    """`folder/{a,b}.tar`, or `folder/a.tar` for one shard."""
    names = shards[0] if len(shards) == 1 else "{" + ",".join(shards) + "}"
    return storage.join(folder, f"{names}.tar")


def _save(trainer: Trainer, state: TrainState, *, failed: bool) -> None:
    """Write the epoch's checkpoint on rank 0, then remove the one before it."""
    config = trainer.config
    if trainer.ranks.leads:
        folder = storage.join(config.folder, FAILED_CHECKPOINTS if failed else CHECKPOINTS)
        scaler = trainer.scaler.state_dict() if trainer.scaler.is_enabled() else None
        save_checkpoint(folder, config.name, config.seed, state, trainer.model, trainer.optimizer, scaler)
        if not config.keep_checkpoints:
            delete_checkpoint(folder, state.epoch - 1)
    wait_for_all(trainer.ranks)


def _check_batches(config: TrainConfig, ranks: Ranks) -> None:
    """Refuse batch sizes that don't divide."""
    if config.global_batch_size % ranks.world_size:
        raise InputError(f"--global-bs {config.global_batch_size} is no multiple of {ranks.world_size} processes")
    batch = config.global_batch_size // ranks.world_size
    if batch % config.accumulation:
        raise InputError(f"--acc {config.accumulation} does not divide the {batch} sequences of each process")
    if config.workers < 0 or config.log_every < 1:
        raise InputError("--workers must be at least 0 and --log-every at least 1")


def _write_params(config: TrainConfig, ranks: Ranks, resumed: str | None) -> None:
    """`params.txt` and the model's config, rewritten at each start."""
    filled = {
        "name": config.name,
        "resume": resumed,
        "vocab_size": config.model.vocab_size,
        "seq_len": config.model.seq_len,
        "per_gpu_batch_size": config.global_batch_size // ranks.world_size,
        "world_size": ranks.world_size,
        "rank": ranks.rank,
        "device": str(ranks.device),
        "distributed": ranks.world_size > 1,
        "checkpoint_path": storage.join(config.folder, CHECKPOINTS),
        "log_path": storage.join(config.folder, TRAIN_LOG),
    }
    storage.write_bytes(storage.join(config.folder, PARAMS_NAME), params_text(config.params | filled).encode())
    write_model_config(config.folder, config.model)


def _cut_log(path: str, step: int) -> None:
    """Drop the lines of steps that will be done again; a line that a kill cut short goes too."""
    kept = []
    for line in storage.read_bytes(path).splitlines() if storage.exists(path) else []:
        try:
            if orjson.loads(line)["step"] < step:
                kept.append(line + b"\n")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
    storage.write_bytes(path, b"".join(kept))


def _seed_all(seed: int) -> None:
    """Torch, numpy and Python all get the seed, so that every rank draws the same initial weights."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _gradient_sync(network: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Gradients are averaged over ranks in the last micro-batch only."""
    if not last and isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


@contextlib.contextmanager
def _progress(config: TrainConfig, state: TrainState, ranks: Ranks) -> Iterator[Tracker | None]:
    """A progress bar on rank 0, over the steps still to do."""
    if not ranks.leads:
        yield None
        return
    with track(config.recipe.total_steps - state.step, "training", "steps") as tracker:
        yield tracker
