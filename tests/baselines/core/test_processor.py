"""`process_single_file`: order of operations, stats rows, resuming, and several workers that change nothing."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from baselines.core import process_single_file, read_jsonl, write_jsonl
from baselines.core.processor import (
    ERRORS_INDEX,
    KEPT_INDEX,
    REMOVED_INDEX,
    SPLIT_INDEX,
    _get_output_paths,
    _is_step_stats,
    apply_partial_func_sequential,
    commit,
)
from baselines.process_single_file import main
from corpusmith.steps.global_steps import GLOBAL_FUNCTIONS

SHORT = {"func": "page_length_filter", "length_type": "word", "min_length": 2}
COUNT = {"func": "word_counter_enricher"}
CUSTOM = """
import os, random
import numpy as np
from core.factory_utils import factory_function
def odd(page):
    number = page["n"]
    if number == 2: raise ValueError("two")
    if number == 3: return None
    if number == 4: return [dict(page), dict(page, text="again and again")]
    return [page]
def fail(page): raise KeyError("always")
def draw(page):
    page["draw"] = [random.random(), float(np.random.rand())]
    return [page]
def die(page): os._exit(3)
@factory_function
def broken(): raise RuntimeError("no model")
def whole(values): return {np.int64(1): np.float32(0.5), "n": np.arange(2), "count": len(values)}
"""


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CUSTOM)
    (tmp_path / "raw").mkdir()
    write_jsonl(({"text": f"page number {n}" if n % 2 else "x", "n": n} for n in range(8)), "raw/a.jsonl")
    return tmp_path


def run(steps: list[Any], **options: Any) -> tuple[str, str, int, int]:
    config = {"cc": {"source": "cc", "steps": steps}}
    options = {"raw_data_dirpath": "raw", "base_output_path": "out", **options}
    return process_single_file(config, jsonl_relpath="a.jsonl", source_name="cc", **options)


def rows() -> list[dict[str, Any]]:
    return list(read_jsonl("out/stats/a_stats.jsonl"))


def numbers() -> list[int]:
    return [page["n"] for page in read_jsonl("out/processed_data/a_processed.jsonl")]


@pytest.mark.parametrize(
    ("name", "output", "stats"),
    [
        ("a.jsonl", "a_processed.jsonl", "a_stats.jsonl"),
        ("sub/a.jsonl.zst", "sub/a_processed.jsonl.zst", "sub/a_stats.jsonl"),
        ("a_processed.jsonl.zst", "a_processed.jsonl.zst", "a_stats.jsonl"),
        ("a.json", "a.json_processed.json", "a.json_stats.jsonl"),
        ("a.txt.gz", "a.txt.gz_processed.jsonl.gz", "a.txt.gz_stats.jsonl"),
        ("a.b.jsonl", "a.b_processed.jsonl", "a.b_stats.jsonl"),
        ("a", "a_processed.", "a_stats.jsonl"),
    ],
)
def test_names_of_outputs(name: str, output: str, stats: str, tmp_path: pathlib.Path) -> None:
    base = str(tmp_path)
    assert _get_output_paths(base, name) == (f"{base}/processed_data/{output}", f"{base}/stats/{stats}")
    assert (tmp_path / "stats").is_dir()


def test_a_first_run_writes_setup_steps_end_and_commit(here: pathlib.Path) -> None:
    found = run([SHORT, COUNT | {"_aggregate": {"word_count": "percentiles"}}])
    assert found == ("out/processed_data/a_processed.jsonl", "out/stats/a_stats.jsonl", 8, 4)
    assert numbers() == [1, 3, 5, 7]
    setup, first, second, end, last = rows()
    assert list(setup) == [
        *("name", "jsonl_load_secs", "stats_load_secs", "jsonl_path", "source_name", "output_path"),
        *("stats_output_path", "workers", "first_run", "graceful_continuation", "execution_start_time"),
    ]
    assert (setup["first_run"], setup["graceful_continuation"], setup["jsonl_path"]) == (True, False, "a.jsonl")
    keys = [
        *("name", "pages_in", "pages_out", "secs", "secs/page", "errors", "removed", "kept", "split"),
        *("total_secs", "workers"),
    ]
    assert list(first) == keys
    assert list(second) == [*keys, "word_count"]
    assert {key: first[key] for key in keys if "secs" not in key} == {
        "name": "page_length_filter",
        "pages_in": 8,
        "pages_out": 4,
        "errors": 0,
        "removed": 4,
        "kept": 4,
        "split": 0,
        "workers": 1,
    }
    assert second["word_count"]["median"] == 3
    assert isinstance(second["word_count"]["_secs"], float)
    assert list(end) == [
        *("name", "total_secs", "executed_steps", "skipped_steps", "commit_steps", "finished_processing"),
        "execution_end_time",
    ]
    assert [end[key] for key in list(end)[2:6]] == [2, 0, 0, True]
    assert list(last) == ["name", "secs"]
    assert [_is_step_stats(row) for row in rows()] == [False, True, True, False, False]


def test_a_second_run_of_finished_work_writes_nothing(here: pathlib.Path) -> None:
    run([SHORT, "commit", COUNT])
    names = [row["name"] for row in rows()]
    assert names == [
        *("process_setup", "page_length_filter", "commit", "word_counter_enricher", "process_finished", "commit"),
    ]
    before = {path: path.read_bytes() for path in (here / "out").rglob("*.jsonl")}
    assert run([SHORT, "commit", COUNT])[2:] == (8, 4)
    assert {path: path.read_bytes() for path in (here / "out").rglob("*.jsonl")} == before


def test_further_steps_go_on_from_the_committed_pages(here: pathlib.Path) -> None:
    run([SHORT])
    assert run([SHORT, COUNT])[2:] == (8, 4)
    assert numbers() == [1, 3, 5, 7], "pages removed before must not come back"
    setup, step, end, last = rows()[4:]
    assert (setup["first_run"], setup["graceful_continuation"]) == (False, True)
    assert (step["name"], step["pages_in"], last["name"]) == ("word_counter_enricher", 4, "commit")
    assert (end["executed_steps"], end["skipped_steps"]) == (1, 1)


def test_a_failure_after_a_commit_loses_nothing_of_it(here: pathlib.Path) -> None:
    with pytest.raises(RuntimeError, match=r"Step mine\.fail failed on all pages"):
        run([SHORT, "commit", {"func": "mine.fail"}])
    assert [row["name"] for row in rows()] == ["process_setup", "page_length_filter", "commit"]
    run([SHORT, "commit", COUNT])
    assert numbers() == [1, 3, 5, 7]


def test_without_the_committed_file_all_starts_again(here: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    run([SHORT])
    (here / "out/processed_data/a_processed.jsonl").unlink()
    run([SHORT, COUNT])
    assert numbers() == [1, 3, 5, 7]
    assert "starting again" in caplog.text
    assert rows()[-2]["executed_steps"] == 2


def test_a_global_function_ends_the_work_and_its_row_skips_it_later(
    here: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GLOBAL_FUNCTIONS, "shout", lambda *args, **kwargs: "")
    steps = [SHORT, {"func": "shout"}, COUNT]
    run(steps)
    assert rows()[-2]["finished_processing"] is False
    # what the driver does between: new pages, and a row of the global function
    write_jsonl([{"text": "one page", "n": 99}], "out/processed_data/a_processed.jsonl")
    write_jsonl([{"name": "shout"}], "out/stats/a_stats.jsonl", mode="a")
    config = {"cc": {"source": "cc", "steps": steps}}
    found = process_single_file(config, "out/processed_data", "a_processed.jsonl", "cc", "out")
    assert found[2:] == (1, 1)
    assert numbers() == [99]
    assert rows()[-2]["skipped_steps"] == 2


def test_a_recorded_step_of_another_name_is_refused(here: pathlib.Path) -> None:
    run([SHORT])
    with pytest.raises(AssertionError, match="Step word_counter_enricher does not match step page_length_filter"):
        run([COUNT, SHORT])
    run([COUNT, SHORT], overwrite=True)
    assert [row["name"] for row in rows()][1] == "word_counter_enricher"


def test_an_unknown_source_is_refused(here: pathlib.Path) -> None:
    with pytest.raises(AssertionError, match="Source other not found"):
        process_single_file({}, "raw", "a.jsonl", "other", "out")


def test_empty_input_writes_nothing(here: pathlib.Path) -> None:
    (here / "raw/a.jsonl").write_bytes(b"")
    assert run([SHORT]) == ("out/processed_data/a_processed.jsonl", "out/stats/a_stats.jsonl", 0, 0)
    assert not [path for path in (here / "out").rglob("*") if path.is_file()]


def test_the_step_that_empties_the_shard_has_its_row(here: pathlib.Path) -> None:
    none_left = {**SHORT, "min_length": 100, "_aggregate": {"missing": "percentiles"}}
    assert run([none_left, COUNT])[2:] == (8, 0)
    assert [row["name"] for row in rows()] == ["process_setup", "page_length_filter", "process_finished", "commit"]
    assert (rows()[1]["removed"], rows()[1]["pages_out"], rows()[2]["finished_processing"]) == (8, 0, True)
    assert "missing" not in rows()[1]
    assert numbers() == []
    before = (here / "out/stats/a_stats.jsonl").read_bytes()
    assert run([none_left, COUNT])[2:] == (8, 0)
    assert (here / "out/stats/a_stats.jsonl").read_bytes() == before


def test_errors_are_counted_and_their_pages_dropped(here: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run([{"func": "mine.odd"}])[2:] == (8, 7)
    assert numbers() == [0, 1, 4, 4, 5, 6, 7]
    step = rows()[1]
    assert (step["name"], step["errors"], step["kept"], step["split"], step["removed"]) == ("mine.odd", 2, 5, 1, 0)
    assert "ValueError('two')" in caplog.text


def test_the_counters_have_the_indices_that_callers_know() -> None:
    counters = {ERRORS_INDEX: 0, REMOVED_INDEX: 0, KEPT_INDEX: 0, SPLIT_INDEX: 0}
    times: list[float] = []
    pages: list[Any] = []
    apply_partial_func_sequential(counters, times, pages, [{"text": "a b"}, {"text": "a"}, {}], SHORT)
    assert counters == {-1: 1, 0: 1, 1: 1, 2: 0}
    assert (len(times), pages) == (3, [{"text": "a b"}])


@pytest.mark.parametrize("step", ["mine.odd", "mine.draw", "page_length_filter"])
def test_several_workers_give_the_same_pages_in_the_same_order(here: pathlib.Path, step: str) -> None:
    steps = [SHORT if step == "page_length_filter" else {"func": step}]
    run(steps)
    run(steps, workers=3, base_output_path="out3")
    one, three = (here / folder / "processed_data/a_processed.jsonl" for folder in ("out", "out3"))
    assert one.read_bytes() == three.read_bytes()
    counted = list(read_jsonl("out3/stats/a_stats.jsonl"))[1]
    keys = ("pages_in", "pages_out", "errors", "removed", "kept", "split")
    assert [counted[key] for key in keys] == [rows()[1][key] for key in keys]
    assert counted["workers"] == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_factory_that_fails_raises_and_writes_nothing(here: pathlib.Path, workers: int) -> None:
    with pytest.raises(RuntimeError, match="no model"):
        run([{"func": "mine.broken"}], workers=workers)
    assert not [path for path in (here / "out").rglob("*") if path.is_file()]


def test_a_dead_worker_raises(here: pathlib.Path) -> None:
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        run([{"func": "mine.die"}], workers=2)


def test_draws_do_not_disturb_the_callers_generators(here: pathlib.Path) -> None:
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    run([{"func": "mine.draw"}])
    assert np.random.rand() == expected


def test_numbers_of_numpy_become_plain(here: pathlib.Path) -> None:
    run([SHORT | {"_aggregate": {"n": {"type": "mine.whole", "ignored": 1}}}])
    found = rows()[1]["n"]
    assert {key: found[key] for key in ("1", "n", "count")} == {"1": 0.5, "n": [0, 1], "count": 4}


def test_an_aggregated_key_must_be_in_every_page(here: pathlib.Path) -> None:
    with pytest.raises(KeyError, match="missing"):
        run([SHORT | {"_aggregate": {"missing": "percentiles"}}])


def test_commit_writes_both_files_or_neither(tmp_path: pathlib.Path) -> None:
    pages, stats = str(tmp_path / "p.jsonl"), str(tmp_path / "s.jsonl")
    pending: list[dict[str, Any]] = [{"name": "a"}]
    commit([{"text": "x"}], pending, pages, stats)
    assert pending == []
    assert [row["name"] for row in read_jsonl(stats)] == ["a", "commit"]
    pending = [{"name": "b", "bad": {1}}]
    with pytest.raises(TypeError):
        commit([], pending, pages, stats)
    with pytest.raises(TypeError):
        commit([{"text": {1}}], [{"name": "c"}], pages, stats)
    assert list(read_jsonl(pages)) == [{"text": "x"}]
    assert [row["name"] for row in read_jsonl(stats)] == ["a", "commit"]


def test_the_command_line_works(here: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(json.dumps([{"source": "cc", "steps": [SHORT]}]))
    command = ["--yaml", "c.yaml", "--raw_data_dirpath", "raw", "--jsonl", "a.jsonl", "--output_dir", "out"]
    assert main([*command, "--source_name", "cc", "--workers", "2"]) == 0
    assert numbers() == [1, 3, 5, 7]
    assert main([*command, "--source_name", "other"]) == 2
    assert "Source other not found" in capsys.readouterr().err
