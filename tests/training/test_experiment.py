"""Whole runs through the command line: the reference JSON, the finished run, the failed one, torchrun."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpusmith.errors import InputError
from corpusmith.expdb import references as expdb
from corpusmith.expdb.references import DatasetReference
from training.data.token_shards import find_token_dataset
from training.loop.validation import count_training_tokens, unigram_loss
from training.state.checkpoint import load_model
from training.state.params_txt import read_params_text
from training.train import main

ROOT = Path(__file__).resolve().parents[2]
MODEL_KEYS = [
    "name", "dataset_name", "dataset_uuid", "hyperparameters", "checkpoint_url", "open_lm_version", "open_lm_args",
    "results", "params_url", "uuid", "creation_date", "failed", "error",
]  # fmt: skip
RESULT_KEYS = [
    "loss", "data_time", "batch_time", "samples_per_second", "samples_per_second_per_gpu", "loss_sequences_lower_95",
    "loss_sequences_upper_95", "loss_tokens_lower_95", "loss_tokens_upper_95", "sequences", "tokens", "train_tokens",
    "checkpoint_path", "val_data", "model", "unigram_loss",
]  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path, write_tokens: Callable[..., str]) -> Path:
    """Two data sets of the tiny scale's shape with their references: demo (12 shards) and held-out (1 shard)."""
    for seed, (name, shards) in enumerate((("demo", 12), ("heldout", 1))):
        manifest = write_tokens(tmp_path / name, shards, 8, 256, 300, seed)
        reference = DatasetReference(
            name=name, dataset_url=str(tmp_path / name), manifest_url=manifest, tokenized=True, tokenizer="none",
            num_tokens=shards * 8 * 257, size=-1, data_key="json.gz",
        )  # fmt: skip
        expdb.write_reference(reference, str(tmp_path / f"{name}.json"))
    return tmp_path


def flags(workspace: Path, *more: str) -> list[str]:
    return [
        "--scale", "tiny", str(workspace / "demo.json"), "--logs", str(workspace / "logs"),
        "--git-db", str(workspace / "exp_data" / "models"), "--chinchilla-multiplier", "0.0006", "--global-bs", "4",
        "--num-checkpoints", "2", "--warmup", "2", "--workers", "1", "--log-every", "2",
        "--val-data", str(workspace / "heldout.json"), *more,
    ]  # fmt: skip


