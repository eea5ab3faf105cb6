"""`mix suggest`, `mix show` and `mix bench` from the command line: tables in, proposals, reports and rows out."""

from __future__ import annotations

import csv
import json
import pathlib

import numpy as np
import pytest

from corpusmith.cli import main
from mixing.bench.command import note_run, parse_seeds
from mixing.search.mixtures.run_tables import read_runs, write_runs
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.sampler import Sampler
from tests.mixing.conftest import plain_score, small_space

NAMES = small_space().names


def write_csv(path: pathlib.Path, head: list[str], rows: list[list[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


def tables(folder: pathlib.Path, count: int = 30) -> tuple[str, str, str]:
    """A prior, and a pair of tables as Olmix writes them, with losses in another order of rows."""
    weights = Sampler().draw(small_space(), count, np.random.default_rng(0))
    ratios = [[f"run{row}", *map(float, weight)] for row, weight in enumerate(weights)]
    metrics = [[f"run{row}", -plain_score(weight)] for row, weight in enumerate(weights)]
    (folder / "prior.json").write_text(
        json.dumps({"web": 30, "books": 20, "code": 20, "wiki": 15, "math": 10, "talk": 5})
    )
    pair = (
        write_csv(folder / "ratios.csv", ["run", *NAMES], ratios),
        write_csv(folder / "metrics.csv", ["run", "loss"], metrics[::-1]),
    )
    return (str(folder / "prior.json"), *pair)


def suggest(folder: pathlib.Path, *more: str) -> list[str]:
    prior, ratios, metrics = tables(folder)
    return [
        *("mix", "suggest", "--runs", ratios, metrics, "--prior", prior, "--metric", "loss", "--better", "lower"),
        *("-n", "5", *more),
    ]


def test_a_pair_of_tables_gives_proposals_an_answer_and_a_report(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(suggest(tmp_path, "--output", str(out))) == 0
    shown = capsys.readouterr().out
    assert "5 mixtures to measure next:" in shown
    assert "answer after 30 runs, better than natural" in shown
    with (out / "proposals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert all(sum(float(row[name]) for name in NAMES) == pytest.approx(1) for row in rows)
    answer = json.loads((out / "answer.json").read_text())
    assert plain_score(answer["groups"]) > plain_score(answer["best_measured"]["groups"])
    assert answer["predicted"]["answer"] == pytest.approx(-plain_score(answer["groups"]), abs=0.5)
    assert main(["mix", "show", str(out)]) == 0
    assert "30 runs, better than natural" in capsys.readouterr().out
    found = json.loads((out / "report.json").read_text())
    assert found["fit"]["spearman"] > 0.9
    assert set(found["answer"]) == set(NAMES)
    assert found["sensitivity"]["web"]["removed"] < 0
    assert found["best_so_far"] == sorted(found["best_so_far"], reverse=True)
    page = (out / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_the_same_tables_give_the_same_bytes_whatever_the_folder(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b"):
        assert main(suggest(tmp_path, "--output", str(tmp_path / name))) == 0
    for file in ("proposals.csv", "answer.json", "runs.parquet", "search.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_without_runs_a_first_round_is_proposed(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    prior, *_ = tables(tmp_path)
    assert main(["mix", "suggest", "--prior", prior, "-n", "9"]) == 0
    assert "9 mixtures to measure next:" in capsys.readouterr().out


def test_our_own_table_is_read_back(tmp_path: pathlib.Path) -> None:
    _, ratios, metrics = tables(tmp_path)
    objective = Objective(tasks=("loss",), better="lower")
    runs = read_runs([ratios, metrics], NAMES, objective)
    write_runs(str(tmp_path / "runs.parquet"), runs)
    again = read_runs([str(tmp_path / "runs.parquet")], NAMES, objective)
    assert np.array_equal(runs.weights, again.weights)
    assert np.array_equal(runs.scores, again.scores)
    assert np.array([-plain_score(row) for row in runs.weights]) == pytest.approx(runs.scores[:, 0])


def test_epochs_come_from_tokens_and_target(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("search:\n  caps: {target_tokens: 200, max_epochs: 4}\n")
    out = tmp_path / "out"
    assert main(suggest(tmp_path, "--config", str(tmp_path / "c.yaml"), "--output", str(out))) == 0
    assert main(["mix", "show", str(out)]) == 0
    found = json.loads((out / "report.json").read_text())
    assert found["epochs"]["web"] == pytest.approx(found["answer"]["web"] * 200 / 30)
    assert max(found["epochs"].values()) <= 4
    capsys.readouterr()


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("search:\n  strategy: climp\n", r"c.yaml:2: search.strategy: no strategy 'climp'; did you mean 'climb'?"),
        ("search:\n  budjet: 9\n", r"c.yaml:2: search.budjet: unknown key; did you mean 'budget'?"),
        ("search:\n  rounds: [4, 8]\n", "c.yaml:2: search.rounds: the first round must have at least 8 runs"),
        ("search:\n  sampler: {strength: [5, 1]}\n", "c.yaml:2: search.sampler: strength must be two numbers"),
        ("search:\n  mode: fast\n", "mode must be thompson, robust or paper"),
        ("search:\n  caps: {target_tokens: 1e12}\n", "c.yaml:2: search.caps.target_tokens"),
        ("search:\n  caps: {target_tokens: 1000000}\n", "raise max_epochs to 1e+04"),
        ("search: {objective: {better: bigger}}\n", "better must be 'higher' or 'lower'"),
        ("search: {strategy: 'nowhere:Mine'}\n", "no module 'nowhere'"),
    ],
)
def test_a_wrong_configuration_is_one_line_with_file_line_and_key(
    yaml: str, message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(yaml)
    assert main(suggest(tmp_path, "--config", str(tmp_path / "c.yaml"))) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        (["run", *NAMES[:-1]], ["r", 1, 0, 0, 0, 0], "no column for the group 'talk'"),
        (["run", *NAMES], ["run0", 0.5, 0, 0, 0, 0, 0.1], "row 1: weights must be at least 0 and add up to 1"),
        (["run", *NAMES], ["run0", "x", 0, 0, 0, 0, 1], "row 1: web: expected a number, got 'x'"),
        (["run", *NAMES], ["missing", 1, 0, 0, 0, 0, 0], "no scores for run 'missing'"),
        (["other", *NAMES], ["r", 1, 0, 0, 0, 0, 0], "none of the columns index, run, id, name in common"),
    ],
)
def test_a_wrong_table_is_one_line_with_what_to_change(
    head: list[str], row: list[object], message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = suggest(tmp_path)
    write_csv(tmp_path / "ratios.csv", head, [row])
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (["nan"] * 30, "nan is no score; leave runs that failed out"),
        (["2.5"] * 30, "the score 'loss' is the same, -2.5, in all 30 runs"),
    ],
)
def test_scores_that_cannot_be_learned_from_are_one_line(
    scores: list[str], message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = suggest(tmp_path)
    write_csv(tmp_path / "metrics.csv", ["run", "loss"], [[f"run{row}", score] for row, score in enumerate(scores)])
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


# --- mix bench -----------------------------------------------------------------------------------------------------


def test_the_bench_writes_its_rows_and_takes_a_strategy_of_the_users_own(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_search.py").write_text(
        "from mixing.search.strategies.base import Answer\n"
        "class Natural:\n"
        "    def rounds(self, budget, parallel): return ()\n"
        "    def ask(self, space, runs, count, rng): return space.snap(space.prior)\n"
        "    def answer(self, space, runs, rng): return Answer(weights=space.snap(space.prior)[0])\n"
    )
    arguments = [
        "mix",
        "bench",
        "--seeds",
        "0:1",
        "--methods",
        "my_search:Natural,natural,uniform,random,mixmin,doremi",
    ]
    arguments += ["--families", "law", "--modules", str(tmp_path), "--json", str(tmp_path / "rows.json")]
    assert main([*arguments, "--budget", "24"]) == 0
    document = json.loads((tmp_path / "rows.json").read_text())
    rows = {row["method"]: row for row in document["rows"]}
    assert {"family", "method", "mean", "low", "high", "q10", "seeds"} <= set(rows["random"])
    assert rows["my_search:Natural"]["mean"] == rows["natural"]["mean"]
    assert rows["uniform"]["mean"] == pytest.approx(0.0, abs=0.01)
    assert rows["random"]["low"] <= rows["random"]["mean"] <= rows["random"]["high"] <= 1
    assert {row["other"] for row in document["paired"]} == set(rows) - {"my_search:Natural"}
    assert "law  random" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "5"], "expected A:B"),
        (["--methods", "climbb"], "no strategy 'climbb'; did you mean 'climb'?"),
        (["--methods", "climb@x"], "expected rounds as in climb@64:32:16"),
        (["--families", "lawn"], "no family 'lawn'"),
        (["--families", "pool-cc", "--tables", "/nowhere"], "give the folder of RegMix's tables with --tables"),
        (["--budget", "3"], "--budget must be at least 8"),
    ],
)
def test_wrong_arguments_of_the_bench_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mix", "bench", "--seeds", "0:1", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_runs_on_the_seeds_of_reports_note_themselves(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log.md"
    log.write_text("# Log\n")
    rows = [{"family": "law", "method": "climb", "mean": 0.5, "q10": 0.25}]
    note_run(parse_seeds("0:20"), 112, rows, log)
    assert log.read_text() == "# Log\n"
    note_run(parse_seeds("100:120"), 112, rows, log)
    assert "seeds 100:120, budget 112: law  climb 0.500 (10 %: 0.250)" in log.read_text()
