"""The phase plan: which data a run reads for how long, under which learning rate, towards which objective.

A plan is a list of phases that follow one another; a plain run is a plan of one. Recipes above (pre-training,
mid-training, decay) compile to it; `training.plan.phase_plan_yaml` reads it from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corpusmith.errors import InputError, did_you_mean
from training.optimization.schedule import Schedule, rate_at

#: Objective name to what it trains.
OBJECTIVES = {"clm": "each token from the tokens before it"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """Token shards that a phase reads: the URL of their index, and their share of the sequences.

    `data_key` is for webdataset members; None means what a reference says, else `json.gz`. `domain` names the domain
    of sequences that name none themselves.
    """

    url: str
    weight: float = 1.0
    data_key: str | None = None
    domain: str = ""

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"a weight must be above 0, got {self.weight}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One phase: `steps` optimizer steps of `global_batch_size` sequences of `seq_len` tokens (None: the model's).

    `schedule` counts from the phase's start; rates are at least `min_rate`. `checkpoints` are spread evenly, the last
    at the end. `domain_weights` are factors of the loss of sequences by domain, 1 where none is given. With
    `multiple_passes` a source that runs out is read again in another order.
    """

    name: str
    data: tuple[DataSource, ...]
    steps: int
    global_batch_size: int
    schedule: Schedule
    seq_len: int | None = None
    objective: str = "clm"
    checkpoints: int = 1
    multiple_passes: bool = False
    min_rate: float = 0.0
    domain_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            hint = did_you_mean(self.objective, OBJECTIVES) or f"; known: {', '.join(OBJECTIVES)}"
            raise InputError(f"phase {self.name!r}: unknown objective {self.objective!r}{hint}")
        if min(self.steps, self.global_batch_size, self.checkpoints) < 1 or not self.data or not self.schedule:
            raise InputError(
                f"phase {self.name!r} needs data, a learning rate, and at least 1 step, sequence and checkpoint"
            )
        if any(weight < 0 for weight in self.domain_weights.values()):
            raise InputError(f"phase {self.name!r}: weights of domains must be at least 0")

    def rate(self, step: int) -> float:
        """The learning rate of step `step` of the phase, from 0."""
        return max(rate_at(self.schedule, step), self.min_rate)

    def checkpoint_steps(self) -> list[int]:
        """After how many steps of the phase its checkpoints are written."""
        return sorted({(index + 1) * self.steps // self.checkpoints for index in range(self.checkpoints)} - {0})


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasePlan:
    """Phases in order."""

    phases: tuple[Phase, ...]

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def locate(self, step: int) -> tuple[int, int]:
        """Index of the phase that optimizer step `step` belongs to, and the step where that phase starts.

        The step after the last one belongs to the last phase.
        """
        start = 0
        for index, phase in enumerate(self.phases):
            if step < start + phase.steps or index == len(self.phases) - 1:
                return index, start
            start += phase.steps
        raise InputError("a phase plan needs at least one phase")

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step `step`, from 0."""
        index, start = self.locate(step)
        return self.phases[index].rate(step - start)
