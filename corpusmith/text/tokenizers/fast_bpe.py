"""Byte-level BPE from a `tokenizer.json` on tiktoken's engine: equal ids, four to five times as fast.

Taken where the file says nothing but what tiktoken can do: BPE over bytes without dropout, prefixes or fallbacks; no
normalizer or NFC; the pre-tokenizer of GPT-2 or one of the known patterns; and of added tokens that are not special
only GPT-NeoX's runs of spaces. Everything else stays with the package `tokenizers`.

The runs of spaces are matched before pre-tokenization, longest first. Here they are an alternative of the split
pattern, and white space elsewhere may not run into them: `\\s` becomes white space that is no space, or a space that
no other follows, and the end of the text includes the place before a run.

A text with characters that Python's Unicode tables don't know is left to `tokenizers` too: two engines with tables of
different age may disagree on them. So is one with 100,000 white-space characters in a row, on which tiktoken gives up.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corpusmith.text.tokenizers.common import GPT2_PATTERN, has_long_white_space, pieces_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U32Array = npt.NDArray[np.uint32]


#: split patterns as `tokenizer.json` files spell them -> as tiktoken takes them
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")
KNOWN_PATTERNS = (LLAMA3_PATTERN, QWEN2_PATTERN)

_WHITE = r"(?:[^\S ]| (?! ))"
_EMPTY_PLANES = range(0x33480, 0xF0000)
# bytes that never occur in UTF-8
_IMPOSSIBLE = {0xC0, 0xC1, *range(0xF5, 0x100)}


@functools.cache
def byte_letters() -> dict[str, int]:
    """GPT-2's spelling of bytes: the letter that stands for each in a vocabulary."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {chr(byte): byte for byte in visible}
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return letters | {chr(256 + number): byte for number, byte in enumerate(hidden)}


@functools.cache
def _unknown_table() -> npt.NDArray[np.bool_]:
    """By code point, whether this Python's Unicode tables don't know it (planes that hold none yet count so)."""
    import numpy as np

    table = np.zeros(0x110000, dtype=np.bool_)
    table[_EMPTY_PLANES.start : _EMPTY_PLANES.stop] = True
    table[: _EMPTY_PLANES.start] = [unicodedata.category(chr(code)) == "Cn" for code in range(_EMPTY_PLANES.start)]
    return table


def has_unknown_characters(text: str) -> bool:
    """Whether a text without lone surrogates holds a character that this Python's Unicode tables don't know."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    return bool(_unknown_table()[codes].any())


class FastBpe:
    """Encodes what `fast_bpe` found to be encodable by tiktoken."""

    def __init__(self, *, pattern: str, ranks: dict[bytes, int], ids: Sequence[int], normalize: bool) -> None:
        import numpy as np
        import tiktoken

        self._encoding = tiktoken.Encoding("fast", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self._ids = np.array(ids, dtype=np.uint32)
        self._normalize = normalize

    def encode(self, text: str) -> U32Array | None:
        """The ids of a text without lone surrogates; None for one that must be left to `tokenizers`."""
        import numpy as np

        if has_long_white_space(text):
            return None
        if not text.isascii():
            if has_unknown_characters(text):
                return None
            if self._normalize:
                text = unicodedata.normalize("NFC", text)
        parts = [self._encoding.encode_ordinary(piece) for piece in pieces_of(text)]
        ranks = np.array(parts[0] if len(parts) == 1 else [rank for part in parts for rank in part], dtype=np.uint32)
        ids: U32Array = self._ids[ranks]
        return ids


def fast_bpe(document: Mapping[str, Any]) -> FastBpe | None:
    """The engine for a `tokenizer.json`, or None where the file asks for something that tiktoken cannot do."""
    model, normalizer = document["model"], document.get("normalizer")
    pattern = _pattern(document.get("pre_tokenizer"))
    runs = _space_runs(document.get("added_tokens") or [])
    plain = (
        model.get("type") == "BPE"
        and not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and not model.get("byte_fallback")
        and (normalizer is None or normalizer == {"type": "NFC"})
    )
    if not plain or pattern is None or runs is None or (runs and pattern != GPT2_PATTERN):
        return None
    found = _ranks(model["vocab"], model["merges"])
    if found is None:
        return None
    ranks, ids = found
    for spaces, number in runs.items():
        token = b" " * spaces
        if token in ranks:
            ids[ranks[token]] = number  # two spaces never meet within a piece, so its merge is never made
        else:
            ranks[token] = len(ids)
            ids.append(number)
    if runs:
        pattern = _with_runs(max(runs))
    return FastBpe(pattern=pattern, ranks=ranks, ids=ids, normalize=normalizer is not None)


def _pattern(pre_tokenizer: Any) -> str | None:
    """The split pattern of a pre-tokenizer, where it is one that is known."""
    if not isinstance(pre_tokenizer, dict):
        return None
    if pre_tokenizer.get("type") == "ByteLevel":
        known = not pre_tokenizer.get("add_prefix_space", True) and pre_tokenizer.get("use_regex", True)
        return GPT2_PATTERN if known else None
    parts = pre_tokenizer.get("pretokenizers") if pre_tokenizer.get("type") == "Sequence" else None
    if not isinstance(parts, list) or len(parts) != 2:
        return None
    split, byte_level = parts
    regex = (split.get("pattern") or {}).get("Regex")
    known = (
        split.get("type") == "Split"
        and split.get("behavior") == "Isolated"
        and not split.get("invert")
        and byte_level.get("type") == "ByteLevel"
        and not byte_level.get("add_prefix_space", True)
        and byte_level.get("use_regex") is False
    )
    return regex if known and regex in KNOWN_PATTERNS else None


def _space_runs(added: list[Any]) -> dict[int, int] | None:
    """Number of spaces -> id of the added tokens that are not special; None where one is something else."""
    runs: dict[int, int] = {}
    for token in added:
        if token.get("special"):
            continue
        text = token["content"]
        if text.strip(" ") or any(token.get(key) for key in ("single_word", "lstrip", "rstrip")):
            return None
        runs[len(text)] = token["id"]
    return runs if sorted(runs) == list(range(2, 2 + len(runs))) else None


def _ranks(vocab: Mapping[str, int], merges: Sequence[Any]) -> tuple[dict[bytes, int], list[int]] | None:
    """(token -> rank by order of merging, id by rank); None where the vocabulary is not made of bytes and merges."""
    letters = byte_letters()
    to_latin1 = {ord(letter): byte for letter, byte in letters.items()}
    known = {letter for letter in letters if letter in vocab}
    if not {letter for letter, byte in letters.items() if byte not in _IMPOSSIBLE} <= known:
        return None
    order = [letter for letter in letters if letter in known]
    for merge in merges:
        left, separator, right = merge.partition(" ") if isinstance(merge, str) else (merge[0], " ", merge[-1])
        text = left + right
        if not separator or left not in known or right not in known or text in known or text not in vocab:
            return None
        known.add(text)
        order.append(text)
    ranks = {text.translate(to_latin1).encode("latin-1"): rank for rank, text in enumerate(order)}
    return ranks, [vocab[text] for text in order]


def _with_runs(longest: int) -> str:
    """GPT-2's pattern with runs of 2 to `longest` spaces as tokens of their own."""
    words = GPT2_PATTERN.removesuffix(r"|\s++$|\s+(?!\S)|\s")
    return rf"{words}| {{2,{longest}}}|{_WHITE}++(?=  |\z)|{_WHITE}+(?!\S)|{_WHITE}"
