"""Modifiers change a page in place: its keys, its lines, its repeated lines.

Follows DCLM's modifiers: the text is split at line feeds (a carriage return is an ordinary character), the lines that
survive are joined again, and a page whose text would become empty is removed with its text left as it was. Those about
lines' contents, web addresses, HTML, LaTeX and code lie in modules of their own and are found here as well.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

from baselines.core.constants import CONTENT, URL, Page
from baselines.core.factory_utils import factory_function
from baselines.core.mapper_table import door
from baselines.mappers.kernels.lines import join_kept, keep_lines, replace_text
from corpusmith.text.segmentation.view import view

__all__, __getattr__, __dir__ = door(
    __name__,
    "baselines.mappers.arxiv_modifiers",
    "baselines.mappers.code_modifiers",
    "baselines.mappers.html_modifiers",
    "baselines.mappers.line_modifiers",
    "baselines.mappers.modifiers",
    "baselines.mappers.url_modifiers",
)


INFINITY = float("inf")
FINAL_PUNCTUATION = (".", "!", "?", '"', "\u2026")
ELLIPSES = ("...", "\u2026")
SEPARATORS = {"line": "\n", "paragraph": "\n\n"}


def move_url_modifier(page: Page) -> list[Page]:
    """Set `page["url"]` to the WARC header `metadata["WARC-Target-URI"]`; KeyError where the page has none."""
    page[URL] = page["metadata"]["WARC-Target-URI"]
    return [page]


def key_name_modifier(
    page: Page, old_key: str = "content", new_key: str = "text", allow_overwrite: bool = False
) -> list[Page]:
    """Rename a key; the renamed one becomes the last.

    Args:
        page: the page; without `old_key` it stays as it is.
        old_key: the name now.
        new_key: the name then.
        allow_overwrite: replace a value under `new_key`; otherwise such a page stays as it is, with a warning.
    """
    if old_key not in page:
        return [page]
    if new_key in page and not allow_overwrite:
        # names the caller, so that a run over many pages shows it once
        warnings.warn(f"{new_key!r} is in the page already; {old_key!r} was not renamed", stacklevel=2)
        return [page]
    page[new_key] = page.pop(old_key)
    return [page]


def line_length_modifier(page: Page, min_length: float = 0, max_length: float = INFINITY) -> list[Page]:
    """Keep empty lines, and lines of so many words (of `str.split`), both bounds included."""
    text = page[CONTENT]
    table = view(text).line_table
    kept = ((table.words >= min_length) & (table.words <= max_length)) | (table.starts == table.ends)
    return replace_text(page, keep_lines(text, table, kept))


@factory_function
def punctuation_line_modifier(remove_ellipses: bool = False) -> Callable[[Page], list[Page]]:
    """Return a mapper that keeps empty lines and lines that end with `.`, `!`, `?`, `"` or U+2026 (then white space).

    Args:
        remove_ellipses: remove lines that end with `...` or U+2026.
    """

    def is_kept(line: str) -> bool:
        if line == "":
            return True
        end = line.rstrip()
        return end.endswith(FINAL_PUNCTUATION) and not (remove_ellipses and end.endswith(ELLIPSES))

    def keep_punctuated(page: Page) -> list[Page]:
        text = page[CONTENT]
        lines = text.split("\n")
        return replace_text(page, join_kept(text, lines, [line for line in lines if is_kept(line)]))

    return keep_punctuated


@factory_function
def newline_removal_modifier(max_consecutive: int = 2) -> Callable[[Page], list[Page]]:
    """Return a mapper that shortens each longer run of line feeds to this many (0: none stay); no page is removed."""
    kept = "\n" * max_consecutive
    too_many = "\n" * (max_consecutive + 1)
    pattern = re.compile(f"\n{{{max_consecutive + 1},}}")

    def shorten_runs(page: Page) -> list[Page]:
        text = page[CONTENT]
        # an unchanged text stays the same object, and keeps its view
        if too_many in text:
            page[CONTENT] = pattern.sub(kept, text)
        return [page]

    return shorten_runs


def within_page_dedup(
    page: Page, granularity: Literal["line", "paragraph"] = "line", normalize: bool = True
) -> list[Page]:
    """Keep the first of equal lines or paragraphs of a page, and all empty ones; no page is removed.

    Args:
        page: the page.
        granularity: "line", or "paragraph" (split at two line feeds).
        normalize: compare stripped and lower-cased.

    Raises:
        ValueError: another granularity.
    """
    if granularity not in SEPARATORS:
        raise ValueError(f"granularity must be 'line' or 'paragraph', got {granularity!r}")
    separator = SEPARATORS[granularity]
    seen: set[str] = set()
    kept: list[str] = []
    for piece in page[CONTENT].split(separator):
        key = piece.strip().lower() if normalize else piece
        if key == "" or key not in seen:
            seen.add(key)
            kept.append(piece)
    page[CONTENT] = separator.join(kept)
    return [page]


def split_lines_modifier(page: Page, delimiter: str = "\n") -> list[Page]:
    """Turn the text into the list of its lines; a list stays as it is, an empty text is removed.

    Raises:
        TypeError: a text that is neither a string nor a list.
    """
    content: Any = page[CONTENT]
    if isinstance(content, list):
        return [page]
    if not isinstance(content, str):
        raise TypeError(f"the text must be a string or a list, got {type(content).__name__}")
    if content == "":
        return []
    page[CONTENT] = content.split(delimiter)
    return [page]


def join_lines_modifier(page: Page, delimiter: str = "\n") -> list[Page]:
    """Turn a list of lines into a text; a string stays as it is, an empty list is removed.

    Raises:
        TypeError: a text that is neither a string nor a list.
    """
    content: Any = page[CONTENT]
    if isinstance(content, str):
        return [page]
    if not isinstance(content, list):
        raise TypeError(f"the text must be a string or a list, got {type(content).__name__}")
    if not content:
        return []
    page[CONTENT] = delimiter.join(content)
    return [page]
