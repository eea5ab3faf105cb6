"""What pages say about themselves, what lists say about URLs, and how configs are refused."""

from __future__ import annotations

import gzip
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import ConfigError
from raw_sources.archives.open_archive import Found
from raw_sources.archives.warc import WarcRecord
from raw_sources.archives.warc_writer import http_response
from raw_sources.extractors.page_meta import date_of, links_of, robots_flags, title_of
from raw_sources.extractors.registry import ExtractorChoice
from raw_sources.ingest.config import IngestConfig, load_ingest_config
from raw_sources.ingest.outcomes import Removed
from raw_sources.ingest.pages import PageMaker
from raw_sources.ingest.url_blocklist import load_block_list, split_url


@pytest.mark.parametrize(
    ("html", "fields", "flags"),
    [
        ('<meta name="robots" content="NOINDEX, noai">', {}, ["noai", "noindex"]),
        ("<META CONTENT='noimageai' NAME='Robots'>", {}, ["noimageai"]),
        ('<meta name=robots content=none><meta name=googlebot content="nofollow">', {}, ["nofollow", "none"]),
        ("", {"x-robots-tag": "googlebot: noindex, noarchive"}, ["noarchive", "noindex"]),
        ("", {"tdm-reservation": "1"}, ["tdm-reservation"]),
        ('<meta name="tdm-reservation" content="1">', {}, ["tdm-reservation"]),
        ('<meta name="robots" content="index, follow"><meta name="tdm-reservation" content="0">', {}, []),
        ("<p>robots noindex noai</p>", {}, []),
    ],
)
def test_robots_flags_are_found_in_header_and_page(html: str, fields: dict[str, str], flags: list[str]) -> None:
    assert robots_flags(html, fields) == flags


def test_title_date_and_links_are_found() -> None:
    html = (
        "<head><title>\n A &amp; B </title>"
        "<meta property='article:published_time' content='2021-03-04T05:06:07Z'></head>"
        '<a href="/x">there <b>you</b> go</a><a href="#top">up</a><a href=javascript:0>no</a>'
        "<a class=c href=b?q=1&amp;r=2>r</a>"
    )
    assert title_of(html) == "A & B"
    assert date_of(html, "") == "2021-03-04"
    assert links_of(html, "http://a.example/d/") == [
        {"url": "http://a.example/x", "text": "there you go"},
        {"url": "http://a.example/d/b?q=1&r=2", "text": "r"},
    ]


@pytest.mark.parametrize(
    ("html", "url", "date"),
    [
        ("", "http://a.example/2019/7/5/title.html", "2019-07-05"),
        ('<script type="application/ld+json">{"datePublished": "2020-01-02T00:00"}</script>', "", "2020-01-02"),
        ('<time datetime="2018-12-31">', "", "2018-12-31"),
        ('<meta name="date" content="yesterday">', "http://a.example/", None),
        ('<meta name="date" content="2020-13-01">', "", None),
    ],
)
def test_dates_are_found_where_pages_put_them(html: str, url: str, date: str | None) -> None:
    assert date_of(html, url) == date


@given(st.text(st.sampled_from("<>a=\"'/ metarobotshrefA"), max_size=300))
def test_any_markup_is_looked_through(html: str) -> None:
    robots_flags(html, {})
    title_of(html)
    date_of(html, html)
    links_of(html, "http://a.example/")


def test_block_lists_block_domains_and_urls_with_all_below(tmp_path: pathlib.Path) -> None:
    domains = tmp_path / "domains.gz"
    domains.write_bytes(gzip.compress(b"# list\nbad.example\n0.0.0.0 ads.example\n*.wild.example\n\n"))
    urls = tmp_path / "urls"
    urls.write_text("good.example/private/\nhttps://www.Other.example/a?b=1\n")
    blocks = load_block_list((str(domains),), (str(urls),)).blocks
    assert blocks("http://bad.example/") == "domain"
    assert blocks("https://user@www.BAD.example:8080/x") == "domain"
    assert blocks("http://ads.example") == blocks("http://x.wild.example/") == "domain"
    assert blocks("http://verybad.example/") is None
    assert blocks("http://www.good.example/private/deep/page?x=1") == "url"
    assert blocks("http://good.example/privateer") is None
    assert blocks("http://other.example/a?b=1") == "url"
    assert blocks("http://other.example/a") is None
    assert blocks("no url") is None


