"""Tokenizers from a SentencePiece model (`tokenizer.model`).

The model's own normalization applies (usually NFKC, and white space runs may shrink), so text need not come back as it
was. Control symbols spelt out in a document are text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.common import checksum, without_lone_surrogates

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U32Array = npt.NDArray[np.uint32]


class SentencePieceTokenizer:
    """A SentencePiece model; `eos` ends a text, `pad` fills up (`eos` where there is none)."""

    kind = "sentencepiece"

    def __init__(self, name: str, content: bytes) -> None:
        """Load a model.

        Raises:
            InputError: `content` is no model, or has no end-of-sentence symbol.
        """
        import sentencepiece

        self.name = name
        self.content_hash = checksum(content)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            loaded = bool(content) and self._processor.LoadFromSerializedProto(content)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"tokenizer {name}: not a SentencePiece model: {error}") from error
        if not loaded:
            raise InputError(f"tokenizer {name}: not a SentencePiece model")
        self.vocab_size = self.num_ids = self._processor.vocab_size()
        self.eot_id = self._processor.eos_id()
        if self.eot_id < 0:
            raise InputError(f"tokenizer {name}: the model has no end-of-sentence symbol (eos_id)")
        pad = self._processor.pad_id()
        self.pad_id = pad if pad >= 0 else self.eot_id

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        clean = [without_lone_surrogates(text) for text in texts]
        found: list[list[int]] = self._processor.encode(clean, out_type=int, num_threads=1)
        return found

    def encode_arrays(self, texts: Sequence[str]) -> list[U32Array]:
        """Token ids of each text as arrays."""
        import numpy as np

        return [np.array(ids, dtype=np.uint32) for ids in self.encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, control symbols left out."""
        text: str = self._processor.decode([int(token) for token in ids])
        return text
