"""Mixtures: weights, tokens or repeats per source, made into an exact plan.

A line asks for one of three things: `tokens` (so many), `repeat` (so many times what there is) or `proportion` (a share
of what the pool has left beside the lines before). The plan is arithmetic in whole units (a sequence of L tokens, or 1
token): proportions are shared out by largest remainder, ties by name, so they add up to the pool exactly and each is
within one unit of its share. A source that is asked for more than it has is read again, epoch by epoch: no row comes
an (e+1)th time before all came e times; of the last epoch the rows with the smallest seeded hash are taken. The plan
says what was asked for, what comes out, how many epochs that is, and what is left over.

Serves `corpusmith tokenize --mixture`, CLIMB's build and the phase recipes. Nothing here reads data: who has counted
what each source offers calls `plan_mixture`, who holds the rows calls `epochs_of_row` or sorts by `selection_key`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from corpusmith.config import Where, YamlDocument, build, load_yaml
from corpusmith.errors import ConfigError, InputError
from corpusmith.seeds import stable_hash

ON_SHORT = ("repeat", "fail", "rescale")
KEYS = 1 << 64

Number = int | float | str

_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([KMBT]?)\s*", re.IGNORECASE)


def parse_number(value: Number, where: str) -> Fraction:
    """A count as YAML may spell it: `26000000000`, `26e9`, `26B`, `26.0 B`.

    Raises:
        ConfigError: at `where`, for another thing.
    """
    match = _NUMBER.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match is None:
        raise ConfigError(where, f"expected a number that is not negative, as 26e9 or 26B, got {value!r}")
    exponent = re.search(r"[eE]([+-]?[0-9]+)", match[1])
    if exponent is not None and abs(int(exponent[1])) > 40:
        raise ConfigError(where, f"{value!r} is out of range")
    return Fraction(match[1]) * _SUFFIXES[match[2].upper()]


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureLine:
    """What one source contributes: exactly one of `proportion`, `tokens`, `repeat`.

    `markers`: a shard belongs to the first line one of whose markers occurs in its path (default: the source's name).
    """

    source: str
    proportion: Number | None = None
    tokens: Number | None = None
    repeat: Number | None = None
    markers: list[str] | None = None

    def __post_init__(self) -> None:
        asked = [name for name in ("proportion", "tokens", "repeat") if getattr(self, name) is not None]
        if len(asked) != 1:
            found = " and ".join(asked) if asked else "none"
            raise InputError(f"source {self.source!r}: give exactly one of proportion, tokens, repeat; found {found}")
        if not self.source:
            raise InputError("a source needs a name")

    @property
    def amount(self) -> Fraction:
        """The number of what the line asks for."""
        for name in ("proportion", "tokens", "repeat"):
            if getattr(self, name) is not None:
                return parse_number(getattr(self, name), f"source {self.source!r}: {name}")
        raise AssertionError("unreachable: a line asks for one thing")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A whole mixture.

    `pool_tokens`: the size that proportions are shares of, fixed lines included (None: as large as can be without any
    proportional source repeating); `max_epochs` bounds how often a source is read; where that or `on_short: fail`
    (one epoch) is exceeded the plan is refused, with `rescale` the whole mixture shrinks until it fits.
    """

    lines: Sequence[MixtureLine]
    pool_tokens: Number | None = None
    max_epochs: Number | None = None
    on_short: str = "repeat"

    def __post_init__(self) -> None:
        names = [line.source for line in self.lines]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"the source {twice!r} stands twice in the mixture")
        if not names:
            raise InputError("a mixture needs at least one source")
        if self.on_short not in ON_SHORT:
            raise InputError(f"on_short must be one of {', '.join(ON_SHORT)}, got {self.on_short!r}")
        shares = [line.amount for line in self.lines if line.proportion is not None]
        if shares and abs(sum(shares, Fraction(0)) - 1) > Fraction(1, 10**6):
            raise InputError(f"the proportions add up to {float(sum(shares)):.6g} instead of 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """What one source gives: all numbers in tokens, `target` and `available` multiples of the unit.

    `full_epochs` whole readings and `remainder` tokens of the next one; `requested` is what the line asked for before
    rounding.
    """

    source: str
    requested: float
    available: int
    target: int

    @property
    def full_epochs(self) -> int:
        """How often the whole source is read."""
        return self.target // self.available if self.available else 0

    @property
    def remainder(self) -> int:
        """Tokens of the last, partial epoch."""
        return self.target - self.full_epochs * self.available

    @property
    def epochs(self) -> float:
        """Target divided by what there is."""
        return self.target / self.available if self.available else 0.0


def plan_mixture(mixture: Mixture, available: Mapping[str, int], unit: int = 1) -> list[SourcePlan]:
    """How many tokens of each source to take, in the order of the lines.

    Args:
        available: tokens that each source has, multiples of `unit`.
        unit: tokens of a sequence, or 1 where rows differ in length.

    Raises:
        InputError: a source has nothing, or is asked for more epochs than allowed.
    """
    available = {line.source: available.get(line.source, 0) for line in mixture.lines}
    for line in mixture.lines:
        if not available[line.source] and line.amount:
            raise InputError(f"the source {line.source!r} has no tokens, but the mixture asks for some")
    wanted = _wanted(mixture, available)
    wanted = _fit(mixture, wanted, available)
    units = _round(mixture, wanted, unit)
    return [
        SourcePlan(
            source=line.source,
            requested=float(wanted[line.source]),
            available=available[line.source],
            target=units[line.source] * unit,
        )
        for line in mixture.lines
    ]


def _wanted(mixture: Mixture, available: Mapping[str, int]) -> dict[str, Fraction]:
    """Tokens of each source before rounding."""
    wanted = {}
    for line in mixture.lines:
        if line.tokens is not None:
            wanted[line.source] = line.amount
        elif line.repeat is not None:
            wanted[line.source] = line.amount * available[line.source]
    shares = {line.source: line.amount for line in mixture.lines if line.proportion is not None}
    total = sum(shares.values())
    if mixture.pool_tokens is None:
        left = min((available[name] * total / share for name, share in shares.items() if share), default=Fraction(0))
    else:
        left = parse_number(mixture.pool_tokens, "pool_tokens") - sum(wanted.values())
        if left < 0:
            raise InputError(
                f"the lines with tokens and repeat ask for {float(-left):.6g} tokens more than pool_tokens"
            )
    return wanted | {name: left * share / total for name, share in shares.items()}


def _fit(mixture: Mixture, wanted: dict[str, Fraction], available: Mapping[str, int]) -> dict[str, Fraction]:
    """Refuse or shrink what asks for too many epochs of a source."""
    most = Fraction(1) if mixture.on_short == "fail" else None
    if mixture.max_epochs is not None:
        most = parse_number(mixture.max_epochs, "max_epochs")
    elif mixture.on_short == "rescale":
        most = Fraction(1)
    if most is None:
        return wanted
    over = {name: tokens / (most * available[name]) for name, tokens in wanted.items() if tokens}
    worst = max(over, key=lambda name: (over[name], name), default=None)
    if worst is None or over[worst] <= 1:
        return wanted
    if mixture.on_short == "rescale":
        return {name: tokens / over[worst] for name, tokens in wanted.items()}
    raise InputError(
        f"the source {worst!r} has {available[worst]} tokens, the mixture asks for {int(wanted[worst])}: more than "
        f"{float(most):g} epochs; ask for less, raise max_epochs, or set on_short: rescale"
    )


def _round(mixture: Mixture, wanted: Mapping[str, Fraction], unit: int) -> dict[str, int]:
    """Whole units: fixed lines to the nearest, proportions by largest remainder to the nearest whole of their sum."""
    exact = {name: tokens / unit for name, tokens in wanted.items()}
    shares = [line.source for line in mixture.lines if line.proportion is not None]
    units = {name: math.floor(amount + Fraction(1, 2)) for name, amount in exact.items() if name not in shares}
    pool = math.floor(sum((exact[name] for name in shares), Fraction(0)) + Fraction(1, 2))
    units |= largest_remainder({name: exact[name] for name in shares}, pool)
    return units


def largest_remainder(amounts: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Whole numbers near `amounts` that add up to `total`: the largest fractions are rounded up, ties by name.

    Args:
        amounts: the exact numbers.
        total: what they are to add up to; between the sums of the amounts rounded down and up.
    """
    floors = {name: math.floor(amount) for name, amount in amounts.items()}
    missing = total - sum(floors.values())
    order = sorted(amounts, key=lambda name: (floors[name] - amounts[name], name))
    for name in order[:missing]:
        floors[name] += 1
    return floors


# --- which rows --------------------------------------------------------------------------------------------------


def selection_key(seed: int, source: str, epoch: int, shard: str, position: int) -> int:
    """A 64-bit key: of a partial epoch, the rows with the smallest keys are taken."""
    return stable_hash("mixture", seed, source, epoch, shard, position)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSelection:
    """A source's plan made definite: `full_epochs` copies of each row, and one more of those with a key below
    `threshold` (0: of none, 2**64: of all)."""

    full_epochs: int
    threshold: int = 0

    def copies(self, seed: int, source: str, shard: str, position: int) -> int:
        """How often a row is written."""
        if self.threshold == 0:
            return self.full_epochs
        return self.full_epochs + (selection_key(seed, source, self.full_epochs, shard, position) < self.threshold)


def cut_at(target: int, keys_and_tokens: Sequence[tuple[int, int]]) -> int:
    """The threshold below which the rows, (key, tokens) in order of key, come nearest to `target` tokens."""
    taken = 0
    for key, tokens in keys_and_tokens:
        if taken + tokens - target > target - taken:
            return key
        taken += tokens
    return KEYS


# --- YAML and report ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _MixtureFile:
    sources: list[Any]
    pool_tokens: int | float | str | None = None
    max_epochs: int | float | str | None = None
    on_short: str = "repeat"


def load_mixture(path: str) -> Mixture:
    """A mixture from YAML: `sources` (a list of lines), `pool_tokens`, `max_epochs`, `on_short`.

    Raises:
        ConfigError: what is wrong in it, with file, line and key.
    """
    document = load_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(document.where(), "expected a mapping with the key 'sources'")
    file = build(_MixtureFile, document.data, document.where)
    lines = [_line(document, number, entry) for number, entry in enumerate(file.sources)]
    try:
        mixture = Mixture(lines=lines, pool_tokens=file.pool_tokens, max_epochs=file.max_epochs, on_short=file.on_short)
        for key in ("pool_tokens", "max_epochs"):
            if getattr(mixture, key) is not None:
                parse_number(getattr(mixture, key), document.where(key))
    except InputError as error:
        raise ConfigError(document.where("sources"), str(error)) from error
    return mixture


def _line(document: YamlDocument, number: int, entry: Any) -> MixtureLine:
    def where(*keys: str | int) -> str:
        return document.where("sources", number, *keys)

    typed: Where = where
    if not isinstance(entry, dict):
        raise ConfigError(where(), "expected a mapping with the key 'source'")
    for key in ("proportion", "tokens", "repeat"):
        if entry.get(key) is not None:
            parse_number(entry[key], where(key))
    try:
        return build(MixtureLine, entry, typed)
    except InputError as error:
        raise ConfigError(where(), str(error)) from error


@dataclass(kw_only=True)
class MixtureReport:
    """What was asked for and what came out, by source; `realised` in tokens, `rows` as written."""

    plans: Sequence[SourcePlan]
    realised: Mapping[str, int]
    rows: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Per source requested, available, realised and left-over tokens, shares, epochs; and the totals."""
        asked, got = sum(plan.requested for plan in self.plans), sum(self.realised.values())
        sources = {}
        for plan in self.plans:
            realised = self.realised.get(plan.source, 0)
            share, found = plan.requested / asked if asked else 0.0, realised / got if got else 0.0
            sources[plan.source] = {
                "requested_tokens": plan.requested,
                "requested_share": share,
                "available_tokens": plan.available,
                "realised_tokens": realised,
                "realised_share": found,
                "delta_tokens": realised - plan.requested,
                "delta_pp": 100 * (found - share),
                "epochs": realised / plan.available if plan.available else 0.0,
                "leftover_tokens": max(0, plan.available - realised),
                "rows": self.rows.get(plan.source, 0),
            }
        return {"requested_tokens": asked, "realised_tokens": got, "sources": sources}

    def table(self) -> list[str]:
        """The same as lines for the terminal."""
        document = self.to_json()
        width = max(len("source"), *(len(plan.source) for plan in self.plans))
        lines = [
            f"{'source':<{width}}  {'requested':>14}  {'realised':>14}  {'share':>8}  {'epochs':>7}  {'left over':>14}"
        ]
        for name, row in document["sources"].items():
            lines.append(
                f"{name:<{width}}  {row['requested_tokens']:>14,.0f}  {row['realised_tokens']:>14,}  "
                f"{100 * row['realised_share']:>7.3f}%  {row['epochs']:>7.3f}  {row['leftover_tokens']:>14,}"
            )
        return lines
