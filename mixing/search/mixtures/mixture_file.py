"""Mixture files: weights by group as JSON or YAML, checked when read.

{"groups": {"web": 0.7, "code": 0.3}, "sum": 1.0, "source": "…", "id": "<16 hex digits>"}
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from corpusmith.config import YamlDocument, load_yaml
from corpusmith.errors import ConfigError
from mixing.search.mixtures.arrays import F64, Json
from mixing.search.mixtures.space import Space, mixture_id

SUM_TOLERANCE = 1e-6


def mixture_document(space: Space, weights: F64, source: str) -> Json:
    """A mixture as its file holds it."""
    return {
        "groups": space.as_dict(weights),
        "sum": round(math.fsum(map(float, weights)), 9),
        "source": source,
        "id": mixture_id(space.names, weights),
    }


def read_mixture(path: str, names: Sequence[str] | None = None) -> dict[str, float]:
    """The weights of a mixture file, in the order of `names` where given.

    Raises:
        ConfigError: weights below 0 or that do not add up to 1, groups that are not those of `names`, or an id that
            does not belong to the weights; the message names the group or the value.
    """
    document = load_yaml(path)
    groups = document.data.get("groups") if isinstance(document.data, dict) else None
    if not isinstance(groups, dict) or not groups:
        raise ConfigError(document.where(), "expected a mapping with the key 'groups', weights by group")
    weights = {str(name): _weight(document, name, value) for name, value in groups.items()}
    total = math.fsum(weights.values())
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise ConfigError(document.where("groups"), f"the weights add up to {total:.9g} instead of 1")
    if names is not None:
        missing, unknown = sorted(set(names) - set(weights)), sorted(set(weights) - set(names))
        if missing or unknown:
            parts = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(unknown)}"] * bool(
                unknown
            )
            raise ConfigError(document.where("groups"), f"not the groups of this search; {'; '.join(parts)}")
        weights = {name: weights[name] for name in names}
    own = mixture_id(list(weights), np.array(list(weights.values())))
    given = document.data.get("id", own)
    if given != own:
        raise ConfigError(document.where("id"), f"the id {given!r} does not belong to these weights, whose id is {own}")
    return weights


def _weight(document: YamlDocument, name: object, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0 + SUM_TOLERANCE:
        raise ConfigError(document.where("groups", str(name)), f"expected a weight from 0 to 1, got {value!r}")
    return float(value)
