"""`corpusmith explain` tells of each page what each step decided, and writes nothing."""

from __future__ import annotations

import pathlib
import random

import pytest

from corpusmith.io.pages.shards import open_shard_writer
from corpusmith.seeds import seed_python
from ray_processing.pipeline.explain import changes, main

YAML = """
- source: cc
  steps:
    - {func: newline_removal_modifier, max_consecutive: 1}
    - {func: word_counter_enricher, key: words}
    - commit
    - {func: exact_dedup, content_key: text}
    - {func: stop_word_filter, min_stop_word: 2}
    - {func: mine.odd}
"""
CUSTOM = """
def odd(page):
    if "boom" in page["text"]: raise ValueError("boom")
    return [dict(page), dict(page)] if "twice" in page["text"] else [page]
"""
TEXTS = ["the end\n\n\nof it", "no hits", "the boom of it", "the twice of it"]


@pytest.fixture
def command(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CUSTOM)
    (tmp_path / "c.yaml").write_text(YAML)
    with open_shard_writer("a.jsonl.gz") as writer:
        for text in TEXTS:
            writer.write({"text": text, "url": "http://example.org/"})
    return ["a.jsonl.gz", "--config", "c.yaml"]


def test_changes_name_keys_and_lengths() -> None:
    assert changes({"a": "xx", "b": 1, "c": 0}, {"a": "x", "b": 2, "d": 3}) == (
        "+d=3; -c; a: 2 → 1 characters; b: 1 → 2"
    )
    assert changes({"a": 1}, {"a": 1}) == ""


def test_each_step_has_a_line_until_the_page_is_gone(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([*command, *(word for page in "0123" for word in ("--page", page))]) == 0
    pages = capsys.readouterr().out.split("page ")[1:]
    assert len(pages) == 4
    first, second, third, fourth = (page.splitlines()[2:] for page in pages)
    assert first[0].split() == [
        *("kept", "newline_removal_modifier(max_consecutive=1):", "text:", "15", "→", "13", "characters"),
    ]
    assert "+words=" in first[1]
    assert first[2].split()[:2] == ["passed", "over"]
    assert "2 stop words, 2 different ones" in first[3]
    assert len(first) == 5
    assert second[-1].startswith("  REMOVED     stop_word_filter(min_stop_word=2): 0 stop words")
    assert third[-1] == "  RAISED      mine.odd(): ValueError: boom (mine.py:3)"
    assert fourth[-1] == "  split       mine.odd(): into 2 pages"
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in before} <= {"__pycache__"}


def test_a_page_or_file_that_is_not_there_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--page", "9"]) == 2
    assert "has no page 9" in capsys.readouterr().err
    assert main(["none.jsonl", *command[1:]]) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


def test_draws_are_those_of_a_run_over_the_folder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(
        "- source: cc\n  steps:\n    - {func: random_sampling_filter, keep_probability: 0.5}\n"
    )
    with open_shard_writer("pages/sub/a.jsonl") as writer:
        for number in range(12):
            writer.write({"text": str(number)})
    command = ["pages/sub/a.jsonl", "--config", "c.yaml", "--seed", "7"]
    command += [word for page in range(12) for word in ("--page", str(page))]

    def kept_as(name: str) -> list[bool]:
        found = []
        for number in range(12):
            seed_python(7, name, number, 0, 0)
            found.append(random.random() < 0.5)
        return found

    for extra, name in (["--raw_data_dirpath", "pages"], "sub/a.jsonl"), ([], "a.jsonl"):
        assert main([*command, *extra]) == 0
        lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "random_sampling_filter" in line]
        assert [line == "kept" for line in lines] == kept_as(name)
    assert kept_as("a.jsonl") != kept_as("sub/a.jsonl")
    assert main([*command, "--raw_data_dirpath", "other"]) == 2
    assert "does not lie in --raw_data_dirpath other" in capsys.readouterr().err
