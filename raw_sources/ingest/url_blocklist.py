"""Domains and URLs that are not taken in: lists of any length, as 64-bit hashes in one sorted array.

A list is a text file, plain or compressed, one entry a line; blank lines and `#` comments are passed over. A domain
blocks itself and all below it (`a.example` blocks `www.a.example`); lines of a hosts file (`0.0.0.0 a.example`) are
understood. A URL blocks itself and all below it (`a.example/x` blocks `http://www.a.example/x/y?z`). UT1's files
`domains` and `urls` are such lists; its four and a half million adult domains take 36 MB here, ten times less than
Python strings.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.compression import Content, Damage

MAX_PATH_PARTS = 32
_HOSTS_ADDRESSES = ("0.0.0.0", "127.0.0.1", "::1", "::")


class BlockList:
    """Tells whether a URL is blocked; `domains` and `urls` are sorted arrays of hashes."""

    def __init__(self, domains: np.ndarray[Any, Any], urls: np.ndarray[Any, Any]) -> None:
        self._domains = domains
        self._urls = urls

    def blocks(self, url: str) -> str | None:
        """`domain` or `url`, whichever list blocks it, or None."""
        host, path = split_url(url)
        if not host:
            return None
        if len(self._domains):
            labels = host.split(".")
            suffixes = [".".join(labels[start:]) for start in range(len(labels))]
            if any(_contains(self._domains, suffix) for suffix in suffixes):
                return "domain"
        if len(self._urls):
            place = host.removeprefix("www.")
            prefixes = [place, place + path.partition("?")[0].rstrip("/"), place + path.rstrip("/")]
            for part in path.partition("?")[0].strip("/").split("/")[:MAX_PATH_PARTS]:
                place = f"{place}/{part}"
                prefixes.append(place)
            if any(_contains(self._urls, prefix) for prefix in prefixes):
                return "url"
        return None


def split_url(url: str) -> tuple[str, str]:
    """Host (lower case, without user and port) and path (with query) of a URL with or without scheme."""
    rest = url.strip().partition("://")[2] or url.strip()
    end = min((at for at in (rest.find(mark) for mark in "/?#") if at >= 0), default=len(rest))
    host, path = rest[:end], rest[end:].partition("#")[0]
    host = host.rpartition("@")[2]
    host = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host.lower().rstrip("."), path


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def _contains(hashes: np.ndarray[Any, Any], text: str) -> bool:
    value = np.uint64(_hash(text))
    at = int(np.searchsorted(hashes, value))
    return at < len(hashes) and bool(hashes[at] == value)


def load_block_list(domains: tuple[str, ...], urls: tuple[str, ...]) -> BlockList:
    """The list of these files; InputError for one that is missing or damaged. Kept by the process that asks."""
    return _load(domains, urls)


@functools.lru_cache(maxsize=4)
def _load(domains: tuple[str, ...], urls: tuple[str, ...]) -> BlockList:
    return BlockList(
        _hashes(domain for path in domains for domain in _domains(path)),
        _hashes(url for path in urls for url in _urls(path)),
    )


def _hashes(entries: Iterator[str]) -> np.ndarray[Any, Any]:
    return np.unique(np.fromiter((_hash(entry) for entry in entries), np.uint64))


def _domains(path: str) -> Iterator[str]:
    for line in _entries(path):
        parts = line.split()
        entry = parts[1] if len(parts) > 1 and parts[0] in _HOSTS_ADDRESSES else parts[0]
        yield entry.lower().removeprefix("*.").strip(".")


def _urls(path: str) -> Iterator[str]:
    for line in _entries(path):
        host, rest = split_url(line)
        yield host.removeprefix("www.") + rest.rstrip("/")


def _entries(path: str) -> Iterator[str]:
    rest = b""
    with Content(lambda: storage.open_read(path)) as content:
        for piece in content.pieces():
            if isinstance(piece, Damage):
                raise InputError(f"{path}: {piece.reason}")
            *lines, rest = (rest + piece).split(b"\n")
            yield from _cleaned(lines)
    yield from _cleaned([rest])


def _cleaned(lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("utf-8", "replace").strip()
        if text and not text.startswith("#"):
            yield text
