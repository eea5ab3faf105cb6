"""The seam to the original trainer: what it is handed, and what is expected of the run that it leaves."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
import torch

from corpusmith.errors import InputError, RunFailed
from training.model_config import CONFIG_FOLDER
from training.open_lm_backend import collect_run, prepare_arguments, train_with_open_lm

ARGUMENTS = ["--model", "training/open_lm_configs/tiny.json", "--dataset-manifest", "d/manifest.jsonl", "--name", "run"]


@pytest.fixture
def fake_open_lm(tmp_path, monkeypatch):
    """A function that puts a package `open_lm` on the path whose `main(args)` runs the given body."""

    def install(body: str) -> None:
        package = tmp_path / "site" / "open_lm"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        text = "calls = []\n\ndef main(args):\n    calls.append(args)\n" + textwrap.indent(body, "    ")
        (package / "main.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    yield install
    for name in ("open_lm", "open_lm.main"):
        sys.modules.pop(name, None)


def write_run(folder: Path, final: bool = True) -> None:
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True)
    for number, is_final in ((2, False), (10, final)):
        torch.save({"epoch": number, "state_dict": {}}, checkpoints / f"epoch_{number}.pt")
        stats = {"epoch": number, "is_final_checkpoint": is_final, "evaluation_metrics": [{"loss": float(number)}]}
        torch.save(stats, checkpoints / f"stats_{number}.pt")
    (folder / "params.txt").write_text("name: run")


def test_without_the_package_the_message_says_how_to_get_it():
    with pytest.raises(InputError, match=r"can't be imported; it is on no index: install a checkout"):
        train_with_open_lm(ARGUMENTS)


def test_the_package_gets_the_argument_list_with_the_true_path_of_the_model(fake_open_lm):
    fake_open_lm("pass")
    train_with_open_lm(ARGUMENTS)
    expected = ["--model", str(CONFIG_FOLDER / "tiny.json"), *ARGUMENTS[2:]]
    assert sys.modules["open_lm.main"].calls == [expected]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("raise KeyError('fname')", "KeyError: 'fname'"),
        ("raise SystemExit(3)", "exit code 3"),
    ],
)
def test_what_it_raises_is_told_in_one_line(fake_open_lm, body, named):
    fake_open_lm(body)
    with pytest.raises(RunFailed, match=named):
        train_with_open_lm(ARGUMENTS)


def test_a_clean_exit_is_no_failure(fake_open_lm):
    fake_open_lm("raise SystemExit(0)")
    train_with_open_lm(ARGUMENTS)


def test_other_shards_than_webdataset_are_refused():
    with pytest.raises(InputError, match=r"index\.json"):
        prepare_arguments(["--dataset-manifest", "d/index.json"])


def test_the_last_checkpoint_by_number_is_the_run(tmp_path):
    write_run(tmp_path)
    run = collect_run(str(tmp_path))
    assert run.checkpoint_url == str(tmp_path / "checkpoints" / "epoch_10.pt")
    assert run.params_url == str(tmp_path / "params.txt")
    assert run.evaluation == [{"loss": 10.0}]


def test_an_incomplete_run_is_refused(tmp_path):
    with pytest.raises(RunFailed, match="no stats_"):
        collect_run(str(tmp_path / "none"))
    write_run(tmp_path, final=False)
    with pytest.raises(RunFailed, match=r"checkpoint 10 .* is not final"):
        collect_run(str(tmp_path))
    torch.save({"is_final_checkpoint": True}, tmp_path / "checkpoints" / "stats_11.pt")
    with pytest.raises(RunFailed, match=r"left no .*epoch_11\.pt"):
        collect_run(str(tmp_path))
