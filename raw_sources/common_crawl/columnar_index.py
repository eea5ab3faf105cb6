"""Queries of Common Crawl's columnar index: which records are of a domain, language, media type or status.

The index is a table in Parquet, some hundred files a crawl, sorted by host
(https://commoncrawl.org/blog/index-to-warc-files-and-urls-in-columnar-format). A query is a run like any other: each
file is a unit; row groups whose statistics rule a match out are never fetched, of the others first the columns that
the query asks about. The result is a list of records that `corpusmith ingest --records` reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, open_shard_writer
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult, StagePlan
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace

RESULT_COLUMNS = (
    "url",
    "fetch_time",
    "fetch_status",
    "content_digest",
    "content_mime_detected",
    "content_languages",
    "content_truncated",
    "warc_filename",
    "warc_record_offset",
    "warc_record_length",
)
BUFFER_BYTES = 1 << 20
_DAMAGE: tuple[Any, ...] = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexQuery:
    """What records must have; an empty tuple asks for nothing.

    `domains`: registered domains (`example.org`); `hosts`: full host names; `tlds`; `languages`: ISO-639-3 codes, any
    of which the page has (`primary_language`: as its first); `media_types`: as detected from the bytes; `statuses`: of
    HTTP.
    """

    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    tlds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    primary_language: bool = False
    media_types: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    drop_truncated: bool = False

    @property
    def columns(self) -> dict[str, tuple[Any, ...]]:
        """The columns whose values must be among some."""
        wanted = {
            "url_host_registered_domain": self.domains,
            "url_host_name": self.hosts,
            "url_host_tld": self.tlds,
            "content_mime_detected": self.media_types,
            "fetch_status": self.statuses,
        }
        return {name: values for name, values in wanted.items() if values}

    @property
    def asked(self) -> list[str]:
        """All columns that decide."""
        others = ["content_languages"] * bool(self.languages) + ["content_truncated"] * self.drop_truncated
        return [*self.columns, *others]

    def mask(self, table: pa.Table) -> Any:
        """Which rows of a table match, as booleans."""
        mask = pa.chunked_array([pa.array([True] * table.num_rows, pa.bool_())])
        for name, values in self.columns.items():
            column = table.column(name)
            mask = pc.and_(mask, pc.is_in(column, value_set=pa.array(values, column.type)))
        if self.languages:
            codes = "|".join(self.languages)
            pattern = rf"^(?:{codes})(?:,|$)" if self.primary_language else rf"(?:^|,)(?:{codes})(?:,|$)"
            mask = pc.and_(mask, pc.match_substring_regex(table.column("content_languages"), pattern))
        if self.drop_truncated:
            column = table.column("content_truncated")
            mask = pc.and_(mask, pc.or_kleene(pc.is_null(column), pc.equal(column, "")))
        return pc.fill_null(mask, False)

    def rules_out(self, group: Any) -> bool:
        """Whether the statistics of a row group say that no row of it matches."""
        for number in range(group.num_columns):
            column = group.column(number)
            values = self.columns.get(column.path_in_schema)
            statistics = column.statistics
            if values and statistics is not None and statistics.has_min_max:
                low, high = statistics.min, statistics.max
                if isinstance(low, bytes):
                    low, high = low.decode("utf-8", "replace"), high.decode("utf-8", "replace")
                if not any(low <= value <= high for value in values):
                    return True
        return False

    def check(self) -> None:
        """Raise InputError for a language that is no code, or a query that asks for nothing."""
        for code in self.languages:
            if not (code.isascii() and code.isalpha() and len(code) == 3):
                raise InputError(f"{code!r} is no ISO-639-3 code; the index has codes like eng, deu, zho")
        if not self.asked:
            raise InputError("the query asks for nothing; name domains, hosts, languages, media types or statuses")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryTask:
    """A file of the index to be searched, and where the records that match go."""

    shard: ShardRef
    output: str
    query: IndexQuery
    place: StagePlace


def query_index(
    files: Sequence[str],
    query: IndexQuery,
    output_dir: str,
    *,
    execution: Execution | None = None,
    options: RunOptions | None = None,
) -> RunResult:
    """Write the records of the index's files that match to `<output_dir>/records/`, one list for each file.

    Raises InputError for a query or files that can't be, ShardError within RunFailed for a file that is damaged.
    """
    query.check()
    if not files:
        raise InputError("no files of the index to search")
    shards = [ShardRef(name=_name(url), url=url, identity="listed", bytes=0) for url in sorted(files)]

    plan = RunPlan(inputs=shards, stages=[plan_stage(query)])
    place = RunPlace(
        root=storage.join(output_dir, "run"),
        output=storage.join(output_dir, "records"),
        errors=storage.join(output_dir, "errors"),
    )
    return Run(place, plan).execute(execution or Execution(), options or RunOptions())


def plan_stage(query: IndexQuery) -> StagePlan:
    """The one stage of a query: a unit for each file of the index."""

    def work(stage: Stage, runner: Runner) -> list[str]:
        refs = {shard.name: shard for shard in stage.inputs}
        tasks = {
            name: QueryTask(shard=refs[name], output=f"{name}.jsonl.zst", query=query, place=stage.place)
            for name in stage.pending()
        }
        return stage.run_units(runner, search_file, tasks, label="index", unit="files")

    return StagePlan(name="index", fingerprint={"query": asdict(query), "code": code_versions(plan_stage)}, work=work)


def _name(url: str) -> str:
    """The crawl and the file's own name."""
    crawl = next((part.partition("=")[2] for part in url.split("/") if part.startswith("crawl=")), "")
    return "/".join(filter(None, (crawl, storage.basename(url))))


def search_file(task: QueryTask) -> None:
    """Write the records of one file of the index that match, and the record of the unit."""
    started = time.monotonic()
    counts = Counts()
    with open_shard_writer(task.place.output_url(task.output)) as writer:
        for rows, matching in _matches(task.shard.url, task.query):
            counts.read += rows
            counts.remove("no_match", rows - len(matching))
            counts.kept += len(matching)
            for row in matching:
                writer.write(row)
    output = OutputFile(name=task.output, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    task.place.write_record(
        ShardRecord(
            unit=task.shard.name,
            identity=task.shard.identity,
            outputs=[output],
            counts=counts,
            details={"seconds": time.monotonic() - started},
        )
    )


def _matches(url: str, query: IndexQuery) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each row group its number of rows and those that match."""
    with storage.open_read(url) as file:
        try:
            table = pq.ParquetFile(pa.PythonFile(file, mode="r"), buffer_size=BUFFER_BYTES, pre_buffer=False)
            names = table.schema_arrow.names
            missing = [name for name in (*query.asked, *RESULT_COLUMNS[-3:]) if name not in names]
            if missing:
                raise InputError(f"{url}: the index of this crawl has no column {', '.join(missing)}")
            result = [name for name in RESULT_COLUMNS if name in names]
            for number in range(table.metadata.num_row_groups):
                group = table.metadata.row_group(number)
                if query.rules_out(group):
                    yield group.num_rows, []
                    continue
                mask = query.mask(table.read_row_group(number, columns=query.asked, use_threads=False))
                if not pc.any(mask).as_py():
                    yield group.num_rows, []
                    continue
                found = table.read_row_group(number, columns=result, use_threads=False).filter(mask)
                yield group.num_rows, [_jsonable(row) for row in found.to_pylist()]
        except _DAMAGE as error:
            raise ShardError(url, 0, f"damaged Parquet file: {' '.join(str(error).split())[:300]}") from error


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
