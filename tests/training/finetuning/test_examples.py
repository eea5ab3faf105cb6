"""Fine-tuning data: the prompt, the sequences by hand, folders, refusals, and the scripts."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import tarfile
from pathlib import Path

import numpy as np
import orjson
import pytest
import tokenizers
import torch

from corpusmith.errors import ChangedError, InputError
from corpusmith.io.tokens import wds
from corpusmith.text.tokenizers.load import load_tokenizer
from training.data.masking import TargetMask, mask_targets
from training.finetuning.download import DownloadOptions, make_instruction_file
from training.finetuning.examples import (
    PROMPT,
    SequenceSpec,
    SftOptions,
    encode_example,
    format_prompt,
    prepare_sft_data,
)
from training.loop.checkpoint import load_model
from training.main import main

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "finetuning" / "sample_instructions.jsonl"
MARK, PAD = 500, 501


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"finetuning_{name}", ROOT / "finetuning" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "finetuning"  # as `python -m` would have it: the path is set up already
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory) -> str:
    """A byte-level BPE of at most 400 ids, trained on the sample file."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    texts = [f"{format_prompt(row['instruction'])}{row['response']}" for row in sample_rows()]
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bpe.save(str(path))
    return str(path)


def sample_rows() -> list[dict]:
    return [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()]


@pytest.fixture
def options(tmp_path, tokenizer_json):
    """A function that gives options over the files it is called with; by default over the sample."""

    def make(*files: Path, seq_len: int = 128, **changed) -> SftOptions:
        spec = SequenceSpec(tokenizer=tokenizer_json, seq_len=seq_len, mask_left=MARK, mask_individual=PAD)
        names = tuple(map(str, files or (SAMPLE,)))
        return SftOptions(**{"input_files": names, "output_dir": str(tmp_path / "out"), "spec": spec} | changed)

    return make


def write_rows(path: Path, rows: list) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def shards(folder: Path) -> list[list[list[int]]]:
    names = [entry.shard for entry in wds.read_manifest(str(folder / "manifest.jsonl"))]
    return [list(wds.read_wds_shard(str(folder / f"{name}.tar"), "txt")) for name in names]


def test_the_prompt_is_the_guides():
    assert format_prompt("Add 2 and 3.") == (
        "Below is an instruction that describes a task.\n"
        "\n"
        "Write a response that appropriately completes the request.\n"
        "\n"
        "### Instruction:\n"
        "Add 2 and 3.\n"
        "\n"
        "### Response:"
    )


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ([1, 2], [3], ([1, 2, 500, 3, 0], False)),
        ([1, 2], [3, 4, 5], ([1, 2, 500, 3, 4, 5], True)),  # the end-of-text is cut
        ([1, 2, 3, 4], [5, 6], ([1, 2, 3, 4, 500, 5], True)),
        ([1, 2, 3, 4, 5], [6], None),  # no place is left after the mark
    ],
)
def test_sequences_by_hand(prompt, response, expected):
    spec = SequenceSpec(seq_len=5, mask_left=MARK, mask_individual=PAD)
    found = encode_example(np.array(prompt), np.array(response), 0, spec)
    assert (None if found is None else (found.ids.tolist(), found.cut)) == expected


def test_the_mask_of_the_guide_leaves_response_and_end_of_text_to_learn():
    row = np.array([[1, 2, MARK, 3, 4, 0, PAD, PAD]])
    x, y = mask_targets(row[:, :-1], row[:, 1:], TargetMask(left=MARK, individual=PAD, squash=True))
    assert x.tolist() == [[1, 2, 3, 4, 0, PAD, PAD]]
    assert y.tolist() == [[-100, 3, 4, 0, -100, -100, -100]]


def test_one_file_fills_folder_0_with_about_eight_shards_of_padded_examples(options, tmp_path, tokenizer_json):
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


def test_members_are_python_lists_under_txt(options, tmp_path):
    prepare_sft_data(options())
    with tarfile.open(tmp_path / "out" / "128-v1" / "0" / "shard-0000000.tar") as tar:
        names = tar.getnames()
        content = tar.extractfile(names[0]).read().decode()
    assert names == [f"{n:08d}.txt" for n in range(8)]
    assert content.startswith("[")
    assert ", " in content


def test_the_same_input_and_seed_give_the_same_bytes_and_another_seed_another_order(options, tmp_path):
    def bytes_of(name: str, **changed) -> list[bytes]:
        prepare_sft_data(options(output_dir=str(tmp_path / name), **changed))
        return [path.read_bytes() for path in sorted((tmp_path / name / "128-v1" / "0").iterdir())]

    assert bytes_of("a") == bytes_of("b") != bytes_of("c", seed=1)


def test_what_is_no_example_is_set_aside_with_its_reason_and_the_counts_balance(options, tmp_path):
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


def test_files_are_dealt_out_over_the_folders_on_ray(options, tmp_path, ray_is_up):
    rows = sample_rows()
    for number in range(3):
        write_rows(tmp_path / f"in-{number}.jsonl", rows[number * 20 : number * 20 + 20])
    found = prepare_sft_data(options(tmp_path / "in-*.jsonl", num_consumers=2))
    assert found["kept"] == 60
    folder = tmp_path / "out" / "128-v1"
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1"]
    assert [sum(map(len, shards(folder / name))) for name in ("0", "1")] == [40, 20]  # files 0 and 2; file 1


