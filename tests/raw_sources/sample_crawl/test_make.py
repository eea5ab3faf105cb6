"""The sample crawl: the same bytes for the same seed, all kinds of pages, and a truth that holds."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from typing import Any

import pytest

from corpusmith.errors import InputError
from raw_sources.archives.warc import WarcRecord, read_warc
from raw_sources.ingest.outcomes import FailedRecord, Removed
from raw_sources.ingest.pages import read_outcomes
from raw_sources.sample_crawl.make import build_parser, main, write_sample_crawl
from raw_sources.sample_crawl.pages import BROKEN_VARIANTS, SHARES

PAGES = 400


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("sample") / "crawl"
    assert write_sample_crawl(str(folder), pages=PAGES, seed=3)
    return folder


@pytest.fixture(scope="module")
def truth(crawl: pathlib.Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (crawl / "truth.jsonl").read_text().splitlines()]
    return {row["record_id"]: row for row in rows}


@pytest.fixture(scope="module")
def texts(crawl: pathlib.Path) -> dict[str, str]:
    """The extracted text by record id."""
    found: dict[str, str] = {}
    for path in archives(crawl):
        for outcome in read_outcomes(str(path)):
            if isinstance(outcome, FailedRecord):
                assert "nested" in outcome.reason
            elif not isinstance(outcome, Removed):
                found[outcome["metadata"]["WARC-Record-ID"]] = outcome["text"]
    return found


def archives(crawl: pathlib.Path) -> list[pathlib.Path]:
    return sorted(crawl.glob("*/*.warc.gz"))


def contents(crawl: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(crawl)): path.read_bytes() for path in sorted(crawl.rglob("*")) if path.is_file()}


def test_same_seed_gives_the_same_bytes(crawl: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_sample_crawl(str(tmp_path / "again"), pages=PAGES, seed=3)
    assert contents(tmp_path / "again") == contents(crawl)


def test_another_seed_gives_other_pages(crawl: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_sample_crawl(str(tmp_path / "other"), pages=40, seed=4)
    assert not set(contents(tmp_path / "other").values()) & set(contents(crawl).values())


def test_layout_is_eight_train_and_two_heldout_archives(crawl: pathlib.Path) -> None:
    names = [str(path.relative_to(crawl)) for path in archives(crawl)]
    assert names == [f"heldout/sample-0000{n}.warc.gz" for n in range(2)] + [
        f"train/sample-0000{n}.warc.gz" for n in range(8)
    ]


def test_archives_are_well_formed_and_truth_names_each_response(
    crawl: pathlib.Path, truth: dict[str, dict[str, Any]]
) -> None:
    seen: Counter[str] = Counter()
    for path in archives(crawl):
        for record in read_warc(str(path)):
            assert isinstance(record, WarcRecord)
            seen[record.type] += 1
            if record.type == "response":
                row = truth[record.headers["WARC-Record-ID"]]
                assert row["file"] == str(path.relative_to(crawl))
                assert row["url"] == record.headers["WARC-Target-URI"]
                assert record.warcinfo is not None
    assert seen == {"warcinfo": 10, "request": PAGES, "response": PAGES, "metadata": PAGES}
    assert len(truth) == PAGES


def test_every_kind_stands_in_its_share(truth: dict[str, dict[str, Any]]) -> None:
    kinds = Counter(row["kind"] for row in truth.values())
    copies = kinds["exact_dup"] + kinds["near_dup"]
    # the first pages have nothing to copy yet and are articles instead
    assert copies >= 2 * (PAGES // 40)
    assert kinds["article"] + copies == 28 * (PAGES // 40)
    for kind in set(SHARES) - {"article", "exact_dup", "near_dup"}:
        assert kinds[kind] == SHARES[kind] * (PAGES // 40)
    assert {row["variant"] for row in truth.values() if row["kind"] == "broken"} == set(BROKEN_VARIANTS)


def test_exact_copies_are_equal_after_extraction(truth: dict[str, dict[str, Any]], texts: dict[str, str]) -> None:
    originals = {row["group"]: texts[name] for name, row in truth.items() if row["kind"] == "article"}
    copies = [name for name, row in truth.items() if row["kind"] == "exact_dup"]
    assert copies
    for name in copies:
        assert texts[name] == originals[truth[name]["group"]]


def test_near_copies_differ_but_share_most_words(truth: dict[str, dict[str, Any]], texts: dict[str, str]) -> None:
    originals = {row["group"]: texts[name] for name, row in truth.items() if row["kind"] == "article"}
    for name, row in truth.items():
        if row["kind"] == "near_dup":
            one, other = texts[name], originals[row["group"]]
            assert one != other
            assert len(set(one.split()) & set(other.split())) > 0.8 * len(set(other.split()))


def test_copies_never_cross_from_train_to_heldout(truth: dict[str, dict[str, Any]]) -> None:
    splits: dict[int, set[str]] = {}
    for row in truth.values():
        if row["group"] is not None:
            splits.setdefault(row["group"], set()).add(row["file"].split("/")[0])
    assert splits
    assert all(len(found) == 1 for found in splits.values())


def test_every_article_is_extracted_and_charsets_are_understood(
    truth: dict[str, dict[str, Any]], texts: dict[str, str]
) -> None:
    for name, row in truth.items():
        if row["kind"] in ("article", "language", "spam"):
            assert texts[name].strip()
        if row["variant"] in ("wrong_charset", "windows_1252", "undeclared_1252", "utf_16"):
            assert "The café’s crème brûlée – “voilà” – was déjà vu." in texts[name]
        if row["kind"] in ("non_html", "status") or row["variant"] in ("empty", "nested"):
            assert name not in texts
        if row["language"] == "ru":
            assert any(word in texts[name] for word in ("Старый", "яблони", "Никто", "тесто", "воды", "архиве", "Дети"))


def test_the_same_command_again_reports_and_another_is_refused(crawl: pathlib.Path) -> None:
    before = contents(crawl)
    assert not write_sample_crawl(str(crawl), pages=PAGES, seed=3)
    with pytest.raises(InputError, match="--overwrite"):
        write_sample_crawl(str(crawl), pages=PAGES, seed=5)
    assert contents(crawl) == before


def test_overwrite_replaces_the_crawl(tmp_path: pathlib.Path) -> None:
    write_sample_crawl(str(tmp_path), pages=40, seed=1)
    assert write_sample_crawl(str(tmp_path), pages=41, seed=1, overwrite=True)
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == 41


def test_wrong_number_of_pages_is_the_users_mistake(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "x"), "--pages", "0"]) == 2
    assert capsys.readouterr().err == "error: --pages must be at least 1, got 0\n"


def test_help_ends_with_an_example() -> None:
    assert "example:\n  corpusmith sample-crawl" in build_parser().format_help()
