"""Personal data: what is masked and what is not, and recall on planted addresses."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from corpusmith.io.pages.shards import read_shard

MAIL, IP, PHONE = "|||EMAIL_ADDRESS|||", "|||IP_ADDRESS|||", "|||PHONE_NUMBER|||"


def masked(text: str, **arguments: Any) -> str | None:
    page = {"text": text}
    kept = get_mapper("pii_masking_modifier", **arguments)(page)
    return page["text"] if kept == [page] else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to a.b+c@mail.example.org.", f"write to {MAIL}."),
        ("<a@x.co>, b_c@y-z.info; d@e.f1", f"<{MAIL}>, {MAIL}; {MAIL}"),
        ("a..b@x.org", f"a..{MAIL}"),
        ("'quoted'@x.org -dash@x.org", f"'{MAIL} -{MAIL}"),
        ("mailto:me@site.com?subject", f"mailto:{MAIL}?subject"),
        ("a@b@c.org", f"a@{MAIL}"),
        ("user@localhost, @handle, a@b.c, .@x.org, a@-x.org", "user@localhost, @handle, a@b.c, .@x.org, a@-x.org"),
        ("host 8.8.8.8:80 and 127.0.0.1.", f"host {IP}:80 and {IP}."),
        ("1.2.3.4.5 256.1.1.1 1.2.3 01.2.3.4 1.2.3.4567", "1.2.3.4.5 256.1.1.1 1.2.3 01.2.3.4 1.2.3.4567"),
        ("(1.2.3.4)", f"({IP})"),
        ("call +1-249-555-0139 or (212) 555-0100, 212.555.0100", f"call {PHONE} or {PHONE}, {PHONE}"),
        ("1 212 555 0100; +49 30 901820; +44 (0) 20 7946 0958", f"{PHONE}; {PHONE}; {PHONE}"),
        ("2125550100 12345 2021-10-12 112-555-0100", "2125550100 12345 2021-10-12 112-555-0100"),
        ("+12125550100 x212-555-0100 212-555-01001", f"{PHONE} x212-555-0100 212-555-01001"),
        ("ISBN 978-3-16-148410-0, 3.141.592.653", "ISBN 978-3-16-148410-0, 3.141.592.653"),
        ("", ""),
    ],
)
def test_what_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_kinds_can_be_chosen() -> None:
    text = "a@x.org 8.8.8.8 212-555-0100"
    assert masked(text, kinds=["email"]) == f"{MAIL} 8.8.8.8 212-555-0100"
    assert masked(text, kinds=["ipv4"]) == f"a@x.org {IP} 212-555-0100"
    assert masked(text, kinds=["phone"]) == f"a@x.org 8.8.8.8 {PHONE}"
    with pytest.raises(ValueError, match="iban"):
        masked(text, kinds=["iban"])


def test_public_only_leaves_reserved_blocks_alone() -> None:
    text = "8.8.8.8 10.0.0.1 192.0.2.7 127.0.0.1 203.0.113.9"
    assert masked(text, public_only=True) == f"{IP} 10.0.0.1 192.0.2.7 127.0.0.1 203.0.113.9"
    assert masked(text) == " ".join([IP] * 5)


def test_replacements_take_turns_from_the_first_on_in_each_page() -> None:
    for _ in range(2):
        assert masked("a@x.org b@x.org c@x.org", email_replacement=["one", "two"]) == "one two one"
    with pytest.raises(ValueError, match="ipv4_replacement"):
        masked("", ipv4_replacement=[])


def test_a_page_with_too_much_is_removed() -> None:
    text = "a@x.org b@x.org 8.8.8.8"
    assert masked(text, max_found=3) == f"{MAIL} {MAIL} {IP}"
    assert masked(text, max_found=2) is None


@given(st.text(st.sampled_from("a@.1 +-()x2"), max_size=60))
@settings(deadline=None, max_examples=300)
def test_text_around_what_is_found_stays(text: str) -> None:
    changed = masked(text, email_replacement="\0", ipv4_replacement="\0", phone_replacement="\0")
    assert changed is not None
    position = 0
    for piece in changed.split("\0"):
        position = text.index(piece, position) + len(piece)
    assert masked(text, max_found=0) == (None if "\0" in changed else text)


def test_planted_addresses_are_found(shared_data: pathlib.Path) -> None:
    folder = shared_data / "data" / "pages"
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    planted = {row["page"]["id"]: row for row in rows if row["kind"] == "personal_data"}
    mapper = get_mapper("pii_masking_modifier", public_only=False)
    left = dict.fromkeys(("email", "ipv4", "phone"), 0)
    seen = 0
    for shard in sorted({row["page"]["shard"] for row in planted.values()}):
        for page in read_shard(str(folder / shard)):
            row = planted.get(page["metadata"]["WARC-Record-ID"])
            if row is None:
                continue
            seen += 1
            assert all(row[kind] in page["text"] for kind in left)
            mapper(page)
            for kind in left:
                left[kind] += row[kind] in page["text"]
    assert seen == len(planted) == 40
    recall = {kind: 1 - missed / seen for kind, missed in left.items()}
    assert recall["email"] >= 0.99
    assert recall["ipv4"] >= 0.99
    assert recall["phone"] >= 0.95
