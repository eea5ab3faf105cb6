"""Filters that look at the text of a page and never change it: lengths, ratios of symbols and words, banned strings.

Follows DCLM's filters, thresholds and defaults included; departs from it in asking the shared view of the text
(`corpusmith.text.segmentation.view`), so that a pipeline cuts a page into words once and not once for each filter.
All read `page["text"]`, return `[page]` to keep the page and `[]` to remove it; a page without the key raises KeyError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function, forwards_keywords, read_only, text_filter
from baselines.core.mapper_table import door
from baselines.mappers.core_utils import SentenceModel, count_words, split_paragraphs, split_sentences
from baselines.mappers.kernels.literals import LiteralFinder, is_literal
from corpusmith.io import storage
from corpusmith.text.segmentation.view import MAX_COUNT, TextView, view
from corpusmith.text.tokenizers.load import load_tokenizer

__all__, __getattr__, __dir__ = door(
    __name__,
    "baselines.mappers.filters.content_filters",
    "baselines.mappers.filters.repetition_filters",
)


DEFAULT_TOKENIZER = "EleutherAI/pythia-6.9b-deduped"
# The endings that RedPajama keeps of GitHub's files.
RPJ_GITHUB_EXTENSIONS = (
    *(".asm", ".bat", ".cmd", ".c", ".h", ".cs", ".cpp", ".hpp", ".c++", ".h++", ".cc", ".hh", ".C", ".H", ".cmake"),
    *(".css", ".dockerfile", ".f90", ".f", ".f03", ".f08", ".f77", ".f95", ".for", ".fpp", ".go", ".hs", ".html"),
    *(".java", ".js", ".jl", ".lua", ".md", ".markdown", ".php", ".php3", ".php4", ".php5", ".phps", ".phpt", ".pl"),
    *(".pm", ".pod", ".perl", ".ps1", ".psd1", ".psm1", ".py", ".rb", ".rs", ".sql", ".scala", ".sh", ".bash"),
    *(".command", ".zsh", ".ts", ".tsx", ".tex", ".vb", "Dockerfile", "Makefile", ".xml", ".rst", ".m", ".smali"),
)
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SYMBOLS = ("#", "...", ". . .", "\u2026")
INFINITY = float("inf")


@read_only
def github_extension_filter(
    page: Page, filename_key: str = "filename", allowed_extensions: str | list[str] | tuple[str, ...] | None = None
) -> list[Page]:
    """Keep a page whose file name ends with one of the endings (case counts; `xMakefile` ends with `Makefile`).

    Args:
        page: the page; its text is not needed.
        filename_key: where the name stands; a page without it has an empty name.
        allowed_extensions: one or more endings; None for the 66 of RedPajama, an empty list keeps no page.
    """
    if allowed_extensions is None:
        allowed_extensions = RPJ_GITHUB_EXTENSIONS
    endings = tuple(allowed_extensions) if isinstance(allowed_extensions, list) else allowed_extensions
    return [page] if page.get(filename_key, "").endswith(endings) else []


@read_only
def line_length_filter(page: Page, length_type: Literal["max", "avg"] = "max", max_length: float = 1000) -> list[Page]:
    """Remove a page that is empty or whose lines are too long.

    Args:
        page: the page; lines are those of `str.splitlines`.
        length_type: "max" for the longest line, "avg" for the mean.
        max_length: largest length kept, in characters.

    Raises:
        ValueError: another `length_type` (an empty page is removed before that is looked at).
    """
    text = page[CONTENT]
    if not text:
        return []
    lengths = [len(line) for line in text.splitlines()]
    if length_type == "max":
        length: float = max(lengths)
    elif length_type == "avg":
        length = sum(lengths) / len(lengths)
    else:
        raise ValueError(f"length_type must be 'max' or 'avg', got {length_type!r}")
    return [] if length > max_length else [page]


@text_filter
def alphanumeric_char_ratio_filter(seen: TextView, max_alnum_ratio: float = 0.25) -> bool:
    """Remove a page that is empty or has fewer alphanumeric characters than this share: a minimum, despite its name."""
    return seen.text != "" and not seen.alnum_characters / len(seen.text) < max_alnum_ratio


def _count_lines(text: str, remove_empty: bool = True) -> int:
    return view(text).survey.lines if remove_empty is True else len(split_paragraphs(text, "\n", remove_empty))


def _count_paragraphs(text: str, remove_empty: bool = True) -> int:
    return (
        len(view(text).paragraphs.starts) if remove_empty is True else len(split_paragraphs(text, "\n\n", remove_empty))
    )


def _count_sentences(
    text: str, remove_empty: bool = True, tokenizer: SentenceModel = "blingfire", tokenizer_lang: str | None = None
) -> int:
    return len(split_sentences(text, remove_empty, tokenizer, tokenizer_lang))


def _count_characters(text: str, **ignored: Any) -> int:
    del ignored
    return len(text)


UNIT_COUNTERS: dict[str, Callable[..., int]] = {
    "word": count_words,
    "sentence": _count_sentences,
    "line": _count_lines,
    "paragraph": _count_paragraphs,
    "char": _count_characters,
}


def _unit_counters(arguments: Mapping[str, Any]) -> list[Callable[..., Any]]:
    """Return the function that the arguments of `page_length_filter` are for; all of them where none is named."""
    counter = UNIT_COUNTERS.get(arguments.get("length_type", ""))
    # characters take the arguments of any unit and ignore them
    return list(UNIT_COUNTERS.values()) if counter in (None, _count_characters) else [counter]


@read_only
@forwards_keywords(_unit_counters)
def page_length_filter(
    page: Page,
    length_type: Literal["word", "sentence", "line", "paragraph", "char"],
    min_length: float = 1,
    max_length: float = INFINITY,
    **kwargs: Any,
) -> list[Page]:
    """Keep a page whose length lies between the bounds, both included.

    Args:
        page: the page.
        length_type: "word", "sentence", "line", "paragraph" or "char".
        min_length: smallest length kept, in that unit.
        max_length: largest length kept.
        kwargs: arguments of `split_words`, `split_sentences` or `split_paragraphs`; ignored for "char".

    Raises:
        ValueError: another `length_type`.
        TypeError: an argument that the splitting function does not have.
    """
    text = page[CONTENT]
    if length_type not in UNIT_COUNTERS:
        raise ValueError(f"length_type must be one of {', '.join(UNIT_COUNTERS)}, got {length_type!r}")
    length = UNIT_COUNTERS[length_type](text, **kwargs)
    return [page] if min_length <= length <= max_length else []


@read_only
@factory_function
def alphabetic_characters_to_tokens_filter(tokenizer_name: str = DEFAULT_TOKENIZER) -> Callable[..., list[Page]]:
    """Return a mapper that removes a page with too few alphabetic characters for its tokens.

    The mapper is called with the page and `max_ratio` (default 1.5), in truth the smallest number of alphabetic
    characters a token that is kept; as in DCLM, a YAML cannot set it. A page without text or tokens is removed.

    Args:
        tokenizer_name: a `tokenizer.json`, a folder that holds one, or a name in the folder of tokenizers (see
            `corpusmith.text.tokenizers.load.load_tokenizer`).

    Raises:
        InputError: no such tokenizer.
    """
    tokenizer = load_tokenizer(tokenizer_name)

    def filter_by_tokens(page: Page, max_ratio: float = 1.5) -> list[Page]:
        text = page[CONTENT]
        tokens = len(tokenizer.encode(text)) if text else 0
        if tokens == 0:
            return []
        return [] if sum(map(str.isalpha, text)) / tokens < max_ratio else [page]

    return filter_by_tokens


@text_filter
def bullet_count_filter(seen: TextView, max_bullet_start_ratio: float = 0.9) -> bool:
    """Remove a page of which more than this share of the non-empty lines start with ●, •, * or -."""
    return not seen.survey.bullet_lines > max_bullet_start_ratio * seen.survey.lines


@text_filter
def ellipsis_count_filter(seen: TextView, max_ellipsis_end_ratio: float = 0.3) -> bool:
    """Remove a page of which more than this share of the non-empty lines end with `...`, `. . .` or U+2026."""
    return not seen.survey.ellipsis_lines > max_ellipsis_end_ratio * seen.survey.lines


def _enough_hits(threshold: float) -> int:
    """The smallest positive count that reaches the threshold; the largest countable where none does."""
    return max(1, math.ceil(threshold)) if threshold < MAX_COUNT else MAX_COUNT


@text_filter
def stop_word_filter(seen: TextView, count_unique: bool = False, min_stop_word: float = 2) -> bool:
    """Keep a page with enough of the stop words the, be, to, of, and, that, have, with.

    Args:
        seen: the view of the text; words are those of `str.split`, in any case, and must match whole (`the,` does not).
        count_unique: count different stop words only.
        min_stop_word: smallest count kept; with 0 a page still needs one, as in DCLM.
    """
    if count_unique:
        hits = sum(count > 0 for count in seen.count_listed(STOP_WORDS))
    else:
        hits = sum(seen.count_listed(STOP_WORDS, _enough_hits(min_stop_word)))
    return hits > 0 and hits >= min_stop_word


@text_filter
def word_length_filter(seen: TextView, min_length: float = 0, max_length: float = INFINITY) -> bool:
    """Keep a page whose mean length of words (of `str.split`, in characters) lies between the bounds, both included."""
    words = seen.survey.words
    return words > 0 and not (
        seen.survey.word_characters / words < min_length or seen.survey.word_characters / words > max_length
    )


@text_filter
def symbol_ratio_filter(seen: TextView, max_symbol_to_word_ratio: float = 0.1) -> bool:
    """Remove a page without words, or with more symbols (#, `...`, `. . .`, U+2026) a word of `str.split` than this."""
    words = seen.survey.words
    return words > 0 and not seen.survey.symbols / words > max_symbol_to_word_ratio


@text_filter
def alphabetic_word_ratio_filter(seen: TextView, max_ratio: float = 0.2) -> bool:
    """Remove a page without words, or in which more than this share of them have no alphabetic character."""
    words = seen.survey.words
    return words > 0 and not seen.survey.words_without_alpha / words > max_ratio


@read_only
@forwards_keywords(lambda arguments: [count_words])
def word_removal_ratio_filter(
    page: Page,
    prev_word_count_key: str,
    new_word_count_key: str | None = None,
    max_removed_ratio: float = 0.05,
    ignore_punctuation: bool = True,
    **kwargs: Any,
) -> list[Page]:
    """Remove a page that earlier steps have robbed of more than this share of its words, or that had none.

    Args:
        page: the page.
        prev_word_count_key: key of the word count before those steps.
        new_word_count_key: key of the word count now; counted afresh where None or absent.
        max_removed_ratio: largest share of words lost that is kept.
        ignore_punctuation: argument of `split_words`.
        kwargs: other arguments of `split_words`.

    Raises:
        AssertionError: the page lacks `prev_word_count_key`.
    """
    if prev_word_count_key not in page:
        raise AssertionError(f"The input JSON object does not have a {prev_word_count_key} field")
    previous = page[prev_word_count_key]
    if new_word_count_key and new_word_count_key in page:
        remaining = page[new_word_count_key]
    else:
        remaining = count_words(page[CONTENT], ignore_punctuation=ignore_punctuation, **kwargs)
    if previous == 0 or (previous - remaining) / previous > max_removed_ratio:
        return []
    return [page]


def read_banlist(banlist: str | Sequence[str] | None, path: str | None) -> list[str]:
    """Return the items of a text file, one a line, or else of the list; a single string is a list of one.

    Raises:
        TypeError: neither is given.
        FileNotFoundError: no such file (InputError for a URL).
    """
    if path is not None:
        is_remote = "://" in path
        content = storage.read_bytes(path).decode("utf-8") if is_remote else Path(path).read_text(encoding="utf-8")
        return content.splitlines()
    if banlist is None:
        raise TypeError("give banlist or banlist_from_fname")
    return [banlist] if isinstance(banlist, str) else list(banlist)


@read_only
@factory_function
def substring_filter(
    banlist: str | list[str] | None = None,
    banlist_from_fname: str | None = None,
    location: Literal["any", "prefix", "suffix"] = "any",
    case_sensitive: bool = False,
    exact_word: bool = False,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that removes a page in whose text one of the banned expressions is found.

    Args:
        banlist: one or more regular expressions (not literal strings); an empty list removes every page.
        banlist_from_fname: file with one a line; wins over `banlist`.
        location: "any", or "prefix" / "suffix" of the whole text.
        case_sensitive: if False, text and expressions are lower-cased (`\\W` in an expression becomes `\\w`).
        exact_word: require a word boundary on both sides.

    Raises:
        ValueError: another `location`.
        TypeError: no list.
        re.error: an expression that does not compile.
    """
    if location not in ("any", "prefix", "suffix"):
        raise ValueError(f"location must be any, prefix or suffix, got {location!r}")
    items = read_banlist(banlist, banlist_from_fname)
    if not case_sensitive:
        items = [item.lower() for item in items]
    expression = f"(?:{'|'.join(items)})"
    if exact_word:
        expression = rf"\b{expression}\b"
    if location == "prefix":
        expression = "^" + expression
    elif location == "suffix":
        expression += "$"
    pattern = re.compile(expression)
    is_found: Callable[[str], object] = pattern.search
    if location == "any" and all(map(is_literal, items)):
        is_found = LiteralFinder(items, whole_words=exact_word).contains

    def filter_substrings(page: Page) -> list[Page]:
        text = page[CONTENT] if case_sensitive else page[CONTENT].lower()
        return [] if is_found(text) else [page]

    return filter_substrings
