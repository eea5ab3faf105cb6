"""The five normalizers of deduplication keys, and the character tables that they and the perplexity model share.

Behaviour is DCLM's to the character, slips included: these functions decide which pages count as equal, so an
improvement would change data sets. `DEDUP_NORMALIZERS` is the table that YAML steps name them by.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import re
from collections.abc import Callable
from typing import Any

from corpusmith.errors import missing_package

# Full-width one to a quote is an inherited slip, kept.
UNICODE_PUNCT: dict[str, str] = {
    "\uff0c": ",",
    "\u3002": ".",
    "\u3001": ",",
    "\u201e": '"',
    "\u201d": '"',
    "\u201c": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "\uff11": '"',
    "\u300d": '"',
    "\u300c": '"',
    "\u300a": '"',
    "\u300b": '"',
    "\u00b4": "'",
    "\u2236": ":",
    "\uff1a": ":",
    "\uff1f": "?",
    "\uff01": "!",
    "\uff08": "(",
    "\uff09": ")",
    "\uff1b": ";",
    "\u2013": "-",
    "\u2014": " - ",
    "\uff0e": ". ",
    "\uff5e": "~",
    "\u2019": "'",
    "\u2026": "...",
    "\u2501": "-",
    "\u3008": "<",
    "\u3009": ">",
    "\u3010": "[",
    "\u3011": "]",
    "\uff05": "%",
    "\u25ba": "-",
}

NON_PRINTING_CHARACTERS = "".join(map(chr, [*range(32), *range(127, 160)]))
UNICODE_PUNCT_RE = re.compile(f"[{''.join(UNICODE_PUNCT)}]")
NON_PRINTING_CHARS_RE = re.compile(f"[{re.escape(NON_PRINTING_CHARACTERS)}]")
DIGIT_RE = re.compile(r"\d")
PUNCT_OR_NON_PRINTING_CHARS_RE = re.compile(f"[{''.join(UNICODE_PUNCT)}{re.escape(NON_PRINTING_CHARACTERS)}]")

_URL_SCHEME_RE = re.compile(r"https?://(www\.)?")
_URL_TRACKING_RE = re.compile(r"\?(utm_|ref|feed).*")


def normalize_url(url: str) -> str:
    """Remove every lower-case `http(s)://(www.)`, a query that starts with utm_, ref or feed, and trailing slashes."""
    without_scheme = _URL_SCHEME_RE.sub("", url)
    return _URL_TRACKING_RE.sub("", without_scheme).rstrip("/")


def normalize_whitespace_and_lowercase(text: str) -> str:
    """Return `text.strip().lower()`."""
    return text.strip().lower()


def normalize_timestamps(timestamp: str, date_format: str = "%Y-%m-%dT%H:%M:%SZ", default_val: float = -1.0) -> float:
    """Return seconds since the epoch, the date read as local time (as DCLM does, whatever the `Z` says).

    Args:
        timestamp: text in `date_format`.
        date_format: as `datetime.strptime` takes it.
        default_val: result for a text that does not fit the format.
    """
    try:
        return datetime.datetime.strptime(timestamp, date_format).timestamp()
    except ValueError:
        return default_val


def hash_text(text: str) -> str:
    """Return the MD5 of the UTF-8 bytes, in hexadecimal."""
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def ccnet_dedup_normalizer(line: str) -> str:
    """Return the line as CCNet compares lines: stripped, lower-case, digits to 0, less punctuation, ASCII.

    Punctuation of `UNICODE_PUNCT` and non-printing characters are deleted (ASCII punctuation stays), the rest is
    transliterated by the package Unidecode; the result is not stripped again.

    Raises:
        UserError: the package Unidecode is not installed.
    """
    line = line.strip()
    if not line:
        return line
    line = DIGIT_RE.sub("0", line.lower())
    line = PUNCT_OR_NON_PRINTING_CHARS_RE.sub("", line)
    if line.isascii():
        return line
    try:
        unidecode: Callable[[str], str] = importlib.import_module("unidecode").unidecode
    except ModuleNotFoundError as error:
        raise missing_package("Unidecode", "dedup") from error
    return unidecode(line)


DEDUP_NORMALIZERS: dict[str, Callable[..., Any]] = {
    "normalize_url": normalize_url,
    "normalize_timestamps": normalize_timestamps,
    "normalize_whitespace_and_lowercase": normalize_whitespace_and_lowercase,
    "hash_text": hash_text,
    "ccnet_dedup_normalizer": ccnet_dedup_normalizer,
}
