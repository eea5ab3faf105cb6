"""A run, as the loop needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from corpusmith.errors import InputError
from training.data.batch import BatchSpec
from training.data.masking import TargetMask
from training.models.config import ModelConfig
from training.optimization.step import StepConfig
from training.plan.choices import GLOBAL_ORDER, OPENLM_ORDER, ORDERS
from training.plan.phase_plan import Phase, PhasePlan
from training.state.ranks import Ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run.

    `folder` is the experiment's folder. `order` is the order of the sequences: `global` (position p is the same
    sequence for any number of processes) or `openlm` (shards are dealt out to readers); `window_shards` is how many
    shards `global` shuffles together; `sequences_per_epoch` is what `openlm` reads between two checkpoints. `workers`
    counts reader threads (`global`) or reader streams (`openlm`) of each rank. `save_every` writes a further, rolling
    checkpoint every so many steps (0: none). `max_loss_rise` (nats above the mean of recent steps) ends the run.
    `average` names weights to start from the weighted sum of. `params` are the further lines of `params.txt`.
    """

    name: str
    folder: str
    model: ModelConfig
    step: StepConfig
    plan: PhasePlan
    seed: int
    order: str = GLOBAL_ORDER
    window_shards: int = 4
    sequences_per_epoch: int = 0
    workers: int = 2
    prefetch: int = 4
    mask: TargetMask | None = None
    pretrained: str | None = None
    load_pretrained_state: bool = False
    average: tuple[tuple[str, float], ...] = ()
    resume: str | None = "latest"
    averagers: tuple[str, ...] = ()
    log_average_every: int = 0
    log_every: int = 20
    log_logit_mean: bool = False
    sequence_log: bool = True
    save_every: int = 0
    save_frequency: int = 1
    tolerate_error_p: float = 0.09
    tolerate_num_checkpoints: int = 0
    keep_checkpoints: bool = False
    max_loss_rise: float = 5.0
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def num_checkpoints(self) -> int:
        """Checkpoints that the plan asks for."""
        return sum(phase.checkpoints for phase in self.plan.phases)

    def tokens_before(self, step: int) -> int:
        """Tokens of all steps before `step`."""
        tokens = 0
        for phase in self.plan.phases:
            done = min(step, phase.steps)
            tokens += done * phase.global_batch_size * (phase.seq_len or self.model.seq_len)
            step -= done
        return tokens

    def batch_spec(self, ranks: Ranks, phase: Phase | None = None) -> BatchSpec:
        """How this rank batches its sequences in a phase (by default the first)."""
        phase = phase or self.plan.phases[0]
        return BatchSpec(
            seq_len=phase.seq_len or self.model.seq_len,
            vocab_size=self.model.vocab_size,
            batch_size=phase.global_batch_size // ranks.world_size,
            rank=ranks.rank,
            world_size=ranks.world_size,
            workers=self.workers,
            mask=self.mask,
        )

    def check(self, ranks: Ranks) -> None:
        """Refuse sizes that do not fit each other or the number of processes.

        Raises:
            InputError: naming the flag.
        """
        for phase in self.plan.phases:
            if phase.global_batch_size % ranks.world_size:
                raise InputError(
                    f"--global-bs {phase.global_batch_size} is no multiple of {ranks.world_size} processes"
                )
            batch = phase.global_batch_size // ranks.world_size
            if self.step.accumulation < 1 or batch % self.step.accumulation:
                raise InputError(
                    f"--acc {self.step.accumulation} does not divide the {batch} sequences of each process"
                )
        if self.order not in ORDERS:
            raise InputError(f"unknown order of the data {self.order!r}; known: {', '.join(ORDERS)}")
        if self.order == OPENLM_ORDER and (len(self.plan.phases) > 1 or self.sequences_per_epoch < 1):
            raise InputError("the order 'openlm' knows one phase, with a number of sequences per epoch")
        if self.order == OPENLM_ORDER and self.save_every:
            raise InputError("--save-every needs the order 'global': 'openlm' goes on at checkpoints only")
        if self.workers < 0 or self.log_every < 1 or self.window_shards < 1 or self.save_every < 0:
            raise InputError("--workers must be at least 0, --log-every and --window-shards at least 1")
