"""`blocks`, our extractor: a page's blocks of text, scored by a small model.

The page is scanned once into blocks (`kernels`), each is described by itself, its neighbours and the elements
around it (`features`), and gradient-boosted trees tell main text from menus, teasers and notices
(`model`). Web2Text showed what such features can do; here they are compiled, so that the whole takes about the
time of resiliparse.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raw_sources.extractors.blocks.columns import B, N
from raw_sources.extractors.blocks.features import block_features
from raw_sources.extractors.blocks.model import BlockModel, load_model
from raw_sources.extractors.blocks.scan import Blocks, scan_blocks
from raw_sources.extractors.blocks.tables import BIT, Array
from raw_sources.extractors.blocks.text import PageText

#: where no block is above the threshold, those that come this near to the best one are taken
NEAR_BEST = 0.5
LEAST = 0.05
_CODE_OR_TABLE = BIT["<pre>"] | BIT["<table>"]


def choose(scores: Array, threshold: float) -> Array:
    """Which blocks are main text, as booleans."""
    chosen: Array = scores >= threshold
    if len(scores) and not chosen.any() and scores.max() >= LEAST:
        chosen = scores >= NEAR_BEST * scores.max()
    return chosen


def with_structure(page: Blocks, chosen: Array) -> Array:
    """The choice, completed by code and tables that stand among chosen text: half of a table is worth nothing."""
    if not chosen.any():
        return chosen
    places = np.flatnonzero(chosen)
    among = np.zeros(len(chosen), bool)
    among[places[0] : places[-1] + 1] = True
    around = page.nodes[page.blocks[:, B.node], N.all]
    completed: Array = chosen | (among & ((around & _CODE_OR_TABLE) != 0))
    return completed


def block_extractor(
    structure: bool = False, threshold: float | None = None, model: BlockModel | None = None
) -> Callable[[str], str]:
    """The extractor; `threshold` is the probability from which on a block is taken (default: the model's)."""
    model = model or load_model()
    limit = model.threshold if threshold is None else threshold

    def extract(html: str) -> str:
        page = scan_blocks(html)
        if not len(page.blocks):
            return ""
        chosen = choose(model.scores(block_features(page)), limit)
        if structure:
            return PageText(page).markdown(np.flatnonzero(with_structure(page, chosen)).tolist())
        return PageText(page).plain(np.flatnonzero(chosen).tolist())

    return extract


def blocks_extractor(structure: bool = False, threshold: float | None = None) -> Callable[[str], str]:
    """The extractor with our model; `structure` writes Markdown, `threshold` is a probability."""
    return block_extractor(structure=structure, threshold=threshold)
