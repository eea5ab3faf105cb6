"""What the tests of evaluation make: a tokenizer of bytes, untrained checkpoints, a short suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from eval import eval_expdb

SAMPLE = Path(eval_expdb.__file__).with_name("sample.yaml")


def write_tokenizer(path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, "<|padding|>": 1} | {
        character: number for number, character in enumerate(alphabet, start=2)
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    tokenizer.save(str(path))


def write_checkpoint(folder: Path, config: Mapping[str, object]) -> Path:
    """An untrained network of 16 dimensions, its parameters and its config."""
    torch = pytest.importorskip("torch")
    from training.models.config import model_config_from
    from training.models.openlm import Transformer

    torch.manual_seed(0)
    network = Transformer(model_config_from(config, where="test"))
    (folder / "checkpoints").mkdir(parents=True)
    path = folder / "checkpoints" / "epoch_1.pt"
    torch.save({"epoch": 1, "name": "m", "state_dict": network.state_dict()}, path)
    (folder / "tiny.json").write_text(json.dumps(config))
    (folder / "params.txt").write_text(f"model: {folder / 'tiny.json'}\n")
    return path


def write_short_sample(folder: Path) -> None:
    """The sample suite with the first rows of each task."""
    (folder / "sample.yaml").write_text(SAMPLE.read_text())
    (folder / "sample_data").mkdir()
    for path in SAMPLE.with_name("sample_data").glob("*.jsonl"):
        rows = path.read_text().splitlines(keepends=True)[:6]
        (folder / "sample_data" / path.name).write_text("".join(rows))
