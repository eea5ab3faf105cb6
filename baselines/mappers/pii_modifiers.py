"""Masking personal data: e-mail addresses, IPv4 addresses and telephone numbers.

Follows FineWeb (Penedo et al. 2024: e-mail and public IPv4 addresses are replaced by made-up ones) and Dolma (Soldaini
et al. 2024: all three are replaced by tokens, pages with many are removed). Departs from both in looking for addresses
only around `@` and around groups of digits, so that the time grows with the length of the text alone, and in starting
the made-up addresses afresh on each page, so that the result does not depend on the pages before.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Literal

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from corpusmith.text.segmentation.view import view

Kind = Literal["email", "ipv4", "phone"]
Span = tuple[int, int]
KINDS: tuple[Kind, ...] = ("email", "ipv4", "phone")
# Dolma's special tokens.
TOKENS: dict[Kind, str] = {
    "email": "|||EMAIL_ADDRESS|||",
    "ipv4": "|||IP_ADDRESS|||",
    "phone": "|||PHONE_NUMBER|||",
}

# RFC 5321: lengths of a local part and of a domain.
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
LOCAL_PART_RE = re.compile(r"[A-Za-z0-9](?:\.?[A-Za-z0-9!#$%&'*+/=?^_`{|}~-])*\Z")
LOCAL_CHARACTERS = "".join(chr(point) for point in range(33, 127) if chr(point) not in '"(),:;<>@[\\]')
DOMAIN_RE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])")
OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4_RE = re.compile(rf"(?<![0-9.]){OCTET}(?:\.{OCTET}){{3}}(?![0-9]|\.[0-9])")
MIN_IPV4_DIGITS = 4
# The North American plan: area code and exchange begin with 2 to 9; plain ten digits in a row are too often something
# else, so a separator, parentheses or the country code is asked for.
NORTH_AMERICA_RE = re.compile(
    r"(?<![\w.+-])(?:\+?1[-. ]?(?:\([2-9][0-9]{2}\)|[2-9][0-9]{2})[-. ]?|\([2-9][0-9]{2}\)[-. ]?|[2-9][0-9]{2}[-. ])"
    r"[2-9][0-9]{2}[-. ]?[0-9]{4}(?![\w-])"
)
# Elsewhere: E.164 written with its plus sign and country code.
INTERNATIONAL_RE = re.compile(r"(?<![\w+])\+[1-9][0-9]{0,2}(?:[-. ]{0,2}\(?[0-9]{1,5}\)?){1,6}(?![\w])")
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 8, 15


@factory_function
def pii_masking_modifier(
    kinds: list[Kind] | None = None,
    public_only: bool = False,
    email_replacement: str | list[str] = TOKENS["email"],
    ipv4_replacement: str | list[str] = TOKENS["ipv4"],
    phone_replacement: str | list[str] = TOKENS["phone"],
    max_found: int | None = None,
) -> Callable[[Page], list[Page]]:
    """Return a mapper that replaces personal data in the text.

    Args:
        kinds: which of "email", "ipv4" and "phone"; None for all three.
        public_only: leave IPv4 addresses of reserved blocks (private, loopback, documentation …) alone.
        email_replacement: what stands in the place of an e-mail address; of several, one after the other, from the
            first one on in each page.
        ipv4_replacement: the same for IPv4 addresses.
        phone_replacement: the same for telephone numbers.
        max_found: remove a page that holds more than this; None removes none.

    Raises:
        ValueError: another kind, or no replacement.
    """
    chosen = KINDS if kinds is None else tuple(kinds)
    if unknown := [kind for kind in chosen if kind not in KINDS]:
        raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {unknown[0]!r}")
    given = {"email": email_replacement, "ipv4": ipv4_replacement, "phone": phone_replacement}
    replacements = {kind: [value] if isinstance(value, str) else list(value) for kind, value in given.items()}
    if empty := [kind for kind, values in replacements.items() if not values]:
        raise ValueError(f"{empty[0]}_replacement must not be an empty list")

    def mask(page: Page) -> list[Page]:
        text = page[CONTENT]
        found = sorted(_find(text, chosen, public_only))
        if max_found is not None and len(found) > max_found:
            return []
        if found:
            page[CONTENT] = _replace(text, found, replacements)
        return [page]

    return mask


def _find(text: str, kinds: tuple[Kind, ...], public_only: bool) -> Iterator[tuple[int, int, Kind]]:
    """Where personal data stands; what overlaps an earlier find is left to `_replace`."""
    if "email" in kinds and "@" in text:
        for start, end in _emails(text):
            yield start, end, "email"
    for first, last in _digit_groups(text) if "ipv4" in kinds or "phone" in kinds else ():
        # the expressions look at the characters around a group, and a number never reaches beyond its group
        if "ipv4" in kinds:
            for match in IPV4_RE.finditer(text, first, min(last + 2, len(text))):
                if match.end() <= last and not (public_only and not ipaddress.IPv4Address(match[0]).is_global):
                    yield *match.span(), "ipv4"
        if "phone" in kinds:
            for start, end in _phones(text, first, last):
                yield start, end, "phone"


def _emails(text: str) -> Iterator[Span]:
    """Where e-mail addresses stand, from left to right."""
    position = 0
    sign = text.find("@")
    while sign >= 0:
        lowest = max(position, sign - MAX_LOCAL_PART)
        local = lowest + len(text[lowest:sign].rstrip(LOCAL_CHARACTERS))
        domain = DOMAIN_RE.match(text, sign + 1, sign + 1 + MAX_DOMAIN)
        start = _local_start(text, local, sign) if domain is not None else None
        if domain is not None and start is not None:
            yield start, domain.end()
            position = domain.end()
        sign = text.find("@", max(sign + 1, position))


def _local_start(text: str, local: int, sign: int) -> int | None:
    """Where the local part before the sign begins: with a letter or digit, behind full stops side by side."""
    if (stops := text.rfind("..", local, sign)) >= 0:
        local = stops + 2
    while local < sign and not text[local].isalnum():
        local += 1
    return local if LOCAL_PART_RE.match(text[local:sign]) else None


def _phones(text: str, first: int, last: int) -> Iterator[Span]:
    """Where telephone numbers stand in a group of digits."""
    reach = min(last + 1, len(text))
    for match in NORTH_AMERICA_RE.finditer(text, first, reach):
        if match.end() <= last:
            yield match.span()
    if "+" in text[first:last]:
        for match in INTERNATIONAL_RE.finditer(text, first, reach):
            digits = sum(map(str.isdigit, match[0]))
            if match.end() <= last and MIN_PHONE_DIGITS <= digits <= MAX_PHONE_DIGITS:
                yield match.span()


def _digit_groups(text: str) -> list[Span]:
    points = view(text).points
    groups = _kernels().digit_groups(points, MIN_IPV4_DIGITS, len(text) // MIN_IPV4_DIGITS + 1)
    return list(zip(*groups.tolist(), strict=True))


@cache
def _kernels() -> ModuleType:
    from baselines.mappers.kernels import number_kernels

    return number_kernels


def _replace(text: str, found: list[tuple[int, int, Kind]], replacements: dict[str, list[str]]) -> str:
    """The text with what was found (sorted) replaced; of finds that overlap the first is."""
    pieces: list[str] = []
    position = 0
    used = dict.fromkeys(KINDS, 0)
    for start, end, kind in found:
        if start < position:
            continue
        choices = replacements[kind]
        pieces += text[position:start], choices[used[kind] % len(choices)]
        used[kind] += 1
        position = end
    return "".join((*pieces, text[position:]))
