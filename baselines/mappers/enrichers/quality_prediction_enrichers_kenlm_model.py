"""The enricher that measures the perplexity of a page with a KenLM model over SentencePiece pieces (CCNet's).

Follows DCLM's class and its normalisation to the character; departs from it in importing the packages kenlm and
sentencepiece only when a model is loaded.
"""

from __future__ import annotations

import functools
import importlib
import os
import unicodedata
from collections.abc import Callable
from typing import Any, ClassVar

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.core.mapper_table import mappers_of
from baselines.mappers.enrichers.enrichers import require_free
from baselines.mappers.enrichers.fasttext_models import find_model, local_copy, model_directory
from baselines.mappers.enrichers.quality_prediction_enrichers_calc_fasttext import MODEL_SUBDIRECTORY
from corpusmith.errors import InputError, missing_package
from corpusmith.io import storage
from corpusmith.text.normalize import DIGIT_RE, NON_PRINTING_CHARS_RE, UNICODE_PUNCT, UNICODE_PUNCT_RE

__all__ = [*mappers_of(__name__), "MODEL_SUBDIRECTORY", "KenlmModel", "SentencePiece"]


MAP_PUNCTUATION = 1
DELETE_PUNCTUATION = 2


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise missing_package(name, "kenlm") from error


def kenlm_model_path(filename: str, folder: str | None = None) -> str:
    """The path of a KenLM or SentencePiece model, in `folder` (or behind that URL) or where models lie.

    Raises:
        InputError: it is missing; says how to get it.
    """
    found = find_model(MODEL_SUBDIRECTORY, filename) if folder is None else local_copy(storage.join(folder, filename))
    if found is None:
        expected = os.path.join(model_directory(MODEL_SUBDIRECTORY), filename)
        raise InputError(f"the model {expected} is missing; run: corpusmith assets fetch {filename}")
    return found


class SentencePiece:
    """Cuts text into the pieces of a SentencePiece model."""

    def __init__(self, model: str) -> None:
        self.sp = _package("sentencepiece").SentencePieceProcessor()
        self.sp.load(str(model))

    def do(self, text: str) -> str:
        """The pieces of the text, one space between them."""
        return " ".join(self.sp.encode_as_pieces(text))


class KenlmModel:
    """Perplexity of a text under a KenLM model of one language.

    `model_dataset` is ignored; `lower_case`, `remove_accents`, `normalize_numbers` and `punctuation` (1 maps
    characters of the table to ASCII, 2 deletes them) say how a text is normalised first. `folder`: where the two files
    lie (default: the folder of quality models, or the cache).
    """

    digit_re = DIGIT_RE
    unicode_punct: ClassVar[dict[str, str]] = UNICODE_PUNCT
    unicode_punct_re = UNICODE_PUNCT_RE
    non_printing_chars_re = NON_PRINTING_CHARS_RE

    def __init__(
        self,
        model_dataset: str,
        language: str,
        lower_case: bool = False,
        remove_accents: bool = False,
        normalize_numbers: bool = True,
        punctuation: int = MAP_PUNCTUATION,
        folder: str | None = None,
    ) -> None:
        del model_dataset
        path = kenlm_model_path(f"{language}.arpa.bin", folder)
        try:
            self.model = _package("kenlm").Model(path)
        except OSError as error:
            raise InputError(f"{path}: not a KenLM model: {error}") from error
        self.tokenizer = SentencePiece(kenlm_model_path(f"{language}.sp.model", folder))
        self.accent = remove_accents
        self.lower_case = lower_case
        self.numbers = normalize_numbers
        self.punct = punctuation

    @classmethod
    def from_pretrained(cls, model_dataset: str, language: str) -> KenlmModel:
        """The model with the default normalisation."""
        return cls(model_dataset, language)

    def pp(self, log_score: float, length: int) -> float:
        """Perplexity from a sum of log10 scores over `length` pieces."""
        return float(10.0 ** (-log_score / length))

    def get_perplexity(self, doc: str, normalize_cc_net: bool = True) -> float:
        """The perplexity of a text, rounded to one decimal."""
        if normalize_cc_net:
            doc = self.normalize(doc, accent=self.accent, case=self.lower_case, numbers=self.numbers, punct=self.punct)
        log_score, length = 0.0, 0
        for line in self.tokenizer.do(doc).split("\n"):
            log_score += self.model.score(line)
            length += len(line.split()) + 1
        return round(self.pp(log_score, length), 1)

    def normalize(
        self,
        line: str,
        accent: bool = True,
        case: bool = True,
        numbers: bool = True,
        punct: int = MAP_PUNCTUATION,
    ) -> str:
        """The text as the model was trained on it: stripped, lower-cased (`case`), without accents and so on."""
        line = line.strip()
        if not line:
            return line
        if case:
            line = line.lower()
        if accent:
            line = self.strip_accents(line)
        if numbers:
            line = self.digit_re.sub("0", line)
        if punct == MAP_PUNCTUATION:
            line = self.replace_unicode_punct(line)
        elif punct == DELETE_PUNCTUATION:
            line = self.remove_unicode_punct(line)
        return self.remove_non_printing_char(line)

    def strip_accents(self, line: str) -> str:
        """The text decomposed (NFD), without its non-spacing marks."""
        decomposed = unicodedata.normalize("NFD", line)
        return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")

    def replace_unicode_punct(self, text: str) -> str:
        """Each character of the punctuation table replaced by its ASCII form."""
        return "".join(self.unicode_punct.get(character, character) for character in text)

    def remove_unicode_punct(self, text: str) -> str:
        """The text without the characters of the punctuation table."""
        return self.unicode_punct_re.sub("", text)

    def remove_non_printing_char(self, text: str) -> str:
        """The text without control characters, line feeds among them."""
        return self.non_printing_chars_re.sub("", text)


@functools.cache
def _english_wikipedia(folder: str | None) -> KenlmModel:
    return KenlmModel("wikipedia", "en", folder=folder)


@factory_function
def ken_lm_perplexity_enricher(
    key: str = "kenlm_perplexity", overwrite: bool = False, model_folder: str | None = None
) -> Callable[[Page], list[Page]]:
    """Return a mapper that adds the perplexity of the page under the model of English Wikipedia.

    Args:
        key: the key to add.
        overwrite: replace a value under the key.
        model_folder: folder or URL with `en.arpa.bin` and `en.sp.model` (default: where quality models lie).

    Raises:
        UserError: kenlm or sentencepiece is not installed.
        InputError: the model is missing.
        AssertionError: (a page) the key is there already.
    """
    model = _english_wikipedia(model_folder)

    def enrich(page: Page) -> list[Page]:
        require_free(page, key, overwrite)
        page[key] = model.get_perplexity(page[CONTENT])
        return [page]

    return enrich
