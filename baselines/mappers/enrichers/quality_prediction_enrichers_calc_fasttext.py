"""The enricher that scores a page by a fastText classifier of two labels.

Follows DCLM's enricher; departs from it in looking for the model in the cache too, and in loading it once per process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.core.mapper_table import mappers_of
from baselines.mappers.enrichers.enrichers import require_free
from baselines.mappers.enrichers.fasttext_models import PROJECT_ROOT, find_model, load_model, model_directory, top_label

__all__ = [
    *mappers_of(__name__),
    "MODEL_SUBDIRECTORY",
    "PROJECT_ROOT",
    "RPJ_MODEL_FILENAME",
    "classify_fasttext_hq_prob",
    "load_fasttext_model",
]


MODEL_SUBDIRECTORY = "baselines/mappers/enrichers/quality_prediction_enrichment_models"
RPJ_MODEL_FILENAME = "model.bin"
LOW_QUALITY_LABEL = "__label__cc"


def quality_model_path(model_filename: str) -> str:
    """The path of a quality model: absolute, or in the folder of these models, or in the cache.

    Raises:
        AssertionError: it is in none of them; names the expected path and how to get it.
    """
    found = find_model(MODEL_SUBDIRECTORY, model_filename)
    if found is None:
        expected = os.path.join(model_directory(MODEL_SUBDIRECTORY), model_filename)
        raise AssertionError(
            f"the model {expected} does not exist; train one with baselines/train_fasttext_classifier.py, or see: "
            f"corpusmith assets fetch {os.path.basename(model_filename)}"
        )
    return found


def load_fasttext_model(model_filename: str) -> Any:
    """The model of this name, loaded once per process; AssertionError where its file is missing."""
    return load_model(quality_model_path(model_filename))


def classify_fasttext_hq_prob(model: Any, content: str) -> float:
    """The probability that a text is of high quality: of the top label, or one less it where that is `__label__cc`."""
    found = top_label(model, " ".join(content.strip().splitlines()))
    if found is None:
        raise ValueError("the model has no label for this text")
    label, probability = found
    return 1 - probability if label == LOW_QUALITY_LABEL else probability


@factory_function
def classify_fasttext_hq_prob_enricher(
    model_filename: str = RPJ_MODEL_FILENAME, key: str = "fasttext_hq_prob", overwrite: bool = False
) -> Callable[[Page], list[Page]]:
    """Return a mapper that adds the probability that a page is of high quality.

    Args:
        model_filename: a model in the folder of quality models (below the working directory, of the project, or in the
            cache), or an absolute path; with the labels `__label__hq` (or another) and `__label__cc`.
        key: the key to add.
        overwrite: replace a value under the key.

    Raises:
        AssertionError: the model is missing; (a page) the key is there already.
    """
    model = load_fasttext_model(model_filename)

    def enrich(page: Page) -> list[Page]:
        require_free(page, key, overwrite)
        page[key] = classify_fasttext_hq_prob(model, page[CONTENT])
        return [page]

    return enrich
