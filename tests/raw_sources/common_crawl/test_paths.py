"""Common Crawl served by this machine: over S3, and by a web server where the bucket refuses."""

from __future__ import annotations

import functools
import gzip
import http.server
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import read_shard
from raw_sources.archives.warc_writer import gzip_member, http_response, warc_record
from raw_sources.common_crawl import paths as common_crawl
from raw_sources.common_crawl.columnar_index import IndexQuery, query_index
from raw_sources.common_crawl.command import main as common_crawl_main
from raw_sources.ingest.inputs import listed_units
from raw_sources.ingest.record_ranges import list_record_units
from raw_sources.ingest.run import main as ingest_main
from raw_sources.process_common_crawl import chosen_paths, wet_path
from raw_sources.process_common_crawl import main as process_main

CRAWL = "CC-MAIN-2024-10"
SEGMENT = f"crawl-data/{CRAWL}/segments/1700000000000.1"
HTML = [("Content-Type", "text/html; charset=utf-8")]
ROOT = pathlib.Path(__file__).resolve().parents[3]


def member(number: int, kind: str = "response") -> bytes:
    html = f"<html><body><main><p>Page number {number} speaks.</p></main></body></html>".encode()
    fields = [
        ("WARC-Type", kind),
        ("WARC-Record-ID", f"<urn:x:{number}>"),
        ("WARC-Target-URI", f"http://{'ab'[number % 2]}.example/{number}"),
    ]
    if kind == "conversion":
        return gzip_member(warc_record([*fields, ("Content-Type", "text/plain")], f"WET text {number}".encode()))
    return gzip_member(warc_record(fields, http_response("200 OK", HTML, html)))


def index_table(name: str, members: list[bytes]) -> pa.Table:
    offsets = [sum(map(len, members[:at])) for at in range(len(members))]
    count = len(members)
    return pa.table(
        {
            "url": [f"http://{'ab'[number % 2]}.example/{number}" for number in range(count)],
            "url_host_registered_domain": [f"{'ab'[number % 2]}.example" for number in range(count)],
            "url_host_name": [f"{'ab'[number % 2]}.example" for number in range(count)],
            "url_host_tld": ["example"] * count,
            "fetch_status": pa.array([200] * (count - 1) + [404], pa.int16()),
            "content_mime_detected": ["text/html"] * count,
            "content_languages": ["eng,deu" if number % 3 == 0 else "deu" for number in range(count)],
            "content_truncated": [None] * (count - 1) + ["length"],
            "warc_filename": [name] * count,
            "warc_record_offset": offsets,
            "warc_record_length": [len(each) for each in members],
        }
    )


@pytest.fixture
def tree() -> dict[str, bytes]:
    """The files of a small crawl, by their path below the bucket."""
    files: dict[str, bytes] = {"crawl-data/index.html": b"<html>"}
    names = []
    tables = []
    for number in range(3):
        members = [member(number * 10 + place) for place in range(8)]
        name = f"{SEGMENT}/warc/CC-MAIN-0-0000{number}.warc.gz"
        names.append(name)
        files[name] = b"".join(members)
        files[wet_path(name)] = b"".join(member(number * 10 + place, "conversion") for place in range(8))
        file = io.BytesIO()
        pq.write_table(index_table(name, members), file, row_group_size=4)
        table = f"cc-index/table/cc-main/warc/crawl={CRAWL}/subset=warc/part-0000{number}.parquet"
        files[table] = file.getvalue()
        tables.append(table)
    tables.append(tables[0].replace("subset=warc", "subset=robotstxt"))
    files[f"crawl-data/{CRAWL}/warc.paths.gz"] = gzip.compress("\n".join(names).encode())
    files[f"crawl-data/{CRAWL}/cc-index-table.paths.gz"] = gzip.compress("\n".join(tables).encode())
    return files


@pytest.fixture
def web(tree: dict[str, bytes], tmp_path: pathlib.Path) -> Iterator[str]:
    """The crawl on a web server (without ranges, as Python's own is)."""
    root = tmp_path / "web"
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "collinfo.json").write_text(json.dumps([{"id": CRAWL}, {"id": "CC-MAIN-2013-20"}]))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(s3: Any, tree: dict[str, bytes]) -> str:
    """The crawl in the test bucket."""
    for name, content in tree.items():
        storage.write_bytes(f"s3://corpus/{name}", content)
    s3.reset()
    return "s3://corpus/"


# --- lists, pools and samples ----------------------------------------------------------------------------------------


def test_path_lists_are_read_from_s3_and_https_alike(bucket: str, web: str) -> None:
    for base in (bucket, web):
        paths = list(common_crawl.crawl_paths([CRAWL], "warc", base))
        assert paths == [f"{base}{SEGMENT}/warc/CC-MAIN-0-0000{number}.warc.gz" for number in range(3)]
    with pytest.raises(InputError, match="is no name of a crawl"):
        list(common_crawl.crawl_paths(["CC-MAIN"], "warc", web))
    assert common_crawl.crawl_ids(f"{web}collinfo.json") == ["CC-MAIN-2013-20", CRAWL]


