"""Modifiers that drop lines by what is in them, and those that delete banned words or citations.

Follows DCLM's modifiers, under whose module path (`baselines.mappers.modifiers`) they are found as well; departs from
it in counting the characters of all lines at once, as arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function, forwards_keywords
from baselines.mappers.core_utils import split_words
from baselines.mappers.kernels.lines import join_kept, keep_lines, replace_text
from baselines.mappers.kernels.literals import Possible
from corpusmith.text.segmentation.view import view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from corpusmith.text.segmentation.view import LineTable


# `3 likes`, `1.2K views`, `~ 10 comments ~`: a number, then what it counts, and nothing else on the line
COUNTER_RE = re.compile(
    r"^\W*\d(?:,|\.|\d)*(?:K|k|M|m|B|b)?\s+"
    r"(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers)\W*$"
)
CITATION_RE = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


@forwards_keywords(lambda arguments: [split_words])
def word_length_modifier(page: Page, max_length: float = 1000, **kwargs: Any) -> list[Page]:
    """Drop lines that hold a word longer than so many characters; empty lines stay.

    Args:
        page: the page.
        max_length: largest length kept.
        kwargs: arguments of `split_words`.
    """
    text = page[CONTENT]
    lines = text.split("\n")
    # a word is a part of its line
    kept = [
        line
        for line in lines
        if len(line) <= max_length or all(len(word) <= max_length for word in split_words(line, **kwargs))
    ]
    return replace_text(page, join_kept(text, lines, kept))


def _keep_by_ratio(page: Page, count: Callable[[LineTable], NDArray[np.int32]], max_ratio: float) -> list[Page]:
    """Keep empty lines, and those of whose characters at most this share are counted; strip the text."""
    text = page[CONTENT]
    table = view(text).line_table
    lengths = table.ends - table.starts
    # an empty line counts nothing
    kept = (count(table) / np.maximum(lengths, 1) <= max_ratio) | (lengths == 0)
    return replace_text(page, keep_lines(text, table, kept).strip())


def uppercase_ratio_line_modifier(page: Page, max_ratio: float = 0.5) -> list[Page]:
    """Drop lines of whose characters more than this share are upper-case; strip the text."""
    return _keep_by_ratio(page, lambda table: table.upper, max_ratio)


def numeric_ratio_line_modifier(page: Page, max_ratio: float = 1.0) -> list[Page]:
    """Drop lines of whose characters more than this share are digits (of any script); strip the text."""
    return _keep_by_ratio(page, lambda table: table.digits, max_ratio)


@factory_function
def counter_line_modifier() -> Callable[[Page], list[Page]]:
    """Return a mapper that drops lines that only count something (`3 likes`, `1.2K views`) and strips the text."""

    def drop_counters(page: Page) -> list[Page]:
        text = page[CONTENT]
        table = view(text).line_table
        kept = table.starts_with_number == 0
        for index in np.flatnonzero(table.starts_with_number).tolist():
            kept[index] = COUNTER_RE.match(text[table.starts[index] : table.ends[index]].lower()) is None
        return replace_text(page, keep_lines(text, table, kept).strip())

    return drop_counters


@factory_function
def citation_removal_modifier() -> Callable[[Page], list[Page]]:
    """Return a mapper that deletes `[1]`, `[]`, `[edit]` and `[citation needed]` from the text."""
    return lambda page: replace_text(page, CITATION_RE.sub("", page[CONTENT]))


@factory_function
def substring_line_modifier(
    banlist: str | list[str],
    case_sensitive: bool = False,
    location: Literal["prefix", "suffix", "any"] = "any",
    max_length: float | None = None,
    remove_substring_only: bool = False,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that drops the lines in which a banned expression is found, and strips the text.

    Args:
        banlist: one or more regular expressions (not literal strings); an empty list is found in every line.
        case_sensitive: if False, the expressions are lower-cased (`\\W` becomes `\\w`) and case is ignored.
        location: "any", or at the "prefix" or "suffix" of the line (one that ends with `\\r` has no such suffix).
        max_length: lines of more words (of `str.split`) are left alone; None: none are.
        remove_substring_only: delete what is found, with one white space before it (behind it, for a prefix); then
            drop the line only if nothing but white space is left.

    Raises:
        AssertionError: another `location`.
        re.error: an expression that does not compile.
    """
    if location not in ("prefix", "suffix", "any"):
        raise AssertionError(f"location must be prefix, suffix or any, got {location!r}")
    items = [banlist] if isinstance(banlist, str) else list(banlist)
    if not case_sensitive:
        items = [item.lower() for item in items]
    group = f"(?:{'|'.join(items)})"
    expression = {"any": rf"\s?{group}", "prefix": rf"^{group}\s?", "suffix": rf"\s?{group}$"}[location]
    pattern = re.compile(expression, 0 if case_sensitive else re.IGNORECASE)

    possible = Possible(items, ignore_case=not case_sensitive)

    def change(line: str) -> str | None:
        """Return the line as it stays, or None."""
        if max_length is not None and len(line.split()) > max_length:
            return line
        if not remove_substring_only:
            return None if pattern.search(line) else line
        shorter = pattern.sub("", line)
        return None if line and not shorter.strip() else shorter

    def change_lines(page: Page) -> list[Page]:
        text = page[CONTENT]
        if possible(text):
            kept = [changed for line in text.split("\n") if (changed := change(line)) is not None]
            return replace_text(page, "\n".join(kept).strip())
        if remove_substring_only and (max_length is None or max_length >= 0):
            # lines of white space alone go even so
            table = view(text).line_table
            text = keep_lines(text, table, (table.words > 0) | (table.starts == table.ends))
        return replace_text(page, text.strip())

    return change_lines
