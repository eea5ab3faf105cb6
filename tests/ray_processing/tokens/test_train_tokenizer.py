"""Training a tokenizer: the same pages give the same file; special tokens first; any text comes back."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import open_shard_writer
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokens.train_tokenizer import TokenizerTraining, main, train_tokenizer

TEXTS = [
    f"the {word} of page {page}, ünïcode 漢字 {word * 2}\n\n  indented" for page in range(150) for word in ("ab", "cd")
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pages")
    for shard in range(3):
        with open_shard_writer(str(folder / f"{shard}.jsonl.zst")) as writer:
            for text in TEXTS[shard::3]:
                writer.write({"text": text, "body": "x"})
            writer.write({"url": "no text"})
    return folder


def test_special_tokens_come_first_and_any_text_comes_back(pages: pathlib.Path, tmp_path: pathlib.Path) -> None:
    content, documents, skipped = train_tokenizer(str(pages), TokenizerTraining(vocab_size=320))
    assert (documents, skipped) == (len(TEXTS), 3)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.eot_id, tokenizer.pad_id, tokenizer.vocab_size, tokenizer.num_ids) == (0, 1, 320, 320)
    for text in (*TEXTS[:3], "never seen: \U0001f600\x00\x7f <|endoftext|>", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.eot_id not in tokenizer.encode(text)


def test_the_number_of_threads_does_not_change_a_byte(pages: pathlib.Path) -> None:
    code = (
        "import sys; from ray_processing.tokens.train_tokenizer import *\n"
        f"sys.stdout.buffer.write(train_tokenizer({str(pages)!r}, TokenizerTraining(vocab_size=400))[0])"
    )
    found = set()
    for threads in ("1", "2", "7"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        found.add(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout)
    assert len(found) == 1
    assert len(json.loads(found.pop())["model"]["vocab"]) == 400


def test_a_sample_is_drawn_by_the_seed(pages: pathlib.Path) -> None:
    counts = [
        train_tokenizer(str(pages), TokenizerTraining(vocab_size=300, sample_rate=0.5, seed=seed)) for seed in (0, 0, 1)
    ]
    assert counts[0] == counts[1] != counts[2]
    assert 0 < counts[0][1] < len(TEXTS)


def test_the_command_writes_a_file_and_never_replaces_one_unasked(
    pages: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokenizer.json"
    arguments = ["--input", str(pages), "--output", str(path), "--vocab_size", "300"]
    assert main(arguments) == 0
    first = path.read_bytes()
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert path.read_bytes() == first


@pytest.mark.parametrize("bad", [{"vocab_size": 257}, {"vocab_size": 300, "sample_rate": 0.0}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        TokenizerTraining(**bad)  # type: ignore[arg-type]


def test_pages_without_texts_are_refused(pages: pathlib.Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        train_tokenizer(str(pages), TokenizerTraining(vocab_size=300, content_key="nothing"))


def test_more_special_tokens_follow_the_two_and_are_text_in_a_document(
    pages: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    training = TokenizerTraining(vocab_size=320, special_tokens=("<|user|>", "<mask>"))
    path = tmp_path / "tokenizer.json"
    path.write_bytes(train_tokenizer(str(pages), training)[0])
    vocabulary = json.loads(path.read_bytes())["model"]["vocab"]
    assert [vocabulary[text] for text in ("<|endoftext|>", "<|padding|>", "<|user|>", "<mask>")] == [0, 1, 2, 3]
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.vocab_size == 320
    assert not {2, 3} & set(tokenizer.encode("<|user|> <mask>"))
    for wrong in (("<|padding|>",), ("a", "a"), ("",)):
        with pytest.raises(InputError, match="--special_tokens"):
            TokenizerTraining(vocab_size=320, special_tokens=wrong)