def test_where_the_bucket_refuses_its_web_server_is_asked(s3: Any, quick_pauses: None, web: str) -> None:
    s3.plan = lambda request, number: "403 AccessDenied"
    assert common_crawl.reachable("s3://commoncrawl/", web) == web
    assert common_crawl.reachable("s3://mine/", web) == "s3://mine/"
    assert common_crawl.absolute(f"s3://commoncrawl/{SEGMENT}/a", web) == f"{web}{SEGMENT}/a"
    s3.plan = None


def test_where_the_bucket_answers_it_is_used(s3: Any) -> None:
    from corpusmith.io.backends import s3_requests

    s3_requests.connect(os.getpid()).client.create_bucket(Bucket="commoncrawl")
    assert common_crawl.reachable("s3://commoncrawl/", "http://nowhere.example/") == "s3://commoncrawl/"


def test_a_sample_is_that_of_dclm_for_the_same_seed(tmp_path: pathlib.Path) -> None:
    keys = [f"s3://commoncrawl/a/{number}.warc.gz" for number in range(500)]
    random.seed(42)
    expected = random.sample(keys, 20)
    assert common_crawl.sample_paths(keys, 20, 42) == expected
    assert common_crawl.sample_paths(keys, 20, 42, r".*/1\d\d\.warc") != expected
    assert len(common_crawl.sample_paths(keys, 900, 42, r".*/1\d\d\.warc")) == 100
    with pytest.raises(InputError, match="no regular expression"):
        common_crawl.sample_paths(keys, 1, 1, "(")


def test_a_pool_is_sampled_into_a_reference_that_ingest_reads(tmp_path: pathlib.Path) -> None:
    pools = tmp_path / "pools" / "raw_warcs"
    pools.mkdir(parents=True)
    (pools / "400m-1x.txt").write_text("\n".join(f"s3://commoncrawl/{SEGMENT}/warc/{n}.warc.gz" for n in range(50)))
    flags = ["--pools_dir", str(tmp_path / "pools"), "--base", "http://127.0.0.1:9/", "--exp_data_path", str(tmp_path)]
    sample = ["--subset-size", "5", "--seed", "1", "--name", "mine"]
    assert common_crawl_main(["pool", "--scale", "400m-1x", *flags, *sample]) == 0
    url = tmp_path / "datasets" / "raw_sources" / "mine.json"
    document = json.loads(url.read_text())
    assert (document["seed"], len(document["dataset_urls"]), document["tokenized"]) == (1, 5, False)
    paths = common_crawl.read_paths(str(url), "s3://commoncrawl/")
    assert paths == document["dataset_urls"]
    assert [unit.kind for unit in listed_units(paths, "http://127.0.0.1:9/")] == ["archive"] * 5
    assert common_crawl_main(["pool", "--scale", "7b-2x", *flags, "--name", "x"]) == 2  # no such path file


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"dataset_urls": [1]}', b"{no json", gzip.compress(bytes(range(256)))[:90]]
)
def test_a_list_that_is_none_is_the_users_mistake(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(InputError, match=str(tmp_path / "list")):
        common_crawl.read_paths(str(tmp_path / "list"), "base/")


# --- from the index to pages -----------------------------------------------------------------------------------------


@pytest.mark.ray
def test_records_found_in_the_index_are_fetched_by_ranges(
    tree: dict[str, bytes], web: str, tmp_path: pathlib.Path, runner: Any
) -> None:
    index = ["index", "--crawls", CRAWL, "--domains", "a.example", "--statuses", "200", "--languages", "eng"]
    found = tmp_path / "found"
    assert common_crawl_main([*index, "--base", web, "--output_dir", str(found)]) == 0
    shards = sorted(str(path) for path in (found / "records").rglob("*.zst"))
    assert [pathlib.Path(shard).parent.name for shard in shards] == [CRAWL] * 3
    rows = [row for shard in shards for row in read_shard(shard)]
    assert [row["url"] for row in rows] == [f"http://a.example/{place}" for _ in range(3) for place in (0, 6)]

    out = ["--output_dir", str(tmp_path / "out"), "--readable_name", "x", "--exp-data-dir", str(tmp_path / "exp")]
    assert ingest_main(["--records", str(found / "records"), "--base", web, *out]) == 0
    pages = [page for path in (tmp_path / "out").rglob("*.jsonl.zst") for page in read_shard(str(path))]
    numbers = [0, 6, 10, 16, 20, 26]
    assert [page["text"] for page in pages] == [f"Page number {number} speaks." for number in numbers]


def test_statistics_of_row_groups_spare_what_cannot_match(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "index.parquet"
    pq.write_table(index_table("x.warc.gz", [b"x"] * 8).sort_by("url_host_name"), path, row_group_size=4)
    metadata = pq.ParquetFile(path).metadata
    ruled_out = [
        [IndexQuery(hosts=(host,)).rules_out(metadata.row_group(number)) for number in range(2)]
        for host in ("a.example", "b.example", "aa.example", "z.example")
    ]
    assert ruled_out == [[False, True], [True, False], [True, True], [True, True]]
    assert not IndexQuery(languages=("eng",)).rules_out(metadata.row_group(0))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (IndexQuery(languages=("eng",)), [0, 3, 6]),
        (IndexQuery(languages=("deu",)), [0, 1, 2, 3, 4, 5, 6, 7]),
        (IndexQuery(languages=("deu",), primary_language=True), [1, 2, 4, 5, 7]),
        (IndexQuery(statuses=(404,)), [7]),
        (IndexQuery(tlds=("example",), drop_truncated=True), [0, 1, 2, 3, 4, 5, 6]),
        (IndexQuery(hosts=("b.example",), languages=("eng",)), [3]),
        (IndexQuery(media_types=("text/plain",)), []),
    ],
)
def test_a_query_takes_the_rows_that_have_all_it_asks_for(query: IndexQuery, numbers: list[int]) -> None:
    table = index_table("x.warc.gz", [b"x"] * 8)
    assert [number for number, hit in enumerate(query.mask(table).to_pylist()) if hit] == numbers


