"""Rows and files to pages: columns, charsets, front matter, and what is set aside."""

from __future__ import annotations

import gzip
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import open_shard_writer
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.documents import document_outcomes, read_csv, split_front_matter, table_outcomes
from raw_sources.ingest.inputs import IngestMember, list_units
from raw_sources.ingest.outcomes import FailedRecord, RecordOutcome, Removed
from raw_sources.ingest.pages import PageMaker

HTML = "<html><body><main><p>Käse und Brot auf dem Tisch.</p></main></body></html>"
TEXT = "Käse und Brot auf dem Tisch."


def rows_of(path: pathlib.Path, **config: Any) -> list[RecordOutcome]:
    member = IngestMember(url=str(path), name=path.name)
    return list(table_outcomes(member, PageMaker(IngestConfig(**config)), is_csv="sv" in path.suffix))


def test_html_in_parquet_becomes_text_and_keeps_its_other_columns(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"html": [HTML, "<p> </p>"], "url": ["http://a.example/", "http://b.example/"], "n": [1, 2]})
    pq.write_table(table, path)
    page, empty = rows_of(path)
    assert page == {
        "url": "http://a.example/", "n": 1, "text": TEXT, "metadata": {"WARC-Target-URI": "http://a.example/"},
    }  # fmt: skip
    assert empty == Removed(step="empty_text")


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "utf-16"])
def test_html_in_parquet_may_be_bytes_of_any_charset(tmp_path: pathlib.Path, charset: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"raw": [HTML.encode(charset)], "id": ["x"]}), path)
    (page,) = rows_of(path, html_column="raw")
    assert isinstance(page, dict)
    assert (page["text"], page["id"]) == (TEXT, "x")


def test_json_lines_of_text_or_html(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    with open_shard_writer(str(path)) as writer:
        writer.write({"content": "one", "metadata": {"WARC-Target-URI": "http://a.example/"}})
        writer.write({"html": HTML, "text": "kept out"})
        writer.write({"text": None, "content": "three"})
        writer.write({"text": 7})
        writer.write({"title": "no text"})
    first, second, third, number, missing = rows_of(path)
    assert first == {"text": "one", "metadata": {"WARC-Target-URI": "http://a.example/"}}
    assert second == {"text": TEXT, "metadata": {}}
    assert third == {"text": "three", "metadata": {}}
    assert isinstance(number, FailedRecord)
    assert "holds int and no text" in number.reason
    assert isinstance(missing, FailedRecord)
    assert "no column html, text or content in title" in missing.reason


def test_a_table_without_the_column_is_the_users_mistake(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x"}\n')
    with pytest.raises(InputError, match=r"no column html, text or content in body; name the column"):
        rows_of(path)
    assert [page["text"] for page in rows_of(path, text_column="body") if isinstance(page, dict)] == ["x"]


def test_csv_with_quotes_over_lines_and_wrong_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv.gz"
    content = '\ufeffurl,text\r\nhttp://a.example/,"two\nlines, and ""quotes"""\nonly one\n\nhttp://b.example/,last'
    path.write_bytes(gzip.compress(content.encode()))
    records = list(read_csv(str(path)))
    assert [record.page for record in records] == [
        {"url": "http://a.example/", "text": 'two\nlines, and "quotes"'},
        None,
        {"url": "http://b.example/", "text": "last"},
    ]
    assert "1 cells where the names are 2" in str(records[1].error)


def test_tabs_part_the_cells_of_tsv(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("url\ttext\nhttp://a.example/\tone, two\n")
    assert [record.page for record in read_csv(str(path))] == [{"url": "http://a.example/", "text": "one, two"}]


def test_files_of_text_markdown_and_html_are_pages(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes("Zeile ü\r\nzwei".encode("cp1252"))
    (folder / "b.md").write_text("---\ntitle: B\n---\n# Heading\n\ntext\n")
    (folder / "c.html").write_text(HTML)
    (folder / "d.txt").write_text(" \n")
    (folder / "sub" / "e.markdown").write_text("deep")
    first, second = list_units([str(folder)])
    assert [unit.name for unit in (first, second)] == ["documents-00000", "sub/documents-00000"]
    pages = list(document_outcomes(first.members, PageMaker(IngestConfig()), first.name))
    assert pages == [
        {"text": "Zeile ü\nzwei", "metadata": {"WARC-Target-URI": "file:a.txt"}},
        {"text": "# Heading\n\ntext\n", "metadata": {"WARC-Target-URI": "file:b.md", "front_matter": "title: B"}},
        {"text": TEXT, "metadata": {"WARC-Target-URI": "file:c.html"}},
        Removed(step="empty_text"),
    ]


@pytest.mark.parametrize(
    ("text", "split"),
    [("---\na: 1\n---\nx", ("a: 1", "x")), ("--- x", ("", "--- x")), ("---\nnever ends", ("", "---\nnever ends"))],
)
def test_front_matter_ends_at_its_second_line(text: str, split: tuple[str, str]) -> None:
    assert split_front_matter(text) == split


def test_a_folder_gives_its_archives_alone_unless_told_otherwise(tmp_path: pathlib.Path) -> None:
    for name in ("a.warc.gz", "b.jsonl", "c.md", "d.bin"):
        (tmp_path / name).write_bytes(b"")
    said: list[str] = []
    assert [unit.name for unit in list_units([str(tmp_path)], say=said.append)] == ["a.warc.gz"]
    assert said == [f"{tmp_path}: left out 1 of kind documents, 1 of kind table; --kinds takes them"]
    names = [unit.name for unit in list_units([str(tmp_path)], ["archive", "table", "documents"])]
    assert names == ["a.warc.gz", "b.jsonl", "documents-00000"]
    (odd,) = list_units([str(tmp_path / "d.bin")])
    assert odd.kind == "archive"
