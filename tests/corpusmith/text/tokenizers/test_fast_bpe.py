"""tiktoken's engine gives the ids of the package `tokenizers`; GPT-NeoX in both of its meanings."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import read_shard
from corpusmith.text.tokenizers.common import pieces_of
from corpusmith.text.tokenizers.fast_bpe import KNOWN_PATTERNS, LLAMA3_PATTERN, fast_bpe, has_unknown_characters
from corpusmith.text.tokenizers.gpt_neox import rebuild
from corpusmith.text.tokenizers.load import HuggingFaceTokenizer, load_tokenizer

# what pre-tokenizers, normalizers and runs of spaces stumble over
AWKWARD = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    " ",
                    "  ",
                    "   ",
                    " " * 23,
                    " " * 24,
                    " " * 25,
                    " " * 50,
                    "\n",
                    "\r\n",
                    "\t",
                    "\u00a0",
                    "\u0085",
                    "\u3000",
                ),
                *(
                    "a",
                    "Word",
                    "don't",
                    "I'LL",
                    "12345",
                    "9",
                    "e\u0301",
                    "\u00e9",
                    "\u1100\u1161",
                    "\u0301",
                    "!",
                    "...\n",
                ),
                *("<|endoftext|>", "\U0001f600", "\u200d", "\x00", "\u180e", "\ufeff", "-", "_", "/\n", "\u2028"),
            ]
        ),
        st.text(st.characters(categories=None), max_size=4),
    ),
    max_size=25,
).map("".join)


def train(pre_tokenizer: Any, normalizer: Any = None) -> dict[str, Any]:
    """A small byte-level BPE as a `tokenizer.json`."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    words = [
        "the lower word's end",
        "don't    stop 12345 now",
        "e\u0301\u00e9 \u65e5\u672c\u8a9e\n\n  - x",
        "a  b   c    d",
    ]
    tokenizer.train_from_iterator(words * 5, trainer)
    document: dict[str, Any] = json.loads(tokenizer.to_str())
    return document


def both(document: dict[str, Any]) -> tuple[HuggingFaceTokenizer, HuggingFaceTokenizer]:
    content = json.dumps(document).encode()
    fast, slow = HuggingFaceTokenizer("fast", content), HuggingFaceTokenizer("slow", content, fast=False)
    assert fast.is_fast
    assert not slow.is_fast
    return fast, slow


@pytest.fixture(scope="module", params=["gpt2", "gpt2-nfc", "runs", *KNOWN_PATTERNS])
def pair(request: pytest.FixtureRequest) -> tuple[HuggingFaceTokenizer, HuggingFaceTokenizer]:
    from tokenizers import Regex, normalizers, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if request.param in KNOWN_PATTERNS:
        split = pre_tokenizers.Split(Regex(request.param), "isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return both(train(pre_tokenizers.Sequence([split, bytes_only])))
    if request.param == "runs":
        return both(train_with_runs())
    return both(train(byte_level, normalizers.NFC() if request.param == "gpt2-nfc" else None))


def train_with_runs() -> dict[str, Any]:
    """As GPT-NeoX's: NFC, and added tokens for runs of spaces."""
    from tokenizers import normalizers, pre_tokenizers

    document = train(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC())
    first = len(document["model"]["vocab"])
    document["added_tokens"] += [
        {"id": first + number, "content": " " * spaces, "special": False, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": True}
        for number, spaces in enumerate(range(24, 1, -1))
    ]  # fmt: skip
    return document


@settings(deadline=None, max_examples=150)
@given(text=AWKWARD)
def test_both_engines_give_the_same_ids(pair: tuple[HuggingFaceTokenizer, HuggingFaceTokenizer], text: str) -> None:
    fast, slow = pair
    assert fast.encode(text) == slow.encode(text)
    assert fast.encode_arrays([text])[0].tolist() == slow.encode(text)


def test_ids_may_stand_in_another_order_than_merges() -> None:
    from tokenizers import pre_tokenizers

    document = train(pre_tokenizers.ByteLevel(add_prefix_space=False))
    vocabulary = document["model"]["vocab"]
    most = max(vocabulary.values())
    document["model"]["vocab"] = {text: most - number for text, number in vocabulary.items()}
    document["added_tokens"][0]["id"] = most
    fast, slow = both(document)
    for text in ("the lower word's end", "12345 now", "\u65e5\u672c"):
        assert fast.encode(text) == slow.encode(text)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "NFKC"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"pre_tokenizer": None},
        {"model": {"dropout": 0.1}},
        {"model": {"byte_fallback": True}},
        {"model": {"continuing_subword_prefix": "##"}},
        {"added_tokens": [{"id": 900, "content": "<tool>", "special": False}]},
        {"added_tokens": [{"id": 900, "content": "   ", "special": False}]},
    ],
)
def test_what_tiktoken_cannot_do_is_left_to_tokenizers(change: dict[str, Any]) -> None:
    from tokenizers import pre_tokenizers

    document = train(pre_tokenizers.ByteLevel(add_prefix_space=False))
    assert fast_bpe(document) is not None
    model = document["model"] | change.pop("model", {})
    assert fast_bpe(document | {"model": model} | change) is None


def test_characters_of_a_later_unicode_go_to_tokenizers() -> None:
    assert not has_unknown_characters("a\u00e9\u65e5\U0001f600\ue000\U0010fffd")
    assert has_unknown_characters("a\u0378")
    assert has_unknown_characters("\U000e0fff")
    assert has_unknown_characters("\U000a0000")


