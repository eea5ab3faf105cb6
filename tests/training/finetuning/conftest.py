"""A tokenizer trained on the sample, and options over files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from tests.training.finetuning.making import MARK, PAD, SAMPLE, sample_rows
from training.finetuning.examples import SequenceSpec, SftOptions, format_prompt


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A byte-level BPE of at most 400 ids, trained on the sample file."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    texts = [f"{format_prompt(row['instruction'])}{row['response']}" for row in sample_rows()]
    bpe.train_from_iterator(texts, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    bpe.save(str(path))
    return str(path)


@pytest.fixture
def options(tmp_path: Path, tokenizer_json: str) -> Callable[..., SftOptions]:
    """A function that gives options over the files it is called with; by default over the sample."""

    def make(*files: Path, seq_len: int = 128, **changed: Any) -> SftOptions:
        spec = SequenceSpec(tokenizer=tokenizer_json, seq_len=seq_len, mask_left=MARK, mask_individual=PAD)
        names = tuple(map(str, files or (SAMPLE,)))
        values: dict[str, Any] = {"input_files": names, "output_dir": str(tmp_path / "out"), "spec": spec}
        return SftOptions(**(values | changed))

    return make