def test_hosts_are_found_in_urls_of_all_forms() -> None:
    assert split_url("http://[::1]:80/x#y") == ("[::1", "/x")
    assert split_url("A.example.") == ("a.example", "")


def page_of(html: str, **config: Any) -> Any:
    block = http_response("200 OK", [("Content-Type", "text/html")], html.encode())
    headers = {"WARC-Target-URI": "http://a.example/2020/01/02/x"}
    record = WarcRecord(type="response", headers=headers, block=block, length=len(block), offset=0, warcinfo=None)
    return PageMaker(IngestConfig(**config)).outcome(Found(item=record))


def test_flags_are_recorded_and_those_named_remove_the_page(tmp_path: pathlib.Path) -> None:
    html = (
        '<html><head><meta name=robots content="noai, nofollow"><title>T</title></head><body><p>Some text.</p></body>'
    )
    page = page_of(html, title=True, date=True, links=True)
    assert (page["robots"], page["title"], page["date"], page["links"]) == (["noai", "nofollow"], "T", "2020-01-02", [])
    assert page_of(html, drop_robots=["noindex"])["text"] == "Some text."
    assert page_of(html, drop_robots=["noai"]) == Removed(step="robots")
    (tmp_path / "list").write_text("a.example\n")
    assert page_of(html, blocked_domains=[str(tmp_path / "list")]) == Removed(step="blocked_domain")


def test_a_sample_takes_its_share_and_always_the_same() -> None:
    maker = PageMaker(IngestConfig(sample=0.3, seed=5))
    taken = [maker.refused_sample("a.warc.gz", index) is None for index in range(2000)]
    assert 0.25 < sum(taken) / 2000 < 0.35
    assert taken == [maker.refused_sample("a.warc.gz", index) is None for index in range(2000)]
    other = PageMaker(IngestConfig(sample=0.3, seed=6))
    assert taken != [other.refused_sample("a.warc.gz", index) is None for index in range(2000)]


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("extractor: resilipars", "no extractor 'resilipars'; did you mean 'resiliparse'?"),
        ("extractor_options:\n  main_contents: true", "has no option 'main_contents'; did you mean 'main_content'?"),
        ("structure: true", "the extractor 'fast' keeps no structure; take one of blocks"),
        ("drop_robots: [noia]", "no flag 'noia'"),
        ("sample: 0", "sample must lie in"),
        ("output: xml", r"config.yaml:1: output"),
        ("extracter: best", r"config.yaml:1: extracter: unknown key; did you mean 'extractor'"),
        ("[]", "must be a mapping"),
    ],
)
def test_a_wrong_config_is_refused_with_its_place(tmp_path: pathlib.Path, yaml: str, says: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml)
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        load_ingest_config(str(path))


@pytest.mark.parametrize("name", ["fast", "best", "trafilatura", "justext"])
def test_every_extractor_gives_the_main_text(name: str) -> None:
    if name in ("trafilatura", "justext"):
        pytest.importorskip(name)
    sentence = (
        "The soil of the valley stays warm for longer than that of the hills, because the wind does not reach it. "
    )
    html = (
        f"<html><body><nav><ul><li><a href=/>Home</a></li></ul></nav><article><h1>On soil</h1><p>{sentence * 3}</p>"
        f"<p>{sentence * 2}And so on, for years.</p></article></body></html>"
    )
    text = ExtractorChoice(name=name).open()(html)
    assert sentence.strip() in text
    assert "Home" not in text
