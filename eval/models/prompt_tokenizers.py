"""Tokenizers as evaluation uses them: those of Corpusmith's own models, and those that come with Hugging Face models.

They differ in special tokens. Ours add none and read special tokens spelt out in a text as text. A Hugging Face
tokenizer begins a prompt as its model expects (with BOS, where it has one) and reads spelt-out special tokens as such,
as llm-foundry does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xxhash

from corpusmith.errors import InputError, missing_package
from corpusmith.text.tokenizers.load import Tokenizer, load_tokenizer
from eval.tasks.prompts import PromptTokenizer


class PlainPromptTokenizer:
    """A tokenizer of `corpusmith.text.tokenizers.load`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.num_ids, self.eot_id = tokenizer.num_ids, tokenizer.eot_id
        self.content_hash = tokenizer.content_hash
        self._special = {tokenizer.eot_id}
        # GPT-NeoX's pad id is in truth the token of a run of spaces
        if tokenizer.pad_id < tokenizer.vocab_size:
            self._special.add(tokenizer.pad_id)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return self._tokenizer.encode_batch(texts)

    def encode_starts(self, texts: Sequence[str]) -> list[list[int]]:
        """The same: these tokenizers have no token that begins a prompt."""
        return self._tokenizer.encode_batch(texts)

    def decode_new(self, ids: Sequence[int]) -> str:
        """Text of generated ids."""
        return self._tokenizer.decode([token for token in ids if token not in self._special and token < self.num_ids])


class HuggingFacePromptTokenizer:
    """The tokenizer that comes with a Hugging Face model."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        """`tokenizer` is a `PreTrainedTokenizerBase` of transformers."""
        # transformers makes an empty tokenizer of a folder that has none
        if not tokenizer("word", add_special_tokens=False)["input_ids"]:
            raise InputError(f"{name}: no tokenizer: what transformers found there gives no tokens; give --tokenizer")
        if tokenizer.eos_token_id is None:
            raise InputError(f"{name}: the tokenizer has no end-of-text token, so no generation would end")
        self._tokenizer = tokenizer
        self.num_ids = max(tokenizer.get_vocab().values()) + 1
        self.eot_id = int(tokenizer.eos_token_id)
        vocabulary = "\n".join(f"{token}\t{index}" for token, index in sorted(tokenizer.get_vocab().items()))
        self.content_hash = f"xxh3_128:{xxhash.xxh3_128_hexdigest(vocabulary.encode('utf-8', 'surrogatepass'))}"
        self._leading_space = len(self.encode_batch([" a"])[0]) != 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added."""
        return self._encode(texts, add_special_tokens=False)

    def encode_starts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with special tokens; a last end-of-text token goes, unless it stands alone."""
        starts = self._encode(texts, add_special_tokens=True)
        return [ids[:-1] if len(ids) > 1 and ids[-1] == self.eot_id else ids for ids in starts]

    def decode_new(self, ids: Sequence[int]) -> str:
        """Text of generated ids; after a space where words do not begin with one."""
        known = [token for token in ids if token < self.num_ids]
        text = self._tokenizer.decode(known, skip_special_tokens=True)
        return f" {text}" if self._leading_space else text

    def _encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"]
        return encoded


def load_prompt_tokenizer(name_or_path: str) -> PromptTokenizer:
    """A tokenizer of ours by name or path (see `corpusmith.text.tokenizers.load.load_tokenizer`)."""
    return PlainPromptTokenizer(load_tokenizer(name_or_path))


def load_hugging_face_tokenizer(name_or_path: str, cache_dir: str | None = None) -> PromptTokenizer:
    """The tokenizer of a Hugging Face model: a folder, or a name in the cache or on the Hub.

    Raises:
        InputError: there is none.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise missing_package("transformers", "eval") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, cache_dir=cache_dir, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name_or_path}: no tokenizer that can be loaded ({reason}); give --tokenizer") from error
    return HuggingFacePromptTokenizer(tokenizer, name_or_path)
