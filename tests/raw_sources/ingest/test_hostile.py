"""Hostile input: bounded time and memory, the page set aside, the rest kept; killed runs end with the same bytes."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import zlib
from typing import Any

import pytest

from corpusmith.io.pages.shards import read_shard
from corpusmith.run.ray.runner import Runner
from raw_sources.archives.open_archive import Found
from raw_sources.archives.warc import WarcRecord
from raw_sources.archives.warc_writer import gzip_member, http_response, warc_record
from raw_sources.extractors.registry import ExtractorChoice
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.outcomes import FailedRecord, Removed
from raw_sources.ingest.pages import PageMaker, read_outcomes
from raw_sources.ingest.run import ingest

ROOT = pathlib.Path(__file__).resolve().parents[3]
HTML = [("Content-Type", "text/html; charset=utf-8")]


def record(number: int, block: bytes, uri: str = "") -> bytes:
    fields = [
        ("WARC-Type", "response"),
        ("WARC-Record-ID", f"<urn:x:{number}>"),
        ("WARC-Target-URI", uri or f"http://a.example/{number}"),
    ]
    return gzip_member(warc_record(fields, block))


def page(text: str) -> bytes:
    return http_response("200 OK", HTML, f"<html><body><main><p>{text}</p></main></body></html>".encode())


def texts(outcomes: list[Any]) -> list[str]:
    return [outcome["text"] for outcome in outcomes if isinstance(outcome, dict)]


def zeros_record(size: int) -> bytes:
    """A gzip member with a page of `size` zeros."""
    block = http_response("200 OK", HTML, b"")
    head = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {len(block) + size}\r\n\r\n".encode() + block
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [compressor.compress(head)]
    zeros = b"\0" * (1 << 20)
    pieces += [compressor.compress(zeros) for _ in range(size >> 20)]
    return b"".join([*pieces, compressor.compress(b"\r\n\r\n"), compressor.flush()])


@pytest.mark.slow
@pytest.mark.all
def test_a_record_of_one_gigabyte_is_set_aside_in_little_memory(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(record(1, page("first")) + zeros_record(1 << 30) + record(3, page("third")))
    assert path.stat().st_size < 8 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = list(read_outcomes(str(path)))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 100 << 20
    assert texts(outcomes) == ["first", "third"]
    (aside,) = (outcome for outcome in outcomes if isinstance(outcome, FailedRecord))
    assert "a block of 10737" in aside.reason
    assert aside.raw.startswith(b"HTTP/1.1 200 OK")


def test_what_is_too_long_and_no_page_is_removed_for_what_it_is(tmp_path: pathlib.Path) -> None:
    head = http_response("200 OK", [("Content-Type", "video/mp4")], b"")
    film = WarcRecord(type="response", headers={}, block=None, length=1 << 40, offset=0, warcinfo=None, head=head)
    assert PageMaker(IngestConfig()).outcome(Found(item=film)) == Removed(step="media_type")


@pytest.mark.parametrize("extractor", ["fast", "best"])
@pytest.mark.parametrize("tag", ["div", "span", "b", "a", "li", "table", "font", "ul", "p", "blockquote", "td", "h1"])
def test_a_hundred_thousand_nested_elements_end_in_time(extractor: str, tag: str) -> None:
    block = http_response("200 OK", HTML, f"<{tag}>".encode() * 100_000 + b"text")
    item = WarcRecord(type="response", headers={}, block=block, length=len(block), offset=0, warcinfo=None)
    started = time.process_time()
    outcome = PageMaker(IngestConfig(extractor=extractor)).outcome(Found(item=item))
    assert isinstance(outcome, dict | Removed | FailedRecord)
    assert time.process_time() - started < 20  # a minute and more without the check


@pytest.mark.parametrize(
    "html",
    [
        "<a href='" * 50_000, "<meta name=" * 50_000, "<!--" * 100_000, "<" * 300_000, "&" * 300_000, "</p>" * 200_000,
        "<script>" * 50_000, "<a href=x>" * 50_000, "<title>" * 50_000, "<p class='" + "x" * 500_000, "\0" * 300_000,
        "<table><tr><td>" * 900, "<ul><li>" * 40_000, "<p><br>" * 50_000,
    ],
)  # fmt: skip
def test_markup_without_an_end_takes_no_time_that_grows_with_its_square(html: str) -> None:
    config = IngestConfig(extractor="best", structure=True, title=True, date=True, links=True)
    started = time.process_time()
    outcome = PageMaker(config).html_page(f"<html><body>{html} some text".encode(), "", "http://a.example/", {})
    assert isinstance(outcome, dict | Removed)
    assert time.process_time() - started < 10


def test_control_characters_in_urls_stay_inside_their_field(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(
        record(1, page("one"), "http://a.example/\rWARC-Type: metadata\r")
        + record(2, page("two"), "http://a.example/\x00\x0b\u2028x")
        + record(3, page("thr\0ee")[:-1] + b"\xff")
    )
    result = ingest_here(path, tmp_path / "out")
    lines = result.read_bytes().splitlines()
    assert len(lines) == 3
    rows = [json.loads(line) for line in lines]
    assert [row["metadata"]["WARC-Type"] for row in rows] == ["response"] * 3
    assert rows[1]["metadata"]["WARC-Target-URI"] == "http://a.example/\x00\x0b\u2028x"


def ingest_here(path: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The shard of one archive, made in this process."""
    from corpusmith.run.stage import StagePlace
    from raw_sources.ingest.inputs import list_units
    from raw_sources.ingest.unit import IngestTask, ingest_unit

    (unit,) = list_units([str(path)])
    place = StagePlace(name="00-ingest", folder=str(out / "run"), output=str(out / "data"), errors=str(out / "errors"))
    ingest_unit(IngestTask(unit=unit, stem="a", config=IngestConfig(output="jsonl"), place=place))
    return out / "data" / "a.jsonl"


