"""Ingest from end to end: pages by DCLM's schema, books that balance, a run that is continued and never redone."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import pytest

from corpusmith.errors import ChangedError, InputError
from corpusmith.io.pages.shards import read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import RunOptions
from raw_sources.archives.open_archive import Found
from raw_sources.archives.warc import WarcRecord
from raw_sources.archives.warc_writer import gzip_member, http_response, warc_record
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.inputs import IngestMember, IngestUnit, list_units, shard_stems
from raw_sources.ingest.outcomes import FailedRecord, RecordOutcome, Removed
from raw_sources.ingest.pages import PageMaker, read_outcomes
from raw_sources.ingest.run import ingest

HTML = [("Content-Type", "text/html; charset=utf-8")]
TWO_CPUS = Execution(cpus=2)


def page_html(text: str) -> bytes:
    return f"<html><body><main><p>{text}</p></main></body></html>".encode()


def record(number: int, kind: str, block: bytes) -> bytes:
    fields = [
        ("WARC-Type", kind),
        ("WARC-Record-ID", f"<urn:x:{number}>"),
        ("WARC-Target-URI", f"http://a.example/{number}"),
    ]
    return gzip_member(warc_record(fields, block))


ARCHIVE = [
    record(0, "warcinfo", b"software: x\r\n"),
    record(1, "request", b"GET / HTTP/1.1\r\n\r\n"),
    record(2, "response", http_response("200 OK", HTML, page_html("A first page."))),
    record(3, "response", http_response("404 Not Found", HTML, page_html("nothing"))),
    record(4, "response", http_response("200 OK", [("Content-Type", "image/png")], b"\x89PNG")),
    record(5, "response", http_response("200 OK", HTML, b"")),
    record(6, "response", b"220 ftp.example ready\r\n"),
    record(7, "response", http_response("200 OK", [*HTML, ("Content-Encoding", "rot13")], b"uryyb")),
    record(8, "response", http_response("203 Other", [], page_html("A second page."))),
    record(9, "response", http_response("200 OK", HTML, b"<div>" * 5000)),
]


def outcome_of(record: WarcRecord) -> RecordOutcome:
    return PageMaker(IngestConfig()).outcome(Found(item=record))


def archive_of(block: bytes, kind: str = "response", **headers: str) -> WarcRecord:
    return WarcRecord(type=kind, headers=headers, block=block, length=len(block), offset=0, warcinfo=None)


@pytest.fixture
def crawl(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "crawl"
    (folder / "train").mkdir(parents=True)
    damaged = bytearray(ARCHIVE[2])
    damaged[60] ^= 0xFF
    (folder / "train" / "a.warc.gz").write_bytes(b"".join(ARCHIVE))
    (folder / "train" / "b.warc.gz").write_bytes(ARCHIVE[0] + bytes(damaged) + ARCHIVE[8])
    (folder / "c.warc").write_bytes(b"")
    return folder


def run(crawl: pathlib.Path, out: pathlib.Path, **options: bool) -> Any:
    return ingest(
        [str(crawl)],
        str(out),
        readable_name="demo",
        exp_data_dir=str(out.parent / "exp_data"),
        execution=TWO_CPUS,
        options=RunOptions(**options),
    )


def files(folder: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_ingest_writes_pages_and_books_and_runs_once(crawl: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    result = run(crawl, out)

    shards = sorted(str(path.relative_to(out / "processed_data")) for path in (out / "processed_data").rglob("*.zst"))
    assert shards == ["c.jsonl.zst", "train/a.jsonl.zst", "train/b.jsonl.zst"]
    first, second = read_shard(str(out / "processed_data" / "train" / "a.jsonl.zst"))
    assert list(first) == ["text", "metadata", "warcinfo"]
    assert (first["text"], second["text"]) == ("A first page.", "A second page.")
    assert first["metadata"]["WARC-Target-URI"] == "http://a.example/2"
    assert first["warcinfo"] == "software: x"

    total = json.loads((out / "run" / "ledger.json").read_text())["total"]
    assert (total["read"], total["kept"]) == (13, 3)
    assert total["removed"] == {
        "record_type": 3, "status": 1, "media_type": 1, "empty_text": 1, "not_http": 1,
    }  # fmt: skip
    assert total["errored"] == {"extract": 2, "read": 1}
    (lost,) = read_shard(str(out / "errors" / "read" / "train" / "b.warc.gz.errors.jsonl"))
    assert (lost["file"], lost["offset"]) == ("train/b.warc.gz", len(ARCHIVE[0]))
    aside, deep = read_shard(str(out / "errors" / "extract" / "train" / "a.warc.gz.errors.jsonl"))
    assert deep["reason"] == "more than 1000 nested block elements"
    assert aside["url"] == "http://a.example/7"
    assert base64.b64decode(aside["raw_base64"]).endswith(b"\r\n\r\nuryyb")

    reference = json.loads((tmp_path / "exp_data" / "datasets" / "raw_sources" / "demo.json").read_text())
    assert reference["dataset_url"] == f"{out}/processed_data/"
    assert (reference["data_key"], reference["tokenized"]) == ("jsonl.zst", False)
    assert reference["size"] == sum(path.stat().st_size for path in (out / "processed_data").rglob("*.zst"))

    before = files(tmp_path)
    again = run(crawl, out)
    assert (result.was_finished, again.was_finished) == (False, True)
    assert files(tmp_path) == before

    lost_shard = out / "processed_data" / "train" / "a.jsonl.zst"
    kept = lost_shard.read_bytes()
    lost_shard.unlink()
    assert not run(crawl, out).was_finished
    assert lost_shard.read_bytes() == kept

    (crawl / "c.warc").write_bytes(b"changed")
    with pytest.raises(ChangedError, match=r"c\.warc"):
        run(crawl, out)


def test_name_of_another_data_set_is_refused_before_any_work(crawl: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "exp_data" / "datasets" / "raw_sources"
    folder.mkdir(parents=True)
    (folder / "demo.json").write_text('{"name": "demo", "dataset_url": "elsewhere/", "tokenized": false}')
    with pytest.raises(InputError, match="elsewhere/"):
        run(crawl, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_inputs_are_the_users_mistakes(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list_units([str(tmp_path / "nothing")])
    with pytest.raises(InputError, match="nothing to ingest"):
        list_units([str(tmp_path)])


def test_shards_mirror_the_archives_and_keep_endings_that_tell_them_apart() -> None:
    names = ("a/x.warc.gz", "a/y.warc", "a/y.warc.gz", "z.warc.wet.gz", "odd", "x.part2.warc")
    units = [
        IngestUnit(name=name, kind="archive", members=(IngestMember(url=name, name=name),), identity="", bytes=0)
        for name in names
    ]
    assert shard_stems(units) == {
        "a/x.warc.gz": "a/x",
        "a/y.warc": "a/y.warc",
        "a/y.warc.gz": "a/y.warc.gz",
        "z.warc.wet.gz": "z",
        "odd": "odd",
        "x.part2.warc": "x.part2.warc",
    }


@pytest.mark.parametrize(
    ("block", "step"),
    [
        (b"no http", "not_http"),
        (http_response("301 Moved", HTML, b""), "status"),
        (http_response("100 Continue", HTML, b""), "status"),
        (http_response("200 OK", [("Content-Type", "application/json")], b"{}"), "media_type"),
        (http_response("200 OK", [], b"plain"), "media_type"),
        (http_response("200 OK", HTML, b"<p> </p>"), "empty_text"),
    ],
)
def test_a_response_that_is_no_page_has_its_reason(block: bytes, step: str) -> None:
    assert outcome_of(archive_of(block)) == Removed(step=step)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (http_response("200 OK", HTML, b"<article>" * 2000), "more than 1000 nested block elements"),
        (http_response("200 OK", HTML, b"x" * (17 << 20)), "a body of more than 16777216 bytes"),
    ],
)
def test_a_hostile_page_is_set_aside_with_its_beginning(block: bytes, reason: str) -> None:
    found = outcome_of(archive_of(block))
    assert isinstance(found, FailedRecord)
    assert (found.reason, found.raw) == (reason, block[: 1 << 20])


def test_record_without_media_type_is_a_page_if_it_looks_like_html() -> None:
    found = outcome_of(archive_of(http_response("200 OK", [], b"<!DOCTYPE html><p>Hello.</p>")))
    assert isinstance(found, dict)
    assert found == {"text": "Hello.", "metadata": {}}


def test_text_of_wet_records_is_taken_as_it_is() -> None:
    headers = {"Content-Type": "text/plain"}
    block = "Zeile <b> eins\nZeile zwei: ü".encode()
    wet = WarcRecord(type="conversion", headers=headers, block=block, length=len(block), offset=0, warcinfo="i")
    assert outcome_of(wet) == {"text": block.decode(), "metadata": headers, "warcinfo": "i"}


def test_record_that_raises_is_set_aside_and_the_archive_goes_on(crawl: pathlib.Path) -> None:
    def fails(html: str) -> str:
        raise RuntimeError("parser")

    maker = PageMaker(IngestConfig(), extract=fails)
    archive = str(crawl / "train" / "a.warc.gz")
    found = [item for item in read_outcomes(archive, maker) if isinstance(item, FailedRecord)]
    assert found[0].reason == "RuntimeError: parser"
    assert len(found) == 5