def only_json(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    row: dict[str, Any] = json.loads(path.read_text())
    assert path.stem == row["name"]
    return row


def test_a_run_writes_the_reference_of_its_model(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--", *flags(workspace)]) == 0
    said = capsys.readouterr().out
    row = only_json(workspace / "exp_data" / "models")
    assert list(row) == MODEL_KEYS
    assert row["name"] == (
        "demo-tiny-warm=2-lr=0p01-wd=0p033-cd=0p0001-bs=4-mult=0p0006-seed=124-tokens=18882-vocab=4096"
    )
    assert (row["dataset_name"], row["failed"], row["error"]) == ("demo", False, "")
    assert row["hyperparameters"]["tokens"] == 18882  # int(31470080 * 0.0006)
    assert row["open_lm_args"][:4] == ["--workers", "1", "--precision", "fp32" if _on_cpu() else "amp_bfloat16"]
    assert row["open_lm_args"][row["open_lm_args"].index("--train-num-samples") + 1] == "9441"

    # 18882 // 2 // 256 = 36 sequences per epoch, 36 * 2 // 4 = 18 steps; 5 shards of 8 = 10 steps in each epoch
    assert row["checkpoint_url"].endswith("/checkpoints/epoch_2.pt")
    assert load_model(row["checkpoint_url"], row["params_url"])(torch.zeros(1, 5, dtype=torch.long))[0].shape == (
        1, 5, 4096,
    )  # fmt: skip
    (result,) = row["results"]
    assert list(result) == RESULT_KEYS
    assert (result["sequences"], result["tokens"], result["train_tokens"]) == (8, 8 * 256, 2 * 36 * 256)
    assert result["loss"] < result["unigram_loss"] < math.log(4096)
    assert f"validation loss {result['loss']:.4f} (unigram {result['unigram_loss']:.4f})" in said
    params = read_params_text(Path(row["params_url"]).read_text(), "params.txt")
    assert (params["model"], params["train_num_samples"], params["lr"]) == ("tiny", 36, 0.01)


def test_validation_loss_is_that_of_the_stored_model_on_the_held_out_tokens(workspace: Path) -> None:
    assert main(flags(workspace)) == 0
    row = only_json(workspace / "exp_data" / "models")
    model = load_model(row["checkpoint_url"])
    rows = torch.tensor(list(_sequences(workspace / "heldout.json")))
    logits = model(rows[:, :-1])[0]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).item()
    assert row["results"][0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_a_finished_run_says_so_and_does_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(workspace)) == 0
    before = only_json(workspace / "exp_data" / "models")
    capsys.readouterr()
    assert main(flags(workspace)) == 0
    assert "already trained" in capsys.readouterr().out
    assert only_json(workspace / "exp_data" / "models") == before


def test_a_failed_run_leaves_its_traceback_and_the_next_one_clears_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = sorted((workspace / "demo").glob("*.tar"))
    whole = {shard: shard.read_bytes() for shard in shards}
    for shard in shards:
        shard.write_bytes(whole[shard][:700])
    assert main(flags(workspace)) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    failed = only_json(workspace / "exp_data" / "failed_models")
    assert failed["failed"] is True
    assert "ShardError" in failed["error"]
    for shard in shards:
        shard.write_bytes(whole[shard])
    assert main(flags(workspace)) == 0
    assert list((workspace / "exp_data" / "failed_models").iterdir()) == []


def test_an_unforeseen_failure_is_one_line_that_names_the_record(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*arguments: Any, **keywords: Any) -> None:
        raise MemoryError("no memory for 12 GiB\nand more")

    monkeypatch.setattr("training.arguments.to_config.train", out_of_memory)
    assert main(flags(workspace)) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "MemoryError: no memory for 12 GiB" in said
    assert "failed_models" in said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--val-data", "missing.json"], "missing.json"),
        (["--val-data-key", "json", "txt"], "--val-data-key"),
        (["--num-checkpoints", "0"], "--num-checkpoints"),
        (["--lr", "0"], "lr must be above 0"),
        (["--scale", "tinny"], "did you mean 'tiny'"),
        (["--clean-exp"], "--remote-sync"),
        (["--lr-scheduler", "wsd", "--lr-decay-steps", "30"], "do not fit"),
        (["--acc", "3"], "--acc 3"),
    ],
)
def test_mistakes_end_with_exit_code_2_and_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], more: Any, named: str
) -> None:
    assert main(flags(workspace, *more)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
    assert not (workspace / "exp_data").exists()


def test_skip_train_writes_the_reference_of_a_complete_run_only(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(workspace, "--skip-train")) == 2
    assert "has it been trained" in capsys.readouterr().err
    (workspace / "exp_data" / "failed_models").rename(workspace / "gone")
    assert main(flags(workspace)) == 0
    row = only_json(workspace / "exp_data" / "models")
    (workspace / "exp_data" / "models" / f"{row['name']}.json").unlink()
    assert main(flags(workspace, "--skip-train")) == 0
    again = only_json(workspace / "exp_data" / "models")
    assert {**again, "uuid": 0, "creation_date": 0} == {**row, "uuid": 0, "creation_date": 0}


def test_re_evaluation_updates_the_reference_alone(workspace: Path) -> None:
    partial = workspace / "partial"
    assert main(flags(workspace, "--partial-model-dir", str(partial))) == 0
    row = only_json(workspace / "exp_data" / "models")
    (early,) = partial.glob("*.json")
    assert early.name == f"{row['name']}_partial_epoch_1.json"
    assert json.loads(early.read_text())["checkpoint_url"].endswith("epoch_1.pt")
    path = workspace / "exp_data" / "models" / f"{row['name']}.json"
    evaluation = [
        "--re-evaluate", str(path), "--logs", str(workspace / "again"), "--val-data", str(workspace / "demo.json"),
        "--downstream-eval",
    ]  # fmt: skip
    assert main(evaluation) == 0
    updated = json.loads(path.read_text())
    (result,) = updated["results"]
    assert result["val_data"] == [str(workspace / "demo.json")]
    assert result["sequences"] == 96
    assert result["loss_tokens_lower_95"] < result["loss"] < result["loss_tokens_upper_95"]
    assert {**updated, "results": 0} == {**row, "results": 0}


def test_urls_of_the_data_set_follow_the_flags(workspace: Path) -> None:
    from training.arguments.options import ExperimentOptions
    from training.experiment import read_dataset

    row = json.loads((workspace / "demo.json").read_text())
    row |= {"manifest_url": "s3://a/b/manifest.jsonl", "mirrors": {"near": {"manifest_url": "n/m.jsonl"}}}
    (workspace / "moved.json").write_text(json.dumps(row))

    def manifest(**changed: Any) -> str | None:
        options = ExperimentOptions(scale="tiny", data_config=str(workspace / "moved.json"), logs="l", **changed)
        return read_dataset(options).manifest_url

    assert manifest(manifest_prefix_override="local") == "local/manifest.jsonl"
    assert manifest(prefix_replacement="s3://a=/mnt") == "/mnt/b/manifest.jsonl"
    assert manifest(mirror="near") == "n/m.jsonl"
    for changed, named in (({"mirror": "far"}, "it has: near"), ({"prefix_replacement": "x"}, "OLD=NEW"),
                           ({"prefix_replacement": "a=b", "manifest_prefix_override": "c"}, "exclude")):  # fmt: skip
        with pytest.raises(InputError, match=named):
            manifest(**changed)


def test_the_standard_validation_sets_are_named_where_they_lack(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [flag for flag in flags(workspace) if flag != str(workspace / "heldout.json")]
    arguments.remove("--val-data")
    assert main([*arguments, "--do-eval", "--val-sets-dir", str(workspace / "sets")]) == 2
    assert "sets/open_lm_val/shard_00000000.tar is missing" in capsys.readouterr().err
    assert main([*arguments, "--downstream-eval"]) == 2
    assert "--val-data" in capsys.readouterr().err


def test_torchrun_trains_on_two_processes(workspace: Path) -> None:
    # four shards an epoch leave two steps for a third epoch, which the first pass has no shards for
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training.train",
        "--", *flags(workspace, "--multiple-data-passes", "--remote-sync", str(workspace / "remote")),
        "--report-to", "tensorboard",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation loss") == 1
    row = only_json(workspace / "exp_data" / "models")
    (result,) = row["results"]
    assert (result["sequences"], result["tokens"]) == (8, 8 * 256)
    assert row["checkpoint_url"].startswith(f"{workspace}/remote/{row['name']}/checkpoints/")
    assert load_model(row["checkpoint_url"], row["params_url"]).config.vocab_size == 4096
    assert len(list((workspace / "remote" / row["name"] / "tensorboard").iterdir())) == 1  # one rank reports


def test_help_loads_no_torch() -> None:
    code = "import sys, training.train as t; t.build_parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_unigram_loss_by_hand() -> None:
    # ids 0, 0, 1 in training and a vocabulary of 3: (2+1)/6, (1+1)/6, (0+1)/6
    counts = count_training_tokens([[0, 0, 1]], 3)
    assert counts.tolist() == [2, 1, 0]
    targets = np.array([1.0, 0.0, 3.0])
    assert unigram_loss(targets, counts) == pytest.approx(-(math.log(3 / 6) + 3 * math.log(1 / 6)) / 4)
    assert count_training_tokens([[0, 1], [2, 2], [1, 1]], 3, limit=3).tolist() == [1, 1, 2]


def test_token_shards_are_found_by_reference_manifest_or_tar(workspace: Path) -> None:
    by_reference = find_token_dataset(str(workspace / "heldout.json"))
    tar = str(workspace / "heldout" / "00000001.tar")
    assert [shard.url for shard in by_reference.shards] == [tar]
    manifest = find_token_dataset(str(workspace / "heldout" / "manifest.jsonl"))
    assert [(shard.url, shard.num_sequences) for shard in manifest.shards] == [(tar, 8)]
    assert find_token_dataset(tar, "txt").shards[0].data_key == "txt"


def _sequences(reference: Path) -> Iterator[Any]:
    from corpusmith.io.tokens import wds

    for shard in find_token_dataset(str(reference)).shards:
        yield from wds.read_wds_shard(shard.url)


def _on_cpu() -> bool:
    return not torch.cuda.is_available()
