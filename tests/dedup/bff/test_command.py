"""The script `dedup/bff`: DCLM's flags, its inputs, `--plan`, and one-line errors."""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys

import pytest

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import open_shard_writer, read_shard
from corpusmith.report.command import write_report
from corpusmith.run.ray.execution import add_execution_arguments
from dedup.bff import command as bff
from dedup.bff.command import find_inputs, main

ROOT = pathlib.Path(__file__).resolve().parents[3]
# the table of DCLM's flags, and ours
FLAGS = {
    *("--annotate", "--bloom-filter-file", "--expected-ngram-count", "--filtering-threshold", "--fp-rate", "--inputs"),
    *(
        "--max-ngram-size",
        "--min-ngram-size",
        "--no-progress-bar",
        "--no-save-bloom-filter",
        "--no-update-bloom-filter",
    ),
    *("--num-hashers", "--output-directory", "--remove-type", "--shard-num", "--substr-seqlen", "--threads", "-t"),
    *("--total-shards", "--content-key", "--overwrite", "--plan"),
}


def write(path: pathlib.Path, texts: list[str]) -> None:
    with open_shard_writer(str(path)) as writer:
        for text in texts:
            writer.write({"text": text})


def test_flags_and_defaults_are_those_of_dclm() -> None:
    parser = bff.build_parser()
    options = {option for action in parser._actions for option in action.option_strings}
    execution = argparse.ArgumentParser(add_help=False)
    add_execution_arguments(execution)
    shared = {option for action in execution._actions for option in action.option_strings}
    assert options - {"-h", "--help"} == FLAGS | shared
    arguments = parser.parse_args(["--inputs", "in", "--output-directory", "out"])
    assert (arguments.min_ngram_size, arguments.max_ngram_size, arguments.filtering_threshold) == (20, 20, 0.8)
    assert (arguments.substr_seqlen, arguments.remove_type, arguments.num_hashers) == (50, "paragraph", 0)
    assert (arguments.shard_num, arguments.total_shards, arguments.threads) == (0, 1, 0)


def test_modes_are_those_of_the_config() -> None:
    from dedup.bff.config import MODES

    assert set(bff.MODES) == set(MODES)


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_folders_and_files_go_to_the_output_under_their_names(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a" / "x" / "1.jsonl.zst", ["one two three", "four five six"])
    write(tmp_path / "b" / "2.jsonl", ["one two three", "seven eight nine"])
    command = ["bff", "--inputs", str(tmp_path / "a"), str(tmp_path / "b" / "2.jsonl")]
    command += ["--output-directory", str(tmp_path / "out"), "--min-ngram-size", "2", "--max-ngram-size", "3"]
    command += ["--bloom-filter-file", str(tmp_path / "f.bloom"), "-t", "2", "--no-progress-bar"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    # the file comes first: names are sorted
    assert [page["text"] for page in read_shard(str(tmp_path / "out" / "2.jsonl"))] == [
        "one two three",
        "seven eight nine",
    ]
    assert [page["text"] for page in read_shard(str(tmp_path / "out" / "x" / "1.jsonl.zst"))] == ["four five six"]
    assert "pages:  4 read = 3 kept + 1 removed + 0 set aside" in shown
    assert "text:   55 bytes seen, 13 removed (23.64 %)" in shown
    report = tmp_path / "run" / "out" / "report.html"
    assert f"report: {report}" in shown
    first = report.read_text()
    assert 'id="duplicates"' in first
    assert "one two three" in first
    assert write_report(str(tmp_path / "run" / "out")) == str(report)
    assert report.read_text() == first
    assert main(command) == 0
    assert "finished before" in capsys.readouterr().out
    changed = [*command[:-3], "--filtering-threshold", "0.5"]
    assert main(changed) == 2
    assert "filtering_threshold changed since this run was started: 0.8 before, 0.5 now" in capsys.readouterr().err


def test_plan_prints_memory_disk_and_rate_and_starts_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "in" / "1.jsonl", ["one two three " * 50] * 100)
    arguments = ["--inputs", str(tmp_path / "in"), "--output-directory", str(tmp_path / "out"), "--plan"]
    arguments += ["--expected-ngram-count", "1000000", "--fp-rate", "0.01", "--num_cpus", "2"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert re.search(r"filter of 1,236,\d{3} bytes \(6 hashes\) for 1,000,000 n-grams; .* rate 0\.01$", shown, re.M)
    assert re.search(
        r"^memory:  [\d,]+ bytes: filter 1,236,\d{3} \(in memory\), 2 workers and Ray [\d,]+$", shown, re.M
    )
    assert re.search(r"^disk:    [\d,]+ bytes of scratch while it runs", shown, re.M)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_sysreq_prints_size_and_hashers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sysreq", "--expected-ngram-count", "1000000", "--fp-rate", "0.001"]) == 0
    assert re.fullmatch(
        r"filter size: 1,93\d,\d{3} bytes, 9 hashers, expected false-positive rate 0\.0009999\n",
        capsys.readouterr().out,
    )


def test_shards_are_dealt_out_by_their_place_in_the_sorted_list(tmp_path: pathlib.Path) -> None:
    for name in ("b", "a", "d", "c", "e"):
        write(tmp_path / f"{name}.jsonl", ["x"])
    dealt = [[shard.name[0] for shard in find_inputs([str(tmp_path)], number, 2)] for number in range(2)]
    assert dealt == [["a", "c", "e"], ["b", "d"]]
    with pytest.raises(InputError, match=r"--shard-num must lie in \[0, --total-shards\), got 2 of 2"):
        find_inputs([str(tmp_path)], 2, 2)


def test_two_inputs_of_one_name_are_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "a" / "1.jsonl", ["x"])
    write(tmp_path / "b" / "1.jsonl", ["x"])
    with pytest.raises(InputError, match=r"would both be written to 1\.jsonl"):
        find_inputs([str(tmp_path / "a"), str(tmp_path / "b")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fp-rate", "2"], "error: --fp-rate: must lie in"),
        (["--min-ngram-size", "0"], "error: --min-ngram-size: with max_ngram_size it must satisfy"),
        (["--no-update-bloom-filter"], "error: --no-update-bloom-filter: give bloom_filter_file"),
        (["--inputs", "nothing-here"], "error: nothing-here: no such file"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_two(
    tmp_path: pathlib.Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "1.jsonl", ["x"])
    assert main(["--inputs", str(tmp_path), "--output-directory", str(tmp_path / "out"), *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


def test_help_is_instant_and_the_script_runs_by_path(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(ROOT / "dedup" / "bff"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: corpusmith dedup bff")
    code = (
        "import sys; from dedup.bff.command import build_parser; build_parser(); "
        "assert not {'numba', 'ray', 'numpy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
