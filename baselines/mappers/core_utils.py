"""Splitting and joining of text, and the dedup normalizers, under the names that mappers written for DCLM import.

Follows DCLM's `core_utils`; departs from it in cutting words by our own kernels (same result, fastText is not
needed), in loading sentence splitters only when they are called, and in keeping one NLTK tokenizer per language.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from corpusmith.errors import missing_package
from corpusmith.text.normalize import (
    DEDUP_NORMALIZERS,
    DIGIT_RE,
    NON_PRINTING_CHARS_RE,
    PUNCT_OR_NON_PRINTING_CHARS_RE,
    UNICODE_PUNCT,
    UNICODE_PUNCT_RE,
    ccnet_dedup_normalizer,
    hash_text,
    normalize_timestamps,
    normalize_url,
    normalize_whitespace_and_lowercase,
)
from corpusmith.text.segmentation.view import view

__all__ = [
    "BLINGFIRE_AVAILABLE",
    "DEDUP_NORMALIZERS",
    "DIGIT_RE",
    "NON_PRINTING_CHARS_RE",
    "PUNCT_OR_NON_PRINTING_CHARS_RE",
    "UNICODE_PUNCT",
    "UNICODE_PUNCT_RE",
    "ccnet_dedup_normalizer",
    "count_words",
    "do_once",
    "hash_text",
    "join_paragraphs",
    "join_sentences",
    "normalize_timestamps",
    "normalize_url",
    "normalize_whitespace_and_lowercase",
    "sent_tokenizer",
    "split_paragraphs",
    "split_sentences",
    "split_words",
]


BLINGFIRE_AVAILABLE = importlib.util.find_spec("blingfire") is not None
# DCLM's one global NLTK tokenizer; ours are kept per language, the name stays for code that looks at it
sent_tokenizer: Any = None

WordModel = Literal["fasttext", "uniseg", "split"]
SentenceModel = Literal["blingfire", "nltk"]

FASTTEXT_TOKEN_RE = re.compile(r"[^ \n\r\t\x0b\x0c\x00]+|\n")
FASTTEXT_LINE_END = "</s>"


def do_once(func: Callable[..., Any]) -> Callable[..., Any]:
    """Let the function run once for each combination of arguments (compared as text); later calls return None."""
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()

    @functools.wraps(func)
    def once(*args: Any, **kwargs: Any) -> Any:
        key = (tuple(str(value) for value in args), tuple(str(pair) for pair in sorted(kwargs.items())))
        if key in seen:
            return None
        seen.add(key)
        return func(*args, **kwargs)

    return once


def split_paragraphs(text: str, paragraph_end: str = "\n", remove_empty: bool = True) -> list[str]:
    """Split at every match of the regular expression `paragraph_end`.

    With `remove_empty is True` the pieces are stripped and empty ones left out; otherwise they are untouched.
    """
    pieces = text.split(paragraph_end) if paragraph_end in ("\n", "\n\n") else re.split(paragraph_end, text)
    if remove_empty is not True:
        return pieces
    return [stripped for piece in pieces if (stripped := piece.strip())]


def split_sentences(
    text: str, remove_empty: bool = True, tokenizer: SentenceModel = "blingfire", tokenizer_lang: str | None = None
) -> list[str]:
    """Split into stripped, non-empty sentences.

    Args:
        text: the text; an empty one has no sentences.
        remove_empty: only True is supported.
        tokenizer: "blingfire", or "nltk" (Punkt).
        tokenizer_lang: "en" or "english" takes the pretrained English Punkt model, anything else an untrained one.

    Raises:
        ValueError: unknown tokenizer.
        AssertionError: blingfire is asked for and not installed.
        UserError: nltk is asked for and not installed.
        LookupError: the English Punkt model is neither here nor can be fetched.
        NotImplementedError: `remove_empty` is not True.
    """
    if text == "":
        return []
    if tokenizer == "blingfire":
        spans = _blingfire_spans(text)
    elif tokenizer == "nltk":
        spans = _punkt_tokenizer("english" if tokenizer_lang in ("en", "english") else "").span_tokenize(text)
    else:
        raise ValueError(f"Unknown sentence tokenizer: {tokenizer}")
    if remove_empty is not True:
        raise NotImplementedError("split_sentences keeps no empty sentences: leave remove_empty at True")
    return [sentence for start, end in spans if (sentence := text[start:end].strip())]


def _blingfire_spans(text: str) -> Iterable[tuple[int, int]]:
    try:
        blingfire = importlib.import_module("blingfire")
    except ModuleNotFoundError as error:
        raise AssertionError("the sentence splitter blingfire is not installed; run: pip install blingfire") from error
    spans: Iterable[tuple[int, int]] = blingfire.text_to_sentences_and_offsets(text)[1]
    return spans


@functools.cache
def _punkt_tokenizer(language: str) -> Any:
    """Return the Punkt tokenizer of the language, or an untrained one for an empty name."""
    try:
        punkt = importlib.import_module("nltk.tokenize.punkt")
        nltk = importlib.import_module("nltk")
    except ModuleNotFoundError as error:
        raise missing_package("nltk", "mappers") from error
    if not language:
        return punkt.PunktSentenceTokenizer()
    try:
        return punkt.PunktTokenizer(language)
    except LookupError:
        nltk.download("punkt_tab", quiet=True)
    try:
        return punkt.PunktTokenizer(language)
    except LookupError as error:
        raise LookupError(
            f"the NLTK resource punkt_tab ({language}) is not installed and could not be fetched"
        ) from error


def split_words(
    text: str, model: WordModel = "fasttext", ignore_punctuation: bool = False, ignore_whitespace: bool = True
) -> list[str]:
    """Cut into words; what is left out is decided by the first character of each word.

    Args:
        text: the text.
        model: "fasttext" (each line feed is a word `</s>`), "uniseg" (UAX #29 boundaries), "split" (`str.split`).
        ignore_punctuation: keep only words whose first character is alphanumeric.
        ignore_whitespace: leave out words of white space alone; if False beside `ignore_punctuation`, words that
            start with white space are kept too.

    Raises:
        ValueError: unknown model.
    """
    if model == "fasttext":
        words = [FASTTEXT_LINE_END if word == "\n" else word for word in FASTTEXT_TOKEN_RE.findall(text)]
    elif model == "uniseg":
        words = view(text).word_strings("uniseg")
    elif model == "split":
        words = text.split()
    else:
        raise ValueError(f"Unknown word tokenizer: {model}")
    if ignore_punctuation:
        if ignore_whitespace:
            return [word for word in words if word[0].isalnum()]
        return [word for word in words if word[0].isalnum() or word[0].isspace()]
    return [word for word in words if word.strip()] if ignore_whitespace else words


def count_words(
    text: str, model: WordModel = "fasttext", ignore_punctuation: bool = False, ignore_whitespace: bool = True
) -> int:
    """Return `len(split_words(...))` of the same arguments, from the shared view."""
    return view(text).count_words(model, ignore_punctuation, ignore_whitespace)


def join_sentences(lines: Iterable[str], sep: str = " ") -> str:
    """Return `sep.join(lines)`."""
    return sep.join(lines)


def join_paragraphs(paragraphs: Iterable[str], sep: str = "\n") -> str:
    """Return `sep.join(paragraphs)`."""
    return sep.join(paragraphs)
