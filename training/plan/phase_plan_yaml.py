"""A phase plan in YAML.

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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from corpusmith.config import Where, YamlDocument, build, load_yaml
from corpusmith.errors import ConfigError, InputError
from training.optimization.schedule import Schedule, Segment
from training.plan.phase_plan import DataSource, Phase, PhasePlan


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
    phases = tuple(_phase(document, index, seq_len) for index in range(len(found["phases"])))
    if not phases:
        raise ConfigError(document.where("phases"), "a phase plan needs at least one phase")
    return PhasePlan(phases=phases)


def _phase(document: YamlDocument, index: int, seq_len: int) -> Phase:
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
        build(DataSource, source, _below(document, "phases", index, "data", place))
        for place, source in enumerate(found.data)
    )
    try:
        return Phase(
            name=found.name,
            data=data,
            steps=steps,
            global_batch_size=found.global_batch_size,
            schedule=_schedule(document, index, found.learning_rate, steps, tokens_per_step),
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


def _schedule(document: YamlDocument, index: int, entries: list[Any], steps: int, tokens_per_step: int) -> Schedule:
    """The segments of a phase; those without a length share out the steps that the others leave."""
    wheres = [_below(document, "phases", index, "learning_rate", place) for place in range(len(entries))]
    found = [build(_SegmentDocument, entry, where) for entry, where in zip(entries, wheres, strict=True)]
    lengths = [
        _steps(entry.steps, entry.tokens, tokens_per_step, where) for entry, where in zip(found, wheres, strict=True)
    ]
    open_places = [place for place, length in enumerate(lengths) if length is None]
    left = steps - sum(length for length in lengths if length is not None)
    if left < 0 or len(open_places) > 1 or (left and not open_places):
        message = f"the segments must fill the phase's {steps} steps, and one at most may have no length"
        raise ConfigError(document.where("phases", index, "learning_rate"), message)
    return tuple(
        Segment(
            kind=entry.kind,
            steps=left if length is None else length,
            first=_number(entry.first, where("first")),
            last=_number(entry.last, where("last")),
        )
        for entry, length, where in zip(found, lengths, wheres, strict=True)
    )


def _below(document: YamlDocument, *prefix: str | int) -> Where:
    """`document.where` for keys below a prefix."""
    where: Callable[..., str] = lambda *keys: document.where(*prefix, *keys)  # noqa: E731
    return where


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
