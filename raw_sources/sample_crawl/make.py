"""The sample crawl: a small web that every machine can make for itself, and the truth about each of its pages.

    <output>/train/sample-0000N.warc.gz     8 archives
    <output>/heldout/sample-0000N.warc.gz   2 archives; no page of them has a copy in train
    <output>/truth.jsonl                    a row a response: url, file, record_id, kind, variant, group (of copies), …
    <output>/sample.json                    what it was made from

No network is used: the text is what Python carries with it and what was written for this project. The same seed gives
the same bytes, for one version of Python and of zlib; the standard library's text differs between versions.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import orjson

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say, track
from corpusmith.seeds import stable_hash
from raw_sources.archives.warc_writer import digest, gzip_member, http_response, warc_record
from raw_sources.sample_crawl.pages import Response, SamplePages

FILES = {"train": 8, "heldout": 2}
_FIRST_FETCH = datetime(2025, 3, 1, tzinfo=UTC)
_SECONDS_BETWEEN = 7
#: Stands in `sample.json`: raised when the same settings give another crawl.
SAMPLE_VERSION = 1


def write_sample_crawl(output: str, *, pages: int = 3000, seed: int = 0, overwrite: bool = False) -> bool:
    """Write a crawl of `pages` responses; False if it stands there already, made from the same settings.

    Raises InputError where other files stand, unless `overwrite`.
    """
    if pages < 1:
        raise InputError(f"--pages must be at least 1, got {pages}")
    made_from = {
        "pages": pages,
        "seed": seed,
        "version": SAMPLE_VERSION,
        "python": platform.python_version(),
        "files": {split: [_file_name(split, part) for part in range(number)] for split, number in FILES.items()},
    }
    if _stands(output, made_from) and not overwrite:
        return False
    if storage.is_dir(output) and storage.list_files(output):
        if not overwrite:
            raise InputError(f"{output} holds other files; choose another --output or pass --overwrite")
        _remove_old(output)
    _write(output, pages, seed)
    storage.write_json(storage.join(output, "sample.json"), made_from, indent=2)
    return True


def _stands(output: str, made_from: dict[str, Any]) -> bool:
    marker = storage.join(output, "sample.json")
    return storage.exists(marker) and storage.read_json(marker) == made_from


def _remove_old(output: str) -> None:
    for split in FILES:
        storage.remove_tree(storage.join(output, split))
    for name in ("sample.json", "truth.jsonl"):
        storage.remove(storage.join(output, name))


def _file_name(split: str, part: int) -> str:
    return f"{split}/sample-{part:05d}.warc.gz"


def _write(output: str, pages: int, seed: int) -> None:
    truth: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        files: dict[str, BinaryIO] = {}
        for split, number in FILES.items():
            for part in range(number):
                name = _file_name(split, part)
                files[name] = stack.enter_context(storage.atomic_write(storage.join(output, name)))
                files[name].write(gzip_member(_warcinfo(name, seed)))
        progress = stack.enter_context(track(pages, "sample crawl", "pages"))
        for response in SamplePages(pages=pages, seed=seed):
            split = "heldout" if response.is_heldout else "train"
            name = _file_name(split, stable_hash(seed, "file", response.number) % FILES[split])
            record_id = _record_id(seed, "response", response.number)
            for record in _records(response, seed, record_id):
                files[name].write(gzip_member(record))
            truth.append(_truth_row(response, name, record_id))
            progress.advance()
    copied = {row["group"] for row in truth if row["kind"].endswith("_dup")}
    for row in truth:
        row["group"] = row["group"] if row["group"] in copied else None
    storage.write_bytes(storage.join(output, "truth.jsonl"), b"".join(orjson.dumps(row) + b"\n" for row in truth))


def _truth_row(response: Response, file: str, record_id: str) -> dict[str, Any]:
    return {
        "url": response.url,
        "file": file,
        "record_id": record_id,
        "kind": response.kind,
        "variant": response.variant,
        "group": response.group,
        "language": response.language,
        "topic": response.topic,
    }


def _record_id(seed: int, *parts: str | int) -> str:
    number = stable_hash(seed, "id", *parts, 0) << 64 | stable_hash(seed, "id", *parts, 1)
    return f"<urn:uuid:{uuid.UUID(int=number, version=4)}>"


def _date(number: int) -> str:
    return (_FIRST_FETCH + timedelta(seconds=_SECONDS_BETWEEN * number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _warcinfo(name: str, seed: int) -> bytes:
    lines = ("software: corpusmith sample-crawl", "format: WARC File Format 1.1", "description: a made-up sample web")
    fields = (
        ("WARC-Type", "warcinfo"),
        ("WARC-Record-ID", _record_id(seed, "warcinfo", name)),
        ("WARC-Date", _date(0)),
        ("WARC-Filename", name.rsplit("/", 1)[-1]),
        ("Content-Type", "application/warc-fields"),
    )
    return warc_record(fields, "\r\n".join((*lines, "")).encode())


def _records(response: Response, seed: int, record_id: str) -> list[bytes]:
    """The request, the response and the metadata record of one fetch, as crawlers write them."""
    host, _, path = response.url.removeprefix("https://").partition("/")
    request = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corpusmith-sample\r\nAccept: text/html\r\n\r\n"
    answer = http_response(response.status, response.fields, response.body)
    metadata = f"fetchTimeMs: {20 + response.number % 300}\r\n"

    def fields(kind: str, content_type: str, own_id: str) -> list[tuple[str, str]]:
        return [
            ("WARC-Type", kind),
            ("WARC-Record-ID", own_id),
            ("WARC-Date", _date(response.number)),
            ("WARC-Target-URI", response.url),
            ("Content-Type", content_type),
        ]

    answer_fields = fields("response", "application/http; msgtype=response", record_id)
    answer_fields.append(("WARC-Payload-Digest", digest(response.body)))
    if response.truncated:
        answer_fields.append(("WARC-Truncated", "length"))
    of_answer = ("WARC-Concurrent-To", record_id)
    request_id = _record_id(seed, "request", response.number)
    metadata_id = _record_id(seed, "metadata", response.number)
    return [
        warc_record([*fields("request", "application/http; msgtype=request", request_id), of_answer], request.encode()),
        warc_record(answer_fields, answer),
        warc_record([*fields("metadata", "application/warc-fields", metadata_id), of_answer], metadata.encode()),
    ]


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith sample-crawl`."""
    parser = make_parser(
        "corpusmith sample-crawl",
        "Write a small made-up crawl of web archives, with the truth about each page; needs no network.",
        "corpusmith sample-crawl --output crawl --pages 3000",
    )
    parser.add_argument("--output", required=True, help="folder of the crawl: train/, heldout/, truth.jsonl")
    parser.add_argument("--pages", type=int, default=3000, help="responses to write (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another crawl (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a crawl made from other settings")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the crawl that the parsed flags ask for."""
    made = write_sample_crawl(
        arguments.output, pages=arguments.pages, seed=arguments.seed, overwrite=arguments.overwrite
    )
    where = f"{arguments.pages} pages in {sum(FILES.values())} archives below {arguments.output}"
    say(f"wrote {where}; the truth about them is in truth.jsonl" if made else f"already there: {where}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `corpusmith sample-crawl`."""
    return run_command(build_parser(), run, argv)
