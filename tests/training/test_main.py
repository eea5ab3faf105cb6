"""OpenLM's own command line: arguments, `params.txt`, refusals, validation without training, the other formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from corpusmith.errors import ConfigError, InputError
from corpusmith.io.tokens import mds, wds
from corpusmith.io.tokens.rows import TokenRows
from corpusmith.io.tokens.shards import write_token_shard
from training.arguments.openlm import build_parser, parse_arguments
from training.arguments.to_config import make_config
from training.main import main
from training.state.checkpoint import load_file, load_weights
from training.state.params_txt import read_params_text
from training.state.ranks import Ranks

ROOT = Path(__file__).resolve().parents[2]

#: Section 10: OpenLM's defaults that its users rely on.
DEFAULTS = {
    "logs": "./logs/", "lr_scheduler": "cosine", "data_key": "txt", "workers": 1, "global_batch_size": 64, "epochs": 32,
    "optimizer": "adamw", "lr": 5e-4, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "wd": 0.2, "warmup": 10000,
    "z_loss_coefficient": 0.0, "lr_cooldown_end": 0.0, "force_min_lr": 0.0, "save_frequency": 1, "val_frequency": 1,
    "model": "open_lm_1b", "accum_freq": 1, "dist_url": "env://", "dist_backend": "nccl", "seed": 0,
    "log_every_n_steps": 100, "wandb_project_name": "open-lm", "remote_sync_frequency": 300,
    "remote_sync_protocol": "s3", "val_iter_ci": 10000, "data_tolerate_error_p": 0.09, "data_tolerate_num_ckpts": 0,
    "model_norm": "default_layer_norm", "ffn_type": "swiglu", "positional_embedding_type": "rotary",
    "attn_name": "auto", "qk_norm": False, "grad_clip_norm": None,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> str:
    document = {
        "hidden_dim": 16, "n_layers": 1, "n_heads": 2, "seq_len": 16, "vocab_size": 32, "post_embed_norm": False,
        "weight_tying": False,
    }  # fmt: skip
    (tmp_path / "small.json").write_text(json.dumps(document))
    return str(tmp_path / "small.json")


@pytest.fixture
def flags(tmp_path: Path, manifest: str, model: Any) -> Callable[..., list[str]]:
    def make(name: str, *more: str) -> list[str]:
        return [
            "--dataset-manifest", manifest, "--data-key", "json.gz", "--train-num-samples", "512", "--epochs", "2",
            "--model", model, "--model-norm", "gain_only_lp_layer_norm", "--qk-norm", "--logs", str(tmp_path / "logs"),
            "--name", name, "--global-batch-size", "8", "--lr", "0.02", "--warmup", "2", "--wd", "0.033",
            "--grad-clip-norm", "1", "--log-every-n-steps", "1", "--precision", "fp32", "--z-loss", "1e-4", *more,
        ]  # fmt: skip

    return make


def test_defaults_are_those_of_openlm() -> None:
    values = parse_arguments([])
    assert {name: values[name] for name in DEFAULTS} == DEFAULTS


def test_a_run_by_openlms_flags_writes_its_params(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    assert main(["--", *flags("run", "--averagers", "poly_8_1", "--log-avg-model-training-loss", "2")]) == 0
    folder = tmp_path / "logs" / "run"
    text = (folder / "params.txt").read_text()
    assert [line.partition(":")[0] for line in text.splitlines()] == sorted(
        line.partition(":")[0] for line in text.splitlines()
    )
    params = read_params_text(text, "params.txt")
    asked = {"model": "small", "train_num_samples": 32, "vocab_size": 32, "seq_len": 16, "per_gpu_batch_size": 8}
    filled = {"world_size": 1, "rank": 0, "device": "cpu", "distributed": False, "z_loss_coefficient": 1e-4, "lr": 0.02}
    assert asked.items() | filled.items() <= params.items()
    assert {action.dest for action in build_parser()._actions} - {"help", "config"} <= set(params)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        f"{kind}_{n}.pt" for kind in ("epoch", "optimizer", "stats", "poly_8_1") for n in (1, 2)
    }
    rows = [orjson.loads(line) for line in (folder / "train_log.jsonl").read_bytes().splitlines()]
    assert [row["step"] for row in rows if "poly_8_1_loss" in row] == [0, 2, 4, 6]
    assert "complete" in (folder / "out.log").read_text()


def test_a_run_that_stands_is_not_begun_anew_unless_it_is_resumed(
    flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags("twice")) == 0
    assert main(flags("twice")) == 2
    assert "--resume latest" in capsys.readouterr().err
    assert main(flags("twice", "--resume", "latest")) == 0


def test_a_process_killed_with_sigkill_is_continued_to_the_same_bits(
    flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    def command(name: str) -> list[str]:
        more = ["--multiple-data-passes", "--save-every", "7", "--resume", "latest", "--averagers", "ema_0.9_1"]
        arguments = flags(name, *more)
        arguments[arguments.index("--train-num-samples") + 1] = "8192"  # 64 steps between two checkpoints
        return arguments

    log = tmp_path / "logs" / "killed" / "train_log.jsonl"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: sums of several threads differ in their last bits
    process = subprocess.Popen([sys.executable, "-m", "training.main", *command("killed")], cwd=ROOT, env=one_thread)
    deadline = time.monotonic() + 100
    while not (log.exists() and log.read_bytes().count(b"\n") >= 20):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert main(command("killed")) == 0
    assert main(command("undisturbed")) == 0
    for file, key in (("epoch_2.pt", "state_dict"), ("ema_0.9_1_2.pt", "av_model_sd")):
        ours, theirs = (
            load_file(str(tmp_path / "logs" / name / "checkpoints" / file))[key] for name in ("killed", "undisturbed")
        )
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    rows = [orjson.loads(line)["step"] for line in log.read_bytes().splitlines()]
    assert rows == list(range(128))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--attn-name", "custom_attn"], "custom_attn"),
        (["--dataset-type", "synthetic"], "synthetic"),
        (["--moe-freq", "2"], "--moe-freq"),
        (["--lr-scheduler", "const-cooldown"], "wsd"),
        (["--fsdp", "--precision", "amp"], "--fsdp"),
        (["--fsdp-amp"], "need --fsdp"),
        (["--train-data", "x.tar"], "exclude each other"),
        (["--train-data-mix-weights", "1", "2"], "needs 1 values"),
        (["--domain-weights", "web"], "NAME=FACTOR"),
        (["--averagers", "cubic_1"], "cubic_1"),
        (["--target-mask-left", "3", "--squash-mask-left"], "needs both"),
        (["--resume", "missing.pt"], "missing.pt"),
        (["--pretrained", "missing.pt"], "missing.pt"),
    ],
)
def test_what_can_not_run_is_one_line_and_exit_code_2(
    flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], more: Any, named: str
) -> None:
    assert main(flags("refused", *more)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_a_config_file_replaces_the_command_line(tmp_path: Path, flags: Callable[..., list[str]]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: tiny\nlr: 3e-4\ndataset-manifest: a.jsonl\nqk_norm: true\n")
    values = parse_arguments(["--config", str(path)])
    assert (values["model"], values["lr"], values["dataset_manifest"], values["qk_norm"]) == (
        "tiny", 3e-4, ["a.jsonl"], True,
    )  # fmt: skip
    with pytest.raises(InputError, match="replaces the whole command line"):
        parse_arguments(["--config", str(path), "--lr", "1"])
    for text, where in (("lrr: 1", "did you mean 'lr'"), ("lr: x", "of type float"), ("epochs: 1.5", "of type int"),
                        ("precision: fp64", "must be one of")):  # fmt: skip
        path.write_text(f"model: tiny\n{text}\n")
        with pytest.raises(ConfigError, match=where) as refused:
            parse_arguments(["--config", str(path)])
        assert "run.yaml:2" in str(refused.value)


def test_arguments_become_the_recipe_that_they_name(flags: Callable[..., list[str]]) -> None:
    values = parse_arguments(
        flags("plan", "--lr-scheduler", "wsd", "--lr-decay", "1-sqrt", "--lr-decay-steps", "4", "--lr-cooldown-end",
              "0.002", "--force-min-lr", "0.003", "--domain-weights", "a=2", "b=0.5", "--save-every", "3",
              "--document-separator", "5", "--fsdp", "--fsdp-amp", "--fsdp-on-cpu")
    )  # fmt: skip
    config = make_config(values, Ranks())
    (phase,) = config.plan.phases
    assert [segment.kind for segment in phase.schedule] == ["warmup", "constant", "1-sqrt"]
    assert [round(config.plan.rate(step), 6) for step in (0, 1, 4, 5, 7)] == [0.01, 0.02, 0.02, 0.011, 0.004412]
    assert (phase.domain_weights, config.save_every, config.step.document_separator) == ({"a": 2.0, "b": 0.5}, 3, 5)
    assert config.step.sharding is not None
    assert config.step.sharding.param_dtype == "bfloat16"
    assert make_config(values | {"fsdp_on_cpu": False}, Ranks()).step.sharding is None


def test_validation_alone_evaluates_the_average_of_checkpoints(
    flags: Callable[..., list[str]], tmp_path: Path, write_tokens: Callable[..., str], model: Any, manifest: str
) -> None:
    assert main(flags("base")) == 0
    urls = [str(tmp_path / "logs" / "base" / "checkpoints" / f"epoch_{n}.pt") for n in (1, 2)]
    heldout = write_tokens(tmp_path / "heldout", 1, 8, 16, 32, 5)
    common = [
        "--model", model, "--model-norm", "gain_only_lp_layer_norm", "--qk-norm", "--logs", str(tmp_path / "logs"),
        "--val-data", heldout, "--val-data-key", "json.gz", "--precision", "fp32", "--val-seq-ci", "--val-tok-ci",
        "--val-iter-ci", "200",
    ]  # fmt: skip
    assert main([*common, "--name", "one", "--pretrained", urls[1]]) == 0
    assert main([*common, "--name", "both", "--average", *urls, "--average-coefficients", "0", "1"]) == 0
    found = [
        json.loads((tmp_path / "logs" / name / "checkpoints" / "results.jsonl").read_text())[0]
        for name in ("one", "both")
    ]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-6)
    for kind in ("sequences", "tokens"):
        assert found[0][f"loss_{kind}_lower_95"] < found[0]["loss"] < found[0][f"loss_{kind}_upper_95"]
    assert main(["--model", model]) == 2


def write_as(format_name: str, folder: Path, rows: TokenRows) -> str:
    files, entry = write_token_shard(str(folder), 1, rows, format_name=format_name, dtype=np.dtype(np.uint16))
    if format_name == "wds":
        entries = [wds.ManifestEntry(shard=wds.shard_name(1), num_sequences=len(rows))]
        wds.write_manifest(str(folder / wds.MANIFEST_NAME), entries)
    if entry is not None:
        mds.write_index(str(folder), [entry])
    assert files
    return str(folder)


def test_the_same_rows_train_the_same_model_from_every_format(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    draws = np.random.default_rng(3)
    rows = TokenRows.of(draws.integers(0, 32, (160, 17), dtype=np.uint32))
    found = {}
    for name in ("wds", "mds", "parquet", "bin", "nanogpt"):
        folder = tmp_path / f"data-{name}"
        url = write_as("bin" if name == "nanogpt" else name, folder, rows)
        if name == "nanogpt":  # a flat file without an index
            (folder / "00000001.idx").unlink()
            url = str(folder / "00000001.bin")
        arguments = flags(name, "--train-num-samples", "1280")
        arguments[arguments.index("--dataset-manifest") + 1] = url
        assert main(arguments) == 0
        lines = (tmp_path / "logs" / name / "train_log.jsonl").read_bytes().splitlines()
        weights = load_weights(str(tmp_path / "logs" / name / "checkpoints" / "epoch_2.pt"))
        found[name] = ([orjson.loads(line)["loss"] for line in lines], weights["norm.weight"].tolist())
    assert all(value == found["wds"] for value in found.values())
    assert len(found["wds"][0]) == 20, "steps"


def test_long_files_are_taken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import token_shards as token_data

    monkeypatch.setattr(token_data, "PART_SEQUENCES", 5)
    np.arange(13 * 4, dtype=np.uint16).tofile(tmp_path / "train.bin")
    found = token_data.find_token_dataset(str(tmp_path / "train.bin"), seq_len=3)
    assert [(shard.first_row, shard.num_sequences) for shard in found.shards] == [(0, 5), (5, 5), (10, 3)]
    rows = list(token_data.read_rows(found.shards[1], np.array([0, 3])))
    assert [(row.row, list(row.ids)) for row in rows] == [(5, [20, 21, 22, 23]), (8, [32, 33, 34, 35])]
    assert len(list(token_data.read_rows(found.shards[2]))) == 3


def test_tars_are_named_as_openlm_names_them(tmp_path: Path, write_tokens: Callable[..., str]) -> None:
    from training.data.token_shards import expand_shards, find_token_dataset

    assert expand_shards("d/{a,b}.tar") == ["d/a.tar", "d/b.tar"]
    assert expand_shards("d/s-{008..010}.tar") == ["d/s-008.tar", "d/s-009.tar", "d/s-010.tar"]
    assert expand_shards("pipe:aws s3 cp s3://b/{x,y}.tar -") == ["s3://b/x.tar", "s3://b/y.tar"]
    assert expand_shards("d/{a,b}{1..2}.tar") == ["d/a1.tar", "d/a2.tar", "d/b1.tar", "d/b2.tar"]
    write_tokens(tmp_path / "t", 3, 4, 16, 32)
    found = find_token_dataset(f"{tmp_path}/t/{{00000001..00000003}}.tar")
    assert [shard.num_sequences for shard in found.shards] == [4, 4, 4]
