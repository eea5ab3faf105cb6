"""The stats files and `global_stats.jsonl` say what the records say, in DCLM's rows."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from corpusmith.io.pages.shards import open_shard_writer
from ray_processing.pipeline.stats_views import shard_of
from ray_processing.process import main

YAML = """
- source: cc
  steps:
    - {func: page_length_filter, length_type: word, min_length: 2}
    - commit
    - {func: word_counter_enricher, _aggregate: {word_count: percentiles}}
    - {func: exact_dedup, content_key: text}
    - {func: page_length_filter, length_type: word, min_length: 3}
"""


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, runner: object) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("views")
    texts = {"sub/a.jsonl.zst": ["one", "two words", "three words here"], "b.jsonl.gz": ["x", "three words here"]}
    for name, pages in {**texts, "empty.jsonl": ["y", "z"]}.items():
        with open_shard_writer(str(folder / "pages" / name)) as writer:
            for text in pages:
                writer.write({"text": text})
    (folder / "cfg.yaml").write_text(YAML)
    command = ["--raw_data_dirpath", str(folder / "pages"), "--config_path", str(folder / "cfg.yaml")]
    command += ["--output_dir", str(folder / "out"), "--readable_name", "v", "--num_cpus", "2"]
    assert main([*command, "--exp-data-dir", str(folder / "db")]) == 0
    return folder / "out" / "cfg"


def test_names_of_shards_are_the_same_before_and_after() -> None:
    names = ("sub/a.jsonl.zst", "sub/a_processed.jsonl.zst", "a.b.jsonl", "a.parquet", "a_processed.parquet")
    assert [shard_of(name) for name in names] == ["sub/a", "sub/a", "a.b", "a.parquet", "a.parquet"]


def test_each_shard_has_the_rows_of_its_way(base: pathlib.Path) -> None:
    rows = read(base / "stats" / "sub" / "a_stats.jsonl")
    assert [row["name"] for row in rows] == [
        *("process_setup", "page_length_filter", "commit", "word_counter_enricher", "process_finished", "commit"),
        "exact_dedup",
        *("process_setup", "page_length_filter", "process_finished", "commit"),
    ]
    step = rows[1]
    assert list(step) == [
        *("name", "pages_in", "pages_out", "secs", "secs/page", "errors", "removed", "kept", "split"),
        *("total_secs", "workers"),
    ]
    assert (step["pages_in"], step["pages_out"], step["removed"], step["kept"]) == (3, 2, 1, 2)
    assert rows[3]["word_count"]["max"] == 3
    assert (rows[4]["executed_steps"], rows[4]["commit_steps"], rows[4]["finished_processing"]) == (2, 1, False)
    assert rows[9]["finished_processing"] is True


def test_the_copy_that_lost_shows_in_the_row_of_the_dedup(base: pathlib.Path) -> None:
    of_a, of_b = (
        next(row for row in read(base / "stats" / name) if row["name"] == "exact_dedup")
        for name in ("sub/a_stats.jsonl", "b_stats.jsonl")
    )
    # the copy in the first shard by name is kept
    assert of_b == {"name": "exact_dedup", "content_key": "text", "pages_in": "no_op", "pages_out": "no_op"}
    assert of_a == {"name": "exact_dedup", "content_key": "text", "pages_in": 2, "pages_out": 1}


def test_steps_that_no_page_came_to_have_no_row(base: pathlib.Path) -> None:
    names = [row["name"] for row in read(base / "stats" / "empty_stats.jsonl")]
    assert names.count("page_length_filter") == 1
    assert "word_counter_enricher" not in names


def test_the_chunks_of_the_run(base: pathlib.Path) -> None:
    first, dedup, last = read(base / "global_stats.jsonl")
    assert list(first) == [
        *("name", "secs", "num_successes", "num_failures", "pages_in", "pages_out", "working_dir", "resumptions"),
        "failed_shards",
    ]
    assert (first["name"], first["num_successes"], first["pages_in"], first["pages_out"]) == ("local", 3, 7, 3)
    assert list(dedup) == ["name", "secs", "working_dir"]
    assert (last["pages_in"], last["pages_out"], last["failed_shards"]) == (2, 1, [])
    assert last["working_dir"] == f"{base}/processed_data/"