def test_a_finished_folder_is_reported_and_another_call_must_say_overwrite(options, tmp_path, capsys):
    first = prepare_sft_data(options())
    shard = tmp_path / "out" / "128-v1" / "0" / "shard-0000000.tar"
    before = shard.stat().st_mtime_ns
    assert prepare_sft_data(options()) == first
    assert "complete: 60 sequences" in capsys.readouterr().out
    assert shard.stat().st_mtime_ns == before
    with pytest.raises(ChangedError, match="another seed"):
        prepare_sft_data(options(seed=7))
    assert prepare_sft_data(options(seed=7, overwrite=True))["seed"] == 7


def test_a_call_that_was_killed_before_the_end_is_done_again(options, tmp_path):
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
def test_ids_that_a_text_could_have_and_impossible_sizes_are_refused(options, changed, named):
    made = options()
    spec = SequenceSpec(**{"tokenizer": made.spec.tokenizer, "mask_left": MARK, "mask_individual": PAD} | changed)
    with pytest.raises(InputError, match=named):
        prepare_sft_data(options(spec=spec))


def test_missing_files_and_files_without_an_example_are_refused(options, tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        prepare_sft_data(options(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="says why"):
        prepare_sft_data(options(write_rows(tmp_path / "in.jsonl", [{"text": "a page"}])))
    assert not (tmp_path / "out" / "summary.json").exists()


def test_the_script_takes_the_guides_flags_and_compressed_input(tmp_path, tokenizer_json, capsys):
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


def test_questions_and_answers_become_instructions_and_responses(tmp_path, capsys):
    rows = [
        {"question": "What is 2 + 2?", "expected_answer": "4", "generated_solution": "…"},
        {"question": "What is 3 / 2?", "expected_answer": 1.5},
        {"question": "No answer.", "expected_answer": None},
    ]
    source = write_rows(tmp_path / "train.jsonl", rows)
    output = tmp_path / "out.jsonl"
    command = ["--output", str(output), "--input-files", str(source)]
    assert script("download_data").main(command) == 0
    assert "2 examples of 3 rows (1 skipped)" in capsys.readouterr().out
    assert [orjson.loads(line) for line in output.read_bytes().splitlines()] == [
        {"instruction": "What is 2 + 2?", "response": "4"},
        {"instruction": "What is 3 / 2?", "response": "1.5"},
    ]
    assert script("download_data").main(command) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_download_goes_through_the_hub_and_its_failure_is_one_line(tmp_path, monkeypatch, capsys):
    asked = {}

    def snapshot(repo_id, repo_type, allow_patterns):
        asked.update(repo_id=repo_id, repo_type=repo_type, allow_patterns=allow_patterns)
        (tmp_path / "hub" / "correct_solutions").mkdir(parents=True)
        write_rows(tmp_path / "hub" / "correct_solutions" / "train.jsonl", [{"question": "Q", "expected_answer": "A"}])
        return str(tmp_path / "hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    counts = make_instruction_file(DownloadOptions(output=str(tmp_path / "out.jsonl")))
    assert counts == {"read": 1, "kept": 1, "skipped": 0}
    assert asked == {
        "repo_id": "nvidia/OpenMathInstruct-1", "repo_type": "dataset",
        "allow_patterns": "correct_solutions/train.jsonl",
    }  # fmt: skip

    def offline(**_):
        raise OSError("no network\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    assert script("download_data").main(["--output", str(tmp_path / "other.jsonl")]) == 1
    said = capsys.readouterr().err
    assert "no network" in said
    assert "--input-files" in said
    assert said.count("\n") == 1
    assert not os.path.exists(tmp_path / "other.jsonl")


def test_rows_without_the_keys_are_refused(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [{"text": "page"}])
    with pytest.raises(InputError, match="--instruction-key"):
        make_instruction_file(DownloadOptions(output=str(tmp_path / "o.jsonl"), input_files=(str(source),)))
    assert not (tmp_path / "o.jsonl").exists()


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
def small_model(tmp_path) -> Path:
    sizes = {"hidden_dim": 64, "n_layers": 2, "n_heads": 2, "seq_len": 128, "vocab_size": 512}
    path = tmp_path / "small.json"
    path.write_text(json.dumps(sizes | {"post_embed_norm": False, "weight_tying": False}))
    return path


def losses(tmp_path: Path, name: str) -> list[float]:
    lines = (tmp_path / "logs" / name / "train_log.jsonl").read_bytes().splitlines()
    return [orjson.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_the_guides_command_fine_tunes_a_checkpoint(options, tmp_path, small_model, tokenizer_json):
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
    totals = {"prompt": [], "response": []}
    for row in sample_rows():
        prompt, response = tokenizer.encode(format_prompt(row["instruction"])), tokenizer.encode(row["response"])
        ids = torch.tensor([[*prompt, *response, tokenizer.eot_id]])
        with torch.no_grad():
            each = torch.nn.functional.cross_entropy(model(ids)[0][0, :-1], ids[0, 1:], reduction="none")
        totals["prompt"].append(each[: len(prompt) - 1].mean().item())
        totals["response"].append(each[len(prompt) - 1 :].mean().item())
    prompt_loss, response_loss = (sum(values) / len(values) for values in totals.values())
    assert response_loss < 2.5 < 5 < prompt_loss


def test_the_commands_of_the_guide_in_docs_parse():
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
