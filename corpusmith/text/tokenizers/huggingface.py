"""Tokenizers from a `tokenizer.json` of the package `tokenizers`."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.common import checksum, special_ids, without_lone_surrogates
from corpusmith.text.tokenizers.fast_bpe import FastBpe, fast_bpe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tokenizers

    U32Array = npt.NDArray[np.uint32]


class HuggingFaceTokenizer:
    """A `tokenizer.json`; byte-level BPE is encoded by tiktoken's engine, to the same ids
    (`corpusmith.text.tokenizers.fast_bpe`).

    `fast=False` leaves everything to the package `tokenizers`. `content`: the file's bytes.
    """

    kind = "tokenizer.json"

    def __init__(self, name: str, content: bytes, *, fast: bool = True) -> None:
        """Load a tokenizer.

        Args:
            name: what errors call it.
            content: the bytes of a `tokenizer.json`.
            fast: encode by tiktoken's engine where that gives the same ids.

        Raises:
            InputError: `content` is no tokenizer, or has no end-of-text token.
        """
        self.name = name
        self.content = content
        self.content_hash = checksum(content)
        self._content, self._tokenizer = _parse(name, content)
        self._wants_fast = fast
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=False)
        self.num_ids = max(vocabulary.values()) + 1
        self.eot_id, self.pad_id = special_ids(name, vocabulary, self.vocab_size)

    @functools.cached_property
    def _fast(self) -> FastBpe | None:
        """tiktoken's engine, made when the first text is encoded: who asks for ids only does not wait for it."""
        return fast_bpe(json.loads(self._content)) if self._wants_fast else None

    @property
    def is_fast(self) -> bool:
        """Whether tiktoken's engine encodes."""
        return self._fast is not None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        if self._fast is not None:
            return [ids.tolist() for ids in self.encode_arrays(texts)]
        return self._encode([without_lone_surrogates(text) for text in texts])

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """Token ids of each text as arrays."""
        import numpy as np

        clean = [without_lone_surrogates(text) for text in texts]
        if self._fast is None:
            return [np.array(ids, dtype=np.uint32) for ids in self._encode(clean)]
        found = [self._fast.encode(text) for text in clean]
        return [
            np.array(self._encode([text])[0], dtype=np.uint32) if ids is None else ids
            for ids, text in zip(found, clean, strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


def _parse(name: str, content: bytes) -> tuple[bytes, tokenizers.Tokenizer]:
    """The file's content without truncation and padding, and the package's tokenizer."""
    import tokenizers

    try:
        document = json.loads(content)
    except ValueError as error:
        raise InputError(f"tokenizer {name}: not a JSON document: {error}") from error
    if not isinstance(document, dict) or "model" not in document:
        raise InputError(f"tokenizer {name}: not a tokenizer.json, it has no key 'model'")
    if document.get("truncation") is not None or document.get("padding") is not None:
        document["truncation"] = document["padding"] = None  # both would change the tokens of a document silently
        content = json.dumps(document).encode()
    try:
        tokenizer: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8-sig"))
    except Exception as error:  # the package raises bare Exception, whatever is wrong with the file
        raise InputError(f"tokenizer {name}: {error}") from error
    tokenizer.encode_special_tokens = True  # special tokens spelt out in a document are text
    return content, tokenizer
