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
from training.loop.loader import Epoch, Loader, ReadAhead, make_loader
from training.loop.metrics import LossGuard, StepMetrics, mean_over_ranks
from training.loop.resume import begin
from training.observers.observer import Observer, ProgressBar, TrainLog
from training.observers.sequence_log import SequenceLog
from training.optimization.averagers import Averager
from training.optimization.step import StepLoss, TrainingState, apply_gradients, compute_gradients, evaluate_loss
from training.plan.config import TrainConfig
from training.plan.phase_plan import Phase
from training.state.checkpoint import CheckpointContent, RunProgress, delete_checkpoint, keep_only, save_checkpoint
from training.state.ranks import Ranks, check_equal, gather_json, true_everywhere, wait_for_all
from training.state.run_folder import CHECKPOINTS, DIVERGED_CHECKPOINTS, FAILED_CHECKPOINTS, ROLLING_CHECKPOINTS
from training.state.sharding import whole_optimizer_state, whole_state

#: Called after the last step of each epoch with the model and how far the run is; gives the evaluation's objects.
OnCheckpoint = Callable[[nn.Module, RunProgress], list[dict[str, Any]]]

WORST_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class _DoneStep:
    """The last step that was done and its learning rate; it is logged now or later."""

    step: int
    loss: StepLoss
    rate: float
    batch: Batch


@dataclass(kw_only=True)
class _TrainingRun:
    """What the loop carries from step to step."""

    config: TrainConfig
    ranks: Ranks
    state: TrainingState
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

    Args:
        sequences_per_epoch: sequences between two checkpoints.
        num_checkpoints: how often that many are read.
        global_batch_size: sequences per step, all processes together.

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
) -> RunProgress:
    """Train until the plan is done, continuing the latest checkpoint of `config.folder`; all ranks call it together.

    Args:
        on_checkpoint: gives the evaluation that the checkpoint stores; all ranks call it.
        observers: what looks on, on rank 0; by default the train log and a progress bar.

    Returns:
        How far the run has come: the progress of the final checkpoint.

    Raises:
        InputError: data, weights or batch sizes that can't be used.
        RunFailed: the loss diverged, ranks disagree, or too many epochs ran short of data.
    """
    config.check(ranks)
    loader = make_loader(config, ranks)
    state, averagers, progress = begin(config, ranks, loader)
    run = _TrainingRun(
        config=config,
        ranks=ranks,
        state=state,
        averagers=averagers,
        loader=loader,
        observers=_observers_of(ranks, observers),
        guard=LossGuard(config.max_loss_rise),
        sequences=SequenceLog(config.folder, ranks, progress.step, enabled=config.sequence_log),
    )
    for observer in run.observers:
        observer.on_start(config, ranks, progress)
    failure: BaseException | None = None
    try:
        progress = _run_epochs(run, progress, on_checkpoint)
    except BaseException as error:  # the run's boundary: observers hear of any end, Ctrl-C too, and it goes on up
        failure = error
        raise
    finally:
        for observer in run.observers:
            observer.on_end(None if failure else progress, failure)
    return progress


def _observers_of(ranks: Ranks, observers: Sequence[Observer] | None) -> list[Observer]:
    """Those that were given, or the usual ones; rank 0 alone is looked at."""
    if not ranks.leads:
        return []
    return [TrainLog(), ProgressBar()] if observers is None else list(observers)


def _run_epochs(run: _TrainingRun, progress: RunProgress, on_checkpoint: OnCheckpoint | None) -> RunProgress:
    """All epochs that are left, a checkpoint after each."""
    config = run.config
    short_epochs = 0
    while progress.step < run.total_steps:
        progress, enough = _run_epoch(run, progress)
        if on_checkpoint is not None:
            results = on_checkpoint(run.state.model, progress)
            progress = dataclasses.replace(progress, evaluation=results)
            for observer in run.observers:
                observer.on_evaluation(progress, results)
        due = progress.is_final or not enough or progress.epoch % config.save_frequency == 0
        if due or progress.epoch == config.num_checkpoints:
            _checkpoint(run, progress, failed=not enough)
        short_epochs += not enough
        if short_epochs > config.tolerate_num_checkpoints:
            raise RunFailed(
                f"epoch {progress.epoch} found fewer sequences than the index says ({progress.percentage_seen:.1f} % "
                "of its steps were done): some are missing or too short (see --data-tolerate-error-p)"
            )
    return progress


