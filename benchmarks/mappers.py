"""Whole YAMLs against floor and peers, then each mapper; with --worst, seconds per MB of texts made to be slow.

The rows with goals come first (see `_pipelines`), then microseconds per page of each mapper that needs no model, where
`other` is the floor for the same pages: reading, decompressing, parsing, serialising, compressing and writing them.
Each mapper computes its own view of a text here; in a pipeline neighbours share it. With --worst, `ours` is the cost of
a MB in a long text and `other` in one of an eighth of its length: a linear mapper's ratio is about 1.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import gc
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

from baselines.core.factories import get_mapper
from baselines.core.mapper_table import MAPPERS
from benchmarks._bench import Row, make_parser, page_shards, run
from benchmarks._pipelines import goal_rows
from corpusmith.errors import UserError
from corpusmith.io.pages.shards import open_shard_writer, read_shard
from corpusmith.text.segmentation.view import warm_kernels

Page = dict[str, Any]
Mapper = Callable[[Page], Any]

SUFFIXES = ("_filter", "_filters", "_modifier", "_formatter", "_splitter", "_dedup", "_enricher")
BANNED = [f"banned{number}.example" for number in range(400)]
LINES = ["items in cart", "read more", "sign-in"]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "language_filter": {"keep_languages": ["en"], "key": "language"},
    "page_length_filter": {"length_type": "word", "ignore_punctuation": True},
    "quality_filter": {"key": "score"},
    "repetition_filter": {"granularity": 3, "max_fraction": 0.18},
    "substring_filter": {"banlist": BANNED},
    "substring_line_modifier": {"banlist": LINES, "max_length": 10},
    "url_substring_filter": {"banlist": BANNED},
    "word_removal_ratio_filter": {"prev_word_count_key": "words"},
}
# they load a model or a tokenizer
LEFT_OUT = {"alphabetic_characters_to_tokens_filter"}
WORST_UNITS = (
    "a",
    "\n",
    "a ",
    ".",
    "a.a.a",
    "1.1.1.",
    "[[",
    "({[",
    "]})",
    "[1",
    "com.",
    "https://",
    "\\def\\a{",
    "<a>",
    "at.b.b",
    "%",
    "a@b.",
    "@a",
    "+1-2",
)
WORST_BYTES = 10_000_000
SHORTER = 8
LINEAR = 3.0


def make_mappers() -> dict[str, Mapper]:
    """All mappers of the table that need no model, with the arguments above."""
    mappers: dict[str, Mapper] = {}
    for name, reference in sorted(MAPPERS.items()):
        in_enrichers = ".enrichers." in reference and ".enrichers.enrichers:" not in reference
        if not name.endswith(SUFFIXES) or name in LEFT_OUT or in_enrichers:
            continue
        try:
            mappers[name] = get_mapper(name, **ARGUMENTS.get(name, {}))
        except UserError as error:
            sys.stderr.write(f"{name} left out: {error}\n")
    return mappers


def make_page(text: str, url: str) -> Page:
    """A page with the keys that any of the mappers asks for."""
    return {
        "text": text,
        "url": url,
        "metadata": {"WARC-Target-URI": url},
        "filename": url,
        "language": {"en": 1.0},
        "score": 1.0,
        "words": 1,
        "question": {"text": text},
        "answers": [{"text": text, "score": 1}],
        "files": [{"filename": url, "text": text}],
        "repo_name": url,
    }


def seconds_for(mapper: Mapper, pages: list[tuple[str, str]]) -> float:
    """CPU seconds of this process for all pages; making them is not counted."""
    made = [make_page(text, url) for text, url in pages]
    started = time.process_time()
    for page in made:
        mapper(page)
    return time.process_time() - started


def measure_pages(source: str, quick: bool) -> list[Row]:
    """One row for each mapper: microseconds per page, against the floor."""
    shards = page_shards(source, quick)
    read = [page for shard in shards for page in read_shard(shard.url)]
    pages = [(page["text"], str(page.get("url", ""))) for page in read]
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        for shard in shards:
            with open_shard_writer(f"{folder}/{shard.name}") as writer:
                for page in read_shard(shard.url):
                    writer.write(page)
        floor = (time.process_time() - started) * 1e6 / len(pages)
    rows = []
    mappers = make_mappers()
    times: dict[str, list[float]] = {name: [] for name in mappers}
    for _ in range(1 if quick else 5):
        for name, mapper in mappers.items():
            times[name].append(seconds_for(mapper, pages))
    for name, seconds in times.items():
        ours = statistics.median(seconds) * 1e6 / len(pages)
        rows.append(Row(name=name, ours=ours, other=floor, unit="µs/page", ratio=ours / floor, goal="", met=None))
    return rows


def measure_worst(quick: bool) -> list[Row]:
    """One row for each mapper and text: seconds per MB of a long text, against a shorter one."""
    size = WORST_BYTES // (10 if quick else 1)
    rows = []
    for name, mapper in make_mappers().items():
        for unit in WORST_UNITS:
            costs = []
            for length in (size // SHORTER, size):
                repeats = 1 if length == size else 3
                # a text made afresh has no view yet
                seconds = [
                    seconds_for(mapper, [(text, text)])
                    for text in (unit * (length // len(unit)) for _ in range(repeats))
                ]
                costs.append(min(seconds) * 1e6 / length)
                gc.collect()
            shorter, ours = costs
            # below some milliseconds for a MB the clock and the machine's memory decide
            ratio = ours / max(shorter, 0.01)
            rows.append(
                Row(
                    name=f"{name} {unit!r}",
                    ours=ours,
                    other=shorter,
                    unit="s/MB",
                    ratio=ratio,
                    goal=f"<= {LINEAR}",
                    met=ratio <= LINEAR,
                )
            )
    return rows


def measure(arguments: argparse.Namespace) -> list[Row]:
    """The rows that are asked for."""
    warnings.simplefilter("ignore")
    warm_kernels()
    if arguments.worst:
        return measure_worst(arguments.quick)
    rows = goal_rows(page_shards(arguments.source, arguments.quick), arguments.quick)
    return rows if arguments.goals else rows + measure_pages(arguments.source, arguments.quick)


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--worst", action="store_true", help="time texts made to be slow (10 MB; 1 MB with --quick)")
    parser.add_argument("--goals", action="store_true", help="only the rows that have goals")
    return run(parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
