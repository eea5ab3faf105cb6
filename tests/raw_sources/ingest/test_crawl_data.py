"""The reader against 286 real archives: a row for each, and a reason for each difference from the reference readers.

`crawl_differences.json` holds, for each file where our records are not those of the reference reader that found more,
what we find and why. A difference that is not in it, or one of it that is gone, fails.
"""

from __future__ import annotations

import json
import pathlib
from collections import Counter
from typing import Any

import pytest

from raw_sources.archives.http_message import NotHttpError, parse_response
from raw_sources.archives.open_archive import read_archive
from raw_sources.archives.warc import LostPart, WarcRecord
from raw_sources.ingest.pages import HTML_TYPES

DIFFERENCES = pathlib.Path(__file__).with_name("crawl_differences.json")

REASONS = {
    "cut": "the file ends inside the record, which is set aside; the reference readers give what there is of it",
    "length": "Content-Length is missing or no number, so that nothing says where the record ends; set aside",
    "wrong length": "Content-Length is too small or too large; what lies between two records is set aside",
    "damaged": "bytes that are no record are set aside, and reading goes on at the next record",
    "garbage": "bytes behind the last record are set aside; the reference readers end in silence",
    "member": "bytes between gzip members are set aside; the reference readers stop there, or refuse the file",
    "no WACZ": "a ZIP without an archive in it, or a damaged one",
    "WACZ": "a ZIP, which the reference readers do not open",
    "bzip2": "bzip2, which the reference readers do not open",
    "case": "record types are compared without case and white space",
    "malformed": "a header that is none; what can be read of it comes as records, the rest is set aside",
    "further": "the reference readers stop at a record that this one reads",
}


@pytest.fixture(scope="module")
def rows(shared_data: pathlib.Path) -> list[dict[str, Any]]:
    listing = shared_data / "data" / "crawl" / "FILES.jsonl"
    if not listing.is_file():
        pytest.skip(f"no {listing}")
    return [json.loads(line) for line in listing.read_text().splitlines()]


@pytest.fixture(scope="module")
def found(shared_data: pathlib.Path, rows: list[dict[str, Any]]) -> dict[str, tuple[list[WarcRecord], list[LostPart]]]:
    """What we read of each file."""
    result = {}
    for row in rows:
        items = [each.item for each in read_archive(str(shared_data / "data" / "crawl" / row["file"]))]
        result[row["file"]] = (
            [item for item in items if isinstance(item, WarcRecord)],
            [item for item in items if isinstance(item, LostPart)],
        )
    return result


def reference(row: dict[str, Any]) -> dict[str, int]:
    """The records of the reader that found more; ARC's first record under WARC's name."""
    better = max(row["warcio"]["records"], row["fastwarc"]["records"], key=lambda records: sum(records.values()))
    return {("warcinfo" if kind == "arc_header" else kind): number for kind, number in sorted(better.items())}


def ours(records: list[WarcRecord], lost: list[LostPart]) -> dict[str, int]:
    counts = dict(sorted(Counter(record.type for record in records).items()))
    return counts | ({"lost": len(lost)} if lost else {})


def test_every_difference_from_the_better_reader_is_known_and_has_its_reason(
    rows: list[dict[str, Any]], found: dict[str, tuple[list[WarcRecord], list[LostPart]]]
) -> None:
    assert len(rows) == 286
    known = json.loads(DIFFERENCES.read_text())
    assert {row["reason"] for row in known.values()} == set(REASONS)
    differences = {
        row["file"]: ours(*found[row["file"]]) for row in rows if ours(*found[row["file"]]) != reference(row)
    }
    assert differences == {file: row["ours"] for file, row in known.items()}


def test_no_record_of_a_reference_reader_is_missing(
    rows: list[dict[str, Any]], found: dict[str, tuple[list[WarcRecord], list[LostPart]]]
) -> None:
    # each is read, or lies in a part that is set aside with its place and reason
    for row in rows:
        records, lost = found[row["file"]]
        assert len(records) + len(lost) >= sum(reference(row).values()), row["file"]
        assert all(part.reason for part in lost)


def test_html_responses_are_as_many_as_the_listing_says(
    rows: list[dict[str, Any]], found: dict[str, tuple[list[WarcRecord], list[LostPart]]]
) -> None:
    # cut inside the page (2), and 431 MB unpacked (1): set aside
    others = ("clipped.warc.gz", "transfer_compression_none_truncated.warc.gz", "giant_html.warc.gz")
    total = 0
    for row in rows:
        number = html_responses(found[row["file"]][0])
        if row["file"].endswith(others):
            assert (number, row["html_responses"]) == (0, 1)
        elif "LF line ends in headers" in row["peculiar"] or "clueweb-quirk" in row["file"]:
            assert number >= row["html_responses"], row["file"]
        elif row["container"] in ("plain", "gzip") and ".arc" not in row["file"]:
            assert number == row["html_responses"], row["file"]
        else:
            assert number >= row["html_responses"], row["file"]
        total += number
    assert total >= 600


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
        ("archivesunleashed+aut/example.arc.gz", 299, 0),
        ("chatnoir-eu+chatnoir-resiliparse/warcfile.warc.lz4", 16, 0),
        ("webrecorder+py-wacz/valid_signed_example_1.wacz", 2, 0),
    ],
)
def test_damage_is_reported_and_the_rest_is_read(
    found: dict[str, tuple[list[WarcRecord], list[LostPart]]], name: str, responses: int, lost: int
) -> None:
    records, parts = found[name]
    assert sum(record.type == "response" for record in records) == responses
    assert len(parts) == lost
