"""Flags and `params.txt`."""

import pytest

from corpusmith.errors import ConfigError
from training.arguments.dclm import build_parser
from training.loop.params_txt import params_text, read_params_text
from training.train import main

FLAGS = {
    "--backend", "--report-to",
    "--acc", "--attn-name", "--averagers", "--cd", "--chinchilla-multiplier", "--clean-exp", "--data-config",
    "--data-order", "--data-tolerate-error-p", "--data-tolerate-num-ckpts", "--do-eval", "--document-separator",
    "--domain-weights", "--downstream-eval", "--git-db", "--global-bs", "--help", "--load-pretrained-state",
    "--log-avg-model-training-loss", "--log-every", "--logs", "--lr", "--lr-decay", "--lr-decay-steps",
    "--lr-scheduler", "--manifest-prefix-override", "--mirror", "--multiple-data-passes", "--name-suffix",
    "--num-checkpoints", "--partial-model-dir", "--phase-plan", "--precision", "--prefix-replacement", "--pretrained",
    "--re-evaluate", "--remote-sync", "--remote-sync-override", "--report-to-wandb", "--save-every", "--scale",
    "--seed", "--skip-train", "--tokmult-eval", "--torchcompile", "--val-data", "--val-data-key", "--val-frequency",
    "--val-sets-dir", "--warmup", "--wd", "--workers",
}  # fmt: skip


def test_flags_of_train_are():
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options - {"-h"} == FLAGS


def test_params_text_is_read_back():
    values = {"model": "tiny", "lr": 3e-05, "wd": 0.033, "seed": 124, "qk_norm": True, "resume": None, "epochs": 5}
    text = params_text(values)
    assert text.splitlines()[:2] == ["epochs: 5", "lr: 3e-05"]
    assert read_params_text(text, "params.txt") == values


def test_old_names_are_read_under_the_new_ones():
    assert read_params_text("batch_size: 8\nval_batch_size: None\n", "p") == {
        "per_gpu_batch_size": 8,
        "per_gpu_val_batch_size": None,
    }


def test_a_line_without_a_colon_is_named():
    with pytest.raises(ConfigError, match=r"params\.txt:2"):
        read_params_text("a: 1\nb 2\n", "params.txt")


@pytest.mark.parametrize("arguments", [[], ["a.json", "--data-config", "b.json"]])
def test_the_data_set_is_given_once(arguments, capsys):
    assert main(["--scale", "tiny", "--logs", "logs", *arguments]) == 2
    assert "--data-config" in capsys.readouterr().err
