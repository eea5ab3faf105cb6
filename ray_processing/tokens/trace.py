"""`corpusmith trace`: from a page to the sequences, shards and rows that hold it, and back, by the build log.

    corpusmith trace OUT --page NAME           the pieces of a page: its id, URL, or SHARD:INDEX
    corpusmith trace OUT --shard 00000001 --row 17    the pages in a sequence
    corpusmith trace OUT --page NAME --experiment logs/my_model    and the training steps that read them

Each line of the answer is a JSON object: `page`, `source` (page shard), `index` (record in it), `start` and `length`
(the piece in the document, in tokens, its end-of-text token included), `position` and `copy` (the sequence), `shard`
and `row` (where it was written), `offset` (in the row). A sequence that a mixture or sampling left out has no shard.
With an experiment's folder each line also has `steps`, from its log of sequences.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError

EXAMPLE = "corpusmith trace tokenized --shard 00000001 --row 17"
LEFT_OUT = {"shard": None, "row": None, "copy": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Log:
    """Where the two parts of a run's build log lie."""

    pages: str
    partitions: str


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith trace`."""
    parser = make_parser("corpusmith trace", "Follow pages into token shards, and sequences back to pages.", EXAMPLE)
    parser.add_argument("output", help="output folder of `corpusmith tokenize`")
    parser.add_argument("--page", help="a page's id, WARC record id or URL, or PAGE_SHARD:INDEX")
    parser.add_argument("--shard", help="a token shard, as the format's index names it")
    parser.add_argument("--row", type=int, help="a sequence in it, from 0 (default: all)")
    parser.add_argument("--experiment", help="folder of a training run: also tell the steps that read each sequence")
    return parser


def open_log(output: str) -> _Log:
    """Return where the build log of an output folder lies.

    Raises:
        InputError: there is none.
    """
    from corpusmith.io import storage
    from corpusmith.run.run import HEADER
    from ray_processing.tokens.build_log import SHUFFLE, TOKENIZE, log_folder

    output = output.rstrip("/")
    root = storage.join(storage.parent(output), "run", storage.basename(output), "stages")
    logs: dict[str, str] = {}
    for info in storage.list_files(root, (f"/{HEADER}",)) if storage.is_dir(root) else []:
        log = log_folder(storage.parent(info.url))
        if storage.relative(info.url, root).count("/") == 1 and storage.is_dir(log):
            logs[storage.read_json(info.url)["name"]] = log
    if not {TOKENIZE, SHUFFLE} <= logs.keys():
        raise InputError(f"{output}: no build log at {root}; `corpusmith tokenize` writes it beside its output")
    return _Log(pages=logs[TOKENIZE], partitions=logs[SHUFFLE])


def trace_page(output: str, page: str) -> Iterator[dict[str, Any]]:
    """The pieces of every page of that name, in order of shard, document and place in it; see the module."""
    log = open_log(output)
    shard, separator, index = page.rpartition(":")
    by_index = (shard, int(index)) if separator and index.isdigit() else None
    for source in _sources(log):
        pages = _read(log.pages, source, "pages")
        names, indexes = pages.column("page").to_pylist(), pages.column("index").to_pylist()
        documents = [
            number
            for number, (name, record) in enumerate(zip(names, indexes, strict=True))
            if name == page or (source, record) == by_index
        ]
        if documents:
            pieces = _pieces(log, source, "document", documents)
            placed = _placed(log, source, sorted({piece["position"] for piece in pieces}))
            for piece in pieces:
                number = piece.pop("document")
                for place in placed.get(piece["position"], [LEFT_OUT]):
                    yield {"page": names[number], "source": source, "index": indexes[number], **piece, **place}


def trace_rows(output: str, shard: str, row: int | None = None) -> Iterator[dict[str, Any]]:
    """The pieces in a sequence of a token shard, or in all of them, in order; see the module."""
    import pyarrow.compute as pc

    log = open_log(output)
    for table in _partitions(log):
        wanted = pc.equal(table.column("shard"), shard)
        if row is not None:
            wanted = pc.and_(wanted, pc.equal(table.column("row"), row))
        places = table.filter(wanted).to_pylist()
        held = {source: _in_rows(log, source, places) for source in sorted({place["source"] for place in places})}
        for place in places:
            for piece in held[place["source"]].get(place["position"], []):
                yield {**piece, **place}


def _in_rows(log: _Log, source: str, places: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """The pieces, in order and with their pages, in those of these sequences that are of one page shard."""
    positions = sorted({place["position"] for place in places if place["source"] == source})
    pages = _read(log.pages, source, "pages")
    found: dict[int, list[dict[str, Any]]] = {}
    for piece in sorted(_pieces(log, source, "position", positions), key=lambda each: each["offset"]):
        page = pages.slice(piece.pop("document"), 1).to_pylist()[0]
        row = {"page": page["page"], "source": source, "index": page["index"], **piece}
        found.setdefault(piece["position"], []).append(row)
    return found


def _sources(log: _Log) -> list[str]:
    from corpusmith.io import storage
    from ray_processing.tokens.build_log import PAGES_SUFFIX

    files = storage.list_files(log.pages, (PAGES_SUFFIX,))
    return [storage.relative(info.url, log.pages).removesuffix(PAGES_SUFFIX) for info in files]


def _read(folder: str, source: str, part: str) -> Any:
    import pyarrow.parquet as pq

    from corpusmith.io import storage

    with storage.open_read(storage.join(folder, f"{source}.{part}.parquet")) as file:
        return pq.read_table(file)


def _pieces(log: _Log, source: str, key: str, values: list[int]) -> list[dict[str, Any]]:
    """The pieces of a page shard whose `key` is one of the values, in order of document and place in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _read(log.pages, source, "pieces")
    found = table.filter(pc.is_in(table.column(key), pa.array(values, pa.int64()))).drop_columns(["end"]).to_pylist()
    return sorted(found, key=lambda piece: (piece["document"], piece["start"]))


def _partitions(log: _Log) -> Iterator[Any]:
    import pyarrow.parquet as pq

    from corpusmith.io import storage

    for info in storage.list_files(log.partitions, (".parquet",)):
        with storage.open_read(info.url) as file:
            yield pq.read_table(file)


def _placed(log: _Log, source: str, positions: list[int]) -> dict[int, list[dict[str, Any]]]:
    """Shard, row and copy of the sequences of a page shard, by position."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[int, list[dict[str, Any]]] = {}
    for table in _partitions(log):
        same = pc.equal(table.column("source"), source)
        wanted = pc.and_(same, pc.is_in(table.column("position"), pa.array(positions, pa.int64())))
        for place in table.filter(wanted).to_pylist():
            row = {key: place[key] for key in ("shard", "row", "copy")}
            found.setdefault(place["position"], []).append(row)
    return {position: sorted(places, key=lambda place: place["copy"]) for position, places in found.items()}


def steps_of_rows(output: str, experiment: str) -> dict[tuple[str, int], list[int]]:
    """Return the steps at which a training run read each sequence of a data set, by (shard, row).

    Args:
        output: folder of the data set.
        experiment: folder of the training run.

    Raises:
        InputError: the run keeps no log of sequences, or read nothing of the data set.
    """
    import pyarrow.parquet as pq

    from corpusmith.io import storage
    from corpusmith.io.tokens.shards import FORMATS, shard_files

    folder = storage.join(experiment.rstrip("/"), "sequences")
    files = storage.list_files(folder, (".parquet",)) if storage.is_dir(folder) else []
    if not files:
        raise InputError(f"{experiment}: no log of sequences in it ({folder}/*.parquet)")
    name = storage.basename(output)
    suffixes = {file.removeprefix("00000001") for each in FORMATS for file in shard_files(each, 1) if each != "mds"}
    found: dict[tuple[str, int], set[int]] = {}
    for info in files:
        with storage.open_read(info.url) as file:
            rows = pq.read_table(file, columns=["step", "shard", "row"]).to_pylist()
        for row in rows:
            if storage.basename(storage.parent(row["shard"])) == name:
                shard = storage.basename(row["shard"])
                shard = next((shard.removesuffix(suffix) for suffix in suffixes if shard.endswith(suffix)), shard)
                found.setdefault((shard, row["row"]), set()).add(row["step"])
    if not found:
        raise InputError(f"{experiment}: its log of sequences names no shard of a folder {name!r}")
    return {key: sorted(steps) for key, steps in found.items()}


def run(arguments: argparse.Namespace) -> None:
    """Print the answer, a JSON object a line."""
    import orjson

    if (arguments.page is None) == (arguments.shard is None):
        raise InputError("give exactly one of --page and --shard")
    if arguments.page is not None:
        found = trace_page(arguments.output, arguments.page)
    else:
        found = trace_rows(arguments.output, arguments.shard, arguments.row)
    steps = None if arguments.experiment is None else steps_of_rows(arguments.output, arguments.experiment)
    count = 0
    for row in found:
        if steps is not None:
            row["steps"] = steps.get((row["shard"], row["row"]), [])
        sys.stdout.write(orjson.dumps(row).decode() + "\n")
        count += 1
    if not count:
        wanted = arguments.page if arguments.page is not None else f"{arguments.shard}, row {arguments.row}"
        raise InputError(f"{arguments.output}: nothing in the build log of {wanted}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith trace`."""
    return run_command(build_parser(), run, argv)
