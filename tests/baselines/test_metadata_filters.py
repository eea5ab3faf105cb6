"""Filters on URL, language, score and chance: the specification's rules and oddities."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import pytest

from baselines.mappers import language_filter, quality_filter, random_sampling_filter, url_substring_filter
from corpusmith.errors import InputError

LANGUAGE = "language_id_whole_page_langdetect"


def test_sampling_draws_once_from_the_global_generator() -> None:
    random.seed(7)
    draws = [random.random() for _ in range(20)]
    random.seed(7)
    assert [bool(random_sampling_filter({}, keep_probability=0.5)) for _ in range(20)] == [d < 0.5 for d in draws]
    assert not any(random_sampling_filter({}, keep_probability=0) for _ in range(50))
    assert all(random_sampling_filter({}, keep_probability=1) for _ in range(50))
    with pytest.raises(AssertionError, match=r"1\.5"):
        random_sampling_filter({}, keep_probability=1.5)


@pytest.mark.parametrize(
    ("languages", "threshold", "kept"),
    [(["en"], 0.7, True), (["en"], 0.8, False), (["fr", "de"], 0.1, True), (["fr"], 0.0, False), ([], 0.0, False)],
)
def test_language_must_exceed_the_threshold(languages: list[str], threshold: float, kept: bool) -> None:
    page = {LANGUAGE: {"en": 0.8, "de": 0.2}}
    assert language_filter(page, languages, threshold=threshold) == ([page] if kept else [])


def test_languages_are_a_list_and_the_key_is_needed() -> None:
    for languages in ("en", ("en",)):
        with pytest.raises(TypeError):
            language_filter({}, languages)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match=f"The input JSON object does not have a {LANGUAGE} field"):
        language_filter({}, ["en"])


@pytest.mark.parametrize(
    ("page", "arguments", "kept"),
    [
        ({"fasttext_hq_prob": 0.5}, {"threshold": 0.5}, True),
        ({"fasttext_hq_prob": 0.49}, {"threshold": 0.5}, False),
        ({"p": 0.5}, {"key": "p", "threshold": 0.5, "lower_better": True}, True),
        ({"p": 0.51}, {"key": "p", "threshold": 0.5, "lower_better": True}, False),
        ({}, {"key_must_exist": False}, False),
        ({}, {"key_must_exist": False, "lower_better": True}, False),
    ],
)
def test_quality_at_the_threshold_is_kept(page: dict[str, Any], arguments: dict[str, Any], kept: bool) -> None:
    assert quality_filter(page, **arguments) == ([page] if kept else [])


def test_quality_needs_a_score() -> None:
    with pytest.raises(AssertionError, match="does not have a fasttext_hq_prob field"):
        quality_filter({})
    with pytest.raises(TypeError):
        quality_filter({"fasttext_hq_prob": None})


@pytest.mark.parametrize(
    ("url", "arguments", "kept"),
    [
        ("http://x.com/webcam", {"banlist": ["webcam"]}, False),
        ("http://X.com/WebCam", {"banlist": "webCAM"}, False),
        ("http://X.com/WebCam", {"banlist": "webcam", "case_sensitive": True}, True),
        ("http://x.com/web.cam", {"banlist": "webcam", "ignore_chars": ["-", "."]}, False),
        ("http://x.com/wxbcam", {"banlist": "w.bcam"}, True),
        # longest first, different ones counted
        ("webcam.com", {"banlist": ["webcam", "cam"], "num_banned_substrs": 2}, True),
        ("webcam.com/cam", {"banlist": ["webcam", "cam"], "num_banned_substrs": 2}, False),
        ("webcam webcam", {"banlist": ["webcam"], "num_banned_substrs": 2}, True),
        ("anything", {"banlist": ["zz"], "num_banned_substrs": 0}, False),
        ("anything", {"banlist": []}, False),
        ("anything", {"banlist": ["zz", ""]}, False),
        # word boundaries
        ("a-ass.com", {"banlist": ["ass"], "match_substrings": False}, False),
        ("a_ass.com", {"banlist": ["ass"], "match_substrings": False}, True),
        ("class.com", {"banlist": ["ass"], "match_substrings": False}, True),
        # hosts
        ("http://google.com/a", {"banlist": ["google.com"], "exact_domain_match": True}, False),
        ("http://google.com:80/a", {"banlist": ["google.com"], "exact_domain_match": True}, True),
        ("http://a.google.com/", {"banlist": ["google.com"], "exact_domain_match": True}, True),
        ("google.com", {"banlist": ["google.com"], "exact_domain_match": True}, True),
        # removing `www` leaves its dot
        (
            "http://www.google.com",
            {"banlist": ["google.com"], "exact_domain_match": True, "ignore_chars": ["www"]},
            True,
        ),
        (
            "http://www.google.com",
            {"banlist": ["google.com"], "exact_domain_match": True, "ignore_chars": ["www."]},
            False,
        ),
    ],
)
def test_banned_urls(url: str, arguments: dict[str, Any], kept: bool) -> None:
    page = {"url": url}
    assert url_substring_filter(**arguments)(page) == ([page] if kept else [])


def test_banned_urls_are_read_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("Bad.com\nworse.com\n", encoding="utf-8")
    mapper = url_substring_filter(banlist=["good.com"], banlist_from_fname=str(path), exact_domain_match=True)
    assert mapper({"url": "https://bad.com/x"}) == []
    assert mapper({"url": "https://good.com/x"})
    with pytest.raises(KeyError, match="url"):
        mapper({})


def test_pickled_lists_are_never_read(tmp_path: pathlib.Path) -> None:
    for name in ("list.pkl", "list.pickle"):
        with pytest.raises(InputError, match=name):
            url_substring_filter(banlist_from_fname=str(tmp_path / name))
    with pytest.raises(TypeError, match="banlist"):
        url_substring_filter()