def _run_epoch(run: _TrainingRun, progress: RunProgress) -> tuple[RunProgress, bool]:
    """Train up to the next checkpoint: how far the run is then, and whether the epoch saw enough of its data."""
    config = run.config
    epoch = run.loader.epoch(progress.step, progress.epoch, progress.next_shards)
    check_equal(epoch.fingerprint, "the shards of the epoch", run.ranks)
    batch_size = run.phase(progress.step).global_batch_size
    with ReadAhead(epoch.batches, config.prefetch) as batches:
        step = _train_steps(run, epoch, batches, progress)
    done, final = step - progress.step, step >= run.total_steps
    after = RunProgress(
        epoch=progress.epoch + 1,
        step=step,
        samples_seen=progress.samples_seen + done * batch_size,
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


def _train_steps(run: _TrainingRun, epoch: Epoch, batches: ReadAhead, progress: RunProgress) -> int:
    """Train on the batches of an epoch, until a rank has none left or the run is complete; returns the next step."""
    config, ranks = run.config, run.ranks
    phase, (_, phase_start) = run.phase(progress.step), config.plan.locate(progress.step)
    metrics = StepMetrics(ranks, progress.step)
    run.state.model.train()
    step, unlogged = progress.step, None
    while step < run.total_steps:
        asked = time.perf_counter()
        batch = batches.next()
        metrics.add_seconds("data_time", time.perf_counter() - asked)
        if not (epoch.even or true_everywhere(batch is not None, ranks)) or batch is None:
            break
        logs = step % config.log_every == 0
        rate = phase.rate(step - phase_start)
        loss = _step(run, step, batch, phase, rate, metrics, measure=logs and config.log_logit_mean)
        unlogged = _DoneStep(step=step, loss=loss, rate=rate, batch=batch)
        if logs:
            _log(run, metrics, epoch, progress, unlogged)
            unlogged = None
        step += 1
        for observer in run.observers:
            observer.on_step(step - 1)
        if config.save_every and step % config.save_every == 0 and step - progress.step < epoch.steps:
            seen = progress.samples_seen + (step - progress.step) * phase.global_batch_size
            _roll(run, dataclasses.replace(progress, step=step, samples_seen=seen))
    if unlogged is not None:
        _log(run, metrics, epoch, progress, unlogged)
    return step


def _step(
    run: _TrainingRun, step: int, batch: Batch, phase: Phase, rate: float, metrics: StepMetrics, *, measure: bool
) -> StepLoss:
    """One optimizer step; the weights change only if its loss is sound.

    Raises:
        RunFailed: it is not; the state before the step is saved, with the names of the sequences.
    """
    loss = compute_gradients(run.state, batch, phase.domain_weights, measure_logits=measure)
    started = time.perf_counter()
    mean = mean_over_ranks(loss.entropy, run.ranks)
    # scaled fp16 gradients overflow now and then, and the scaler leaves such a step out
    norm = 0.0 if run.state.scaler.is_enabled() else float(loss.gradient_norm)
    metrics.add_seconds("sync_time", time.perf_counter() - started)
    problem = run.guard.problem(mean, norm)
    if problem is not None:
        raise _diverged(run, step, batch, loss, rate, problem)
    started = time.perf_counter()
    apply_gradients(run.state, rate)
    for averager in run.averagers:
        averager.step(run.state.model)
    metrics.add_seconds("optim_step_time", time.perf_counter() - started)
    metrics.add(loss, batch, mean)
    run.sequences.add(step, batch)
    return loss


def _log(run: _TrainingRun, metrics: StepMetrics, epoch: Epoch, progress: RunProgress, done: _DoneStep) -> None:
    """Hand the metrics of the steps up to `done` to the observers; all ranks call it."""
    config, step = run.config, done.step
    before = config.tokens_before(metrics.first_step)
    line = metrics.take_line(step, config.tokens_before(step + 1), before, done.loss, done.rate)
    line |= {"expected_steps_epoch": epoch.steps, "seen_steps_epoch": step + 1 - progress.step}
    if config.log_logit_mean:
        line["logit_mean"] = mean_over_ranks(done.loss.logit_mean, run.ranks)
    if config.log_average_every and step % config.log_average_every == 0:
        for averager in run.averagers:
            with averager.in_place_of(run.state.model):
                line[f"{averager.name}_loss"] = mean_over_ranks(evaluate_loss(run.state, done.batch), run.ranks)
    for observer in run.observers:
        observer.on_log(line)


def _checkpoint(run: _TrainingRun, progress: RunProgress, *, failed: bool) -> None:
    """Write the epoch's checkpoint, then remove the one before it and the rolling one."""
    config = run.config
    folder = storage.join(config.folder, FAILED_CHECKPOINTS if failed else CHECKPOINTS)
    run.sequences.flush()
    url = _save(run, folder, progress, progress.epoch)
    if run.ranks.leads:
        if not config.keep_checkpoints:
            delete_checkpoint(folder, progress.epoch - config.save_frequency, config.averagers)
        if not failed:
            keep_only(storage.join(config.folder, ROLLING_CHECKPOINTS))
        for observer in run.observers:
            observer.on_checkpoint(url, progress)
    wait_for_all(run.ranks)


def _roll(run: _TrainingRun, progress: RunProgress) -> None:
    """Write the rolling checkpoint, then remove the one before it."""
    folder = storage.join(run.config.folder, ROLLING_CHECKPOINTS)
    run.sequences.flush()
    _save(run, folder, progress, progress.step)
    if run.ranks.leads:
        keep_only(folder, progress.step)
    wait_for_all(run.ranks)


def _save(run: _TrainingRun, folder: str, progress: RunProgress, number: int) -> str:
    """Gather the state of all ranks and let rank 0 write it; all ranks call it. Returns the URL of the weights."""
    state, ranks, config = run.state, run.ranks, run.config
    weights = whole_state(state.model, ranks)
    optimizer = whole_optimizer_state(state.model, state.optimizer, ranks)
    averagers = {averager.name: averager.to_file(ranks) for averager in run.averagers}
    if not ranks.leads:
        return ""
    content = CheckpointContent(
        name=config.name,
        seed=config.seed,
        progress=progress,
        weights=weights,
        optimizer=optimizer,
        scaler=state.scaler.state_dict() if state.scaler.is_enabled() else None,
        averagers=averagers,
    )
    return save_checkpoint(folder, content, number)


def _diverged(run: _TrainingRun, step: int, batch: Batch, loss: StepLoss, rate: float, problem: str) -> RunFailed:
    """Save the state before the step and each rank's sequences; gives the error that names them."""
    config, ranks = run.config, run.ranks
    folder = storage.join(config.folder, DIVERGED_CHECKPOINTS)
    url = _save(run, folder, RunProgress(step=step), step)
    means_B = (loss.row_losses_B / loss.row_tokens_B.clamp(min=1)).nan_to_num(nan=torch.inf).tolist()
    rows = zip(means_B, batch.origins, strict=True)
    of_rank = [{"loss": str(mean), "shard": origin.shard, "row": origin.row} for mean, origin in rows]
    sequences = [row for rows_of_rank in gather_json(of_rank, ranks) for row in rows_of_rank]
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