def test_endless_white_space_panics_nobody(tmp_path: pathlib.Path) -> None:
    text = "a" + "\n \t" * 300_000 + "b"
    fast, _ = both(train_with_runs())
    assert fast.decode(fast.encode(text)) == text
    ranks = tmp_path / "t.tiktoken"
    tokens = [b"<|endoftext|>", *(bytes([byte]) for byte in range(256))]
    ranks.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    assert load_tokenizer(str(ranks)).encode(text) == [byte + 1 for byte in text.encode()]


@pytest.mark.all
def test_every_known_character_is_classed_alike_by_both_engines(
    pair: tuple[HuggingFaceTokenizer, HuggingFaceTokenizer],
) -> None:
    fast, slow = pair
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    texts = ["".join(f" a{c}1 {c}{c}\n{c} " for c in known[start : start + 64]) for start in range(0, len(known), 64)]
    for start in range(0, len(texts), 100):
        part = texts[start : start + 100]
        assert fast.encode_batch(part) == slow.encode_batch(part)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["word ", "x\n", "\nY", "\n\n", ".\n", " \n", "9\n9", "\u65e5\n", "e\u0301\n", "_"]),
        max_size=60,
    )
)
def test_a_long_text_is_cut_only_where_its_tokens_stay_the_same(
    pair: tuple[HuggingFaceTokenizer, HuggingFaceTokenizer], parts: list[str]
) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corpusmith.text.tokenizers.common._LONG_TEXT", 10)
        pieces = pieces_of(text)
    assert "".join(pieces) == text
    assert [token for piece in pieces for token in pair[1].encode(piece)] == pair[1].encode(text)


# --- GPT-NeoX ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neox_files(shared_data: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    stem = shared_data / "tokenizers" / "EleutherAI_gpt-neox-20b"
    return stem.with_name(stem.name + ".tiktoken"), stem.with_name(stem.name + ".tokenizer.json")


def test_the_rank_file_makes_the_tokenizer_json_again(neox_files: tuple[pathlib.Path, pathlib.Path]) -> None:
    ranks, original = neox_files
    made, real = json.loads(rebuild("neox", ranks.read_bytes())), json.loads(original.read_bytes())
    assert made["model"]["vocab"] == real["model"]["vocab"]
    assert made["model"]["merges"] == real["model"]["merges"]
    assert {key: made[key] for key in made if key != "model"} == {key: real[key] for key in real if key != "model"}


def test_the_preset_means_the_tokenizer_json_also_where_only_the_ranks_are_at_hand(
    neox_files: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks, _ = neox_files
    (tmp_path / ranks.name).write_bytes(ranks.read_bytes())
    monkeypatch.setenv("CORPUSMITH_TOKENIZERS", str(tmp_path))
    preset, bare = load_tokenizer("gpt-neox-20b"), load_tokenizer("tiktoken:EleutherAI/gpt-neox-20b")
    assert (preset.kind, bare.kind) == ("tokenizer.json", "tiktoken")
    assert preset.encode("a    b") == [66, 50274, 67]
    assert bare.encode("a    b") == [66, 50275, 270]
    assert preset.encode("x" + " " * 30 + "y") == [89, 50254, 50272, 90]
    for tokenizer in (preset, bare):
        assert (tokenizer.eot_id, tokenizer.pad_id, tokenizer.num_ids) == (0, 50256, 50277)


def test_another_rank_file_is_not_taken_for_gpt_neox() -> None:
    with pytest.raises(InputError, match="not the rank file of GPT-NeoX"):
        rebuild("x", b"YQ== 0\n")


def test_real_pages_have_the_same_ids_in_both_engines(
    neox_files: tuple[pathlib.Path, pathlib.Path], shared_data: pathlib.Path
) -> None:
    content = neox_files[1].read_bytes()
    fast, slow = HuggingFaceTokenizer("fast", content), HuggingFaceTokenizer("slow", content, fast=False)
    assert fast.is_fast
    for shard in ("shard_00000008", "shard_00000007"):
        texts = [
            page["text"] for page in read_shard(str(shared_data / "data" / "pages" / f"{shard}_processed.jsonl.zst"))
        ]
        assert fast.encode_batch(texts) == slow.encode_batch(texts)
        spaced = [re.sub(r"\w", " ", text) for text in texts[:50]]
        assert fast.encode_batch(spaced) == slow.encode_batch(spaced)


@settings(deadline=None, max_examples=100)
@given(text=AWKWARD)
def test_awkward_text_has_the_same_ids_in_gpt_neox(
    neox: tuple[HuggingFaceTokenizer, HuggingFaceTokenizer], text: str
) -> None:
    assert neox[0].encode(text) == neox[1].encode(text)


@pytest.fixture(scope="module")
def neox(neox_files: tuple[pathlib.Path, pathlib.Path]) -> tuple[HuggingFaceTokenizer, HuggingFaceTokenizer]:
    content = neox_files[1].read_bytes()
    return HuggingFaceTokenizer("fast", content), HuggingFaceTokenizer("slow", content, fast=False)


def test_llama3_is_among_the_known_patterns() -> None:
    assert LLAMA3_PATTERN in KNOWN_PATTERNS
