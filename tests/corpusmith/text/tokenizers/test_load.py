"""Tokenizers: GPT-NeoX's vectors, special tokens as text, ids for end of text and padding, clear refusals."""

from __future__ import annotations

import base64
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.load import HuggingFaceTokenizer, cached_tokenizer, load_tokenizer

WORDS = ["low", "lower", "lowest"]


def bpe_json(special: dict[str, int], pieces: list[str], first_id: int) -> bytes:
    """A `tokenizer.json` without merges: every piece is one character."""
    added = [
        {"id": number, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for text, number in special.items()
    ]  # fmt: skip
    vocabulary = {piece: first_id + index for index, piece in enumerate(pieces)}
    vocabulary |= {text: number for text, number in special.items() if number < first_id}
    model: dict[str, object] = {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": None}
    return json.dumps({"version": "1.0", "added_tokens": added, "model": model}).encode()


def characters(special: dict[str, int]) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer("t", bpe_json(special, list("abcdefghijklmnopqrstuvwxyz<|>/"), 2))


def test_special_tokens_in_a_document_are_text() -> None:
    tokenizer = characters({"<|endoftext|>": 0, "<|padding|>": 1})
    assert tokenizer.encode("ab") == [2, 3]
    ids = tokenizer.encode("<|endoftext|>")
    assert len(ids) == len("<|endoftext|>")
    assert tokenizer.eot_id not in ids


def test_end_and_pad_come_from_the_special_tokens() -> None:
    tokenizer = characters({"<|endoftext|>": 0, "<|padding|>": 1})
    assert (tokenizer.eot_id, tokenizer.pad_id) == (0, 1)
    assert (tokenizer.vocab_size, tokenizer.num_ids) == (32, 32)


def test_added_tokens_count_as_ids_but_not_as_vocabulary() -> None:
    tokenizer = characters({"</s>": 0, "[PAD]": 31})
    assert (tokenizer.eot_id, tokenizer.pad_id) == (0, 31)
    assert (tokenizer.vocab_size, tokenizer.num_ids) == (31, 32)


def test_without_a_pad_token_the_end_token_pads() -> None:
    assert characters({"</s>": 1}).pad_id == 1


def test_without_an_end_token_a_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="end-of-text"):
        characters({"[UNK]": 0})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b'{"model": 3}', b'{"model": {"type": "Nonsense"}}'])
def test_a_file_that_is_no_tokenizer_is_refused(content: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(str(path))


def test_a_missing_tokenizer_names_what_was_tried(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMITH_TOKENIZERS", str(tmp_path))
    with pytest.raises(InputError, match=r"nobody_nothing\.tokenizer\.json") as caught:
        load_tokenizer("nobody/nothing")
    assert "CORPUSMITH_TOKENIZERS" in str(caught.value)


def test_a_folder_may_be_given(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(bpe_json({"</s>": 0}, ["a", "b"], 1))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.encode("ba") == [2, 1]
    assert tokenizer.decode([1, 2]) == "a b"


def test_changed_content_is_noticed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(bpe_json({"</s>": 0}, ["a", "b"], 1))
    with pytest.raises(InputError, match="was started with"):
        cached_tokenizer(str(tmp_path), "xxh3_128:0")


def write_ranks(path: pathlib.Path, tokens: list[bytes]) -> None:
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))


def test_a_rank_file_is_merged_by_rank(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t.tiktoken"
    write_ranks(path, [b"<|endoftext|>", b"<|padding|>", *(bytes([byte]) for byte in range(256)), b"lo", b"low"])
    tokenizer = load_tokenizer(str(path))
    assert tokenizer.encode("low lo") == [259, 2 + ord(" "), 258]
    assert (tokenizer.eot_id, tokenizer.pad_id, tokenizer.num_ids) == (0, 1, 260)
    assert tokenizer.encode("<|endoftext|>") == [2 + byte for byte in b"<|endoftext|>"]
    assert tokenizer.decode([259, 0]) == "low<|endoftext|>"
    assert tokenizer.encode_batch(["low", ""]) == [[259], []]
    assert [ids.tolist() for ids in tokenizer.encode_arrays(["low", "", "lo\ud800"])] == [
        [259], [], [258, 2 + 0xEF, 2 + 0xBF, 2 + 0xBD]
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"YQ== x\n", b"YQ== 0\nYg== 0\n"])
def test_a_bad_rank_file_is_refused(content: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t.tiktoken"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_tokenizer(str(path))


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_any_unicode_comes_back_lone_surrogates_as_u_fffd(byte_level: HuggingFaceTokenizer, text: str) -> None:
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert byte_level.decode(byte_level.encode(text)) == clean
    assert byte_level.encode_arrays([text, "low"])[0].tolist() == byte_level.encode(text)


@pytest.fixture(scope="module")
def byte_level() -> HuggingFaceTokenizer:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return HuggingFaceTokenizer("bytes", tokenizer.to_str().encode())


NEOX_VECTORS = [
    ("Hello world", [12092, 1533]),
    ("    x", [50274, 89]),
    ("a  b", [66, 50276, 67]),
    ("a    b", [66, 50274, 67]),
    ("\n\n  - item", [535, 50276, 14, 5382]),
    ("x" + " " * 30 + "y", [89, 50254, 50272, 90]),
    ("e\u0301", [860]),
    ("don't  stop", [9903, 626, 50276, 13121]),
    ("12345 678", [42594, 721, 3141]),
]


@pytest.fixture
def neox(shared_data: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> HuggingFaceTokenizer:
    monkeypatch.setenv("CORPUSMITH_TOKENIZERS", str(shared_data / "tokenizers"))
    tokenizer = load_tokenizer("EleutherAI/gpt-neox-20b")
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    return tokenizer


def test_gpt_neox_by_name_gives_its_vectors(neox: HuggingFaceTokenizer) -> None:
    assert [neox.encode(text) for text, _ in NEOX_VECTORS] == [ids for _, ids in NEOX_VECTORS]
    assert neox.encode_batch([text for text, _ in NEOX_VECTORS]) == [ids for _, ids in NEOX_VECTORS]
    assert (neox.vocab_size, neox.num_ids, neox.eot_id, neox.pad_id) == (50254, 50277, 0, 50256)


def test_gpt_neox_as_a_rank_file_differs_in_runs_of_spaces(shared_data: pathlib.Path) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "EleutherAI_gpt-neox-20b.tiktoken"))
    assert tokenizer.encode("a    b") == [66, 50275, 270]
    assert tokenizer.encode("Hello world") == [12092, 1533]
    assert (tokenizer.vocab_size, tokenizer.num_ids, tokenizer.eot_id, tokenizer.pad_id) == (50254, 50277, 0, 50256)
