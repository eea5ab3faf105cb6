"""Tables of the experiment database: joins, filters, and what is written of them."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from corpusmith.errors import InputError
from corpusmith.expdb import command as expdb_command
from corpusmith.expdb import output as expdb_output
from corpusmith.expdb.tables import FLOPS, SOURCE, Table, View, load_table, table_names

ROOT = Path(__file__).resolve().parents[3]
UUIDS = {
    name: f"{number:08d}-0000-4000-8000-000000000000" for number, name in enumerate(("d", "m", "n", "e", "f", "g"))
}


def put(folder: Path, name: str, /, **document: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """One data set, a model on it, a model on one that is gone, and three evaluations, one of a foreign model."""
    root = tmp_path / "exp_data"
    put(root / "datasets" / "tokenized", "d", uuid=UUIDS["d"], name="d", tokenizer="neox", num_tokens=2049)
    sizes = {"params": 400_000_000, "tokens": 8_000_000_000}
    put(
        root / "models",
        "m",
        uuid=UUIDS["m"],
        name="m",
        dataset_uuid=UUIDS["d"],
        dataset_name="old",
        hyperparameters=sizes,
    )
    put(root / "models", "n", uuid=UUIDS["n"], name="n", dataset_uuid="gone", dataset_name="kept", hyperparameters={})
    evaluation = {"eval_metrics": {"icl": {"copa": 0.5}}, "model": "open_lm"}
    put(root / "evals", "e", uuid=UUIDS["e"], model_uuid=UUIDS["m"], Core_v2=0.25, Extended_v2="N/A", **evaluation)
    put(root / "evals", "f", uuid=UUIDS["f"], model_uuid=UUIDS["n"], Core_v2=0.5, **evaluation)
    put(root / "evals", "g", uuid=UUIDS["g"], Core_v2=0.75, model="foreign|</script>")
    return root


def rows(database: Path, table: str, *filters: str, **view: Any) -> list[dict[str, Any]]:
    return load_table(str(database), View(table=table, filters=filters, **view)).rows


def test_a_models_data_set_is_shown_by_its_name_and_a_dead_link_keeps_what_was_stored(database: Path) -> None:
    first, second = rows(database, "models")
    assert (first["dataset_name"], second["dataset_name"]) == ("d", "kept")
    assert "dataset_uuid" not in first
    assert first[FLOPS] == 6 * 400e6 * 8e9
    assert FLOPS not in second


def test_an_evaluation_is_joined_with_its_model_and_the_models_data_set(database: Path) -> None:
    one, two, foreign = rows(database, "evals")
    assert one["dataset_name"] == "old"  # as the model's record has it
    assert one["tokenizer"] == "neox"
    assert one["hyperparameters.tokens"] == 8_000_000_000
    assert one["eval_metrics.icl.copa"] == 0.5
    assert two["dataset_name"] == "kept"
    assert "tokenizer" not in two
    assert "hyperparameters.tokens" not in foreign


def test_rows_know_their_file_and_folders(database: Path) -> None:
    (row,) = rows(database, "datasets")
    assert row[SOURCE].endswith("datasets/tokenized/d.json")
    assert row["partition_key_1"] == "tokenized"
    assert table_names(str(database)) == ["datasets", "evals", "models"]


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("Core_v2>0.25", 2),
        ("Core_v2>=0.25", 3),
        ("hyperparameters.tokens>=8B", 1),
        ("hyperparameters.params<0.4B", 0),
        ("model=open", 2),
        ("model==open", 0),
        (f"uuid=={UUIDS['e']}", 1),
        ("Extended_v2=N/A", 1),
    ],
)
def test_filters_choose_rows(database: Path, condition: str, count: int) -> None:
    assert len(rows(database, "evals", condition)) == count


def test_columns_stay_in_the_order_asked_for_and_rows_in_that_of_a_column(database: Path) -> None:
    view = View(table="evals", columns=("model", "Core_v2"), sort_by="Core_v2", max_rows=2)
    table = load_table(str(database), view)
    assert table.columns == ["model", "Core_v2"]
    assert [row["Core_v2"] for row in table.rows] == [0.75, 0.5]
    leading = load_table(str(database), View(table="evals", leading_columns=("^Core", "copa")))
    assert leading.columns[:2] == ["Core_v2", "eval_metrics.icl.copa"]
    assert len(leading.columns) == len(set(leading.columns))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(table="modles"), "no table 'modles'; did you mean 'models'"),
        (View(table="evals", columns=("Core_v",)), "no column 'Core_v'; did you mean 'Core_v2'"),
        (View(table="evals", sort_by="x"), "no column 'x'"),
        (View(table="evals", leading_columns=("(",)), "leading_columns"),
        (View(table="evals", filters=("Core",)), "filter 'Core'"),
    ],
)
def test_faults_are_named(database: Path, view: View, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_table(str(database), view)
    with pytest.raises(InputError, match="no such folder"):
        load_table(str(database / "none"), view)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("hyperparameters.params", 1_439_795_200, "1.44B"),
        ("num_tokens", 2049, "2.049K"),
        ("hyperparameters.tokens", 12, "12"),
        ("Core_v2", 0.158193, "0.1582"),
        ("size", 3456789, "3456789"),
        ("failed", False, "False"),
        ("note", None, ""),
        ("sources", [{"name": "d"}], '[{"name": "d"}]'),
    ],
)
def test_cells_are_shown_for_people(column: str, value: Any, text: str) -> None:
    assert expdb_output.shown(column, value) == text


def test_csv_holds_all_values_in_full(database: Path) -> None:
    table = load_table(str(database), View(table="evals"))
    read = list(csv.DictReader(io.StringIO(expdb_output.to_csv(table))))
    assert list(read[0]) == table.columns
    assert [row["Core_v2"] for row in read] == ["0.25", "0.5", "0.75"]
    assert read[2]["tokenizer"] == ""


def test_markdown_escapes_what_would_end_a_cell(database: Path) -> None:
    text = expdb_output.to_markdown(load_table(str(database), View(table="evals", columns=("model", "Core_v2"))))
    assert text.splitlines() == [
        "| model | Core_v2 |",
        "|---|---|",
        "| open_lm | 0.25 |",
        "| open_lm | 0.5 |",
        "| foreign\\|</script> | 0.75 |",
    ]


def test_the_page_is_self_contained_and_no_value_ends_its_script(database: Path) -> None:
    page = expdb_output.to_html(load_table(str(database), View(table="evals")), "evals")
    assert page.count("</script>") == 2
    assert "http" not in page.replace("http-equiv", "")
    data = json.loads(re.search(r'<script type="application/json" id="table">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert data["rows"][2][[c["name"] for c in data["columns"]].index("model")] == "foreign|</script>"
    assert data["columns"][0]["name"] == SOURCE
    assert {c["header"] for c in data["columns"]} >= {"icl.copa", "params"}
    expdb_output.to_html(Table(columns=["x"], rows=[{"x": float("nan")}]), "t")


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_plot_shows_what_has_compute_and_names_the_rest(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, begins: bytes
) -> None:
    picture = tmp_path / f"p.{suffix}"
    command = ["--database_path", str(database), "--table", "evals", "--plot", str(picture)]
    assert expdb_command.main(command) == 0
    assert picture.read_bytes().startswith(begins)
    out = capsys.readouterr().out
    assert out.count("not plotted") == 2
    assert "not plotted, without compute or Core_v2: foreign" in out
    assert expdb_command.main([*command, "--plot_column", "Extended_v2"]) == 2
    assert expdb_command.main([*command[:-1], str(tmp_path / "p.docx")]) == 2


def test_the_script_of_dclms_name_shows_a_table(database: Path, tmp_path: Path) -> None:
    outputs = [f"--output_{kind}={tmp_path / f't.{kind}'}" for kind in ("csv", "md", "html")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "expdb.py"), "--database_path", str(database), *outputs],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["name", "dataset_name", "params", "tokens", "uuid"]
    assert lines[1].split()[:4] == ["m", "d", "400M", "8B"]
    assert all((tmp_path / f"t.{kind}").stat().st_size for kind in ("csv", "md", "html"))


def test_the_published_samples_are_one_table(shared_data: Path) -> None:
    samples = str(shared_data / "exp_data_samples")
    table = load_table(samples, View(table="evals", sort_by="Core_v2"))
    cores = [round(row["Core_v2"], 6) for row in table.rows]
    assert cores == [0.557399, 0.472996, 0.287592, 0.247077, 0.211287, 0.158193]
    named = {row["uuid"][:8]: row for row in table.rows}
    expected = {
        "8a355ca9": (0.180358, 0.158193, 0.097837, 0.075289, 0.296477),
        "1c823d81": (0.237446, 0.211287, 0.125411, 0.101194, 0.318470),
        "7349a753": (0.273088, 0.247077, "N/A", "N/A", 0.354371),
        "c8cb5777": (0.312672, 0.287592, 0.164363, 0.140792, 0.350272),
        "4fdcb23f": (0.488544, 0.472996, 0.318433, 0.302748, 0.461768),
        "91de4047": (0.569515, 0.557399, 0.451362, 0.439938, 0.569365),
    }
    keys = ("Core_v1", "Core_v2", "Extended_v1", "Extended_v2", "aggregated_results")
    for uuid, values in expected.items():
        for key, value in zip(keys, values, strict=True):
            found = named[uuid][key]
            assert found.startswith("N/A") if value == "N/A" else found == pytest.approx(value, abs=5e-7), (uuid, key)
    assert "model_uuid" not in named["91de4047"]
    assert named["c8cb5777"]["tokenizer"] == "EleutherAI/gpt-neox-20b"
    assert len(load_table(samples, View(table="models")).rows) == 5
