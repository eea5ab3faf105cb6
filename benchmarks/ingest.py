"""WARC to page shards against the bare loop: FastWARC and resiliparse over the same file, writing nothing.

Ours is the whole of a unit's work: reading with every byte accounted for, charset detection, checks before parsing,
extraction by the preset `fast`, robots' flags, statistics, page shard in zstd, record. The bare loop reads records
with `ArchiveIterator`, decodes UTF-8 and extracts. Both in this process, on one core, in turn. Without `--source` (a
folder of WARC files) the file is made of the annotated pages of the sample data, a gzip member each.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import pathlib
import statistics
import tempfile

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text

from benchmarks._bench import SHARED, Row, interleaved, make_parser, run, spread
from benchmarks._extraction_gold import load_pages
from corpusmith.io import storage
from corpusmith.run.stage import StagePlace
from raw_sources.archives.warc_writer import gzip_member, http_response, warc_record
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.inputs import IngestUnit, list_units, shard_stems
from raw_sources.ingest.unit import IngestTask, ingest_unit

GOAL = 1.2
HTML_TYPES = ("text/html", "application/xhtml+xml")


def write_archive(folder: str, path: pathlib.Path, every: int) -> None:
    """One WARC file of annotated pages, each after its request, as crawlers write them."""
    with path.open("wb") as file:
        for number, page in enumerate(load_pages(folder)[::every]):
            uri = ("WARC-Target-URI", f"http://{page.host}/{number}")
            kind = "application/http; msgtype="
            request = warc_record(
                [("WARC-Type", "request"), uri, ("Content-Type", f"{kind}request")], b"GET / HTTP/1.1\r\n\r\n"
            )
            body = http_response("200 OK", [("Content-Type", "text/html; charset=utf-8")], page.html.encode())
            file.write(
                gzip_member(request)
                + gzip_member(warc_record([("WARC-Type", "response"), uri, ("Content-Type", f"{kind}response")], body))
            )


def bare_loop(units: list[IngestUnit]) -> int:
    """Pages and nothing else."""
    pages = 0
    for unit in units:
        with storage.open_read(unit.members[0].url) as file:
            for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                if record.http_content_type in HTML_TYPES:
                    html = record.reader.read().decode("utf-8", "replace")
                    pages += bool(extract_plain_text(html, main_content=True))
    return pages


def ours(units: list[IngestUnit], folder: str, config: IngestConfig) -> int:
    """The work of a stage over the units; the number of pages in its records."""
    place = StagePlace(name="00-ingest", folder=f"{folder}/run", output=f"{folder}/data", errors=f"{folder}/errors")
    stems = shard_stems(units)
    for unit in units:
        ingest_unit(IngestTask(unit=unit, stem=stems[unit.name], config=config, place=place))
    return sum(int(storage.read_json(place.record_url(unit.name))["counts"]["kept"]) for unit in units)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Ingest by each extractor beside the bare loop."""
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source
        if not source:
            source = f"{folder}/crawl"
            pathlib.Path(source).mkdir()
            write_archive(str(SHARED / "data" / "html"), pathlib.Path(source, "a.warc.gz"), 4 if arguments.quick else 1)
        units = list_units([source], ["archive"])
        print(f"pages: bare loop {bare_loop(units)}, ours {ours(units, f'{folder}/fast', IngestConfig())}")
        seconds = interleaved(
            {
                "bare loop": lambda: bare_loop(units),
                "fast": lambda: ours(units, f"{folder}/fast", IngestConfig()),
                "best": lambda: ours(units, f"{folder}/best", IngestConfig(extractor="best")),
            },
            repeats=1 if arguments.quick else 5,
        )
    for name, values in seconds.items():
        print(f"{name}: {spread(values)} for {sum(unit.bytes for unit in units) / 1e6:.1f} MB compressed")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return [ratio_row(name, medians[name], medians["bare loop"]) for name in ("fast", "best")]


def ratio_row(name: str, ours: float, bare: float) -> Row:
    """An extractor beside the bare loop; `fast` alone has a goal."""
    ratio, has_goal = ours / bare, name == "fast"
    return Row(
        name=f"ingest by {name} / bare loop",
        ours=ours,
        other=bare,
        unit="s",
        ratio=ratio,
        goal=f"<= {GOAL}" if has_goal else "",
        met=ratio <= GOAL if has_goal else None,
    )


def main() -> int:
    """Print the ratio; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.set_defaults(source="")
    return run(parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