def test_a_bomb_in_a_body_is_set_aside(tmp_path: pathlib.Path) -> None:
    bomb = zlib.compress(b"<p>" + b"x" * (64 << 20), 9)
    block = http_response("200 OK", [*HTML, ("Content-Encoding", "deflate")], bomb)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(record(1, block) + record(2, page("two")))
    outcomes = list(read_outcomes(str(path)))
    assert texts(outcomes) == ["two"]
    assert isinstance(outcomes[0], FailedRecord)
    assert "more than 16777216 bytes" in outcomes[0].reason


def test_best_survives_any_markup() -> None:
    extract = ExtractorChoice(name="best", structure=True).open()
    for html in ("", " ", "<", "</", "<a", "<p", "</p>", "<!", "<!-", "<?", "&", "\ud800", "<td>x</td></table></div>"):
        assert isinstance(extract(html), str)


# --- on Ray ----------------------------------------------------------------------------------------------------------


@pytest.mark.ray
@pytest.mark.slow
def test_a_page_that_takes_too_long_is_set_aside_by_the_retry(tmp_path: pathlib.Path, runner: Runner) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    endless = http_response("200 OK", HTML, b"<b>" * 3_000_000 + b"text")
    (crawl / "a.warc.gz").write_bytes(
        b"".join([record(0, page("zero")), record(1, endless), record(2, page("two")), record(3, page("three"))])
    )
    (crawl / "b.warc.gz").write_bytes(record(9, page("nine")))

    def run(out: str) -> Any:
        return ingest(
            [str(crawl)], str(tmp_path / out), readable_name=out, exp_data_dir=str(tmp_path / "e"), page_seconds=0.5
        )

    counts = run("out").stages[-1].counts()
    assert (counts.read, counts.kept, counts.errored) == (5, 4, {"extract": 1})
    (aside,) = read_shard(str(tmp_path / "out" / "errors" / "extract" / "a.warc.gz.errors.jsonl"))
    assert (aside["url"], aside["reason"]) == ("http://a.example/1", "it took more time than a record may")
    pages = list(read_shard(str(tmp_path / "out" / "processed_data" / "a.jsonl.zst")))
    assert [each["text"] for each in pages] == ["zero", "two", "three"]


def shards(folder: pathlib.Path) -> dict[str, bytes]:
    data = folder / "processed_data"
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.all
def test_a_run_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_one(tmp_path: pathlib.Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    for number in range(12):
        members = [record(number * 1000 + place, page(f"text {place} " * 200)) for place in range(400)]
        (crawl / f"{number:02d}.warc.gz").write_bytes(b"".join(members))
    config = tmp_path / "config.yaml"
    config.write_text("extractor: best\npages_per_shard: 150\ntitle: true\n")

    def command(out: str, cpus: int) -> list[str]:
        return [
            *(sys.executable, "-m", "corpusmith", "ingest", "--input", str(crawl), "--config", str(config)),
            *("--output_dir", str(tmp_path / out), "--readable_name", out, "--exp-data-dir", str(tmp_path / "exp")),
            *("--num_cpus", str(cpus)),
        ]

    assert subprocess.run(command("whole", 1), cwd=ROOT, check=False, capture_output=True).returncode == 0
    for records in (1, 5):
        process = subprocess.Popen(
            command("killed", 2), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "killed").glob("run/stages/*/records/*.json"))) >= records:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command("killed", 1), cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")
    assert len(shards(tmp_path / "whole")) == 36
