"""The model that scores blocks: gradient-boosted trees, kept as a small JSON file beside this module.

`tools/train_block_model.py` makes the file (LightGBM, from annotated pages of half of the hosts) and says what it was
made from. Nothing but numpy and numba is needed to use it.
"""

from __future__ import annotations

import base64
import functools
import itertools
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from corpusmith.errors import InputError
from corpusmith.text.kernels import F32_2D_IN, F32_IN, I16_IN, I32_IN, kernel
from raw_sources.extractors.blocks.feature_names import FEATURE_NAMES
from raw_sources.extractors.blocks.tables import Array

#: log-odds around the threshold within which one booster is not enough; boosters differ by a few tenths
DOUBT = 1.5
MODEL_FILE = pathlib.Path(__file__).with_name("block_model.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockModel:
    """Trees as arrays over their nodes: the feature that a node asks about (-1: a leaf), its threshold (a leaf: its
    value) and where its two children stand, left for values up to the threshold; `roots` has each tree's first node.

    `boosters`: how many were trained, with as many trees each; a score is their mean. `threshold`: the probability from
    which on a block is main text.
    """

    feature: Array
    value: Array
    left: Array
    right: Array
    roots: Array
    boosters: int
    threshold: float

    def scores(self, features: Array) -> Array:
        """Each block's probability of being main text: by all boosters where the first is in doubt, by it else."""
        trees = (self.feature, self.value, self.left, self.right)
        first, others = np.split(self.roots, [len(self.roots) // self.boosters])
        raw: Array = predict(features, *trees, first)
        if len(others):
            doubtful = np.flatnonzero(np.abs(raw - np.log(self.threshold / (1.0 - self.threshold))) < DOUBT)
            raw[doubtful] += predict(features[doubtful], *trees, others)
            raw[doubtful] /= self.boosters
        return 1.0 / (1.0 + np.exp(-raw))


@kernel(F32_2D_IN, I16_IN, F32_IN, I32_IN, I32_IN, I32_IN)
def predict(features: Array, feature: Array, value: Array, left: Array, right: Array, roots: Array) -> Array:
    """The sum of some trees for each row."""
    out = np.zeros(len(features), np.float64)
    for root in roots:  # outside, so that a tree stays in the nearest cache
        for row in range(len(features)):
            node = root
            while feature[node] >= 0:
                node = left[node] if features[row, feature[node]] <= value[node] else right[node]
            out[row] += value[node]
    return out


_ARRAYS = {"feature": np.int16, "value": np.float32, "left": np.int32, "right": np.int32, "roots": np.int32}


def dump_model(model: BlockModel) -> dict[str, Any]:
    """The model as JSON: arrays in base 64, little-endian."""
    arrays = {
        name: base64.b64encode(getattr(model, name).astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
        for name, kind in _ARRAYS.items()
    }
    return {"features": list(FEATURE_NAMES), "boosters": model.boosters, "threshold": model.threshold, **arrays}


@functools.cache
def load_model(path: pathlib.Path = MODEL_FILE) -> BlockModel:
    """The model in a file.

    Raises:
        InputError: it was trained on other features than there are now.
    """
    document = orjson.loads(path.read_bytes())
    trained_on = document["features"]
    if trained_on != list(FEATURE_NAMES):
        pairs = itertools.zip_longest(trained_on, FEATURE_NAMES)
        column, (theirs, ours) = next((column, pair) for column, pair in enumerate(pairs) if pair[0] != pair[1])
        raise InputError(
            f"{path}: this model was trained on other features: number {column} was {theirs} and is {ours}; train it "
            "again by tools/train_block_model.py"
        )
    arrays = {
        name: np.frombuffer(base64.b64decode(document[name]), np.dtype(kind).newbyteorder("<")).astype(kind)
        for name, kind in _ARRAYS.items()
    }
    return BlockModel(**arrays, boosters=document["boosters"], threshold=document["threshold"])
