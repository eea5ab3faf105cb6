"""Enrichers that count: each adds one key to a page and keeps the page.

Follows DCLM's enrichers; departs from it in counting on the shared view of the text.
"""

from __future__ import annotations

from typing import Any

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import forwards_keywords
from baselines.core.mapper_table import mappers_of
from baselines.mappers.core_utils import count_words, split_paragraphs

__all__ = mappers_of(__name__)


def line_counter(text: str, paragraph_end: str = "\n", remove_empty: bool = True) -> int:
    """Return the number of pieces that `split_paragraphs` gives."""
    return len(split_paragraphs(text, paragraph_end, remove_empty))


def line_counter_enricher(
    page: Page, paragraph_end: str = "\n", remove_empty: bool = True, key: str = "num_lines", overwrite: bool = False
) -> list[Page]:
    """Add the number of lines.

    Args:
        page: the page.
        paragraph_end: regular expression between lines.
        remove_empty: do not count lines of white space alone.
        key: the key to add.
        overwrite: replace a value under the key.

    Raises:
        AssertionError: the key is there already.
    """
    require_free(page, key, overwrite)
    page[key] = line_counter(page[CONTENT], paragraph_end, remove_empty)
    return [page]


@forwards_keywords(lambda arguments: [count_words])
def word_counter_enricher(
    page: Page, key: str = "word_count", overwrite: bool = False, ignore_punctuation: bool = True, **kwargs: Any
) -> list[Page]:
    """Add the number of words.

    Args:
        page: the page.
        key: the key to add.
        overwrite: replace a value under the key.
        ignore_punctuation: argument of `split_words`.
        kwargs: other arguments of `split_words`.

    Raises:
        AssertionError: the key is there already.
    """
    require_free(page, key, overwrite)
    page[key] = count_words(page[CONTENT], ignore_punctuation=ignore_punctuation, **kwargs)
    return [page]


def require_free(page: Page, key: str, overwrite: bool) -> None:
    """Raise AssertionError where the page has the key and it may not be replaced."""
    if key in page and not overwrite:
        raise AssertionError(f"cannot overwrite an existing key {key}")
