"""The training loop: steps, checkpoints, and what happens when a loss is not a number.

Follows OpenLM's loop: epochs (the data between two checkpoints) until `total_steps`, a checkpoint after each, a
tolerance for epochs that run short of data. Departs from it in that a resumed run gives the weights of an undisturbed
one, bit for bit on CPU; in that the tolerance counts only data that the index promised, not what unequal shards leave
over; in that a loss is looked at before it changes the weights; and in the log, which is JSON lines.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from corpusmith.errors import InputError, RunFailed
from corpusmith.io import storage
from training.data.batch import Batch
from training.data.loader import Epoch, Loader, ReadAhead, make_loader
from training.loop.checkpoint import (
    CHECKPOINTS,
    DIVERGED_CHECKPOINTS,
    FAILED_CHECKPOINTS,
    ROLLING_CHECKPOINTS,
    TrainState,
    delete_checkpoint,
    keep_only,
    save_checkpoint,
)
from training.loop.metrics import LossGuard, Meter, mean_over_ranks
from training.loop.ranks import Ranks, check_equal, gather_json, true_everywhere, wait_for_all
from training.loop.resume import begin
from training.loop.sharding import whole_optimizer_state, whole_state
from training.observers.observer import Observer, ProgressBar, TrainLog
from training.observers.sequence_log import SequenceLog
from training.optimization.averagers import Averager
from training.optimization.step import StepLoss, Trainer, apply_gradients, compute_gradients, evaluate_loss
from training.plan.config import TrainConfig
from training.plan.phase_plan import Phase

#: Called after the last step of each epoch with the model and the state; gives the evaluation's objects.
OnCheckpoint = Callable[[nn.Module, TrainState], list[dict[str, Any]]]

WORST_ROWS = 8


@dataclass(kw_only=True)
class _Run:
    """What the loop carries from step to step."""

    config: TrainConfig
    ranks: Ranks
    trainer: Trainer
    averagers: list[Averager]
    loader: Loader
    observers: list[Observer]
    guard: LossGuard
    sequences: SequenceLog

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return self.config.plan.total_steps

    def phase(self, step: int) -> Phase:
        """The phase of a step."""
        return self.config.plan.phases[self.config.plan.locate(step)[0]]


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


def train(
    config: TrainConfig,
    ranks: Ranks,
    on_checkpoint: OnCheckpoint | None = None,
    observers: Sequence[Observer] | None = None,
) -> TrainState:
    """Train until the plan is done, continuing the latest checkpoint of `config.folder`; all ranks call it together.

    Args:
        on_checkpoint: gives the evaluation that the checkpoint stores; all ranks call it.
        observers: what looks on, on rank 0; by default the train log and a progress bar.

    Returns:
        The state of the final checkpoint.

    Raises:
        InputError: data, weights or batch sizes that can't be used.
        RunFailed: the loss diverged, ranks disagree, or too many epochs ran short of data.
    """
    config.check(ranks)
    loader = make_loader(config, ranks)
    trainer, averagers, state = begin(config, ranks, loader)
    watching = [TrainLog(), ProgressBar()] if observers is None else list(observers)
    run = _Run(
        config=config,
        ranks=ranks,
        trainer=trainer,
        averagers=averagers,
        loader=loader,
        observers=watching if ranks.leads else [],
        guard=LossGuard(config.max_loss_rise),
        sequences=SequenceLog(config.folder, ranks, state.step, enabled=config.sequence_log),
    )
    for observer in run.observers:
        observer.on_start(config, ranks, state)
    failure: BaseException | None = None
    try:
        state = _run_epochs(run, state, on_checkpoint)
    except BaseException as error:
        failure = error
        raise
    finally:
        for observer in run.observers:
            observer.on_end(None if failure else state, failure)
    return state


def _run_epochs(run: _Run, state: TrainState, on_checkpoint: OnCheckpoint | None) -> TrainState:
    """All epochs that are left, a checkpoint after each."""
    config = run.config
    short_epochs = 0
    while state.step < run.total_steps:
        state, enough = _run_epoch(run, state)
        if on_checkpoint is not None:
            results = on_checkpoint(run.trainer.model, state)
            state = dataclasses.replace(state, evaluation=results)
            for observer in run.observers:
                observer.on_evaluation(state, results)
        due = state.is_final or not enough or state.epoch % config.save_frequency == 0
        if due or state.epoch == config.num_checkpoints:
            _checkpoint(run, state, failed=not enough)
        short_epochs += not enough
        if short_epochs > config.tolerate_num_checkpoints:
            raise RunFailed(
                f"epoch {state.epoch} found fewer sequences than the index says ({state.percentage_seen:.1f} % "
                "of its steps were done): some are missing or too short (see --data-tolerate-error-p)"
            )
    return state


def _run_epoch(run: _Run, state: TrainState) -> tuple[TrainState, bool]:
    """Train up to the next checkpoint: the state there, and whether the epoch saw enough of its data."""
    config = run.config
    epoch = run.loader.epoch(state.step, state.epoch, state.next_shards)
    check_equal(epoch.fingerprint, "the shards of the epoch", run.ranks)
    batch_size = run.phase(state.step).global_batch_size
    with ReadAhead(epoch.batches, config.prefetch) as batches:
        step = _train_steps(run, epoch, batches, state)
    done, final = step - state.step, step >= run.total_steps
    after = TrainState(
        epoch=state.epoch + 1,
        step=step,
        samples_seen=state.samples_seen + done * batch_size,
        next_shards=epoch.next_shards,
        is_final=final,
        percentage_seen=100.0 * done / epoch.nominal_steps,
        shards=epoch.description,
    )
    for observer in run.observers:
        observer.on_epoch(
            {
                "epoch": after.epoch,
                "step": step,
                "tokens": config.tokens_before(step),
                "percentage_of_data_seen": after.percentage_seen,
                "next_shard_per_source": list(after.next_shards),
            }
        )
    return after, final or done >= (1 - config.tolerate_error_p) * epoch.steps


def _train_steps(run: _Run, epoch: Epoch, batches: ReadAhead, state: TrainState) -> int:
    """Train on the batches of an epoch, until a rank has none left or the run is complete; returns the next step."""
    config, ranks = run.config, run.ranks
    phase, (_, phase_start) = run.phase(state.step), config.plan.locate(state.step)
    meter = Meter(ranks, state.step)
    run.trainer.model.train()
    step, last = state.step, None
    while step < run.total_steps:
        asked = time.perf_counter()
        batch = batches.next()
        meter.add_seconds("data_time", time.perf_counter() - asked)
        if not (epoch.even or true_everywhere(batch is not None, ranks)) or batch is None:
            break
        logs = step % config.log_every == 0
        rate = phase.rate(step - phase_start)
        loss = _step(run, step, batch, phase, rate, meter, measure=logs and config.log_logit_mean)
        last = (step, loss, rate, batch)
        if logs:
            _log(run, meter, epoch, state, last)
            last = None
        step += 1
        for observer in run.observers:
            observer.on_step(step - 1)
        if config.save_every and step % config.save_every == 0 and step - state.step < epoch.steps:
            _roll(run, dataclasses.replace(
                state, step=step, samples_seen=state.samples_seen + (step - state.step) * phase.global_batch_size
            ))  # fmt: skip
    if last is not None:
        _log(run, meter, epoch, state, last)
    return step


def _step(run: _Run, step: int, batch: Batch, phase: Phase, rate: float, meter: Meter, *, measure: bool) -> StepLoss:
    """One optimizer step; the weights change only if its loss is sound.

    Raises:
        RunFailed: it is not; the state before the step is saved, with the names of the sequences.
    """
    loss = compute_gradients(run.trainer, batch, phase.domain_weights, measure_logits=measure)
    started = time.perf_counter()
    mean = mean_over_ranks(loss.entropy, run.ranks)
    # scaled fp16 gradients overflow now and then, and the scaler leaves such a step out
    norm = 0.0 if run.trainer.scaler.is_enabled() else float(loss.gradient_norm)
    meter.add_seconds("sync_time", time.perf_counter() - started)
    problem = run.guard.problem(mean, norm)
    if problem is not None:
        raise _diverged(run, step, batch, loss, rate, problem)
    started = time.perf_counter()
    apply_gradients(run.trainer, rate)
    for averager in run.averagers:
        averager.step(run.trainer.model)
    meter.add_seconds("optim_step_time", time.perf_counter() - started)
    meter.add(loss, batch, mean)
    run.sequences.add(step, batch)
    return loss


def _log(run: _Run, meter: Meter, epoch: Epoch, state: TrainState, last: tuple[int, StepLoss, float, Batch]) -> None:
    """Hand the metrics of the last steps to the observers; all ranks call it."""
    step, loss, rate, batch = last
    config = run.config
    before = config.tokens_before(meter.first_step)
    metrics = meter.metrics(step, config.tokens_before(step + 1), before, loss, rate)
    metrics |= {"expected_steps_epoch": epoch.steps, "seen_steps_epoch": step + 1 - state.step}
    if config.log_logit_mean:
        metrics["logit_mean"] = mean_over_ranks(loss.logit_mean, run.ranks)
    if config.log_average_every and step % config.log_average_every == 0:
        for averager in run.averagers:
            with averager.in_place_of(run.trainer.model):
                metrics[f"{averager.name}_loss"] = mean_over_ranks(evaluate_loss(run.trainer, batch), run.ranks)
    for observer in run.observers:
        observer.on_log(metrics)


def _checkpoint(run: _Run, state: TrainState, *, failed: bool) -> None:
    """Write the epoch's checkpoint, then remove the one before it and the rolling one."""
    config = run.config
    folder = storage.join(config.folder, FAILED_CHECKPOINTS if failed else CHECKPOINTS)
    run.sequences.flush()
    url = _save(run, folder, state, state.epoch)
    if run.ranks.leads:
        if not config.keep_checkpoints:
            delete_checkpoint(folder, state.epoch - config.save_frequency, config.averagers)
        if not failed:
            keep_only(storage.join(config.folder, ROLLING_CHECKPOINTS))
        for observer in run.observers:
            observer.on_checkpoint(url, state)
    wait_for_all(run.ranks)


