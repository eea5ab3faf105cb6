"""Fine-tuning data: folders, refusals, the script, and a checkpoint that learns from it."""

from __future__ import annotations

import json
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from corpusmith.errors import ChangedError, InputError
from corpusmith.run.ray.runner import Runner
from corpusmith.text.tokenizers.load import load_tokenizer
from tests.training.finetuning.making import MARK, PAD, ROOT, sample_rows, script, shards, write_rows
from training.finetuning.examples import PROMPT, SequenceSpec, SftOptions, format_prompt
from training.finetuning.prepare import prepare_sft_data
from training.main import main
from training.state.checkpoint import load_model


def test_one_file_fills_folder_0_with_about_eight_shards_of_padded_examples(
    options: Callable[..., SftOptions], tmp_path: Path, tokenizer_json: str
) -> None:
    found = prepare_sft_data(options())
    assert (found["read"], found["kept"], found["set_aside"], found["cut"]) == (60, 60, 0, 0)
    folder = tmp_path / "out" / "128-v1" / "0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.jsonl", *(f"shard-{n:07d}.tar" for n in range(8)),
    ]  # fmt: skip
    found_rows = [row for shard in shards(folder) for row in shard]
    assert [len(shard) for shard in shards(folder)] == [8] * 7 + [4]
    assert {len(row) for row in found_rows} == {129}
    tokenizer = load_tokenizer(tokenizer_json)
    expected = []
    for row in sample_rows():
        ids = [*tokenizer.encode(PROMPT.format(instruction=row["instruction"])), MARK]
        ids += [*tokenizer.encode(row["response"]), tokenizer.eot_id]
        expected.append(ids + [PAD] * (129 - len(ids)))
    assert sorted(found_rows) == sorted(expected)
    assert found_rows != expected  # shuffled


def test_members_are_python_lists_under_txt(options: Callable[..., SftOptions], tmp_path: Path) -> None:
    prepare_sft_data(options())
    with tarfile.open(tmp_path / "out" / "128-v1" / "0" / "shard-0000000.tar") as tar:
        names = tar.getnames()
        member = tar.extractfile(names[0])
        assert member is not None
        content = member.read().decode()
    assert names == [f"{n:08d}.txt" for n in range(8)]
    assert content.startswith("[")
    assert ", " in content


def test_the_same_input_and_seed_give_the_same_bytes_and_another_seed_another_order(
    options: Callable[..., SftOptions], tmp_path: Path
) -> None:
    def bytes_of(name: str, **changed: Any) -> list[bytes]:
        prepare_sft_data(options(output_dir=str(tmp_path / name), **changed))
        return [path.read_bytes() for path in sorted((tmp_path / name / "128-v1" / "0").iterdir())]

    assert bytes_of("a") == bytes_of("b") != bytes_of("c", seed=1)


def test_what_is_no_example_is_set_aside_with_its_reason_and_the_counts_balance(
    options: Callable[..., SftOptions], tmp_path: Path
) -> None:
    rows = [
        {"instruction": "Add 1 and 1.", "response": "2"},
        "{broken",
        {"instruction": "No response."},
        {"instruction": "", "response": "Empty."},
        {"instruction": "Number.", "response": 2},
        {"instruction": "Long. " * 200, "response": "x"},
        {"instruction": "Long response.", "response": "word " * 300},
    ]
    found = prepare_sft_data(options(write_rows(tmp_path / "in.jsonl", rows)))
    assert (found["read"], found["kept"], found["set_aside"], found["cut"]) == (7, 2, 5, 1)
    aside = [orjson.loads(line) for line in (tmp_path / "out" / "errors" / "0.jsonl").read_bytes().splitlines()]
    assert [row["index"] for row in aside] == [1, 2, 3, 4, 5]
    reasons = ["not JSON", "no string under 'response'", "nothing under 'instruction'", "no string", "fills all 129"]
    assert all(reason in row["error"] for reason, row in zip(reasons, aside, strict=True))
    assert aside[0]["raw"] == "{broken"


