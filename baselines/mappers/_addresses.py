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
import string
from collections.abc import Iterable

from baselines.mappers._literals import is_word_character

__all__ = ["IPV4_EXPRESSION", "WebAddresses", "remove_ipv4_addresses", "web_address_expression"]

# A run records the VERSION of url_modifiers: raise it there too.
VERSION = 1

MAX_HOST = 256
MAX_SPACES = 10
SCHEMES = ("http://", "https://", "ftp://")
HOST_CHARACTERS = string.ascii_letters + string.digits + "-@:%._+~#="
HOST_RE = re.compile(r"[-a-zA-Z0-9@:%._+~#=]*")
TAIL_RE = re.compile(r"[-a-zA-Z0-9()@:%_+.~#?&/=]*")
QUAD_RE = re.compile(r"\.(?=[0-2]?[0-9]{1,2}\.[0-2]?[0-9]{1,2}\.[0-9])")
QUAD_TAIL_RE = re.compile(r"\.[0-9]+\.[0-9]+\.[-a-zA-Z0-9()@:%_+.~#?&/=]*")

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
        self._plain = frozenset(name for name in domains if name and all(map(is_word_character, name)))
        self._others = tuple(sorted(domains - self._plain, key=lambda name: (-len(name), name)))
        self._other_first = frozenset(name[:1] for name in self._others)
        longest = max(map(len, self._plain), default=1)
        first = "".join(sorted({re.escape(name[0]) for name in self._others if name}))
        candidates = [rf"(?=(\w{{1,{longest}}})(?!\w))"]
        candidates += [rf"(?=[{first}])"] if first else []
        candidates += [""] if "" in domains else []
        self._dot = re.compile(rf"\.(?:{'|'.join(candidates)})")
        self._gate = re.compile(_trie_expression(domains), re.IGNORECASE)

    def opens(self, text: str) -> bool:
        """Whether the text begins with a top-level domain, in any case and with anything behind it."""
        return self._gate.match(text) is not None

    def remove(self, text: str) -> str:
        """Return `re.sub(U, "", text)`."""
        kept: list[str] = []
        position = 0
        plain = self._plain
        for found in self._dot.finditer(text):
            dot = found.start()
            if dot < position or (found.group(1) not in plain and not self._may_be_other(text, dot + 1)):
                continue
            if match := self._match_at(text, dot, position):
                start, end = match
                kept.append(text[position:start])
                position = end
        return "".join((*kept, text[position:])) if kept else text

    def _match_at(self, text: str, dot: int, position: int) -> tuple[int, int] | None:
        """Return (start, end) of the match of which this is the first dot before a domain, or None."""
        end = self._domain_end(text, dot)
        if end is None:
            return None
        lowest = max(position, dot - MAX_HOST)
        host = lowest + len(text[lowest:dot].rstrip(HOST_CHARACTERS))
        if host == dot:
            return None
        # the host is as long as it can be, so the last dot before a domain within its reach counts
        reach = HOST_RE.match(text, dot, host + MAX_HOST + 1)
        last = reach.end() if reach else dot
        later = text.rfind(".", dot + 1, last)
        while later > dot:
            later_end = self._domain_end(text, later)
            if later_end is not None:
                end = later_end
                break
            later = text.rfind(".", dot + 1, later)
        return _extend_left(text, host, position), _tail_end(text, end)

    def _domain_end(self, text: str, dot: int) -> int | None:
        """Return where the longest top-level domain behind this dot ends, a word boundary behind it; None if none."""
        found = self._dot.match(text, dot)
        if found is None:
            return None
        start = dot + 1
        plain = found.group(1)
        plain_end = start + len(plain) if plain is not None and plain in self._plain else None
        return self._other_end(text, start, plain_end) if self._may_be_other(text, start) else plain_end

    def _may_be_other(self, text: str, start: int) -> bool:
        return text[start : start + 1] in self._other_first or "" in self._other_first

    def _other_end(self, text: str, start: int, plain_end: int | None) -> int | None:
        for name in self._others:
            end = start + len(name)
            if plain_end is not None and end <= plain_end:
                break
            if text.startswith(name, start) and _is_boundary(text, end):
                return end
        return plain_end


def remove_ipv4_addresses(text: str) -> str:
    """Return `re.sub(V, "", text)`."""
    kept: list[str] = []
    position = 0
    for found in QUAD_RE.finditer(text):
        dot = found.start()
        if dot < position:
            continue
        start = _first_part(text, dot, position)
        if start is None:
            continue
        tail = QUAD_TAIL_RE.match(text, dot)
        if tail is None:
            continue
        kept.append(text[position : _extend_left(text, start, position, word_boundary=True)])
        position = tail.end()
    return "".join((*kept, text[position:])) if kept else text


def _first_part(text: str, dot: int, position: int) -> int | None:
    """Return where the number before the dot begins, if it is a part of an address and no word touches it."""
    lowest = max(position, dot - 4)
    start = lowest + len(text[lowest:dot].rstrip(string.digits))
    digits = dot - start
    if digits == 0 or digits > 3 or (digits == 3 and text[start] not in "012"):
        return None
    if start > 0 and is_word_character(text[start - 1]):
        return None
    return start


def _extend_left(text: str, start: int, position: int, word_boundary: bool = False) -> int:
    """Return where a match begins whose host begins at `start`: a scheme and white space belong to it."""
    if text.endswith("://", position, start):
        for scheme in SCHEMES:
            begin = start - len(scheme)
            if begin >= position and text.startswith(scheme, begin):
                if not word_boundary or begin == 0 or not is_word_character(text[begin - 1]):
                    start = begin
                break
    lowest = max(position, start - MAX_SPACES)
    return lowest + len(text[lowest:start].rstrip())


def _tail_end(text: str, start: int) -> int:
    tail = TAIL_RE.match(text, start)
    return tail.end() if tail else start


def _is_boundary(text: str, position: int) -> bool:
    before = position > 0 and is_word_character(text[position - 1])
    after = position < len(text) and is_word_character(text[position])
    return before != after


class _Node(dict[str, "_Node"]):
    """What may follow, by character; the empty string marks the end of a word."""


def _trie_expression(words: Iterable[str]) -> str:
    """Return a regular expression that matches where one of the words begins, whichever it is."""
    tree = _Node()
    for word in sorted(words):
        node = tree
        for character in word:
            if "" in node:
                break  # a shorter word matches already
            node = node.setdefault(character, _Node())
        else:
            node[""] = _Node()
    return _expression_of(tree)


def _expression_of(node: _Node) -> str:
    if "" in node:
        return ""
    branches = [re.escape(character) + _expression_of(child) for character, child in node.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
