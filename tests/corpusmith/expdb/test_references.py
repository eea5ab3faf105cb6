"""The experiment database: references keep what they were given, and links are found by uuid."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from corpusmith.errors import InputError
from corpusmith.expdb import references as expdb


def model(**changes: object) -> expdb.ModelReference:
    values: dict[str, object] = {
        "name": "m",
        "dataset_name": "d",
        "dataset_uuid": "u",
        "hyperparameters": {"lr": 1e-3},
        "checkpoint_url": "c/epoch_1.pt",
        "open_lm_version": "0.0.34",
        "open_lm_args": ["--lr", "0.001"],
        "results": [],
        "params_url": "c/params.txt",
    }
    return expdb.ModelReference(**{**values, **changes})  # type: ignore[arg-type]


def test_two_references_of_one_process_have_their_own_uuids() -> None:
    assert model().uuid != model().uuid
    assert expdb.DatasetReference(name="a").uuid != expdb.DatasetReference(name="a").uuid


def test_every_field_has_a_place_in_the_written_order() -> None:
    assert {f.name for f in fields(expdb.ModelReference)} == {*expdb._MODEL_ORDER, "extra"}
    assert {f.name for f in fields(expdb.DatasetReference)} == {*expdb._DATASET_ORDER, "extra"}


def test_model_json_has_the_thirteen_keys_in_order() -> None:
    assert list(expdb.to_json(model())) == [
        "name", "dataset_name", "dataset_uuid", "hyperparameters", "checkpoint_url", "open_lm_version", "open_lm_args",
        "results", "params_url", "uuid", "creation_date", "failed", "error",
    ]  # fmt: skip


def test_dataset_json_has_the_keys_of_the_example_in_order() -> None:
    row = expdb.to_json(expdb.DatasetReference(name="toy", tokenized=True))
    assert list(row) == [
        "uuid", "name", "creation_date", "dataset_url", "manifest_url", "sources", "tokenized", "tokenizer",
        "num_tokens", "size", "dcnlp_commit_hash", "dcnlp_diff", "data_key", "sampling_yaml",
    ]  # fmt: skip


def test_untokenized_json_has_no_sampling_yaml() -> None:
    assert "sampling_yaml" not in expdb.to_json(expdb.DatasetReference(name="toy"))


def test_unknown_keys_are_kept_and_written_back(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    row = expdb.to_json(model()) | {"my_key": [1, 2]}
    path.write_text(json.dumps(row))
    reference = expdb.load_model_reference(str(path))
    assert reference.extra == {"my_key": [1, 2]}
    assert expdb.to_json(reference) == row


def test_written_reference_reads_back_equal_and_has_indent_four(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "m.json"
    expdb.write_reference(model(uuid="x"), str(path))
    assert expdb.load_model_reference(str(path)).uuid == "x"
    assert path.read_text().startswith('{\n    "name": "m"')


def test_existing_reference_is_never_overwritten_unasked(tmp_path: Path) -> None:
    path = str(tmp_path / "m.json")
    expdb.write_reference(model(uuid="first"), path)
    with pytest.raises(InputError, match="exists"):
        expdb.write_reference(model(uuid="second"), path)
    assert expdb.load_model_reference(path).uuid == "first"
    expdb.write_reference(model(uuid="second"), path, overwrite=True)
    assert expdb.load_model_reference(path).uuid == "second"


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.json"):
        expdb.load_dataset(str(path))


def test_missing_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"name": "t", "tokenized": true, "sources": []}')
    with pytest.raises(InputError, match=r"'num_tokens'.*'manifest_url'"):
        expdb.load_dataset(str(path))


def test_missing_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json"):
        expdb.load_model_reference(str(tmp_path / "none.json"))


def test_kinds_have_the_folders_of_dclm() -> None:
    assert expdb.reference_path("exp_data", "raw_sources", "n") == "exp_data/datasets/raw_sources/n.json"
    assert expdb.reference_path("exp_data", "tokenized", "n") == "exp_data/datasets/tokenized/n.json"
    assert expdb.reference_path("exp_data", "models", "n") == "exp_data/models/n.json"
    assert expdb.reference_path("exp_data", "failed_models", "n") == "exp_data/failed_models/n.json"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        expdb.reference_path("exp_data", "models", name)


def test_rows_are_found_by_uuid_and_key(tmp_path: Path) -> None:
    database = str(tmp_path)
    for name, tokenized in (("b", True), ("a", False)):
        reference = expdb.DatasetReference(name=name, tokenized=tokenized, uuid=f"uuid-{name}", dataset_url="same")
        kind = "tokenized" if tokenized else "untokenized"
        expdb.write_reference(reference, expdb.reference_path(database, kind, name))
    found = expdb.find_by_uuid(database, "datasets", "uuid-b")
    assert found is not None
    assert found[1]["name"] == "b"
    assert expdb.find_by_uuid(database, "tokenized", "uuid-a") is None
    untokenized = expdb.find_dataset(database, "dataset_url", "same", tokenized=False)
    assert untokenized is not None
    assert untokenized[1]["name"] == "a"
    assert expdb.find_dataset(database, "dataset_url", "other") is None
    assert expdb.read_table(database, "evals") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("uuid==abc", False),
        ("uuid==abc-1", True),
        ("uuid=abc", True),
        ("name=a.b", True),
        ("name=^a<b$", True),
        ("hyperparameters.tokens>8B", True),
        ("hyperparameters.tokens>=8.2B", True),
        ("hyperparameters.tokens<1T", True),
        ("hyperparameters.tokens<=8M", False),
        ("absent==x", False),
        ("name>3", False),
        ("failed==False", True),
    ],
)
def test_filters_select_rows(text: str, expected: bool) -> None:
    row = {"uuid": "abc-1", "name": "a<b", "failed": False, "hyperparameters": {"tokens": 8_200_000_000}}
    assert expdb.parse_filter(text).matches(expdb.flatten(row)) is expected


@pytest.mark.parametrize("text", ["name", "=x", "lr>fast", "name=("])
def test_bad_filters_are_named(text: str) -> None:
    with pytest.raises(InputError, match="filter"):
        expdb.parse_filter(text)


def test_git_state_is_a_commit_and_a_diff_or_nothing() -> None:
    commit, diff = expdb.git_state()
    assert isinstance(diff, str)
    assert commit == "" or len(commit) in (40, 64)


def test_published_references_survive_reading_and_writing(shared_data: Path) -> None:
    samples = shared_data / "exp_data_samples"
    for path in sorted(samples.glob("models/*.json")):
        row = json.loads(path.read_text())
        assert expdb.to_json(expdb.load_model_reference(str(path))).items() >= row.items()
    for path in sorted(samples.glob("datasets/tokenized/*.json")):
        row = json.loads(path.read_text())
        assert expdb.to_json(expdb.load_dataset(str(path))) == row
