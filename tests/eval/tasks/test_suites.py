"""Suites and rows: what is read, and errors that name file, line and key."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from corpusmith.errors import ConfigError, InputError
from eval.results.aggregation import load_facts
from eval.tasks import suites as tasks
from eval.tasks.suites import (
    LanguageModelingRow,
    MultipleChoiceRow,
    Row,
    SchemaRow,
    Task,
    find_suite,
    load_suite,
    read_rows,
    split_categories,
)

EVAL_FOLDER = Path(tasks.__file__).parents[1]


def suite_file(folder: Path, entry: str, header: str = "") -> str:
    path = folder / "suite.yaml"
    path.write_text(f"{header}icl_tasks:\n{entry}")
    return str(path)


def entry(**changes: str) -> str:
    keys = {"label": "t", "dataset_uri": "t.jsonl", "num_fewshot": "[0]", "icl_task_type": "language_modeling"}
    lines = [f"{key}: {value}" for key, value in (keys | changes).items() if value]
    return "  - " + "\n    ".join(lines) + "\n"


def rows_of(folder: Path, kind: str, *lines: str) -> list[Row]:
    path = folder / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return read_rows(Task(label="t", data_url=str(path), task_type=kind, num_fewshot=(0,)))  # type: ignore[arg-type]


def test_a_suite_has_the_defaults_of_upstream(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    suite = load_suite(suite_file(tmp_path, entry()))
    assert suite.name == "suite"
    assert suite.max_seq_len == 2048
    assert suite.tasks == (
        Task(
            label="t",
            data_url=str(tmp_path / "t.jsonl"),
            task_type="language_modeling",
            num_fewshot=(0,),
            has_categories=False,
            prompt_string="",
            prelimiter="",
            example_delimiter="\n",
            continuation_delimiter=" ",
            cot_delimiter="",
            early_stopping_criteria=(),
            do_normalization=True,
            fewshot_random_seed=1234,
            max_seq_len=2048,
        ),
    )


def test_a_given_seed_becomes_every_tasks_fewshot_seed(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    path = suite_file(tmp_path, entry())
    suite = load_suite(path)
    assert load_suite(path, fewshot_seed=7).tasks == (replace(suite.tasks[0], fewshot_random_seed=7),)


def test_question_prelimiter_is_the_old_name_of_prelimiter(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    assert load_suite(suite_file(tmp_path, entry(question_prelimiter="'Q: '"))).tasks[0].prelimiter == "Q: "
    with pytest.raises(ConfigError, match="question_prelimiter"):
        load_suite(suite_file(tmp_path, entry(question_prelimiter="'Q: '", prelimiter="'Q: '")))


def test_question_answering_is_the_old_name_of_generation_with_answers(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    (task,) = load_suite(suite_file(tmp_path, entry(icl_task_type="question_answering"))).tasks
    assert task.task_type == "generation_task_with_answers"


def test_tasks_without_their_data_are_listed_as_missing(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("{}\n")
    body = entry(dataset_uri="local_data/there.jsonl") + entry(label="u", dataset_uri="gone.jsonl")
    suite = load_suite(suite_file(tmp_path, body))
    assert [task.label for task in suite.tasks] == ["t"]
    assert [task.label for task in suite.missing] == ["u"]


@pytest.mark.parametrize(
    ("changes", "header", "message"),
    [
        ({"lable": "x"}, "", r"suite\.yaml:6: icl_tasks\[0\]\.lable: unknown key.*'label'"),
        ({"num_fewshot": "three"}, "", r"suite\.yaml:4: icl_tasks\[0\]\.num_fewshot"),
        ({"num_fewshot": "[-1]"}, "", r"num_fewshot"),
        ({"num_fewshot": "[]"}, "", r"num_fewshot"),
        ({"icl_task_type": "multiple_choices"}, "", r"suite\.yaml:5: .*did you mean 'multiple_choice'"),
        ({"icl_task_type": "code_evaluation"}, "", r"unsupported task type 'code_evaluation'"),
        ({"dataset_uri": ""}, "", r"dataset_uri"),
        ({"early_stopping_criteria": '["("]'}, "", r"early_stopping_criteria.*regular expression"),
        ({}, "max_seq_length: 3\n", r"suite\.yaml:1: max_seq_length: unknown key.*'max_seq_len'"),
        ({}, "max_seq_len: 0\n", r"max_seq_len must be a whole number of at least 1"),
    ],
)
def test_faults_in_a_suite_name_file_line_and_key(
    tmp_path: Path, changes: dict[str, str], header: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_suite(suite_file(tmp_path, entry(**changes), header))


def test_a_suite_must_list_tasks(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for text in ("[]", "icl_tasks: []", "seed: 1"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="icl_tasks"):
            load_suite(str(path))


def test_top_level_strings_are_stripped_and_members_of_lists_are_not(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, "multiple_choice", '{"query": " q ", "choices": [" a", "b "], "gold": 1}')
    assert row == MultipleChoiceRow("q", (" a", "b "), 1)
    (row,) = rows_of(tmp_path, "language_modeling", '{"context": " c", "continuation": "d ", "more": 1}')
    assert row == LanguageModelingRow("c", "d")
    (row,) = rows_of(tmp_path, "schema", '{"context_options": ["a ", "b"], "continuation": " c", "gold": 0}')
    assert row == SchemaRow(("a ", "b"), "c", 0)


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("language_modeling", '{"context": "c"}', "lacks 'continuation'"),
        ("language_modeling", '{"context": 3, "continuation": "x"}', "'context' must be a string, got int"),
        ("multiple_choice", '{"query": "q", "choices": ["a"], "gold": 1}', "'gold' is 1, but there are 1 choices"),
        ("multiple_choice", '{"query": "q", "choices": "ab", "gold": 0}', "'choices' must be a list of strings"),
        ("multiple_choice", '{"query": "q", "choices": ["a"], "gold": true}', "'gold' must be a whole number"),
        ("schema", '{"context_options": ["a"], "continuation": "c"}', "lacks 'gold'"),
        ("generation_task_with_answers", '{"context": "c"}', "lacks 'answer'"),
        ("language_modeling", "{", "not a JSON object"),
        ("language_modeling", "[]", "must be a JSON object, found list"),
    ],
)
def test_faults_in_rows_name_file_line_and_key(tmp_path: Path, kind: str, line: str, message: str) -> None:
    good = {
        "language_modeling": '{"context": "c", "continuation": "x"}',
        "multiple_choice": '{"query": "q", "choices": ["a"], "gold": 0}',
        "schema": '{"context_options": ["a"], "continuation": "c", "gold": 0}',
        "generation_task_with_answers": '{"context": "c", "answer": "x"}',
    }
    with pytest.raises(InputError, match=rf"rows\.jsonl:2: .*{message}"):
        rows_of(tmp_path, kind, good[kind], line)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        rows_of(tmp_path, "language_modeling")


def test_categories_are_parts_sorted_by_name_in_file_order() -> None:
    kind = Task(label="t", data_url="f", task_type="language_modeling", num_fewshot=(0,), has_categories=True)
    rows: list[Row] = [LanguageModelingRow(text, "x", category) for text, category in zip("abc", "yxy", strict=True)]
    parts = split_categories(kind, rows)
    assert parts == [("x", [rows[1]]), ("y", [rows[0], rows[2]])]
    assert split_categories(replace(kind, has_categories=False), rows) == [(None, rows)]
    with pytest.raises(InputError, match="row 4 lacks 'category'"):
        split_categories(kind, [*rows, LanguageModelingRow("d", "x")])


def test_heavy_lists_the_53_tasks_of_the_metadata_in_order(tmp_path: Path) -> None:
    suite = load_suite(str(EVAL_FOLDER / "heavy.yaml"), [str(tmp_path)])
    assert [task.label for task in suite.missing] == [task.label for task in load_facts().tasks]


@pytest.mark.parametrize(
    ("name", "size"),
    [("light", 2), ("medium", 12), ("mmlu_and_lowvar", 23), ("cot_fix_plus_gpq", 6), ("cot_fix_plus_gpq_triviaqa", 7)],
)
def test_smaller_suites_are_parts_of_heavy(tmp_path: Path, name: str, size: int) -> None:
    heavy = {task.label: task for task in load_suite(str(EVAL_FOLDER / "heavy.yaml"), [str(tmp_path)]).missing}
    suite = load_suite(str(EVAL_FOLDER / f"{name}.yaml"), [str(tmp_path)])
    assert len(suite.missing) == size
    assert all(heavy[task.label] == task for task in suite.missing)


def test_heavy_says_of_each_task_what_the_table_beside_the_data_says(shared_data: Path, tmp_path: Path) -> None:
    with (shared_data / "eval_data" / "tasks.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    tasks_found = load_suite(str(EVAL_FOLDER / "heavy.yaml"), [str(tmp_path)]).missing
    assert len(table) == 53
    for row, found in zip(table, tasks_found, strict=True):
        assert found.label == row["label"]
        assert found.task_type == row["type"]
        assert found.num_fewshot == (int(row["num_fewshot"]),)
        assert found.data_url.removeprefix("local_data/") == row["data_file"]
    facts = {task.label: (task.category, task.baseline_v1, task.baseline_v2) for task in load_facts().tasks}
    assert facts == {
        row["label"]: (row["category"], float(row["random_baseline_v1"]), float(row["random_baseline_v2"]))
        for row in table
    }


def test_every_task_of_the_sample_data_is_read(shared_data: Path) -> None:
    suite = load_suite(str(EVAL_FOLDER / "heavy.yaml"), [str(shared_data / "eval_data")])
    assert (len(suite.tasks), len(suite.missing)) == (43, 10)
    rows = {
        task.label: len(read_rows(task)) for task in suite.tasks if task.label in ("arc_challenge", "boolq", "copa")
    }
    assert rows == {"arc_challenge": 1172, "boolq": 3270, "copa": 100}
    jeopardy = next(task for task in suite.tasks if task.label == "jeopardy")
    sizes = [len(part) for _, part in split_categories(jeopardy, read_rows(jeopardy))]
    assert sorted(sizes) == [365, 373, 413, 476, 490]


def test_built_in_suites_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_suite("eval/heavy.yaml") == find_suite("heavy.yaml") == str(EVAL_FOLDER / "heavy.yaml")
    (tmp_path / "heavy.yaml").write_text("")
    assert find_suite("heavy.yaml") == "heavy.yaml"
    with pytest.raises(InputError, match=r"hevy\.yaml: no such evaluation YAML; did you mean 'heavy\.yaml'"):
        find_suite("hevy.yaml")


def test_the_sample_suite_has_each_type_and_balanced_golds() -> None:
    suite = load_suite(str(EVAL_FOLDER / "sample.yaml"))
    assert not suite.missing
    assert {task.task_type for task in suite.tasks} == set(tasks.TASK_TYPES)
    for task in suite.tasks:
        rows = read_rows(task)
        assert 20 <= len(rows) <= 40
        golds = [row.gold for row in rows if isinstance(row, (MultipleChoiceRow, SchemaRow))]
        if golds:
            shares = [golds.count(gold) / len(golds) for gold in set(golds)]
            assert max(shares) <= min(shares) + 0.15
