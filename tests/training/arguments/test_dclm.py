"""The flags of `training.train`."""

import pytest

from training.arguments.dclm import build_parser
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


def test_flags_of_train_are() -> None:
    options = {option for action in build_parser()._actions for option in action.option_strings}
    assert options - {"-h"} == FLAGS


@pytest.mark.parametrize("arguments", [[], ["a.json", "--data-config", "b.json"]])
def test_the_data_set_is_given_once(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scale", "tiny", "--logs", "logs", *arguments]) == 2
    assert "--data-config" in capsys.readouterr().err
