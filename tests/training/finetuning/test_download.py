"""Instruction files: from rows of questions and answers, from the hub, and the script."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from corpusmith.errors import InputError
from tests.training.finetuning.making import script, write_rows
from training.finetuning.download import DownloadOptions, make_instruction_file


def test_questions_and_answers_become_instructions_and_responses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": "What is 2 + 2?", "expected_answer": "4", "generated_solution": "…"},
        {"question": "What is 3 / 2?", "expected_answer": 1.5},
        {"question": "No answer.", "expected_answer": None},
    ]
    source = write_rows(tmp_path / "train.jsonl", rows)
    output = tmp_path / "out.jsonl"
    command = ["--output", str(output), "--input-files", str(source)]
    assert script("download_data").main(command) == 0
    assert "2 examples of 3 rows (1 skipped)" in capsys.readouterr().out
    assert [orjson.loads(line) for line in output.read_bytes().splitlines()] == [
        {"instruction": "What is 2 + 2?", "response": "4"},
        {"instruction": "What is 3 / 2?", "response": "1.5"},
    ]
    assert script("download_data").main(command) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_download_goes_through_the_hub_and_its_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, str] = {}

    def snapshot(repo_id: str, repo_type: str, allow_patterns: str) -> str:
        asked.update(repo_id=repo_id, repo_type=repo_type, allow_patterns=allow_patterns)
        (tmp_path / "hub" / "correct_solutions").mkdir(parents=True)
        write_rows(tmp_path / "hub" / "correct_solutions" / "train.jsonl", [{"question": "Q", "expected_answer": "A"}])
        return str(tmp_path / "hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    counts = make_instruction_file(DownloadOptions(output=str(tmp_path / "out.jsonl")))
    assert counts == {"read": 1, "kept": 1, "skipped": 0}
    assert asked == {
        "repo_id": "nvidia/OpenMathInstruct-1", "repo_type": "dataset",
        "allow_patterns": "correct_solutions/train.jsonl",
    }  # fmt: skip

    def offline(**_: Any) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    assert script("download_data").main(["--output", str(tmp_path / "other.jsonl")]) == 1
    said = capsys.readouterr().err
    assert "no network" in said
    assert "--input-files" in said
    assert said.count("\n") == 1
    assert not os.path.exists(tmp_path / "other.jsonl")


def test_rows_without_the_keys_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": "page"}])
    with pytest.raises(InputError, match="--instruction-key"):
        make_instruction_file(DownloadOptions(output=str(tmp_path / "o.jsonl"), input_files=(str(source),)))
    assert not (tmp_path / "o.jsonl").exists()
