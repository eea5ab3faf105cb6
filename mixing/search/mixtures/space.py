"""The weights that a mixture may have: a grid on the simplex below a cap for each group.

A weight is a multiple of `grid` (2e-4), so it is either 0 or at least that, and mixtures that differ only in rounding
are the same mixture. Caps bound how often a group's data would be read again: `caps_from_tokens` derives them from
tokens, target and epochs. Projection clips what lies above its cap and hands the excess to the others in proportion,
again and again until nothing lies above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError, did_you_mean
from mixing.search.mixtures.arrays import F64

GRID = 2e-4
_SUM_TOLERANCE = 1e-6
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Space:
    """What a search may propose.

    Args:
        names: the groups, in the order of every weight vector.
        prior: their natural shares, positive, adding up to 1; shape (k,).
        caps: the most that each may weigh; shape (k,). They must leave room for a whole mixture.
        grid: weights are multiples of it (1 / grid must be whole).
        pool: where given, the only mixtures that can be measured; shape (n, k).
        ties: where given, groups that keep their ratios: rows (b, k) that add up to 1, each what one free weight is
            made of. `make_space` makes them; a mixture keeps the ratios within the grid.

    Raises:
        InputError: fewer than two groups, a name twice, shares that are none, or caps that nothing can meet.
    """

    names: tuple[str, ...]
    prior: F64
    caps: F64
    grid: float = GRID
    pool: F64 | None = None
    ties: F64 | None = None

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise InputError(f"a search needs at least two groups, got {len(self.names)}")
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"the group {twice!r} stands twice")
        if self.prior.shape != (len(self.names),) or self.caps.shape != (len(self.names),):
            raise InputError(f"{len(self.names)} groups need as many natural shares and caps")
        if not np.all(np.isfinite(self.prior)) or np.any(self.prior <= 0):
            raise InputError(f"the natural share of {self.names[int(np.argmin(self.prior))]!r} must be above 0")
        if abs(float(self.prior.sum()) - 1) > _SUM_TOLERANCE:
            raise InputError(f"the natural shares add up to {float(self.prior.sum()):.6g} instead of 1")
        if int(self.cap_units.sum()) < self.units or float(self._free_caps().sum()) < 1 - _SUM_TOLERANCE:
            raise InputError(_infeasible(self.names, self.caps))

    @property
    def units(self) -> int:
        """Grid steps of a whole mixture."""
        return round(1 / self.grid)

    @property
    def cap_units(self) -> F64:
        """Whole grid steps below each cap."""
        return np.floor(np.minimum(self.caps, 1.0) * self.units + 1e-9)

    def project(self, weights: F64) -> F64:
        """The rows of `weights` (n, k) as mixtures below the caps, not yet on the grid."""
        mixtures = np.maximum(np.atleast_2d(weights), 0.0)
        totals = mixtures.sum(axis=1, keepdims=True)
        mixtures = np.where(totals > 0, mixtures / np.where(totals > 0, totals, 1.0), self.prior)
        if self.ties is None:
            return _below(mixtures, np.minimum(self.caps, 1.0))
        free = _below(mixtures @ (self.ties > 0).T.astype(np.float64), self._free_caps())
        return np.asarray(free @ self.ties, dtype=np.float64)

    def _free_caps(self) -> F64:
        """The caps of the free weights."""
        if self.ties is None:
            return np.minimum(self.caps, 1.0)
        room = np.where(self.ties > 0, self.caps / np.where(self.ties > 0, self.ties, 1.0), np.inf)
        return np.asarray(np.minimum(room.min(axis=1), 1.0), dtype=np.float64)

    def snap(self, weights: F64) -> F64:
        """The rows of `weights` (n, k) on the grid: projected, rounded, what is left over given to the largest."""
        steps = np.minimum(np.rint(self.project(weights) * self.units), self.cap_units)
        left = self.units - steps.sum(axis=1)
        rows = np.flatnonzero(left)
        while rows.size:
            part = steps[rows]
            room = np.where(left[rows, None] > 0, self.cap_units - part, part)
            largest = np.argmax(np.where(room > 0, part, -1.0), axis=1)
            place = np.arange(len(rows))
            change = np.clip(left[rows], -room[place, largest], room[place, largest])
            steps[rows, largest] += change
            left[rows] -= change
            rows = rows[left[rows] != 0]
        return np.asarray(steps / self.units, dtype=np.float64)

    def allows(self, weights: F64) -> bool:
        """Whether all rows are mixtures below the caps, within rounding."""
        rows = np.atleast_2d(weights)
        whole = np.abs(rows.sum(axis=1) - 1) <= _SUM_TOLERANCE
        return bool(np.all(whole) and np.all(rows >= 0) and np.all(rows <= self.caps + 1e-9))

    def as_dict(self, weights: F64) -> dict[str, float]:
        """A mixture by group name."""
        return {name: float(weight) for name, weight in zip(self.names, weights, strict=True)}


def _below(mixtures: F64, caps: F64) -> F64:
    """Rows that add up to 1, clipped at the caps; the excess goes to the others in proportion, until all fit."""
    for _ in range(len(caps)):
        over = mixtures > caps
        if not over.any():
            break
        clipped = np.minimum(mixtures, caps)
        excess = 1.0 - clipped.sum(axis=1, keepdims=True)
        takers = np.where(clipped < caps, clipped, 0.0)
        room = np.where(takers.sum(axis=1, keepdims=True) > 0, takers, np.maximum(caps - clipped, 0.0))
        share = room.sum(axis=1, keepdims=True)
        handed = clipped + excess * room / np.where(share > 0, share, 1.0)
        mixtures = np.where(over.any(axis=1, keepdims=True), handed, mixtures)
    return np.minimum(mixtures, caps)


def make_space(
    prior: Mapping[str, float],
    caps: Mapping[str, float] | None = None,
    grid: float = GRID,
    fixed: Mapping[str, Mapping[str, float]] | None = None,
) -> Space:
    """A space from natural shares (or tokens: they are normalised) and caps by name (default: none).

    Args:
        fixed: blocks of groups that keep their ratios, by any name: {"crawl": {"news": 3, "forums": 1}}.

    Raises:
        InputError: no such space; a block names an unknown group or one that stands in another.
    """
    names = tuple(prior)
    shares = np.array([prior[name] for name in names], dtype=np.float64)
    if not names or not np.isfinite(shares).all() or shares.sum() <= 0:
        raise InputError("the natural shares must be numbers above 0, one for each group")
    most = np.array([1.0 if caps is None else caps[name] for name in names])
    return Space(
        names=names, prior=shares / shares.sum(), caps=most, grid=grid, ties=_ties(names, fixed) if fixed else None
    )


def _ties(names: Sequence[str], fixed: Mapping[str, Mapping[str, float]]) -> F64:
    """What each free weight is made of: a row for each block, then one for each group in none."""
    taken = [group for block in fixed.values() for group in block]
    for group in taken:
        if group not in names:
            raise InputError(f"fixed: there is no group {group!r}{did_you_mean(group, names)}")
        if taken.count(group) > 1:
            raise InputError(f"fixed: the group {group!r} stands in two blocks")
    rows = []
    for block in [*fixed.values(), *({name: 1.0} for name in names if name not in taken)]:
        if not block or min(block.values()) <= 0:
            raise InputError("fixed: a block needs groups with ratios above 0")
        rows.append([block.get(name, 0.0) / sum(block.values()) for name in names])
    return np.array(rows, dtype=np.float64)


def caps_from_tokens(tokens: Mapping[str, float], target_tokens: float, max_epochs: float = 4.0) -> dict[str, float]:
    """The most that each group may weigh when `target_tokens` are trained on and none is read over `max_epochs` times.

    Raises:
        InputError: the groups together do not have enough; the message names those that would have to grow.
    """
    if target_tokens <= 0 or max_epochs <= 0:
        raise InputError(f"target_tokens and max_epochs must be above 0, got {target_tokens:g} and {max_epochs:g}")
    caps = {name: min(1.0, max_epochs * count / target_tokens) for name, count in tokens.items()}
    if sum(caps.values()) < 1:
        have = sum(tokens.values())
        needed = target_tokens / have if have else float("inf")
        biggest = sorted(tokens, key=lambda name: (-tokens[name], name))[:_SHOWN]
        raise InputError(
            f"{target_tokens:g} tokens are asked for, but {max_epochs:g} epochs of all groups are only "
            f"{max_epochs * have:g}: raise max_epochs to {needed:.3g}, lower target_tokens, or get more data for "
            f"{', '.join(biggest)}"
        )
    return caps


def _infeasible(names: Sequence[str], caps: F64) -> str:
    order = sorted(range(len(names)), key=lambda index: (caps[index], names[index]))
    lowest = ", ".join(f"{names[index]} ({caps[index]:.4g})" for index in order[:_SHOWN])
    return (
        f"the caps add up to {float(caps.sum()):.4g}, so no mixture meets them: raise max_epochs or lower "
        f"target_tokens; the lowest caps are those of {lowest}"
    )


def mixture_id(names: Sequence[str], weights: F64) -> str:
    """The identity of a mixture: 16 hex digits of the hash of its weights, in millionths, in order of name."""
    parts = sorted((name, round(1e6 * float(weight))) for name, weight in zip(names, weights, strict=True))
    return hashlib.sha256("\n".join(f"{name}\t{weight}" for name, weight in parts).encode()).hexdigest()[:16]