def test_files_are_dealt_out_over_the_folders_on_ray(
    options: Callable[..., SftOptions], tmp_path: Path, runner: Runner
) -> None:
    rows = sample_rows()
    for number in range(3):
        write_rows(tmp_path / f"in-{number}.jsonl", rows[number * 20 : number * 20 + 20])
    found = prepare_sft_data(options(tmp_path / "in-*.jsonl", num_consumers=2))
    assert found["kept"] == 60
    folder = tmp_path / "out" / "128-v1"
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]
    assert [sum(map(len, shards(folder / name))) for name in ("0", "1")] == [40, 20]  # files 0 and 2; file 1


def test_a_finished_folder_is_reported_and_another_call_must_say_overwrite(
    options: Callable[..., SftOptions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare_sft_data(options())
    shard = tmp_path / "out" / "128-v1" / "0" / "shard-0000000.tar"
    before = shard.stat().st_mtime_ns
    assert prepare_sft_data(options()) == first
    assert "complete: 60 sequences" in capsys.readouterr().out
    assert shard.stat().st_mtime_ns == before
    with pytest.raises(ChangedError, match="another seed"):
        prepare_sft_data(options(seed=7))
    assert prepare_sft_data(options(seed=7, overwrite=True))["seed"] == 7


def test_a_call_that_was_killed_before_the_end_is_done_again(
    options: Callable[..., SftOptions], tmp_path: Path
) -> None:
    prepare_sft_data(options())
    (tmp_path / "out" / "summary.json").unlink()
    stray = tmp_path / "out" / "128-v1" / "0" / "shard-0000099.tar"
    stray.write_bytes(b"left over")
    prepare_sft_data(options(seed=7))
    assert not stray.exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"mask_left": 3}, "--target-mask-left 3"),
        ({"mask_individual": -2}, "--target-mask-individual -2"),
        ({"mask_left": PAD}, "must differ"),
        ({"seq_len": 1}, "--seqlen"),
    ],
)
def test_ids_that_a_text_could_have_and_impossible_sizes_are_refused(
    options: Callable[..., SftOptions], changed: Any, named: str
) -> None:
    made = options()
    spec = SequenceSpec(**{"tokenizer": made.spec.tokenizer, "mask_left": MARK, "mask_individual": PAD} | changed)
    with pytest.raises(InputError, match=named):
        prepare_sft_data(options(spec=spec))


