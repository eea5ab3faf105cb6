"""Filters that look at what is known about a page: its URL, its language, its quality score; and random sampling.

Follows DCLM's filters; departs from it in reading a pickled banlist without running what it asks for, and in searching
long banlists with an automaton.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from urllib.parse import urlparse

from baselines.core.constants import URL, Page
from baselines.core.factory_utils import draws_random, factory_function, read_only
from baselines.core.mapper_table import mappers_of
from baselines.mappers.filters._pickled_banlist import load_pickled_pattern
from baselines.mappers.filters.content_filters import read_banlist
from baselines.mappers.kernels.literals import LiteralFinder

__all__ = mappers_of(__name__)


# scheme, and a host of printable ASCII without brackets, which is nothing that `urlparse` would change or refuse
PLAIN_HOST_RE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://([!-\"$-.0->@-Z\\^-~]*)(?=[/?#]|\Z)")
PICKLE_SUFFIXES = (".pkl", ".pickle")


@draws_random
def random_sampling_filter(page: Page, keep_probability: float = 0.1) -> list[Page]:
    """Keep a page with this probability, by one draw from Python's global generator.

    Raises:
        AssertionError: a probability outside [0, 1].
    """
    if not 0 <= keep_probability <= 1:
        raise AssertionError(f"keep_probability must lie in [0, 1], got {keep_probability}")
    return [page] if random.random() < keep_probability else []


@read_only
def language_filter(
    page: Page,
    keep_languages: list[str],
    key: str = "language_id_whole_page_langdetect",
    threshold: float = 0.0,
) -> list[Page]:
    """Keep a page that holds one of the languages with a probability above the threshold.

    Args:
        page: the page; under `key` it has a dict of language to probability.
        keep_languages: a list of language codes.
        key: where an enricher put the probabilities.
        threshold: the probability must be greater than this.

    Raises:
        TypeError: `keep_languages` is not a list.
        AssertionError: the page lacks the key.
    """
    if not isinstance(keep_languages, list):
        raise TypeError(f"keep_languages must be a list, got {type(keep_languages).__name__}")
    _require(page, key)
    probabilities = page[key]
    kept = any(language in probabilities and probabilities[language] > threshold for language in keep_languages)
    return [page] if kept else []


@read_only
def quality_filter(
    page: Page,
    key: str = "fasttext_hq_prob",
    threshold: float = 0.0,
    lower_better: bool = False,
    key_must_exist: bool = True,
) -> list[Page]:
    """Keep a page whose score is at least the threshold (at most, if lower is better).

    Args:
        page: the page.
        key: where an enricher put the score.
        threshold: smallest (largest) score kept.
        lower_better: whether low scores are good ones.
        key_must_exist: if False, a page without a score has the worst one.

    Raises:
        AssertionError: the page lacks the key that must exist.
        TypeError: the score is None.
    """
    if key_must_exist:
        _require(page, key)
    score = page.get(key, float("inf") if lower_better else float("-inf"))
    kept = score <= threshold if lower_better else score >= threshold
    return [page] if kept else []


class _SeenUrl:
    """A URL with what the filters of a pipeline ask about it, each computed once."""

    def __init__(self, url: str) -> None:
        self.url = url

    @functools.cached_property
    def lower(self) -> str:
        """The URL in lower case."""
        return self.url.lower()

    @functools.cached_property
    def host(self) -> str:
        """Host with port and user, as `urlparse` finds it."""
        return _host_of(self.url)

    @functools.cached_property
    def lower_host(self) -> str:
        """Host of the URL in lower case."""
        return _host_of(self.lower)


_last_url = _SeenUrl("")


def _seen(url: str) -> _SeenUrl:
    """What is known of the URL; kept for the next question about the same object."""
    global _last_url
    if _last_url.url is not url:
        _last_url = _SeenUrl(url)
    return _last_url


def _host_of(url: str) -> str:
    """Return `urlparse(url).netloc`, without its cost for an ordinary URL."""
    ordinary = PLAIN_HOST_RE.match(url)
    return ordinary[1] if ordinary else urlparse(url).netloc


def _require(page: Page, key: str) -> None:
    if key not in page:
        raise AssertionError(f"The input JSON object does not have a {key} field")


@read_only
@factory_function
def url_substring_filter(
    banlist: str | list[str] | None = None,
    banlist_from_fname: str | None = None,
    ignore_chars: str | list[str] | None = None,
    num_banned_substrs: int = 1,
    exact_domain_match: bool = False,
    match_substrings: bool = True,
    case_sensitive: bool = False,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that removes a page by what its URL contains.

    Args:
        banlist: one or more literal strings.
        banlist_from_fname: text file with one a line; wins over `banlist`. A file ending in `.pkl` or `.pickle` holds
            a compiled regular expression, which is searched for as it is.
        ignore_chars: strings (or the characters of one string) deleted from the URL or host before it is compared;
            the items keep them.
        num_banned_substrs: how many different items must be found.
        exact_domain_match: compare the host (with port and user, as it stands) with the items instead.
        match_substrings: if False, an item must be bounded by non-word characters.
        case_sensitive: if False, URL and items are lower-cased.

    Raises:
        TypeError: no list.
        AssertionError: a pickled list with `exact_domain_match`.
        InputError: a pickled list that holds more than a regular expression.
    """
    ignored = list(ignore_chars or ())

    def subject_of(url: str) -> str:
        seen = _seen(url)
        if exact_domain_match:
            subject = seen.host if case_sensitive else seen.lower_host
        else:
            subject = url if case_sensitive else seen.lower
        for characters in ignored:
            subject = subject.replace(characters, "")
        return subject

    find: Callable[[str], list[str]]
    if banlist_from_fname is not None and banlist_from_fname.endswith(PICKLE_SUFFIXES):
        if exact_domain_match:
            raise AssertionError(f"{banlist_from_fname}: a pickled banlist has no domains to compare with")
        find = load_pickled_pattern(banlist_from_fname).findall
    else:
        items = read_banlist(banlist, banlist_from_fname)
        if not case_sensitive:
            items = [item.lower() for item in items]
        if exact_domain_match:
            domains = frozenset(items)
            return lambda page: [] if subject_of(page[URL]) in domains else [page]
        find = LiteralFinder(items, whole_words=not match_substrings, ignore_case=not case_sensitive).matches

    def filter_urls(page: Page) -> list[Page]:
        return [] if len(set(find(subject_of(page[URL])))) >= num_banned_substrs else [page]

    return filter_urls
