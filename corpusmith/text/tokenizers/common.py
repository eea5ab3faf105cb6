"""What the tokenizers of all kinds share: the protocol, the ids for end of text and padding, clean text, long texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import xxhash

from corpusmith.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U32Array = npt.NDArray[np.uint32]


END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
PAD_TOKENS = ("<|padding|>", "<|pad|>", "<pad>", "[PAD]")
GPT_NEOX_VOCABULARY = 50254
# the split pattern of GPT-2, which GPT-NeoX shares (as tiktoken writes it, with possessive quantifiers)
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

_LONG_TEXT = 1 << 20
# between a line's end after something visible and a letter or digit no pre-tokenizer named here joins anything
_SAFE_CUT = re.compile(r"(?<=\S\n)(?=\w)")
# tiktoken's regular expressions give up, with a panic, on somewhat more white space in a row than this
LONG_WHITE_SPACE = 100_000
_LONG_WHITE_SPACE = re.compile(rf"(?<!\s)\s{{{LONG_WHITE_SPACE}}}")


class Tokenizer(Protocol):
    """What the layers above may ask of a tokenizer."""

    @property
    def name(self) -> str:
        """The name or path as it was given."""

    @property
    def kind(self) -> str:
        """`tokenizer.json`, `tiktoken` (ranks alone) or `sentencepiece`."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, without those added to the vocabulary afterwards."""

    @property
    def num_ids(self) -> int:
        """Highest id + 1, added tokens included: the least number of rows of an embedding."""

    @property
    def eot_id(self) -> int:
        """The id that follows each document."""

    @property
    def pad_id(self) -> int:
        """The id that fills the last sequence of a file."""

    @property
    def content_hash(self) -> str:
        """`xxh3_128:<hex>` of the tokenizer's file."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; equal to `encode` one by one."""

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """The ids of `encode_batch` as arrays of 32 bits; long texts take little more memory than their ids."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens spelt out."""


def checksum(content: bytes) -> str:
    """`xxh3_128:<hex>` of a file's content."""
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}"


def without_lone_surrogates(text: str) -> str:
    """The text itself, or a copy with U+FFFD in place of halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def pieces_of(text: str) -> list[str]:
    """A long text in pieces of about a million characters whose tokens, put together, are the text's.

    It is cut where a line ends after a visible character and the next begins with a letter or digit: GPT-2's pattern
    and its successors (cl100k, o200k, Llama 3) never join across such a place, and neither does NFC.
    """
    if len(text) <= _LONG_TEXT:
        return [text]
    pieces, start = [], 0
    while (cut := _SAFE_CUT.search(text, start + _LONG_TEXT)) is not None:
        pieces.append(text[start : cut.start()])
        start = cut.start()
    return [*pieces, text[start:]]


def has_long_white_space(text: str) -> bool:
    """Whether a text holds more white space in a row than tiktoken can take."""
    return len(text) >= LONG_WHITE_SPACE and _LONG_WHITE_SPACE.search(text) is not None


def special_ids(name: str, vocabulary: Mapping[str, int], vocab_size: int) -> tuple[int, int]:
    """(end-of-text id, pad id): DCLM's for GPT-NeoX, the tokenizer's own special tokens for all others.

    Raises:
        InputError: there is no end-of-text token.
    """
    end = next((vocabulary[token] for token in END_TOKENS if token in vocabulary), None)
    if end is None:
        raise InputError(f"tokenizer {name}: it has none of the end-of-text tokens {', '.join(END_TOKENS)}")
    pad = next((vocabulary[token] for token in PAD_TOKENS if token in vocabulary), end)
    if vocab_size == GPT_NEOX_VOCABULARY and (end, pad) == (0, 1):
        return 0, vocab_size + 2
    return end, pad
