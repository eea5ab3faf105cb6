"""Where task data comes from, where it is looked for, GPQA's conversion, and held-out sets."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import random
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from corpusmith.assets import all_assets
from corpusmith.assets import main as assets_main
from corpusmith.errors import InputError
from eval.evaluate import DATA_VARIABLE, EvaluationRequest, data_folders
from eval.scoring.perplexity import DOWNSTREAM, PALOMA, VALIDATION, HeldOut, perplexities
from eval.tasks import gpqa
from eval.tasks.assets import ASSETS
from eval.tasks.perplexity_sets import PALOMA_SHARDS, VALIDATION_SHARDS, downstream_sets
from eval.tasks.suites import load_suite
from training.models.config import ModelConfig
from training.models.openlm import Transformer
from training.state.ranks import Ranks

EVAL_FOLDER = Path(gpqa.__file__).parents[1]


# --- task files ----------------------------------------------------------------------------------------------------


def test_every_task_file_of_the_suites_is_an_asset(tmp_path: Path) -> None:
    named = {
        task.data_url
        for suite in ("heavy", "special", "cot_fix_plus_gpq")
        for task in load_suite(str(EVAL_FOLDER / f"{suite}.yaml"), [str(tmp_path)]).missing
    }
    assert {name for name in named if "gpqa" not in name} == {name for name in ASSETS if name.startswith("local_data/")}
    assert "gpqa/dataset.zip" in ASSETS
    assert ASSETS.keys() <= all_assets().keys()
    assert all(asset.source.startswith("https://") and asset.licence for asset in ASSETS.values())


def test_the_checksums_are_those_of_the_files_at_hand(shared_data: Path) -> None:
    checked = 0
    for name, asset in ASSETS.items():
        path = shared_data / "eval_data" / name.removeprefix("local_data/")
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == asset.sha256, name
            checked += 1
    assert checked == 43


def test_task_files_are_fetched_by_pattern_verified_and_then_found(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    wanted = "local_data/commonsense_reasoning/co*"
    assert assets_main(["fetch", wanted, "--from", str(shared_data / "eval_data")]) == 0
    assert assets_main(["verify", wanted]) == 0
    assert capsys.readouterr().out.count("as expected") == 2
    suite = load_suite(
        str(EVAL_FOLDER / "heavy.yaml"), data_folders(EvaluationRequest(eval_yaml=str(EVAL_FOLDER / "heavy.yaml")))
    )
    assert [task.label for task in suite.tasks] == ["copa", "commonsense_qa"]
    source = tmp_path / "bad" / "commonsense_reasoning"
    source.mkdir(parents=True)
    (source / "piqa.jsonl").write_text("{}\n")
    assert assets_main(["fetch", "local_data/commonsense_reasoning/piqa.jsonl", "--from", str(tmp_path / "bad")]) == 1
    assert "another SHA-256" in capsys.readouterr().err


def test_data_is_looked_for_in_the_given_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "from/environment")
    request = EvaluationRequest(eval_yaml=str(EVAL_FOLDER / "light.yaml"), eval_data="given")
    assert data_folders(request)[:3] == ["given", "from/environment", "."]


# --- GPQA ----------------------------------------------------------------------------------------------------------

QUESTIONS = (
    "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n"
    '"One, or\ntwo?",c,x,y,z\nWho?,k,l,m,n\n'
)


def test_choices_are_shuffled_by_one_generator_per_file() -> None:
    rows = gpqa.gpqa_rows(QUESTIONS, "t")
    draws = random.Random(42)
    for row, answers in zip(rows, ("cxyz", "klmn"), strict=True):
        order = [0, 1, 2, 3]
        draws.shuffle(order)
        assert row["choices"] == [answers[place] for place in order]
        assert row["choices"][row["gold"]] == answers[0]
    assert rows[0]["query"] == "One, or\ntwo?"
    with pytest.raises(InputError, match="t: row 1 lacks"):
        gpqa.gpqa_rows("Question,Correct Answer\na,b\n", "t")


def test_an_encrypted_archive_becomes_task_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    for name in ("gpqa_main.csv", "gpqa_diamond.csv"):
        (folder / name).write_text(QUESTIONS)
    archive = tmp_path / "dataset.zip"
    try:
        command = ["zip", "-q", "-r", "-P", "sesame", str(archive), "dataset"]
        subprocess.run(command, check=True, cwd=tmp_path)
    except FileNotFoundError:
        pytest.skip("needs the program zip, to encrypt an archive")
    monkeypatch.setenv(gpqa.PASSWORD_VARIABLE, "sesame")
    assert gpqa.main(["--archive", str(archive), "--output", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "gpqa_data" / "gpqa_main.jsonl").read_text().splitlines()
    assert [json.loads(line)["gold"] for line in lines] == [row["gold"] for row in gpqa.gpqa_rows(QUESTIONS, "t")]
    assert (tmp_path / "out" / "gpqa_data" / "gpqa_diamond.jsonl").exists()
    monkeypatch.setenv(gpqa.PASSWORD_VARIABLE, "mellon")
    assert gpqa.main(["--archive", str(archive), "--output", str(tmp_path / "no")]) == 2
    assert "is the password right?" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("other.csv", "")
    with pytest.raises(InputError, match="holds none of gpqa_main"):
        gpqa.convert_gpqa(str(tmp_path / "x.zip"), "", str(tmp_path))
    (tmp_path / "x.zip").write_text("no archive")
    with pytest.raises(InputError, match="can't be unpacked"):
        gpqa.convert_gpqa(str(tmp_path / "x.zip"), "", str(tmp_path))


# --- held-out sets ---------------------------------------------------------------------------------------------------


def model(vocab_size: int = 40) -> Transformer:
    torch.manual_seed(2)
    return Transformer(ModelConfig(hidden_dim=16, n_layers=1, n_heads=2, seq_len=8, vocab_size=vocab_size))


def write_tar(path: Path, sequences: list[list[int]], suffix: str) -> None:
    with tarfile.open(path, "w") as tar:
        for number, tokens in enumerate(sequences):
            content = json.dumps(tokens).encode()
            if suffix.endswith("gz"):
                content = gzip.compress(content)
            info = tarfile.TarInfo(f"{number:05d}.{suffix}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def mean_loss(module: Transformer, sequences: list[list[int]]) -> float:
    losses = []
    with torch.inference_mode():
        for tokens in sequences:
            logits = module(torch.tensor([tokens[:-1]]))[0][0]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:])).item())
    return sum(losses) / len(losses)


def sequences(seed: int, count: int = 5, vocab_size: int = 40) -> list[list[int]]:
    draws = random.Random(seed)
    return [[draws.randrange(1, vocab_size) for _ in range(9)] for _ in range(count)]


def test_held_out_losses_are_means_in_nats_and_absent_sets_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, path = model(), tmp_path / VALIDATION_SHARDS[0]
    path.parent.mkdir(parents=True)
    write_tar(path, sequences(1), "json")
    (tmp_path / "paloma_val").mkdir()
    for number, shard in enumerate(PALOMA_SHARDS):
        write_tar(tmp_path / shard, sequences(10 + number), "json.gz")
    copa = tmp_path / downstream_sets()["copa"]
    copa.parent.mkdir(parents=True)
    write_tar(copa, sequences(3), "txt")
    found = perplexities(
        module, HeldOut(paloma=True, downstream=True), [str(tmp_path / "none"), str(tmp_path)], Ranks()
    )
    assert found[VALIDATION] == pytest.approx(mean_loss(module, sequences(1)), abs=1e-5)
    paloma = [tokens for number in range(4) for tokens in sequences(10 + number)]
    assert found[PALOMA] == pytest.approx(mean_loss(module, paloma), abs=1e-5)
    assert found[DOWNSTREAM] == {"copa": pytest.approx(mean_loss(module, sequences(3)), abs=1e-5)}
    assert "56 of 57 sets" in capsys.readouterr().out
    assert perplexities(module, HeldOut(), [str(tmp_path / "none")], Ranks()) == {}
    assert "left out, no data: perplexity" in capsys.readouterr().out
    (tmp_path / PALOMA_SHARDS[2]).unlink()
    with pytest.raises(InputError, match=r"00000003\.tar is missing"):
        perplexities(module, HeldOut(paloma=True), [str(tmp_path)], Ranks())


def test_a_held_out_set_of_ones_own_takes_the_place_of_the_validation_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "mine.tar", sequences(5), "json.gz")
    found = perplexities(model(), HeldOut(validation=str(tmp_path / "mine.tar")), [], Ranks())
    assert found[VALIDATION] == pytest.approx(mean_loss(model(), sequences(5)), abs=1e-5)
    with pytest.raises(InputError, match=r"mine\.txt"):
        perplexities(model(), HeldOut(validation=str(tmp_path / "mine.txt")), [], Ranks())


def test_prompts_marked_by_dclm_are_masked_in_large_vocabularies(tmp_path: Path) -> None:
    # 50300 ends what is only shown; it is cut out and the rest moves up; 50400 fills
    rows = [[5, 6, 7, 50300, 8, 9, 10, 11, 12]]
    write_tar(tmp_path / "marked.tar", rows, "json.gz")
    module = model(50432)
    found = perplexities(module, HeldOut(validation=str(tmp_path / "marked.tar")), [], Ranks())
    with torch.inference_mode():
        logits = module(torch.tensor([[5, 6, 7, 8, 9, 10, 11, 50400]]))[0][0]
        losses = torch.nn.functional.cross_entropy(
            logits, torch.tensor([6, 7, 8, 9, 10, 11, 12, 50400]), reduction="none"
        )
    assert found[VALIDATION] == pytest.approx(losses[2:7].mean().item(), abs=1e-5)
    assert math.isfinite(found[VALIDATION])


def test_the_downstream_sets_are_the_57_of_the_published_evaluations(shared_data: Path) -> None:
    assert len(downstream_sets()) == 57
    for path in (shared_data / "exp_data_samples" / "evals").glob("*.json"):
        published = json.loads(path.read_text())["eval_metrics"].get("downstream_perpexity")
        assert published is None or published.keys() == downstream_sets().keys()
