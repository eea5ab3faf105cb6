"""Tokenizers of tiktoken: rank files (`base64 rank` a line) and the encodings that the package knows by name.

Which split pattern belongs to a rank file is not in the file; it is told by the number of ranks for the published ones
(GPT-2, cl100k, o200k, Llama 3), and is GPT-2's for all others. Special tokens of the published ones follow their
ranks; elsewhere they stand among the lines. A text with 100,000 white-space characters in a row, on which tiktoken's
regular expressions give up, is encoded in parts of that many characters.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.common import (
    END_TOKENS,
    GPT2_PATTERN,
    LONG_WHITE_SPACE,
    PAD_TOKENS,
    checksum,
    has_long_white_space,
    pieces_of,
    special_ids,
    without_lone_surrogates,
)
from corpusmith.text.tokenizers.fast_bpe import LLAMA3_PATTERN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tiktoken

    U32Array = npt.NDArray[np.uint32]


_CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    """What belongs to a published rank file: its pattern and its special tokens."""

    pattern: str
    special: dict[str, int]


#: number of ranks -> what belongs to the file
PUBLISHED = {
    50256: _Published(pattern=GPT2_PATTERN, special={"<|endoftext|>": 50256}),
    100256: _Published(pattern=_CL100K_PATTERN, special={"<|endoftext|>": 100257}),
    128000: _Published(
        pattern=LLAMA3_PATTERN, special={"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|eot_id|>": 128009}
    ),
    199998: _Published(pattern=_O200K_PATTERN, special={"<|endoftext|>": 199999}),
}


class TiktokenTokenizer:
    """An encoding of tiktoken's."""

    kind = "tiktoken"

    def __init__(self, name: str, encoding: tiktoken.Encoding, *, vocabulary: dict[str, int], vocab_size: int) -> None:
        """Wrap an encoding.

        Args:
            name: what errors call it.
            encoding: tiktoken's.
            vocabulary: its special tokens.
            vocab_size: tokens without the special ones.

        Raises:
            InputError: no special token ends a text.
        """
        self.name = name
        self._encoding = encoding
        self.vocab_size = vocab_size
        self.num_ids = encoding.max_token_value + 1
        self.eot_id, self.pad_id = special_ids(name, vocabulary, vocab_size)
        self.content_hash = _hash_of(encoding)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [token for piece in _pieces(text) for token in self._encoding.encode_ordinary(piece)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """Token ids of each text as arrays."""
        import numpy as np

        def encode(piece: str) -> U32Array:
            # not encode_to_numpy: it looks for special tokens first, and takes half as long again
            return np.array(self._encoding.encode_ordinary(piece), dtype=np.uint32)

        return [np.concatenate([encode(piece) for piece in _pieces(text)]) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        try:
            return self._encoding.decode(list(ids))
        except KeyError as error:
            raise InputError(f"tokenizer {self.name}: {error.args[0]}") from error


def _pieces(text: str) -> list[str]:
    """A clean text in pieces that tiktoken can take; white space beyond its limit is cut by force."""
    pieces = pieces_of(without_lone_surrogates(text))
    if not any(map(has_long_white_space, pieces)):
        return pieces
    return [
        piece[start : start + LONG_WHITE_SPACE] for piece in pieces for start in range(0, len(piece), LONG_WHITE_SPACE)
    ]


def _hash_of(encoding: tiktoken.Encoding) -> str:
    ranks = b"".join(token + b"\0%d\0" % rank for token, rank in sorted(encoding._mergeable_ranks.items()))
    special = "".join(f"{text}\0{number}\0" for text, number in sorted(encoding._special_tokens.items()))
    return checksum(ranks + special.encode() + encoding._pat_str.encode())


def rank_file_tokenizer(name: str, content: bytes) -> TiktokenTokenizer:
    """The tokenizer of a rank file.

    Raises:
        InputError: `content` is none, or no token ends a text.
    """
    import tiktoken

    ranks = parse_ranks(name, content)
    vocab_size = len(ranks)
    published = PUBLISHED.get(vocab_size)
    spelled = {token.decode("utf-8", "replace"): rank for token, rank in ranks.items()}
    special = {text: spelled[text] for text in (*END_TOKENS, *PAD_TOKENS) if text in spelled}
    for text in special:
        del ranks[text.encode()]
    if published is not None:
        special |= published.special
    pattern = GPT2_PATTERN if published is None else published.pattern
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    return TiktokenTokenizer(name, encoding, vocabulary=special, vocab_size=vocab_size)


def named_encoding(name: str, encoding_name: str) -> TiktokenTokenizer:
    """An encoding that tiktoken knows by name; it fetches the ranks once and keeps them (TIKTOKEN_CACHE_DIR).

    Raises:
        InputError: an unknown name, or the ranks are neither kept nor to be had.
    """
    import tiktoken

    if encoding_name not in tiktoken.list_encoding_names():
        known = ", ".join(tiktoken.list_encoding_names())
        raise InputError(f"tokenizer {name}: tiktoken knows no encoding {encoding_name!r}; it knows {known}")
    try:
        encoding = tiktoken.get_encoding(encoding_name)
    except (OSError, ValueError) as error:  # those of its HTTP client are OSErrors; ranks of another hash, a ValueError
        raise InputError(
            f"tokenizer {name}: the ranks of {encoding_name} cannot be fetched ({type(error).__name__}); set "
            "TIKTOKEN_CACHE_DIR to a folder that holds them, or give a .tiktoken file"
        ) from error
    special = dict(encoding._special_tokens)
    return TiktokenTokenizer(name, encoding, vocabulary=special, vocab_size=len(encoding._mergeable_ranks))


def is_rank_file(content: bytes) -> bool:
    """Whether a file begins as a rank file does (Llama 3's `tokenizer.model` is one)."""
    token, separator, rank = content[: content.find(b"\n") + 1].strip().partition(b" ")
    return (
        bool(separator)
        and rank.isdigit()
        and not token.strip(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    )


def parse_ranks(name: str, content: bytes) -> dict[bytes, int]:
    """Token -> rank of each line.

    Raises:
        InputError: with the line, where it is none, or ranks are given twice.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        token, _, rank = line.partition(b" ")
        try:
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"tokenizer {name}: line {number}: expected `base64 rank`: {error}") from error
    if not ranks or min(ranks.values()) < 0 or len(set(ranks.values())) != len(ranks):
        raise InputError(f"tokenizer {name}: ranks must be distinct and not negative, and there must be some")
    return ranks
