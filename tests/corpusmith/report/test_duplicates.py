"""What the report tells of duplicates: sums over shards, the biggest groups with the kept unit first, hostile text."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from corpusmith.report.command import write_report
from corpusmith.report.duplicate_facts import DomainFacts, DuplicateFacts
from corpusmith.report.facts import read_run

STAGE, STEP = "00-minhash_dedup-0badcafe", "00-minhash_dedup"


def member(group: str, size: int, index: int, is_kept: bool, text: str = "how it began") -> dict[str, Any]:
    return {"group": group, "size": size, "kept": is_kept, "index": index, "url": "https://x.org/", "text": text}


def make_run(base: pathlib.Path, found: dict[str, dict[str, Any]]) -> pathlib.Path:
    """A finished stage whose shards' records tell these things of duplicates."""
    for unit, duplicates in found.items():
        counts = {"read": 3, "added": 0, "kept": 2, "removed": {STEP: 1}, "errored": {}}
        row = {"step": STEP, "func": "minhash_dedup", "pages_in": 3, "pages_out": 2, "removed": 1, "errors": 0}
        record = {
            "unit": unit,
            "identity": "x",
            "outputs": [{"name": unit, "bytes": 9, "checksum": "c", "records": 2}],
            "counts": counts,
            "details": {"steps": [row], "duplicates": {STEP: duplicates}},
        }
        path = base / "run" / "stages" / STAGE / "records" / f"{unit}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    (base / "run" / "plan.json").write_text(json.dumps({"input": {}, "stages": [{"name": "minhash_dedup"}]}))
    return base


TWO: dict[str, dict[str, Any]] = {
    "a.jsonl": {
        "domains": {"x.org": [10, 4, 900], "y.org": [5, 1, 100]},
        "similarity": [0, 1, 0, 4],
        "groups": [member("a.jsonl#0", 3, 0, True, "the kept one"), member("b.jsonl#7", 9, 1, False)],
    },
    "b.jsonl": {
        "domains": {"x.org": [20, 6, 600]},
        "similarity": [0, 0, 2, 4],
        "groups": [member("b.jsonl#7", 9, 7, True), member("a.jsonl#0", 3, 5, False)],
    },
}


def facts_of(base: pathlib.Path) -> DuplicateFacts:
    found = read_run(str(base)).stages[0].steps[STEP].duplicates
    assert found is not None
    return found


def test_shards_are_summed_and_the_kept_unit_stands_first(tmp_path: pathlib.Path) -> None:
    found = facts_of(make_run(tmp_path, TWO))
    assert found.domains == {
        "x.org": DomainFacts(pages=30, removed=10, tokens=1500),
        "y.org": DomainFacts(pages=5, removed=1, tokens=100),
    }
    assert found.similarity == [0, 1, 2, 8]
    assert [(name, size, [(one.shard, one.is_kept) for one in members]) for name, size, members in found.biggest()] == [
        ("b.jsonl#7", 9, [("b.jsonl", True), ("a.jsonl", False)]),
        ("a.jsonl#0", 3, [("a.jsonl", True), ("b.jsonl", False)]),
    ]


def test_the_page_shows_domains_similarities_and_groups(tmp_path: pathlib.Path) -> None:
    page = pathlib.Path(write_report(str(make_run(tmp_path, TWO)))).read_text()
    for shown in ('id="duplicates"', "x.org", "93.8%", "0.50–0.75", "b.jsonl#7", "9 copies", "the kept one"):
        assert shown in page


def repeated(key: str, copies: int, text: str = "Share this page") -> dict[str, Any]:
    return {"key": key, "copies": copies, "index": 3, "url": None, "text": text}


def test_texts_that_went_often_and_the_shares_of_known_ngrams_are_summed_and_shown(tmp_path: pathlib.Path) -> None:
    run = make_run(
        tmp_path,
        {
            "a.jsonl": {"known": [0, 2], "repeated": [repeated("k1", 4), repeated("k2", 1, "Once")]},
            "b.jsonl": {"known": [0, 0, 0, 5], "repeated": [repeated("k3", 6, "Log in"), repeated("k1", 3), "odd"]},
        },
    )
    found = facts_of(run)
    assert found.known == [0, 2, 0, 5]
    assert [(copies, first.text, first.shard) for copies, first in found.most_repeated()] == [
        (7, "Share this page", "a.jsonl"),
        (6, "Log in", "b.jsonl"),
        (1, "Once", "a.jsonl"),
    ]
    page = pathlib.Path(write_report(str(run))).read_text()
    for shown in ("removed 7 times", "removed once", "Share this page", "0.75–1.00"):
        assert shown in page


def test_hostile_and_odd_details_do_nothing(tmp_path: pathlib.Path) -> None:
    hostile = "<script>alert(1)</script>"
    odd: dict[str, dict[str, Any]] = {
        "a.jsonl": {
            "domains": {hostile: [2, 1, 5], "y": [1, 1], "z": "many"},
            "groups": [member(hostile, 2, 0, True, hostile), 7],
        },
        "b.jsonl": {"domains": [], "similarity": "none", "groups": {}, "repeated": [repeated("k", 2, hostile)]},
    }
    page = pathlib.Path(write_report(str(make_run(tmp_path, odd)))).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_dedup_has_no_such_section(tmp_path: pathlib.Path) -> None:
    base = make_run(tmp_path, TWO)
    for path in (base / "run" / "stages").rglob("*.json"):
        record = json.loads(path.read_text())
        del record["details"]["duplicates"]
        path.write_text(json.dumps(record))
    assert 'id="duplicates"' not in pathlib.Path(write_report(str(base))).read_text()