def _roll(run: _Run, state: TrainState) -> None:
    """Write the rolling checkpoint, then remove the one before it."""
    folder = storage.join(run.config.folder, ROLLING_CHECKPOINTS)
    run.sequences.flush()
    _save(run, folder, state, state.step)
    if run.ranks.leads:
        keep_only(folder, state.step)
    wait_for_all(run.ranks)


def _save(run: _Run, folder: str, state: TrainState, number: int) -> str:
    """Gather the state of all ranks and let rank 0 write it; all ranks call it. Returns the URL of the weights."""
    trainer, ranks, config = run.trainer, run.ranks, run.config
    weights = whole_state(trainer.model, ranks)
    optimizer = whole_optimizer_state(trainer.model, trainer.optimizer, ranks)
    averagers = {averager.name: averager.to_file(ranks) for averager in run.averagers}
    if not ranks.leads:
        return ""
    scaler = trainer.scaler.state_dict() if trainer.scaler.is_enabled() else None
    return save_checkpoint(
        folder, config.name, config.seed, state, weights=weights, optimizer=optimizer, scaler=scaler,
        averagers=averagers, number=number,
    )  # fmt: skip


def _diverged(run: _Run, step: int, batch: Batch, loss: StepLoss, rate: float, problem: str) -> RunFailed:
    """Save the state before the step and each rank's sequences; gives the error that names them."""
    config, ranks = run.config, run.ranks
    folder = storage.join(config.folder, DIVERGED_CHECKPOINTS)
    state = TrainState(step=step)
    url = _save(run, folder, state, step)
    means_B = (loss.row_losses_B / loss.row_tokens_B.clamp(min=1)).nan_to_num(nan=torch.inf).tolist()
    rows = zip(means_B, batch.origins, strict=True)
    own = [{"loss": str(mean), "shard": origin.shard, "row": origin.row} for mean, origin in rows]
    sequences = [row for part in gather_json(own, ranks) for row in part]
    sequences.sort(key=lambda row: -float(row["loss"]))
    report = storage.join(folder, f"step_{step}.json")
    if ranks.leads:
        document = {"step": step, "problem": problem, "lr": rate, "gradient_norm": str(float(loss.gradient_norm))}
        document |= {"recent_losses": run.guard.recent, "sequences": sequences}
        storage.write_json(report, document, indent=2)
    names = ", ".join(f"{row['shard']}#{row['row']}" for row in sequences[:WORST_ROWS])
    return RunFailed(
        f"{problem} at step {step} (learning rate {rate:.3g}); the state before it is {url or folder}, its sequences "
        f"are named in {report}, those with the highest loss first: {names}; lower --lr, use a longer --warmup, or "
        "look at these sequences"
    )
