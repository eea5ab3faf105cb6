"""Evaluation JSONs, and the way from the database of models to them."""

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from corpusmith.errors import InputError
from corpusmith.expdb import references as expdb
from eval import eval_expdb, eval_openlm_ckpt
from eval.database import ModelSelection, Settings, output_url, select_models
from eval.evaluate import evaluation_document, summary_lines
from tests.eval.making import SAMPLE, write_checkpoint, write_short_sample, write_tokenizer

SAMPLE_LABELS = ["sample_language_modeling", "sample_multiple_choice", "sample_schema", "sample_generation"]


def test_an_evaluation_has_the_keys_of_upstream() -> None:
    document = evaluation_document({"icl": {"copa": 0.75}}, "heavy", "open_lm_1b", model_uuid="u")
    assert set(document) == {
        "uuid", "model", "creation_date", "name", "eval_metrics", "missing tasks",
        "aggregated_task_categories_centered", "aggregated_centered_results", "aggregated_results",
        "rw_small", "rw_small_centered", "95%_CI_above", "95%_CI_above_centered", "99%_CI_above",
        "99%_CI_above_centered", "low_variance_datasets", "low_variance_datasets_centered", "Core", "Extended",
        "Core_v1", "Extended_v1", "Core_v2", "Extended_v2", "eval_version", "model_uuid",
    }  # fmt: skip
    assert document["eval_metrics"] == {"icl": {"copa": 0.75}}
    assert document["name"] == "heavy"
    assert document["rw_small_centered"] == 0.5
    assert document["eval_version"] == "v2"
    assert re.fullmatch(r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d", document["creation_date"])


def test_an_update_keeps_identity_and_replaces_the_metrics() -> None:
    old = evaluation_document({"icl": {"copa": 0.5, "piqa": 0.5}}, "heavy", "m") | {
        "_filename": "exp_data/evals/x.json"
    }
    new = evaluation_document({"icl": {"copa": 0.75}}, "heavy", "m", previous=old)
    assert (new["uuid"], new["creation_date"]) == (old["uuid"], old["creation_date"])
    assert new["eval_metrics"] == {"icl": {"copa": 0.75}}
    assert new["_filename"] == "exp_data/evals/x.json"
    assert "update_date" in new
    assert "update_date" not in old


def test_the_summary_shows_each_task_and_core_in_percent() -> None:
    lines = summary_lines(evaluation_document({"icl": {"copa": 0.755}}, "heavy", "m"))
    assert lines[0].split() == ["copa", "75.50", "%"]
    assert lines[1].strip().startswith("Core: N/A due to missing tasks")


def add_model(database: Path, name: str, **changes: object) -> expdb.ModelReference:
    values: dict[str, object] = {
        "name": name,
        "dataset_name": "d",
        "dataset_uuid": "dataset",
        "hyperparameters": {"model": "tiny", "tokens": 1000, "lr": 0.001},
        "checkpoint_url": "none/checkpoints/epoch_1.pt",
        "open_lm_version": "",
        "open_lm_args": [],
        "results": [],
        "params_url": "none/params.txt",
    }
    reference = expdb.ModelReference(**{**values, **changes})  # type: ignore[arg-type]
    expdb.write_reference(reference, expdb.reference_path(str(database), "models", name))
    return reference


def names(rows: list[tuple[str, dict[str, object]]]) -> list[object]:
    return [row["name"] for _, row in rows]


def test_models_are_selected_by_filters_in_order_of_their_paths(tmp_path: Path) -> None:
    for name in ("b", "a", "ab"):
        add_model(tmp_path, name)
    add_model(tmp_path, "broken", failed=True, error="x")
    database = str(tmp_path)
    assert names(select_models(ModelSelection(database_path=database))) == ["a", "ab", "b"]
    assert names(select_models(ModelSelection(database_path=database, filters=("name==a",)))) == ["a"]
    assert names(select_models(ModelSelection(database_path=database, filters=("name=a",)))) == ["a", "ab"]
    assert names(select_models(ModelSelection(database_path=database, start_idx=1, end_idx=2))) == ["ab"]
    with pytest.raises(InputError, match="0 of 4 models match"):
        select_models(ModelSelection(database_path=database, filters=("hyperparameters.tokens>1K",)))
    with pytest.raises(InputError, match="no models"):
        select_models(ModelSelection(database_path=str(tmp_path / "none")))


def test_outputs_are_named_after_model_and_suite() -> None:
    settings = Settings(output_dir="out", eval_yaml="eval/heavy.yaml")
    assert output_url(settings, "m-lr=0p1") == "out/evaluation_m-lr=0p1_heavy.json"
    assert output_url(settings, "m", "epoch_2.pt") == "out/evaluation_m_epoch_2_heavy.json"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder with a tokenizer, an untrained checkpoint and a database that knows it."""
    config = {
        "hidden_dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "seq_len": 256,
        "vocab_size": 260,
        "post_embed_norm": False,
        "weight_tying": False,
    }
    checkpoint = write_checkpoint(tmp_path / "logs" / "m", config)
    write_tokenizer(tmp_path / "tokenizer.json")
    write_short_sample(tmp_path)
    tokenized = expdb.DatasetReference(
        name="d", uuid="dataset", tokenized=True, tokenizer=str(tmp_path / "tokenizer.json")
    )
    expdb.write_reference(tokenized, expdb.reference_path(str(tmp_path / "exp_data"), "tokenized", "d"))
    add_model(
        tmp_path / "exp_data",
        "m",
        checkpoint_url=str(checkpoint),
        params_url=str(checkpoint.parents[1] / "params.txt"),
        uuid="model",
    )
    return tmp_path


def test_a_model_of_the_database_is_evaluated_once_with_its_own_tokenizer(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "--database_path", str(experiment / "exp_data"), "-f", "name==m", "--num_gpus", "0",
        "--eval_yaml", str(experiment / "sample.yaml"), "--output_dir", str(experiment / "evals"),
    ]  # fmt: skip
    assert eval_expdb.main(command) == 0
    output = experiment / "evals" / "evaluation_m_sample.json"
    document = json.loads(output.read_text())
    assert list(document["eval_metrics"]["icl"]) == SAMPLE_LABELS
    assert all(0 <= value <= 1 for value in document["eval_metrics"]["icl"].values())
    assert document["model_uuid"] == "model"
    assert document["model"] == "tiny"
    assert document["name"] == "sample"
    assert document["Extended"].startswith("N/A due to missing tasks")
    capsys.readouterr()
    assert eval_expdb.main(command) == 0
    assert "exists, not evaluated again" in capsys.readouterr().out
    assert json.loads(output.read_text()) == document


@pytest.mark.all
def test_a_model_of_the_database_is_evaluated_by_two_processes(experiment: Path) -> None:
    command = [
        *("--database_path", str(experiment / "exp_data"), "-f", "name==m", "--skip_perplexity"),
        *("--eval_yaml", str(experiment / "sample.yaml")),
    ]
    assert eval_expdb.main([*command, "--num_gpus", "0", "--output_dir", str(experiment / "one")]) == 0
    assert eval_expdb.main([*command, "--num_gpus", "2", "--output_dir", str(experiment / "two")]) == 0
    one, two = (json.loads((experiment / name / "evaluation_m_sample.json").read_text()) for name in ("one", "two"))
    assert one["eval_metrics"] == two["eval_metrics"]
    assert (two["model_uuid"], two["model"], two["name"]) == ("model", "tiny", "sample")


def test_checkpoints_elsewhere_and_other_checkpoints_are_found(experiment: Path) -> None:
    checkpoints = experiment / "logs" / "m" / "checkpoints"
    (checkpoints / "epoch_7.pt").write_bytes((checkpoints / "epoch_1.pt").read_bytes())
    (checkpoints / "epoch_1.pt").unlink()
    (experiment / "logs").rename(experiment / "moved")
    command = [
        *("--database_path", str(experiment / "exp_data"), "-f", "name==m", "--num_gpus", "0", "--skip_perplexity"),
        *("--eval_yaml", str(experiment / "sample.yaml"), "--output_dir", str(experiment / "evals")),
        *("--prefix_replacement", f"{experiment / 'logs'}={experiment / 'moved'}"),
        *("--checkpoint_replacement", "epoch_7.pt"),
    ]
    (experiment / "moved" / "m" / "params.txt").write_text(f"model: {experiment / 'moved' / 'm' / 'tiny.json'}\n")
    assert eval_expdb.main(command) == 0
    assert (experiment / "evals" / "evaluation_m_epoch_7_sample.json").exists()


def test_held_out_data_of_ones_own_is_evaluated_beside_the_tasks(experiment: Path) -> None:
    shard = experiment / "heldout.tar"
    tokens = gzip.compress(json.dumps(list(range(2, 259))).encode())
    with tarfile.open(shard, "w") as tar:
        info = tarfile.TarInfo("0.json.gz")
        info.size = len(tokens)
        tar.addfile(info, io.BytesIO(tokens))
    output = experiment / "evaluation.json"
    command = [
        *("--checkpoint", str(experiment / "logs" / "m" / "checkpoints" / "epoch_1.pt"), "--val-data", str(shard)),
        *("--eval-yaml", str(experiment / "sample.yaml"), "--tokenizer", str(experiment / "tokenizer.json")),
        *("--output-file", str(output)),
    ]
    assert eval_openlm_ckpt.main(command) == 0
    loss = json.loads(output.read_text())["eval_metrics"]["perplexity"]
    assert 4 < loss < 8  # nats per token of an untrained model with 260 ids: near log 260


def test_a_checkpoint_alone_gives_the_same_accuracies(experiment: Path) -> None:
    output = experiment / "evaluation.json"
    command = [
        "--checkpoint", str(experiment / "logs" / "m" / "checkpoints" / "epoch_1.pt"),
        "--eval-yaml", str(experiment / "sample.yaml"), "--tokenizer", str(experiment / "tokenizer.json"),
        "--output-file", str(output),
    ]  # fmt: skip
    assert eval_openlm_ckpt.main(command) == 0
    first = json.loads(output.read_text())
    assert first["model"] == "tiny"
    assert eval_openlm_ckpt.main(command) == 0
    second = json.loads(output.read_text())
    assert second["eval_metrics"] == first["eval_metrics"]
    assert second["uuid"] == first["uuid"]
    assert "update_date" in second


def test_a_checkpoints_scores_do_not_depend_on_what_shares_its_batch(experiment: Path) -> None:
    from eval.models.openlm import OpenLMModel
    from eval.scoring.batching import TokenBudget, prefix_groups
    from eval.scoring.inference import score_groups
    from eval.tasks.prompts import ScoredInput
    from training.state.checkpoint import load_model

    model = OpenLMModel(load_model(str(experiment / "logs" / "m" / "checkpoints" / "epoch_1.pt")))
    assert model.vocab_size == 260
    items = [ScoredInput(row=n, choice=0, tokens=list(range(2, 7 * n + 5)), span_start=n + 1) for n in range(12)]
    groups = [group for item in items for group in prefix_groups([item])]
    alone, together = (
        {score.row: score.mean_cross_entropy for score in score_groups(model, groups, TokenBudget(model, tokens))}
        for tokens in (1, 4096)
    )
    assert together == pytest.approx(alone, abs=1e-5)


def test_faults_are_one_line_and_exit_code_two(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--checkpoint", str(experiment / "none.pt"), "--eval-yaml", str(SAMPLE)]
    assert eval_openlm_ckpt.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "none.pt" in error
