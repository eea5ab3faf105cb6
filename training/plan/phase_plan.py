"""The phase plan: which data a run reads for how long, under which learning rate, towards which objective.

A plan is a list of phases that follow one another; a plain run is a plan of one. Recipes above (pre-training,
mid-training, decay) compile to it, and `load_phase_plan` reads one from YAML:

    phases:
      - name: stable
        tokens: 20e9                    # or steps
        global_batch_size: 512          # sequences
        data:
          - {url: tokens/web/manifest.jsonl, weight: 0.7}
          - {url: tokens/code/manifest.jsonl, weight: 0.3, domain: code}
        learning_rate:
          - {kind: warmup, steps: 2000, first: 0, last: 3e-3}
          - {kind: constant, first: 3e-3, last: 3e-3}
      - name: decay
        tokens: 2e9
        global_batch_size: 512
        seq_len: 4096                   # default: the model's
        data: [{url: tokens/choice/manifest.jsonl}]
        learning_rate: [{kind: 1-sqrt, first: 3e-3, last: 3e-5}]
        domain_weights: {code: 0.5}     # factors in the loss
        checkpoints: 2
        objective: clm

A segment without a length gets the steps that the others leave. Loads no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from corpusmith.config import Where, YamlDocument, build, load_yaml
from corpusmith.errors import ConfigError, InputError, did_you_mean
from training.optimization.schedule import Schedule, Segment, rate_at

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


@dataclass(frozen=True, kw_only=True, slots=True)
class _PhaseDocument:
    """A phase as YAML has it."""

    name: str
    data: list[Any]
    global_batch_size: int
    learning_rate: list[Any]
    tokens: float | str | None = None
    steps: int | None = None
    seq_len: int | None = None
    objective: str = "clm"
    checkpoints: int = 1
    multiple_passes: bool = False
    domain_weights: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SegmentDocument:
    """A segment as YAML has it."""

    kind: str
    first: float | str
    last: float | str
    steps: int | None = None
    tokens: float | str | None = None


def load_phase_plan(path: str, seq_len: int) -> PhasePlan:
    """Read a plan from YAML; `seq_len` is the model's, where a phase names none.

    Raises:
        ConfigError: naming file, line and key.
    """
    document = load_yaml(path)
    found = document.data
    if not isinstance(found, dict) or set(found) != {"phases"} or not isinstance(found["phases"], list):
        raise ConfigError(document.where(), "a phase plan is a mapping with the one key 'phases', a list")
    phases = tuple(_build_phase(document, index, seq_len) for index in range(len(found["phases"])))
    if not phases:
        raise ConfigError(document.where("phases"), "a phase plan needs at least one phase")
    return PhasePlan(phases=phases)


def _build_phase(document: YamlDocument, index: int, seq_len: int) -> Phase:
    where = _below(document, "phases", index)
    mapping = document.data["phases"][index]
    if not isinstance(mapping, dict):
        raise ConfigError(where(), "a phase is a mapping")
    found = build(_PhaseDocument, mapping, where)
    tokens_per_step = found.global_batch_size * (found.seq_len or seq_len)
    steps = _steps(found.steps, found.tokens, tokens_per_step, where)
    if steps is None:
        raise ConfigError(where(), "a phase needs a length: steps or tokens")
    data = tuple(
        build(DataSource, source, _below(document, "phases", index, "data", number))
        for number, source in enumerate(found.data)
    )
    try:
        return Phase(
            name=found.name,
            data=data,
            steps=steps,
            global_batch_size=found.global_batch_size,
            schedule=_build_schedule(document, index, found.learning_rate, steps, tokens_per_step),
            seq_len=found.seq_len,
            objective=found.objective,
            checkpoints=found.checkpoints,
            multiple_passes=found.multiple_passes,
            domain_weights={
                key: _number(value, where("domain_weights")) for key, value in found.domain_weights.items()
            },
        )
    except InputError as error:
        raise ConfigError(where(), str(error)) from error


def _build_schedule(
    document: YamlDocument, index: int, entries: list[Any], steps: int, tokens_per_step: int
) -> Schedule:
    """The segments of a phase; those without a length share out the steps that the others leave."""
    wheres = [_below(document, "phases", index, "learning_rate", number) for number in range(len(entries))]
    found = [build(_SegmentDocument, entry, where) for entry, where in zip(entries, wheres, strict=True)]
    lengths = [
        _steps(entry.steps, entry.tokens, tokens_per_step, where) for entry, where in zip(found, wheres, strict=True)
    ]
    num_open = lengths.count(None)
    steps_left = steps - sum(length for length in lengths if length is not None)
    if steps_left < 0 or num_open > 1 or (steps_left and not num_open):
        message = f"the segments must fill the phase's {steps} steps, and one at most may have no length"
        raise ConfigError(document.where("phases", index, "learning_rate"), message)
    return tuple(
        Segment(
            kind=entry.kind,
            steps=steps_left if length is None else length,
            first=_number(entry.first, where("first")),
            last=_number(entry.last, where("last")),
        )
        for entry, length, where in zip(found, lengths, wheres, strict=True)
    )


def _below(document: YamlDocument, *prefix: str | int) -> Where:
    """`document.where` for keys below a prefix."""
    return functools.partial(document.where, *prefix)


def _steps(steps: int | None, tokens: float | str | None, tokens_per_step: int, where: Where) -> int | None:
    """A length in steps, from either unit; None where none is given."""
    if steps is not None and tokens is not None:
        raise ConfigError(where("tokens"), "give steps or tokens, not both")
    if tokens is None:
        return steps
    return int(_number(tokens, where("tokens"))) // tokens_per_step


def _number(value: Any, where: str) -> float:
    """A number; YAML reads `20e9` and `3e-3` as strings."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigError(where, f"must be a number, got {value!r}") from None