def test_queries_that_cannot_be_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="asks for nothing"):
        query_index(["x"], IndexQuery(), str(tmp_path))
    with pytest.raises(InputError, match="'english' is no ISO-639-3 code"):
        query_index(["x"], IndexQuery(languages=("english",)), str(tmp_path))


def test_lists_of_records_are_cut_into_units_in_the_order_of_their_places(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("warc_filename,warc_record_offset,warc_record_length\nb,5,9\na,7,9\na,5,2\na,7,9\n")
    (unit,) = list_record_units(str(path), "base")
    assert [(member.url, member.start) for member in unit.members] == [("base/a", 5), ("base/a", 7), ("base/b", 5)]
    path.write_text("warc_filename,warc_record_offset,warc_record_length\nb,5,x\n")
    with pytest.raises(InputError, match="no integer"):
        list_record_units(str(path), "base")
    path.write_text("warc_filename,offset\nb,5\n")
    with pytest.raises(InputError, match="lacks warc_record_offset, warc_record_length"):
        list_record_units(str(path), "base")


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_dclms_script_reads_warc_and_wet_by_its_own_flags(web: str, tmp_path: pathlib.Path, runner: Any) -> None:
    names = [f"s3://commoncrawl/{SEGMENT}/warc/CC-MAIN-0-0000{number}.warc.gz" for number in range(3)]
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"dataset_urls": [name.replace("s3://commoncrawl/", web) for name in names]}))
    flags = ["--json_file_path", str(listing), "--base", web, "--exp-data-dir", str(tmp_path / "exp")]
    wet = str(tmp_path / "wet")
    assert process_main([*flags, "--output_path", wet, "--wet", "--subset", "2", "--documents_per_jsonl", "5"]) == 0
    found = {
        str(path.relative_to(f"{wet}/processed_data/{SEGMENT}")): [page["text"] for page in read_shard(str(path))]
        for path in pathlib.Path(wet, "processed_data").rglob("*.gz")
    }
    assert found == {
        f"wet/CC-MAIN-0-0000{number}{part}.jsonl.gz": [f"WET text {number * 10 + place}" for place in places]
        for number in range(2)
        for part, places in (("", range(5)), (".part2", range(5, 8)))
    }


def test_what_dclms_flags_choose() -> None:
    paths = list("abcdefghij")
    assert chosen_paths(paths, 3, None) == ["a", "b", "c"]
    assert chosen_paths(paths, None, 0.25) == ["a", "b"]
    assert chosen_paths(paths, None, None) == paths
    for subset, fraction in ((1, 0.5), (0, None), (None, 0.0), (None, 2.0)):
        with pytest.raises(InputError):
            chosen_paths(paths, subset, fraction)
    assert wet_path("x/warc/a.warc.gz") == "x/wet/a.warc.wet.gz"


@pytest.mark.ray
@pytest.mark.all
def test_archives_on_s3_become_the_same_shards_as_those_on_the_web(
    bucket: str, web: str, tmp_path: pathlib.Path
) -> None:
    outputs = []
    for base in (bucket, web):
        out = tmp_path / base.partition(":")[0]
        command = [
            *(sys.executable, "-m", "corpusmith", "ingest", "--base", base, "--num_cpus", "2"),
            *("--paths_file", f"{base}crawl-data/{CRAWL}/warc.paths.gz", "--output_dir", str(out)),
            *("--readable_name", out.name, "--exp-data-dir", str(tmp_path / "exp")),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "24 records of 3 inputs: 24 pages" in done.stdout
        data = out / "processed_data"
        outputs.append({str(p.relative_to(data)): p.read_bytes() for p in data.rglob("*") if p.is_file()})
    assert outputs[0] == outputs[1]
    assert sorted(outputs[0]) == [f"{SEGMENT}/warc/CC-MAIN-0-0000{number}.jsonl.zst" for number in range(3)]
