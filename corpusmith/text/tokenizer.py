"""Tokenizers: Hugging Face `tokenizer.json` files and tiktoken rank files behind one small protocol.

Text inside a document is always text: a page that spells out `<|endoftext|>` gets the tokens of those characters, not
the special id, and no special tokens are added. Lone surrogates, which no encoder takes, are read as U+FFFD.

End-of-text and pad ids follow DCLM for GPT-NeoX (end-of-text 0, pad = vocabulary size + 2 = 50256, which is in truth
the token of a run of 22 spaces); other tokenizers use their own special tokens, and the end-of-text token where they
have none for padding.

A GPT-NeoX rank file (`.tiktoken`) does not give the ids of GPT-NeoX's `tokenizer.json`: runs of spaces differ. Both
can be named; the preset name `EleutherAI/gpt-neox-20b` always means the latter.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import xxhash

from corpusmith.errors import InputError
from corpusmith.io import storage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tiktoken
    import tokenizers

    U32Array = npt.NDArray[np.uint32]

VERSION = 1

GPT_NEOX = "EleutherAI/gpt-neox-20b"
TOKENIZERS_VARIABLE = "CORPUSMITH_TOKENIZERS"
DEFAULT_FOLDER = "~/.cache/corpusmith/tokenizers"

_END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_PAD_TOKENS = ("<|padding|>", "<|pad|>", "<pad>", "[PAD]")
_GPT_NEOX_VOCABULARY = 50254
# the split pattern of GPT-2, which GPT-NeoX shares (as tiktoken writes it, with possessive quantifiers)
_GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""


class Tokenizer(Protocol):
    """What the rooms above may ask of a tokenizer."""

    @property
    def name(self) -> str:
        """The name or path as it was given."""

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
        """The ids of `encode_batch` as arrays of 32 bits, where possible without a list of Python integers."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens spelt out."""


class HuggingFaceTokenizer:
    """A `tokenizer.json` of the `tokenizers` package."""

    def __init__(self, name: str, content: bytes) -> None:
        """Raises InputError where `content` is no tokenizer, or has no end-of-text token."""
        self.name = name
        self.content_hash = _checksum(content)
        self._tokenizer = _parse_tokenizer_json(name, content)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=False)
        self.num_ids = max(vocabulary.values()) + 1
        self.eot_id, self.pad_id = _special_ids(name, vocabulary, self.vocab_size)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        clean = [_without_lone_surrogates(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """Token ids of each text as arrays."""
        import numpy as np

        return [np.array(ids, dtype=np.uint32) for ids in self.encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


class RankFileTokenizer:
    """A `.tiktoken` file: lines `base64 rank`, split by GPT-2's pattern; special tokens stand among the lines."""

    def __init__(self, name: str, content: bytes) -> None:
        """Raises InputError where `content` is no rank file, or has no end-of-text token."""
        self.name = name
        self.content_hash = _checksum(content)
        ranks = _parse_ranks(name, content)
        self.vocab_size = len(ranks)
        self.num_ids = max(ranks.values()) + 1
        spelled = {token.decode("utf-8", "replace"): rank for token, rank in ranks.items()}
        self.eot_id, self.pad_id = _special_ids(name, spelled, self.vocab_size)
        special = {text: spelled[text] for text in (*_END_TOKENS, *_PAD_TOKENS) if text in spelled}
        for text in special:
            del ranks[text.encode()]
        self._encoding = _make_encoding(name, ranks, special)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self._encoding.encode_ordinary(_without_lone_surrogates(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """Token ids of each text as arrays."""
        clean = [_without_lone_surrogates(text) for text in texts]
        return [self._encoding.encode_to_numpy(text, disallowed_special=()) for text in clean]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self._encoding.decode(list(ids))


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, a folder that holds one, a `.tiktoken` file, or a name like GPT-NeoX's.

    A name is looked up in the folder that CORPUSMITH_TOKENIZERS names (by default ~/.cache/corpusmith/tokenizers), as
    `OWNER_NAME.tokenizer.json` or `OWNER/NAME/tokenizer.json`; nothing is downloaded. Raises InputError where nothing
    is found or the file is no tokenizer.
    """
    path = find_tokenizer(name_or_path)
    content = storage.read_bytes(path)
    if path.endswith(".tiktoken"):
        return RankFileTokenizer(name_or_path, content)
    return HuggingFaceTokenizer(name_or_path, content)


@functools.lru_cache(maxsize=2)
def cached_tokenizer(name_or_path: str, content_hash: str) -> Tokenizer:
    """`load_tokenizer`, once per process; raises InputError where the file's content is not the one expected."""
    tokenizer = load_tokenizer(name_or_path)
    if tokenizer.content_hash != content_hash:
        found = tokenizer.content_hash
        raise InputError(f"tokenizer {name_or_path}: its content is {found}, the run was started with {content_hash}")
    return tokenizer


def find_tokenizer(name_or_path: str) -> str:
    """The URL of the tokenizer's file; InputError, with what was tried, where there is none."""
    tried = [name_or_path] if name_or_path.endswith((".json", ".tiktoken")) else []
    if not tried:
        tried.append(storage.join(name_or_path.rstrip("/") or "/", "tokenizer.json"))
        if not {"", ".", "..", "~"} & set(name_or_path.split("/")):
            folder = os.path.expanduser(os.environ.get(TOKENIZERS_VARIABLE) or DEFAULT_FOLDER)
            tried.append(storage.join(folder, name_or_path.replace("/", "_") + ".tokenizer.json"))
            tried.append(storage.join(folder, name_or_path, "tokenizer.json"))
    for url in tried:
        if storage.exists(url):
            return url
    hint = f"; give the path of a tokenizer.json, or put one into the folder that {TOKENIZERS_VARIABLE} names"
    raise InputError(f"tokenizer {name_or_path!r} not found; looked for {', '.join(tried)}{hint}")


def _checksum(content: bytes) -> str:
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(content)}"


def _without_lone_surrogates(text: str) -> str:
    """The text itself, or a copy with U+FFFD in place of halves of surrogate pairs."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _parse_tokenizer_json(name: str, content: bytes) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputError(f"tokenizer {name}: not a JSON document: {error}") from error
    if not isinstance(document, dict) or "model" not in document:
        raise InputError(f"tokenizer {name}: not a tokenizer.json, it has no key 'model'")
    document["truncation"] = document["padding"] = None  # both would change the tokens of a document silently
    try:
        tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
    except Exception as error:  # the package raises bare Exception, whatever is wrong with the file
        raise InputError(f"tokenizer {name}: {error}") from error
    tokenizer.encode_special_tokens = True  # special tokens spelt out in a document are text
    return tokenizer


def _parse_ranks(name: str, content: bytes) -> dict[bytes, int]:
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


def _make_encoding(name: str, ranks: dict[bytes, int], special: dict[str, int]) -> tiktoken.Encoding:
    import tiktoken

    return tiktoken.Encoding(name, pat_str=_GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)


def _special_ids(name: str, vocabulary: Mapping[str, int], vocab_size: int) -> tuple[int, int]:
    """(end-of-text id, pad id) by the rules of the module's docstring."""
    end = next((vocabulary[token] for token in _END_TOKENS if token in vocabulary), None)
    if end is None:
        raise InputError(f"tokenizer {name}: it has none of the end-of-text tokens {', '.join(_END_TOKENS)}")
    pad = next((vocabulary[token] for token in _PAD_TOKENS if token in vocabulary), end)
    if vocab_size == _GPT_NEOX_VOCABULARY and (end, pad) == (0, 1):
        return 0, vocab_size + 2
    return end, pad
