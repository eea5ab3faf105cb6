"""Single records of archives by their place: what Common Crawl's index finds, fetched by ranges and nothing more.

A list of records is a table (Parquet, JSON lines or CSV) with the index's own columns `warc_filename`,
`warc_record_offset` and `warc_record_length`; a filename is relative to `s3://commoncrawl/` unless it is a URL.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from corpusmith.errors import InputError
from corpusmith.io import position, storage
from corpusmith.io.pages.shards import list_shards, read_shard
from corpusmith.run.fingerprint import digest
from corpusmith.run.ledger import READ_STEP
from raw_sources.archives.open_archive import Found, read_archive_file
from raw_sources.ingest.documents import read_csv
from raw_sources.ingest.inputs import IngestMember, IngestUnit
from raw_sources.ingest.outcomes import FailedRecord, RecordOutcome
from raw_sources.ingest.pages import PAGE_RECORD_TYPES, PageMaker

COLUMNS = ("warc_filename", "warc_record_offset", "warc_record_length")
GROUP_RECORDS = 2000
MAX_RECORD_BYTES = 64 << 20
#: records of one file that stand closer than this are fetched together
GAP_BYTES = 64 << 10
MAX_RANGE_BYTES = 16 << 20


def list_record_units(path: str, base: str) -> list[IngestUnit]:
    """The records that a list names (a table, or a folder of them), each once, sorted by file and place, in units of
    `GROUP_RECORDS`.

    `base` is what relative filenames stand below. InputError for a list that is missing, empty or without the columns.
    """
    rows = {_member(row, path, base) for row in _rows(path)}
    if not rows:
        raise InputError(f"{path}: no records in it")
    members = sorted(rows, key=lambda member: (member.url, member.start))
    groups = [members[start : start + GROUP_RECORDS] for start in range(0, len(members), GROUP_RECORDS)]
    return [
        IngestUnit(
            name=f"records-{number:05d}",
            kind="records",
            members=tuple(group),
            identity=digest([[member.url, member.start, member.length] for member in group]),
            bytes=sum(member.length for member in group),
        )
        for number, group in enumerate(groups)
    ]


def _rows(path: str) -> Iterator[dict[str, object]]:
    if storage.is_dir(path):
        for shard in list_shards(path):
            yield from read_shard(shard.url)
        return
    if ".csv" not in storage.basename(path).lower():
        yield from read_shard(path)
        return
    for record in read_csv(path):
        if record.page is None:
            raise InputError(f"{path}: {record.error}")
        yield record.page


def _member(row: dict[str, object], path: str, base: str) -> IngestMember:
    missing = [name for name in COLUMNS if row.get(name) in (None, "")]
    if missing:
        raise InputError(f"{path}: a row lacks {', '.join(missing)}; a list of records has {', '.join(COLUMNS)}")
    name = str(row["warc_filename"])
    try:
        start, length = int(str(row["warc_record_offset"])), int(str(row["warc_record_length"]))
    except ValueError as error:
        raise InputError(f"{path}: offset or length is no integer: {error}") from error
    if start < 0 or not 0 < length <= MAX_RECORD_BYTES:
        raise InputError(f"{path}: a record of {length} bytes at {start} (at most {MAX_RECORD_BYTES} are read)")
    url = name if "://" in name or name.startswith("/") else storage.join(base, name)
    return IngestMember(url=url, name=name, start=start, length=length)


def _runs(members: tuple[IngestMember, ...]) -> Iterator[list[IngestMember]]:
    """Members that are fetched by one range."""
    run: list[IngestMember] = []
    for member in members:
        if run:
            end = max(other.start + other.length for other in run)
            near = member.url == run[0].url and member.start - end <= GAP_BYTES
            if near and member.start + member.length - run[0].start <= MAX_RANGE_BYTES:
                run.append(member)
                continue
            yield run
        run = [member]
    if run:
        yield run


def record_outcomes(members: tuple[IngestMember, ...], maker: PageMaker, unit: str) -> Iterator[RecordOutcome]:
    """What becomes of each record; one that is not there comes as a lost part.

    Raises StorageError where storage fails in a way that may pass, so that the unit is tried again.
    """
    poison = position.avoided(unit)
    index = -1
    for run in _runs(members):
        start = run[0].start
        length = max(member.start + member.length for member in run) - start
        try:
            content = storage.read_range(run[0].url, start, length)
        except InputError as error:
            for member in run:
                index += 1
                yield _lost(member, str(error))
            continue
        for member in run:
            index += 1
            position.report(unit, index)
            raw = content[member.start - start : member.start - start + member.length]
            if len(raw) < member.length:
                yield _lost(member, f"the file ends {member.length - len(raw)} bytes before its record does")
                continue
            items = list(read_archive_file(io.BytesIO(raw), PAGE_RECORD_TYPES))
            if len(items) != 1:
                yield _lost(member, f"{len(items)} records where the list says one")
                continue
            found = Found(item=items[0], member=f"{member.name}@{member.start}")
            yield maker.outcome(found, member.name, member.start, poison.get(index))


def _lost(member: IngestMember, reason: str) -> FailedRecord:
    return FailedRecord(
        step=READ_STEP, offset=member.start, record_id="", target_uri="", reason=reason, raw=b"", member=member.name
    )
