"""Objectives whose optimum can be known: two unlike families of functions of the weights.

Both share sizes of groups (log-normal), exposure that saturates sooner for small groups (which stands for repetition)
and a scale: 4,000 draws of the start sampler have mean 60 and standard deviation 0.8 points. `law`: exponential mixing
laws with interactions of groups, three tasks, sparse optima. `skills`: tasks need skills that groups supply, with
saturation, some groups are junk; optima are denser and not exponential.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from corpusmith.seeds import stable_hash
from mixing.search.mixtures.arrays import F64, Rng
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import Space

GROUPS = 21
TASKS = 3
SKILLS = 10
NOISE = 0.25
CAP_FACTOR = 15.0
_MEAN, _DEVIATION, _SCALE_DRAWS = 60.0, 0.8, 4_000
_CHANCE = np.array([50.0, 25.0, 25.0])
_TOP = np.array([90.0, 92.0, 90.0])

#: task scores (n, t) of mixtures (n, k), and their gradients (n, t, k) where asked for
TaskScores = Callable[[F64], tuple[F64, F64]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """A known objective: points, higher is better; `noise` is the standard deviation of one measurement."""

    family: str
    seed: int
    space: Space
    raw: TaskScores
    offset: float
    scale: float
    similarity: F64
    domain_levels: F64
    noise: float = NOISE

    def tasks(self, weights: F64) -> F64:
        """Scores of the tasks without noise; shape (n, t)."""
        return self.offset + self.scale * self.raw(np.atleast_2d(weights))[0]

    def score(self, weights: F64) -> F64:
        """The objective, the mean over tasks, without noise; shape (n,)."""
        return np.asarray(self.tasks(weights).mean(axis=1), dtype=np.float64)

    def score_and_gradient(self, weights: F64) -> tuple[float, F64]:
        """The objective of one mixture and its gradient by the weights."""
        value, gradient = self.raw(weights[None])
        return self.offset + self.scale * float(value[0].mean()), self.scale * gradient[0].mean(axis=0)

    def measure(self, weights: F64, rng: Rng) -> F64:
        """The objective with noise, drawn once per evaluation; shape (n,)."""
        return self.score(weights) + self.noise * rng.standard_normal(len(weights))

    def domain_losses(self, weights: F64) -> F64:
        """Validation loss of each group for one mixture, unrelated to the tasks; what DoReMi looks at. Shape (k,)."""
        exposure = _exposure(weights[None], self.space.prior)[0][0]
        floor, height = self.domain_levels
        return np.asarray(floor + height * np.exp(-2.2 * self.similarity @ exposure), dtype=np.float64)

    def likelihoods(self, rng: Rng) -> F64:
        """Log-likelihoods (k, t) of the right answers by a proxy for each group alone; what MixMin looks at."""
        scores = self.tasks(np.eye(len(self.space.names)))
        return np.log(np.clip((scores + self.noise * rng.standard_normal(scores.shape)) / 100.0, 1e-3, 1.0))


def _exposure(weights: F64, prior: F64) -> tuple[F64, F64]:
    """What a model sees of each group (n, k), and its derivative by the weight."""
    limit = np.clip(3.0 * np.sqrt(prior), 0.15, 2.0)
    decay = np.exp(-weights / limit)
    return limit * (1.0 - decay), decay


def _law(prior: F64, directions: F64, rng: Rng) -> TaskScores:
    """Exponential mixing laws with interactions."""
    groups = len(prior)
    quality = rng.beta(2.0, 2.0, size=groups)
    shared = _unit(rng.standard_normal((1, directions.shape[1])))
    needs = _unit(shared + 0.8 * _unit(rng.standard_normal((TASKS, directions.shape[1]))))
    fit = np.maximum(needs @ directions.T, 0.0)
    slopes = -(1.2 * fit**1.5 * (0.3 + 0.7 * quality) + 0.25 * quality - 0.15)
    slopes = slopes + 0.05 * rng.standard_normal((TASKS, groups))
    floor, height = rng.uniform(1.6, 2.2, TASKS), rng.uniform(0.8, 1.4, TASKS)
    likeness = directions @ directions.T
    mask = np.triu(np.ones((groups, groups)), 1) * (rng.random((TASKS, groups, groups)) < 0.25)
    pairs = 1.6 * np.maximum(likeness, 0.0) - np.maximum(-likeness, 0.0)
    pairs = mask * (pairs + 0.3 * rng.standard_normal((TASKS, groups, groups)))
    both = pairs + pairs.transpose(0, 2, 1)

    def scores(weights: F64) -> tuple[F64, F64]:
        seen, slope = _exposure(weights, prior)
        turned = np.einsum("tkl,nl->ntk", both, seen)
        exponent = seen @ slopes.T + 0.5 * np.einsum("ntk,nk->nt", turned, seen)
        gap = height * np.exp(exponent)
        loss = floor + gap
        accuracy = 1.0 / (1.0 + np.exp(-(floor + 0.85 * height - loss) / 0.45))
        points = _CHANCE + (_TOP - _CHANCE) * accuracy
        outer = (_TOP - _CHANCE) * accuracy * (1.0 - accuracy) * (-gap / 0.45)
        return points, outer[:, :, None] * (slopes + turned) * slope[:, None, :]

    return scores


def _skills(prior: F64, rng: Rng) -> TaskScores:
    """Tasks that need skills which groups supply; a fifth of the groups are junk."""
    groups = len(prior)
    supply = rng.dirichlet(np.full(SKILLS, 0.25), size=groups)
    supply = supply * (0.2 + 0.8 * rng.beta(2.0, 2.0, size=groups))[:, None]
    needs = rng.dirichlet(np.full(SKILLS, 0.6), size=TASKS)
    power = rng.uniform(0.8, 2.0, (TASKS, SKILLS))
    half = rng.uniform(0.03, 0.25, (TASKS, SKILLS)) ** power
    cost = np.zeros(groups)
    junk = rng.permutation(groups)[: groups // 5]
    cost[junk] = 30.0 * rng.uniform(0.05, 0.3, len(junk))

    def scores(weights: F64) -> tuple[F64, F64]:
        seen, slope = _exposure(weights, prior)
        level = np.maximum(seen @ supply, 1e-9)[:, None, :]
        raised = level**power
        reached = raised / (raised + half)
        points = 100.0 * (needs * reached).sum(axis=2) - (weights @ cost)[:, None]
        steep = 100.0 * needs * power * reached * (1.0 - reached) / level
        return points, np.einsum("nts,ks->ntk", steep, supply) * slope[:, None, :] - cost

    return scores


def _unit(vectors: F64) -> F64:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float64)


def make_surface(family: str, seed: int, groups: int = GROUPS) -> Surface:
    """The surface of a family (`law`, `skills`) with this seed."""
    rng = np.random.default_rng(stable_hash("surface", family, seed))
    sizes = np.exp(rng.standard_normal(groups))
    prior = sizes / sizes.sum()
    directions = _unit(rng.standard_normal((groups, 8)))
    raw = _law(prior, directions, rng) if family == "law" else _skills(prior, rng)
    space = bench_space(prior)
    scores = raw(Sampler().draw(space, _SCALE_DRAWS, rng))[0].mean(axis=1)
    scale = _DEVIATION / float(scores.std())
    similarity = np.maximum(directions @ directions.T, 0.0) ** 2
    np.fill_diagonal(similarity, 1.0)
    return Surface(
        family=family,
        seed=seed,
        space=space,
        raw=raw,
        scale=scale,
        offset=_MEAN - scale * float(scores.mean()),
        similarity=similarity,
        domain_levels=np.stack([rng.uniform(1.6, 2.2, groups), rng.uniform(0.8, 1.4, groups)]),
    )


def bench_space(prior: F64, pool: F64 | None = None) -> Space:
    """The space of a benchmark: groups g00, g01, … and caps of 15 times the natural share."""
    names = tuple(f"g{index:02}" for index in range(len(prior)))
    return Space(names=names, prior=prior, caps=np.minimum(1.0, CAP_FACTOR * prior), pool=pool)
