"""`corpusmith process` over real pages and, after `corpusmith ingest`, over real archives, with balanced books."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import pyarrow.parquet as pq
import pytest

from corpusmith.cli import main
from corpusmith.io.pages.shards import read_records, read_shard

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "baselines" / "baselines_configs"
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("runner")]
TEN_MAPPERS_AND_DEDUP = """
- source: cc
  steps:
    - func: newline_removal_modifier
      max_consecutive: 2
    - {func: page_length_filter, length_type: word, min_length: 50, max_length: 100000, ignore_punctuation: true}
    - {func: word_length_filter, min_length: 3, max_length: 10}
    - {func: symbol_ratio_filter, max_symbol_to_word_ratio: 0.1}
    - {func: bullet_count_filter, max_bullet_start_ratio: 0.9}
    - {func: ellipsis_count_filter, max_ellipsis_end_ratio: 0.3}
    - {func: alphabetic_word_ratio_filter, max_ratio: 0.2}
    - {func: stop_word_filter, min_stop_word: 2}
    - {func: massive_web_repetition_filters}
    - {func: word_counter_enricher, key: words, _aggregate: {words: percentiles}}
    - {func: exact_dedup, content_key: text}
"""


def process(tmp_path: pathlib.Path, pages: pathlib.Path, yaml: str, *extra: str) -> pathlib.Path:
    (tmp_path / "cfg.yaml").write_text(yaml)
    arguments = ["--raw_data_dirpath", str(pages), "--config_path", str(tmp_path / "cfg.yaml"), "--num_cpus", "2"]
    arguments += ["--output_dir", str(tmp_path / "out"), "--readable_name", "real"]
    assert main(["process", *arguments, "--exp-data-dir", str(tmp_path / "db"), *extra]) == 0
    return tmp_path / "out" / "cfg"


def check_books(base: pathlib.Path) -> dict[str, Any]:
    """The ledger balances, and says of the output what a reader finds there."""
    total: dict[str, Any] = json.loads((base / "run" / "ledger.json").read_text())["total"]
    removed, errored = (sum(total[key].values()) for key in ("removed", "errored"))
    assert total["read"] + total["added"] == total["kept"] + removed + errored
    written = [page for path in sorted((base / "processed_data").rglob("*.jsonl*")) for page in read_shard(str(path))]
    assert len(written) == total["kept"]
    aside = [row for path in sorted((base / "errors").rglob("*.jsonl")) for row in read_shard(str(path))]
    assert len(aside) == errored
    return total


def test_ten_mappers_and_dedup_over_the_sample_pages_damaged_shards_included(
    tmp_path: pathlib.Path, shared_data: pathlib.Path
) -> None:
    pages = shared_data / "data" / "pages"
    base = process(tmp_path, pages, TEN_MAPPERS_AND_DEDUP)
    total = check_books(base)
    records = sum(1 for path in sorted(pages.rglob("*.jsonl*")) for _ in read_records(str(path)))
    assert total["read"] == records
    assert set(total["removed"]) >= {"01-page_length_filter", "08-massive_web_repetition_filters", "10-exact_dedup"}


def test_exact_dedup_alone_removes_what_the_truth_says(tmp_path: pathlib.Path, shared_data: pathlib.Path) -> None:
    pages = shared_data / "data" / "pages"
    yaml = "- source: cc\n  steps:\n    - func: exact_dedup\n      content_key: text\n"
    base = process(tmp_path, pages, yaml, "--shard_list_filters", "shard_000")
    rows = [json.loads(line) for line in (pages / "truth.jsonl").read_text().splitlines()]
    expected = {frozenset(page["id"] for page in row["pages"]) for row in rows if row["kind"] == "exact_dup"}

    names = sorted(path.name for path in pages.glob("shard_*"))
    ids = {name: [page["metadata"]["WARC-Record-ID"] for page in read_shard(str(pages / name))] for name in names}
    groups: dict[str, set[str]] = {}
    for path in sorted((base / "run" / "stages").glob("*/members/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            groups.setdefault(row["group"], set()).add(ids[path.name.removesuffix(".parquet")][row["page"]])
    found = {frozenset(group) for group in groups.values()}
    assert found == expected

    kept = {
        page["metadata"]["WARC-Record-ID"]
        for path in sorted((base / "processed_data").glob("*"))
        for page in read_shard(str(path))
    }
    every = {record for records in ids.values() for record in records}
    first = {
        min(group, key=lambda record: next((n, ids[n].index(record)) for n in names if record in ids[n]))
        for group in expected
    }
    assert every - kept == {record for group in expected for record in group} - first
    assert check_books(base)["removed"] == {"00-exact_dedup": len(every) - len(kept)}


def test_ten_mappers_and_dedup_over_the_well_formed_archives(tmp_path: pathlib.Path, shared_data: pathlib.Path) -> None:
    crawl = shared_data / "data" / "crawl"
    if not (crawl / "FILES.jsonl").exists():
        pytest.skip(f"no archives at {crawl}")
    rows = [json.loads(line) for line in (crawl / "FILES.jsonl").read_text().splitlines()]
    well_formed = [
        row["file"]
        for row in rows
        if row["container"] in ("plain", "gzip")
        and row["file"].endswith((".warc", ".warc.gz"))
        and row["warcio"]["error"] is None
        and row["fastwarc"]["error"] is None
        and row["warcio"]["records"] == row["fastwarc"]["records"]
    ]
    assert len(well_formed) > 100
    for name in well_formed:
        target = tmp_path / "crawl" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(crawl / name, target)
    ingest = ["--input", str(tmp_path / "crawl"), "--output_dir", str(tmp_path / "pages"), "--readable_name", "crawl"]
    assert main(["ingest", *ingest, "--exp-data-dir", str(tmp_path / "db"), "--num_cpus", "2"]) == 0
    total = json.loads((tmp_path / "pages" / "run" / "ledger.json").read_text())["total"]
    assert total["read"] == total["kept"] + sum(total["removed"].values()) + sum(total["errored"].values())
    assert total["kept"] > 100
    base = process(
        tmp_path,
        tmp_path / "pages" / "processed_data",
        "- source: cc\n  steps:\n    - func: move_url_modifier\n" + TEN_MAPPERS_AND_DEDUP.partition("steps:\n")[2],
    )
    assert check_books(base)["read"] == total["kept"]


@pytest.mark.all
@pytest.mark.slow
def test_all_archives_go_through_refinedweb_with_balanced_books(
    tmp_path: pathlib.Path, shared_data: pathlib.Path
) -> None:
    crawl = shared_data / "data" / "crawl"
    if not (crawl / "FILES.jsonl").exists():
        pytest.skip(f"no archives at {crawl}")
    pages = tmp_path / "pages"
    flags = ["--output_dir", str(pages), "--exp-data-dir", str(tmp_path / "db"), "--num_cpus", "2"]
    assert main(["ingest", "--input", str(crawl), "--kinds", "archive", "--readable_name", "crawl", *flags]) == 0
    total = check_books(pages)
    assert total["read"] > 4300
    assert total["kept"] > 700
    arguments = ["--source_ref_paths", str(tmp_path / "db" / "datasets" / "raw_sources" / "crawl.json")]
    arguments += ["--config_path", str(CONFIGS / "refinedweb.yaml"), "--source_name", "cc", "--assets", "sample"]
    out = ["--output_dir", str(tmp_path / "out"), "--readable_name", "rw", "--exp-data-dir", str(tmp_path / "db")]
    assert main(["process", *arguments, *out, "--num_cpus", "2"]) == 0
    books = check_books(tmp_path / "out" / "refinedweb")
    assert books["read"] == total["kept"]
    assert books["kept"] > 100
