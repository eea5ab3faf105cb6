"""Keep secrets out of what is shown and stored: logs, errors, reports, plans, records, reference JSONs.

Replaced are the user info of any URL, the values of query parameters whose names tell of a secret (signed URLs of S3,
Google and Azure among them), HTTP credentials, and keys that are known by their shape. What is said of a place stays
readable: `https://…@host/a?X-Amz-Signature=…`. Contents of pages are data and are never changed.

A pattern finds what it knows. Secrets of other shapes are not found; better not to put any into a YAML.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "…"

_SECRET_NAME = (
    r"x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|(?:google|aws)?accesskeyid"
    r"|sig|signature|[\w.-]{0,40}(?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key(?:[_-]?id)?)|auth|pwd|credentials?"
)
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)[^\s/?#'\"<>@]*(?:@[^\s/?#'\"<>@]*)*@")
_VALUE = r"[^\s&;#'\"<>\\)\]}]*[^\s&;#'\"<>\\)\]}:,.]"  # a full stop after it belongs to the sentence
_PARAMETER = re.compile(rf"(?i)((?:[?&;#]|&amp;|%26|%3f)(?:{_SECRET_NAME})(?:=|%3d)){_VALUE}")
_ASSIGNMENT = re.compile(
    r"(?i)\b((?:aws_)?(?:secret_access_key|access_key_id|session_token)|api[_-]?key|(?:access|api|auth|bearer|hf|refresh)_token|password)"
    r"(\\?['\"]?\s*[:=]\s*\\?['\"]?)[^\s'\",;\\]{8,}"
)
_HEADER = re.compile(r"(?i)\b(authorization\\?['\"]?\s*[:=]\s*\\?['\"]?)(?:(bearer|basic|token)\s+)?[^\s'\",;\\]{8,}")
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    r"|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{32,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{35}|glpat-[\w-]{20,})"
    r"(?![A-Za-z0-9])"
)
# One of these stands in whatever the patterns above find; most text holds none and is not searched further.
_HINTS = re.compile(
    r"(?i)@|[=:]|%3d|AKIA|ASIA|gh[pousr]_|github_pat_|hf_|sk-|xox|AIza|glpat-|private key",
)


def redact(text: str) -> str:
    """The text without the secrets that are known by their place or shape."""
    if _HINTS.search(text) is None:
        return text
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _ASSIGNMENT.sub(rf"\1\2{HIDDEN}", text)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    return _SHAPES.sub(HIDDEN, text)


def holds_secret(text: str) -> bool:
    """Whether `redact` would change the text."""
    return redact(text) != text


def redact_tree(tree: Any) -> Any:
    """A JSON tree with every string in it redacted, keys too; what holds no secret is equal to what it was."""
    if isinstance(tree, str):
        return redact(tree)
    if isinstance(tree, dict):
        return {redact(key) if isinstance(key, str) else key: redact_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [redact_tree(value) for value in tree]
    return tree


_WEB_URL = re.compile(r"(?i)\b(https?://)([^\s'\"<>]*[^\s'\"<>:;,.)\]])")
_URL_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@'\"]*):[^/\s@'\"]*@")


def _shown(match: re.Match[str]) -> str:
    """A web address without user, password, query and fragment."""
    place, mark, _ = match[2].partition("?")
    place = place.partition("#")[0]
    host, slash, path = place.partition("/")
    return match[1] + host.rpartition("@")[2] + slash + path + (mark + HIDDEN if mark else "")


def redact_place(text: str) -> str:
    """`text` with the query strings and users of web addresses, and the passwords of all URLs, replaced.

    For messages about storage, where a query can only be a signature, under whatever name.
    """
    return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", _WEB_URL.sub(_shown, text))
