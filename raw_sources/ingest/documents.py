"""Pages from what is no archive: rows with a column of HTML or text, and files of text, Markdown or HTML.

Rows come from Parquet, Arrow, JSON lines and CSV; a page keeps the row's other columns. HTML may be text or the raw
bytes of a page in any charset. A file is a page of its own; front matter of Markdown goes to the page's metadata.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from typing import Any

from corpusmith.errors import InputError
from corpusmith.io import position, storage
from corpusmith.io.compression import Content, Damage
from corpusmith.io.pages.shards import Page, Record, read_records
from corpusmith.run.ledger import READ_STEP
from raw_sources.archives.http_message import TooLargeError
from raw_sources.extractors.charset import decode_html
from raw_sources.extractors.nesting import TooDeepError
from raw_sources.ingest.inputs import IngestMember
from raw_sources.ingest.outcomes import EXTRACT_STEP, KEPT_BYTES, FailedRecord, RecordOutcome, Removed
from raw_sources.ingest.pages import PageMaker

MAX_DOCUMENT_BYTES = 64 << 20
MAX_CELL_CHARACTERS = 64 << 20
MAX_ROW_BYTES = 64 << 20
TEXT_COLUMNS = ("text", "content")
HTML_SUFFIXES = (".html", ".htm", ".xhtml")
_NOT_UTF8 = "holds bytes that are not UTF-8"


class NoColumnError(ValueError):
    """A row has no column of HTML or text."""


def table_outcomes(member: IngestMember, maker: PageMaker, is_csv: bool) -> Iterator[RecordOutcome]:
    """What becomes of each row of a table; InputError where none has the column that was asked for."""
    missing: str | None = None
    found = False
    for record in read_csv(member.url) if is_csv else read_records(member.url):
        outcome = _row_outcome(record, member.name, maker)
        if isinstance(outcome, FailedRecord) and outcome.reason.startswith(NoColumnError.__name__):
            missing = missing or outcome.reason
        else:
            found = True
        yield outcome
    if missing is not None and not found:
        raise InputError(f"{member.url}: {missing.partition(': ')[2]}; name the column by html_column or text_column")


def _row_outcome(record: Record, name: str, maker: PageMaker) -> RecordOutcome:
    """What becomes of a row."""
    page, step = record.page, READ_STEP
    if page is None and record.error is not None and record.error.endswith(_NOT_UTF8):
        page = _row_with_bytes(record.raw)
    reason = record.error or ""
    if page is not None:
        step = EXTRACT_STEP
        try:
            return maker.refused_sample(name, record.index) or row_page(page, maker)
        except (TooDeepError, TooLargeError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the page boundary: the table goes on, the row is kept aside
            reason = f"{type(error).__name__}: {error}"
    maker.stats.count("failure", reason.partition(":")[0])
    url = page.get(maker.config.url_column) if page else None
    return FailedRecord(
        step=step,
        offset=record.offset,
        record_id=str(record.index),
        target_uri=url if isinstance(url, str) else "",
        reason=reason,
        raw=record.raw[:KEPT_BYTES],
    )


def _row_with_bytes(raw: bytes) -> Page | None:
    """A row whose bytes were no UTF-8, its bytes as surrogates; None where that is no row either."""
    try:
        row = json.loads(raw.decode("utf-8", "surrogateescape"))
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def row_page(row: Page, maker: PageMaker) -> Page | Removed:
    """The page of a row; NoColumnError where it has no column to make one of."""
    config = maker.config
    name, is_html = _content_column(row, config.html_column, config.text_column)
    content = row[name]
    metadata = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
    url = row.get(config.url_column) or metadata.get("WARC-Target-URI") or ""
    if not isinstance(content, str):
        raise NoColumnError(f"column {name} holds {type(content).__name__} and no text")
    if not isinstance(url, str):
        url = ""
    if refused := maker.refused_url(url):
        return refused
    others = {key: value for key, value in row.items() if key not in (name, "text")}
    page = maker.html_page(_bytes_or_text(content), "", url, {}) if is_html else maker.text_page(content)
    if isinstance(page, Removed):
        return page
    if url:
        metadata = {"WARC-Target-URI": url, **metadata}
    return {**others, **page, "metadata": metadata}


def _content_column(row: Page, html_column: str | None, text_column: str | None) -> tuple[str, bool]:
    wanted = [(html_column, True)] if html_column else [(text_column, False)] if text_column else []
    for name, is_html in wanted or [("html", True), *((column, False) for column in TEXT_COLUMNS)]:
        if name is not None and row.get(name) is not None:
            return name, is_html
    asked = html_column or text_column or "html, text or content"
    raise NoColumnError(f"no column {asked} in {', '.join(map(str, itertools.islice(row, 20)))}")


def _bytes_or_text(content: str) -> bytes | str:
    """Text, or the bytes of a page where it holds some that are no UTF-8."""
    try:
        content.encode()
    except UnicodeEncodeError:
        return content.encode("utf-8", "surrogateescape")
    return content


def read_csv(url: str) -> Iterator[Record]:
    """The rows of a CSV file (tabs under `.tsv`) with a line of names, as records; UTF-8, quoted as RFC 4180 says.

    A row of another length than the names is set aside, and so is a cell or line of more than 64 MiB.
    """
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with Content(lambda: storage.open_read(url)) as content:
        lines = _csv_lines(content)
        dialect = "excel-tab" if ".tsv" in storage.basename(url).lower() else "excel"
        rows = csv.reader(lines, dialect)
        names: list[str] | None = None
        index = -1
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except (csv.Error, _LostLine) as error:
                index += 1
                yield Record(index, rows.line_num, b"", None, f"line {rows.line_num}: {error}")
                if isinstance(error, _LostLine) and not error.goes_on:
                    return
                rows = csv.reader(lines, dialect)
                continue
            if names is None:
                names = row
                continue
            if not row:
                continue
            index += 1
            position.report(url, index)
            yield _csv_record(index, rows.line_num, names, row, position.avoided(url).get(index))


def _csv_record(index: int, line: int, names: list[str], row: list[str], poison: str | None) -> Record:
    raw = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape")
    if poison is None and len(row) == len(names):
        return Record(index, line, raw, dict(zip(names, row, strict=True)), None)
    return Record(index, line, raw, None, poison or f"line {line}: {len(row)} cells where the names are {len(names)}")


class _LostLine(ValueError):
    """A line that cannot be read; `goes_on` where others follow."""

    def __init__(self, reason: str, goes_on: bool) -> None:
        super().__init__(reason)
        self.goes_on = goes_on


def _csv_lines(content: Content) -> Iterator[str]:
    """Lines with their ends, so that those inside quotes stay as they are."""
    rest = b""
    is_first = True
    for piece in content.pieces():
        if isinstance(piece, Damage):
            raise _LostLine(piece.reason, goes_on=False)
        if is_first:
            piece, is_first = piece.removeprefix(b"\xef\xbb\xbf"), False
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield f"{line.decode('utf-8', 'surrogateescape')}\n"
        if len(rest) > MAX_ROW_BYTES:
            raise _LostLine(f"a line of more than {MAX_ROW_BYTES} bytes", goes_on=False)
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def document_outcomes(members: tuple[IngestMember, ...], maker: PageMaker, unit: str) -> Iterator[RecordOutcome]:
    """What becomes of each file."""
    poison = position.avoided(unit)
    for index, member in enumerate(members):
        position.report(unit, index)
        if left_out := maker.refused_sample(member.name, 0):
            yield left_out
            continue
        body = storage.read_range(member.url, 0, MAX_DOCUMENT_BYTES + 1)
        try:
            if index in poison:
                raise TooLargeError(poison[index])
            if len(body) > MAX_DOCUMENT_BYTES:
                raise TooLargeError(f"a file of more than {MAX_DOCUMENT_BYTES} bytes")
            yield document_page(body, member.name, maker)
        except Exception as error:  # noqa: BLE001 - the page boundary: the others go on, the file is kept aside
            known = isinstance(error, TooDeepError | TooLargeError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            maker.stats.count("failure", reason.partition(":")[0])
            yield FailedRecord(
                step=EXTRACT_STEP,
                offset=0,
                record_id="",
                target_uri=f"file:{member.name}",
                reason=reason,
                raw=body[:KEPT_BYTES],
                member=member.name,
            )


def document_page(body: bytes, name: str, maker: PageMaker) -> Page | Removed:
    """The page of a file; its metadata name the file under `WARC-Target-URI`, as `file:` and its relative path."""
    url = f"file:{name}"
    metadata: dict[str, Any] = {"WARC-Target-URI": url}
    if name.lower().endswith(HTML_SUFFIXES):
        page = maker.html_page(body, "", url, {})
    else:
        text = decode_html(body).replace("\r\n", "\n")
        if name.lower().endswith((".md", ".markdown")):
            front, text = split_front_matter(text)
            metadata |= {"front_matter": front} if front else {}
        page = maker.text_page(text)
    return page if isinstance(page, Removed) else {**page, "metadata": metadata}


def split_front_matter(text: str) -> tuple[str, str]:
    """The YAML between `---` lines at the head of a Markdown file, unparsed, and the text after it."""
    if not text.startswith("---\n"):
        return "", text
    front, separator, rest = text[4:].partition("\n---\n")
    return (front, rest.lstrip("\n")) if separator else ("", text)
