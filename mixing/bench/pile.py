"""A smooth stand-in for RegMix's 1M runs: the mean of four small networks, fitted to the Pile-CC loss (optional).

Needs scikit-learn and RegMix's tables. Its optimum is nearly one corner, so it tells searches apart little: a sanity
check. The noise is the networks' residual.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from corpusmith.errors import missing_package
from corpusmith.seeds import stable_hash
from mixing.bench.regmix_tables import PILE_CC, read_tables
from mixing.bench.surfaces import Surface, TaskScores, bench_space
from mixing.search.mixtures.arrays import F64
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.sampler import Sampler

_NETWORKS = 4
_HIDDEN = (64, 64)
_MEAN, _DEVIATION, _DRAWS = 60.0, 0.8, 4_000


def pile_surface(folder: str, seed: int) -> Surface:
    """The stand-in; surfaces of different seeds differ in noise alone."""
    return replace(_fitted(folder), seed=seed)


@functools.cache
def _fitted(folder: str) -> Surface:
    try:
        from sklearn.neural_network import MLPRegressor
    except ImportError as error:
        raise missing_package("scikit-learn", "mix") from error
    tables = read_tables(folder)
    gains = -tables.at_1m[:, tables.losses.index(PILE_CC)]
    targets = (gains - gains.mean()) / gains.std()
    roots = np.sqrt(tables.weights)
    networks = [
        MLPRegressor(
            hidden_layer_sizes=_HIDDEN, activation="tanh", solver="lbfgs", alpha=1.0, max_iter=500, random_state=index
        )
        for index in range(_NETWORKS)
    ]
    with one_thread():
        for network in networks:
            network.fit(roots, targets)
    prior = tables.weights.mean(axis=0)
    prior = prior / prior.sum()
    space = bench_space(prior)
    raw = _mean_of(networks)
    scores = raw(Sampler().draw(space, _DRAWS, np.random.default_rng(stable_hash("surface", "pile"))))[0][:, 0]
    scale = _DEVIATION / float(scores.std())
    residual = float((raw(tables.weights)[0][:, 0] - targets).std())
    groups = len(prior)
    return Surface(
        family="pile",
        seed=0,
        space=space,
        raw=raw,
        scale=scale,
        offset=_MEAN - scale * float(scores.mean()),
        similarity=np.eye(groups),
        domain_levels=np.stack([np.full(groups, 1.9), np.full(groups, 1.1)]),
        noise=scale * residual,
    )


def _mean_of(networks: Sequence[Any]) -> TaskScores:
    """The networks' mean on √α as one task, with its gradient by the weights."""

    def scores(weights: F64) -> tuple[F64, F64]:
        roots = np.sqrt(np.maximum(weights, 1e-9))
        values, slopes = np.zeros(len(weights)), np.zeros_like(weights)
        for network in networks:
            first, second, last = network.coefs_
            one = np.tanh(roots @ first + network.intercepts_[0])
            two = np.tanh(one @ second + network.intercepts_[1])
            values += (two @ last + network.intercepts_[2])[:, 0]
            back = (last[:, 0] * (1.0 - two * two)) @ second.T * (1.0 - one * one)
            slopes += back @ first.T
        return values[:, None] / len(networks), (slopes / (2.0 * roots) / len(networks))[:, None, :]

    return scores
