"""Deleting web addresses: the specification's vectors, and equality with the two patterns on arbitrary texts."""

from __future__ import annotations

import itertools
import pathlib
import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from baselines.mappers.kernels.addresses import (
    IPV4_EXPRESSION,
    WebAddresses,
    remove_ipv4_addresses,
    web_address_expression,
)
from baselines.mappers.url_modifiers import _bundled_domains
from corpusmith.io.pages.shards import read_shard

DOMAINS = ["com", "co", "co.uk", "com.au", "c-d", "io", "x", "भारत", "கா"]
PIECES = [
    *("http://", "https://", "ftp://", "http", ":", "//", "/", " ", " " * 11, "\n", "\t", "\u2003", "\x1c", ".", ".."),
    *("com", "co", "uk", "io", "x", "c-d", "COM", "भारत", "கா", "மா", "日本", "é", "a", "_", "-", "@", "#", "(", ")"),
    *("1", "12", "299", "300", "1.2.3.4", "255.255.255.0", "?q=1", "&", "%", "+", "~", "=", "a" * 250, "b" * 7),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=25).map("".join),
    st.text(st.sampled_from("ahtp:/. 0123cox_-"), max_size=60),
    st.text(st.characters(codec=None, categories=None), max_size=30),
)


def change(text: str, **arguments: Any) -> str | None:
    """The text after the modifier, or None for a removed page, whose text is empty then."""
    page = {"text": text}
    result = get_mapper("url_removal_modifier", **arguments)(page)
    if result == []:
        assert page == {"text": ""}
        return None
    assert result == [page]
    return page["text"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The site http://www.google.com/foo?x=1#y is ok", "The site is ok"),
        ("Quick see http://www.google.com/foo ok", "Quick see http://www.google.com/foo ok"),
        ("At google.com, go", "At, go"),
        ("at GOOGLE.COM go", "at GOOGLE.COM go"),
        ("at foo.bar@x.com yes", "at yes"),
        ("at version 3.2.1 or file.py is", "at version 3.2.1 or is"),
        ("at (https://a.com/x).", "at ("),
        ("at x.com's", "at's"),
        ("go http://x.io", "go http://x.io"),
        ("http://x.io", None),
        ("9 1.2.3.4 5", "9 5"),
        ("9 299.299.299.299", "9"),
        ("9 999.999.999.999 x", "9 999.999.999.999 x"),
        ("at a.com日本", "at a.com日本"),
        ("", None),
        ("no dot", "no dot"),
    ],
)
def test_addresses_are_deleted(text: str, expected: str | None) -> None:
    assert change(text) == expected


def test_gate_opens_for_texts_that_begin_with_a_domain() -> None:
    for beginning in ("The", "AT", "com", "http"):
        assert change(f"{beginning} x.com") == beginning
    for beginning in (
        *("9", " the", "a ", "on", "of", "with", "we", "he", "have", "our", "what", "if", "his", "her", "I"),
        *("will", "about", "home", "welcome"),
    ):
        assert change(f"{beginning} x.com") == f"{beginning} x.com"


def test_list_of_domains_may_be_given(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("zz\ncom\n", encoding="utf-8")
    assert change("zz a.zz b.org", tlds_filepath=str(path)) == "zz b.org"
    with pytest.raises(FileNotFoundError):
        change("a", tlds_filepath=str(tmp_path / "absent.txt"))


def test_default_list_is_read_from_the_working_directory_first(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert change("at a.com") == "at"
    path = tmp_path / "baselines" / "mappers" / "iana_tlds.txt"
    path.parent.mkdir(parents=True)
    path.write_text("zz\n", encoding="utf-8")
    assert change("at a.com") == "at a.com"


def test_unchanged_text_stays_the_same_object() -> None:
    text = "".join(["at the end. ", "No address."])
    assert change(text) is text


@pytest.mark.parametrize("domains", [DOMAINS, ["", "com"], [], ["com"]], ids=["mixed", "empty name", "none", "one"])
def test_scanner_equals_the_patterns(domains: list[str]) -> None:
    addresses = WebAddresses(domains)
    web = re.compile(web_address_expression(domains))
    gate = re.compile("|".join(sorted(domains, key=len, reverse=True)), re.IGNORECASE)

    @given(TEXTS)
    @settings(deadline=None, max_examples=400)
    def compare(text: str) -> None:
        assert addresses.remove(text) == web.sub("", text)
        assert addresses.opens(text) == bool(gate.match(text))

    compare()


@given(TEXTS)
@settings(deadline=None, max_examples=400)
def test_scanner_equals_the_pattern_of_ipv4_addresses(text: str) -> None:
    assert remove_ipv4_addresses(text) == re.sub(IPV4_EXPRESSION, "", text)


def test_scanner_equals_the_patterns_on_real_pages(shared_data: pathlib.Path) -> None:
    domains = _bundled_domains()
    web = re.compile(web_address_expression(domains))
    addresses = WebAddresses(domains)
    changed = 0
    for page in itertools.islice(read_shard(str(shared_data / "data/pages/shard_00000000_processed.jsonl.zst")), 150):
        text = page["text"]
        removed = addresses.remove(text)
        assert removed == web.sub("", text)
        assert remove_ipv4_addresses(text) == re.sub(IPV4_EXPRESSION, "", text)
        changed += removed is not text
    assert changed > 0


def test_bundled_list_spells_international_domains_as_texts_do() -> None:
    domains = _bundled_domains()
    assert {"com", "th", "한국", "भारत"} <= set(domains)
    assert not [name for name in domains if name.startswith("xn--") or name != name.lower()]


def test_patterns_are_those_of_the_specification() -> None:
    tail = r"[-a-zA-Z0-9()@:%_\+.~#?&//=]*"
    web = r"\s{0,10}(?:((https?|ftp)://))?[-a-zA-Z0-9@:%._\+~#=]{1,256}\.(aa|b)\b(" + tail + ")"
    ipv4 = r"\s{0,10}\b((https?|ftp)://)?(?:[0-2]?[0-9]{1,2}\.){3}[0-2]?[0-9]{1,2}" + tail
    assert (web_address_expression(["b", "aa"]), IPV4_EXPRESSION) == (web, ipv4)


def test_hosts_longer_than_the_pattern_reaches_lose_their_end_alone() -> None:
    host = string.ascii_lowercase * 12
    assert WebAddresses(["com"]).remove(f" {host}.com z") == f" {host[:-256]} z"
