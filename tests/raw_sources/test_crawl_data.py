"""The reader against 286 real archives: whole ones read whole, damaged ones say so."""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from typing import Any

import pytest

from raw_sources.http_message import NotHttpError, parse_response
from raw_sources.pages import HTML_TYPES
from raw_sources.warc import LostPart, WarcRecord, read_warc

# LF headers: the reference readers see nothing or one record where this one sees what is there
LINE_FEEDS = "LF line ends in headers"

# both readers accept records without a length, and lines that end in CR CR LF; this one counts them as lost
NOT_SOUND = ("/invalid-", "missing-status-text.warc")


@pytest.fixture(scope="module")
def rows(shared_data: pathlib.Path) -> list[dict[str, Any]]:
    listing = shared_data / "data" / "crawl" / "FILES.jsonl"
    if not listing.is_file():
        pytest.skip(f"no {listing}")
    found = [json.loads(line) for line in listing.read_text().splitlines()]
    return [row for row in found if row["container"] in ("plain", "gzip") and ".arc" not in row["file"]]


def read(shared_data: pathlib.Path, row: dict[str, Any]) -> tuple[list[WarcRecord], list[LostPart]]:
    records: list[WarcRecord] = []
    lost: list[LostPart] = []
    for item in read_warc(str(shared_data / "data" / "crawl" / row["file"])):
        if isinstance(item, LostPart):
            lost.append(item)
        else:
            records.append(item)
    return records, lost


def html_responses(records: list[WarcRecord]) -> int:
    number = 0
    for record in records:
        if record.type == "response" and record.block is not None:
            try:
                response = parse_response(record.block)
            except NotHttpError:
                continue
            number += response.status == 200 and response.media_type in HTML_TYPES
    return number


def test_well_formed_archives_read_as_both_reference_readers_do(
    shared_data: pathlib.Path, rows: list[dict[str, Any]]
) -> None:
    sound = [
        row
        for row in rows
        if row["warcio"]["records"] == row["fastwarc"]["records"]
        and not row["warcio"]["error"]
        and not row["fastwarc"]["error"]
        and not (row.get("gzip") or {}).get("error")
        and LINE_FEEDS not in row["peculiar"]
        and not any(name in row["file"] for name in NOT_SOUND)
    ]
    assert len(sound) > 100
    for row in sound:
        records, lost = read(shared_data, row)
        assert Counter(record.type for record in records) == row["warcio"]["records"], row["file"]
        assert lost == [], row["file"]


def test_html_responses_are_as_many_as_the_listing_says(shared_data: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    # cut inside the page (2), and 431 MB unpacked (1): read as lost, and passed over
    others = ("clipped.warc.gz", "transfer_compression_none_truncated.warc.gz", "giant_html.warc.gz")
    total = 0
    for row in rows:
        records, _ = read(shared_data, row)
        found = html_responses(records)
        if row["file"].endswith(others):
            assert (found, row["html_responses"]) == (0, 1)
        elif LINE_FEEDS in row["peculiar"] or "clueweb-quirk" in row["file"]:
            assert found >= row["html_responses"], row["file"]
        else:
            assert found == row["html_responses"], row["file"]
        total += found
    assert total >= 500


@pytest.mark.parametrize(
    ("name", "responses", "lost"),
    [
        ("chatnoir-eu+chatnoir-resiliparse/clipped.warc.gz", 0, 1),
        ("internetarchive+gowarc/corrupted-mid-record.warc.gz.open", 12, 1),
        ("internetarchive+gowarc/corrupted-trailing-bytes.warc.gz.open", 30, 1),
        ("internetarchive+gowarc/good.warc.gz.open", 50, 0),
        ("netarchivesuite+jwat/invalid-warcfile-record-then-garbage.warc", 1, 1),
        ("netarchivesuite+jwat/valid-warcfile-upper-lower-case.warc", 4, 0),
        ("oduwsdl+ipwb/5mementos.warc", 7, 0),
        ("copyleft/internetarchive+CDX-Writer/empty-gzips.warc.gz", 1, 0),
    ],
)
def test_damage_is_reported_and_the_rest_is_read(
    shared_data: pathlib.Path, name: str, responses: int, lost: int
) -> None:
    path = shared_data / "data" / "crawl" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    records, parts = read(shared_data, {"file": name})
    assert sum(record.type == "response" for record in records) == responses
    assert len(parts) == lost