def test_missing_files_and_files_without_an_example_are_refused(
    options: Callable[..., SftOptions], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        prepare_sft_data(options(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="says why"):
        prepare_sft_data(options(write_rows(tmp_path / "in.jsonl", [{"text": "a page"}])))
    assert not (tmp_path / "out" / "summary.json").exists()


def test_the_script_takes_the_guides_flags_and_compressed_input(
    tmp_path: Path, tokenizer_json: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from corpusmith.io.pages.shards import open_shard_writer

    with open_shard_writer(str(tmp_path / "in.jsonl.zst")) as writer:
        for row in sample_rows():
            writer.write(row)
    command = [
        "--input-files", str(tmp_path / "in.jsonl.zst"), "--output-dir", str(tmp_path / "out"), "--num-workers", "32",
        "--num-consumers", "8", "--tokenizer", tokenizer_json, "--seqlen", "64", "--target-mask-left", str(MARK),
        "--target-mask-individual", str(PAD),
    ]  # fmt: skip
    assert script("preprocess_data").main(command) == 0
    assert capsys.readouterr().out.startswith("60 examples: ")
    assert script("preprocess_data").main([*command, "--num-consumers", "0"]) == 2


def train_flags(tmp_path: Path, manifest: Path, name: str, *more: str) -> list[str]:
    """The guide's command at test size; `more` comes last and wins."""
    return [
        "--dataset-manifest", str(manifest), "--epochs", "6", "--fsdp", "--fsdp-amp", "--fsdp-limit-all-gathers",
        "--global-batch-size", "8", "--grad-checkpointing", "--grad-clip-norm", "1", "--log-every-n-steps", "1",
        "--logs", str(tmp_path / "logs"), "--lr", "0.01", "--lr-cooldown-end", "0.001", "--model",
        str(tmp_path / "small.json"), "--model-norm", "gain_only_lp_layer_norm", "--multiple-data-passes", "--name",
        name, "--precision", "fp32", "--qk-norm", "--report-to", "tensorboard", "--seed", "124", "--squash-mask-left",
        "--target-mask-individual", str(PAD), "--target-mask-left", str(MARK), "--train-num-samples", str(56 * 128),
        "--warmup", "4", "--wd", "0.1", "--workers", "1", *more,
    ]  # fmt: skip


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    sizes = {"hidden_dim": 64, "n_layers": 2, "n_heads": 2, "seq_len": 128, "vocab_size": 512}
    path = tmp_path / "small.json"
    path.write_text(json.dumps(sizes | {"post_embed_norm": False, "weight_tying": False}))
    return path


def losses(tmp_path: Path, name: str) -> list[float]:
    lines = (tmp_path / "logs" / name / "train_log.jsonl").read_bytes().splitlines()
    return [orjson.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_the_guides_command_fine_tunes_a_checkpoint(
    options: Callable[..., SftOptions], tmp_path: Path, small_model: Path, tokenizer_json: str
) -> None:
    prepare_sft_data(options())
    manifest = tmp_path / "out" / "128-v1" / "0" / "manifest.jsonl"
    assert main(train_flags(tmp_path, manifest, "base", "--epochs", "3", "--seed", "7")) == 0
    base = tmp_path / "logs" / "base" / "checkpoints" / "epoch_3.pt"
    assert main(train_flags(tmp_path, manifest, "tuned", "--pretrained", str(base))) == 0

    before, found = losses(tmp_path, "base"), losses(tmp_path, "tuned")
    assert (len(before), len(found)) == (3 * 56 // 8, 6 * 56 // 8)
    assert found[0] < (before[0] + before[-1]) / 2  # it starts from the base's weights
    assert sum(found[-7:]) / 7 < before[0] / 4  # several passes over 60 examples: it learns them

    # only the responses were learnt: the loss of prompts stays near that of an untrained model
    tokenizer = load_tokenizer(tokenizer_json)
    model = load_model(str(tmp_path / "logs" / "tuned" / "checkpoints" / "epoch_6.pt"))
    totals: dict[str, list[float]] = {"prompt": [], "response": []}
    for row in sample_rows():
        prompt, response = tokenizer.encode(format_prompt(row["instruction"])), tokenizer.encode(row["response"])
        ids = torch.tensor([[*prompt, *response, tokenizer.eot_id]])
        with torch.no_grad():
            each = torch.nn.functional.cross_entropy(model(ids)[0][0, :-1], ids[0, 1:], reduction="none")
        totals["prompt"].append(each[: len(prompt) - 1].mean().item())
        totals["response"].append(each[len(prompt) - 1 :].mean().item())
    prompt_loss, response_loss = (sum(values) / len(values) for values in totals.values())
    assert response_loss < 2.5 < 5 < prompt_loss


def test_the_commands_of_the_guide_in_docs_parse() -> None:
    from training.arguments.openlm import parse_arguments

    text = (ROOT / "docs" / "finetuning.md").read_text().replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith(("python ", "torchrun "))]
    seen = set()
    for words in lines:
        if words[0] == "torchrun":
            values = parse_arguments(words[words.index("--") + 1 :])
            assert (values["target_mask_left"], values["epochs"], values["lr"]) == (50300, 20, 2e-05)
            seen.add("train")
        else:
            name = Path(words[1]).stem
            script(name).build_parser().parse_args(words[2:])
            seen.add(name)
    assert seen == {"train", "download_data", "preprocess_data"}
