"""The seam to the original trainer: what it is handed, and what is expected of the run that it leaves."""

from __future__ import annotations

import json
import pathlib
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from corpusmith.errors import InputError, RunFailed
from corpusmith.expdb import references as expdb
from corpusmith.expdb.references import DatasetReference
from training.models.config import CONFIG_FOLDER
from training.open_lm_backend import prepare_arguments, train_with_open_lm
from training.train import main

ARGUMENTS = ["--model", "training/open_lm_configs/tiny.json", "--dataset-manifest", "d/manifest.jsonl", "--name", "run"]


@pytest.fixture
def fake_open_lm(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
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


def test_without_the_package_the_message_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match=r"can't be imported; it is on no index: install a checkout"):
        train_with_open_lm(ARGUMENTS)


def test_the_package_gets_the_argument_list_with_the_true_path_of_the_model(
    fake_open_lm: Callable[[str], None],
) -> None:
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
def test_what_it_raises_is_told_in_one_line(fake_open_lm: Callable[[str], None], body: str, named: str) -> None:
    fake_open_lm(body)
    with pytest.raises(RunFailed, match=named):
        train_with_open_lm(ARGUMENTS)


def test_a_clean_exit_is_no_failure(fake_open_lm: Callable[[str], None]) -> None:
    fake_open_lm("raise SystemExit(0)")
    train_with_open_lm(ARGUMENTS)


def test_other_shards_than_webdataset_are_refused() -> None:
    with pytest.raises(InputError, match=r"index\.json"):
        prepare_arguments(["--dataset-manifest", "d/index.json"])


def test_arguments_of_ours_are_refused() -> None:
    with pytest.raises(InputError, match="does not know --data-order, --save-every"):
        prepare_arguments([*ARGUMENTS, "--data-order", "openlm", "--save-every", "5"])


TRAINS = """
import pathlib, torch
given = dict(zip(args, args[1:]))
folder = pathlib.Path(given["--logs"]) / given["--name"]
(folder / "checkpoints").mkdir(parents=True)
for number, final in ((2, False), (10, {final})):
    stats = dict(epoch=number, step=number, is_final_checkpoint=final, evaluation_metrics=[dict(loss=float(number))])
    torch.save(stats, folder / "checkpoints" / f"stats_{{number}}.pt")
    torch.save(dict(epoch=number, state_dict=dict()), folder / "checkpoints" / f"epoch_{{number}}.pt")
(folder / "params.txt").write_text("model: tiny")
"""


@pytest.fixture
def command(tmp_path: pathlib.Path, write_tokens: Callable[..., str]) -> list[str]:
    manifest = write_tokens(tmp_path / "demo", 12, 8, 256, 300)
    reference = DatasetReference(
        name="demo", dataset_url=str(tmp_path / "demo"), manifest_url=manifest, tokenized=True, tokenizer="none",
        num_tokens=12 * 8 * 257, size=-1, data_key="json.gz",
    )  # fmt: skip
    expdb.write_reference(reference, str(tmp_path / "demo.json"))
    return [
        "--scale", "tiny", str(tmp_path / "demo.json"), "--logs", str(tmp_path / "logs"), "--backend", "open_lm",
        "--git-db", str(tmp_path / "exp_data" / "models"), "--chinchilla-multiplier", "0.0006", "--global-bs", "4",
        "--num-checkpoints", "2",
    ]  # fmt: skip


def test_a_run_of_the_package_becomes_a_model_reference(
    fake_open_lm: Callable[[str], None], command: list[str], tmp_path: pathlib.Path
) -> None:
    fake_open_lm(TRAINS.format(final=True))
    assert main(command) == 0
    (path,) = (tmp_path / "exp_data" / "models").glob("*.json")
    row = json.loads(path.read_text())
    assert row["checkpoint_url"].endswith(f"/logs/{row['name']}/checkpoints/epoch_10.pt")
    assert row["results"] == [{"loss": 10.0}]
    assert row["open_lm_version"] == "unknown"  # no distribution, only a folder on the path
    (given,) = sys.modules["open_lm.main"].calls
    model = row["open_lm_args"].index("--model") + 1
    assert given == [*row["open_lm_args"][:model], str(CONFIG_FOLDER / "tiny.json"), *row["open_lm_args"][model + 1 :]]


def test_a_run_that_the_package_did_not_finish_is_a_failed_model(
    fake_open_lm: Callable[[str], None], command: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_open_lm(TRAINS.format(final=False))
    assert main(command) == 2
    assert "epoch_10.pt is not the final checkpoint" in capsys.readouterr().err
    (path,) = (tmp_path / "exp_data" / "failed_models").glob("*.json")
    assert json.loads(path.read_text())["failed"] is True


def test_partial_references_are_refused(
    fake_open_lm: Callable[[str], None], command: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_open_lm("pass")
    assert main([*command, "--partial-model-dir", str(tmp_path / "partial")]) == 2
    assert "--partial-model-dir" in capsys.readouterr().err
