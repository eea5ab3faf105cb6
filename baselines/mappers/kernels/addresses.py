"""Deleting web addresses and IPv4 addresses from a text, in time that grows with its length alone.

DCLM deletes the matches of two patterns, whose bounded repeats make `re` try hundreds of lengths at each character
(`T` stands for the alternation of all top-level domains, the longest first):

    U   \\s{0,10}(?:((https?|ftp)://))?[-a-zA-Z0-9@:%._\\+~#=]{1,256}\\.(T)\\b([-a-zA-Z0-9()@:%_\\+.~#?&//=]*)
    V   \\s{0,10}\\b((https?|ftp)://)?(?:[0-2]?[0-9]{1,2}\\.){3}[0-2]?[0-9]{1,2}[-a-zA-Z0-9()@:%_\\+.~#?&//=]*

Both need a dot, and dots are rare. So here each dot is looked at once: is what follows a top-level domain (or the rest
of an IPv4 address), and how far does the match reach to the left and to the right? The result is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from baselines.mappers.kernels.literals import is_word_character
from corpusmith.text.segmentation.character_table import character_table
from corpusmith.text.segmentation.view import view

if TYPE_CHECKING:
    from corpusmith.text.kernels import I32Array, U8Array, U32Array


SCHEMES = ("http://", "https://", "ftp://")

_TAIL = r"[-a-zA-Z0-9()@:%_\+.~#?&//=]*"
IPV4_EXPRESSION = rf"\s{{0,10}}\b((https?|ftp)://)?(?:[0-2]?[0-9]{{1,2}}\.){{3}}[0-2]?[0-9]{{1,2}}{_TAIL}"


def web_address_expression(top_level_domains: Iterable[str]) -> str:
    """Return pattern U, which `WebAddresses` is held against by test."""
    alternation = "|".join(re.escape(name) for name in sorted(top_level_domains, key=len, reverse=True))
    return rf"\s{{0,10}}(?:((https?|ftp)://))?[-a-zA-Z0-9@:%._\+~#=]{{1,256}}\.({alternation})\b({_TAIL})"


class WebAddresses:
    """Pattern U for one list of top-level domains, and the gate that DCLM puts before it."""

    def __init__(self, top_level_domains: Iterable[str]) -> None:
        """Prepare the look-ups; the domains are literal strings."""
        domains = set(top_level_domains) or {""}
        # A domain of word characters alone, with a word boundary behind it, is the whole run of word characters that
        # follows the dot: one look-up. The others (combining marks, hyphens) are tried one by one.
        plain = {name for name in domains if name and all(map(is_word_character, name))}
        names, bounds = _joined(sorted(plain))
        bounds = np.append(bounds, np.int32(max(map(len, plain), default=0)))
        others = sorted(domains - plain, key=lambda name: (-len(name), name))
        self._classes = _kernels().ascii_classes(others)
        self._tables = (names, bounds, _kernels().name_slots(names, bounds), *_joined(others))
        self._gate = re.compile(_trie_expression(domains), re.IGNORECASE)

    def opens(self, text: str) -> bool:
        """Whether the text begins with a top-level domain, in any case and with anything behind it."""
        return self._gate.match(text) is not None

    def remove(self, text: str) -> str:
        """Return `re.sub(U, "", text)`."""
        find = _kernels().web_addresses
        return _without(text, find(view(text).points, character_table(), self._classes, *self._tables, *_schemes()))


def remove_ipv4_addresses(text: str) -> str:
    """Return `re.sub(V, "", text)`."""
    find = _kernels().ipv4_addresses
    return _without(text, find(view(text).points, character_table(), _classes(), *_schemes()))


@cache
def _kernels() -> ModuleType:
    from baselines.mappers.kernels import address_kernels

    return address_kernels


@cache
def _classes() -> U8Array:
    classes: U8Array = _kernels().ascii_classes()
    return classes


@cache
def _schemes() -> tuple[U32Array, I32Array]:
    return _joined(SCHEMES)


def _joined(names: Iterable[str]) -> tuple[U32Array, I32Array]:
    """The characters of all names, one after the other (U32), and where each begins and the last ends (I32)."""
    bounds = np.cumsum([0, *map(len, names)], dtype=np.int32)
    return np.frombuffer("".join(names).encode("utf-32-le", "surrogatepass"), dtype=np.uint32), bounds


def _without(text: str, spans: I32Array) -> str:
    """Return the text less the spans; the text itself where there are none."""
    if not spans.shape[1]:
        return text
    kept: list[str] = []
    position = 0
    for start, end in spans.T.tolist():
        kept.append(text[position:start])
        position = end
    return "".join((*kept, text[position:]))


class _Trie(dict[str, "_Trie"]):
    """What may follow, by character; the empty string marks the end of a word."""


def _trie_expression(words: Iterable[str]) -> str:
    """Return a regular expression that matches where one of the words begins, whichever it is."""
    tree = _Trie()
    for word in sorted(words):
        node = tree
        for character in word:
            if "" in node:
                break  # a shorter word matches already
            node = node.setdefault(character, _Trie())
        else:
            node[""] = _Trie()
    return _expression_of(tree)


def _expression_of(node: _Trie) -> str:
    if "" in node:
        return ""
    branches = [re.escape(character) + _expression_of(child) for character, child in node.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
