"""Filters on URL, language, score and chance: the specification's rules and oddities."""

from __future__ import annotations

import os
import pathlib
import pickle
import random
import re
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
            language_filter({}, languages)
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


def pickled(path: pathlib.Path, content: object, protocol: int = 4) -> str:
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_patterns_are_searched_for_as_they_are(tmp_path: pathlib.Path, protocol: int) -> None:
    path = pickled(tmp_path / "list.pkl", re.compile(r"(?:b\.d|zz)", re.IGNORECASE), protocol)
    mapper = url_substring_filter(banlist=["good"], banlist_from_fname=path)
    assert mapper({"url": "http://B.D/x"}) == []
    assert mapper({"url": "http://bad/good"})
    twice = url_substring_filter(banlist_from_fname=path, num_banned_substrs=2)
    assert twice({"url": "b.d b.d"})
    assert twice({"url": "b.d zz"}) == []
    assert url_substring_filter(banlist_from_fname=path, ignore_chars=["."])({"url": "b.d"})


def test_pickled_lists_have_no_domains(tmp_path: pathlib.Path) -> None:
    path = pickled(tmp_path / "list.pickle", re.compile("a"))
    with pytest.raises(AssertionError, match="domains"):
        url_substring_filter(banlist_from_fname=path, exact_domain_match=True)


class Runs:
    """Would run a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Runs(os.system, "true"), r"asks for \w+.system"),
        (Runs(eval, "1"), r"asks for \w+.eval"),
        (Runs(re.compile, "a"), r"asks for re.compile"),
        ([re.compile("a"), Runs(getattr, "a", "upper")], r"asks for \w+.getattr"),
        (re.compile(b"a"), r"asks for _codecs.encode|a pattern is a string"),
        (["a.com"], r"it holds a list"),
        ("a.com", r"it holds a str"),
    ],
)
def test_pickles_of_anything_else_are_refused(tmp_path: pathlib.Path, content: object, message: str) -> None:
    for protocol in (0, 2, 4):
        path = pickled(tmp_path / "list.pkl", content, protocol)
        with pytest.raises(InputError, match=message):
            url_substring_filter(banlist_from_fname=path)


def test_damaged_pickles_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.pkl"
    whole = pickle.dumps(re.compile("a"))
    for content in (b"", b"a.com\n", whole[:-5], b"\x80\x04K\x01b.", b"cre\n_compile\n(V(\ntR."):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"list\.pkl"):
            url_substring_filter(banlist_from_fname=str(path))


def test_lists_must_be_given() -> None:
    with pytest.raises(TypeError, match="banlist"):
        url_substring_filter()
