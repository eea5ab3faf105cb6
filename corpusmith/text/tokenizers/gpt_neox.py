"""GPT-NeoX's `tokenizer.json` made again from its rank file.

The published rank file (`EleutherAI_gpt-neox-20b.tiktoken`) holds, for runs of spaces, the ids of tokens that were
added to the vocabulary afterwards instead of the ranks of the merges. With the ranks put back, the merges follow: each
token of more than one byte falls, under the ranks below its own, into exactly two parts. The rest of the file is known:
NFC, byte-level pre-tokenization, two special tokens, and 23 added tokens for runs of 24 down to 2 spaces.
"""

from __future__ import annotations

import json
from typing import Any

from corpusmith.errors import InputError
from corpusmith.text.tokenizers.common import GPT_NEOX_VOCABULARY
from corpusmith.text.tokenizers.fast_bpe import byte_letters
from corpusmith.text.tokenizers.tiktoken_ranks import parse_ranks

#: number of spaces -> rank of the token that the merges make of them
SPACE_RANKS = {
    2: 245,
    3: 341,
    4: 252,
    6: 979,
    8: 286,
    9: 2286,
    10: 2674,
    11: 1932,
    12: 3059,
    13: 3203,
    14: 3380,
    16: 349,
    18: 4643,
    19: 4333,
    20: 5121,
    21: 5144,
    22: 5808,
}
LONGEST_RUN = 24
SPECIAL = ("<|endoftext|>", "<|padding|>")


def rebuild(name: str, content: bytes) -> bytes:
    """The `tokenizer.json` of a GPT-NeoX rank file.

    Raises:
        InputError: another rank file.
    """
    ranks = parse_ranks(name, content)
    for spaces, rank in SPACE_RANKS.items():
        token = b" " * spaces
        if ranks.get(token) not in (rank, GPT_NEOX_VOCABULARY + LONGEST_RUN - spaces):
            raise InputError(f"tokenizer {name}: not the rank file of GPT-NeoX, {spaces} spaces are no token of it")
        ranks[token] = rank
    tokens = sorted(ranks, key=lambda token: ranks[token])
    if len(tokens) != GPT_NEOX_VOCABULARY or [ranks[token] for token in tokens] != list(range(len(tokens))):
        raise InputError(f"tokenizer {name}: not the rank file of GPT-NeoX, its ranks are not 0 to 50253")
    special = [text.encode() for text in SPECIAL]
    letters = {byte: letter for letter, byte in byte_letters().items()}
    spelled = {token: "".join(letters[byte] for byte in token) for token in tokens}
    merges = []
    for rank, token in enumerate(tokens):
        if len(token) > 1 and token not in special:
            parts = _parts(token, ranks, rank)
            if len(parts) != 2:
                raise InputError(f"tokenizer {name}: the token {token!r} is no merge of two others")
            merges.append(" ".join(spelled[part] for part in parts))
    vocabulary = {text: rank for rank, text in enumerate(SPECIAL)}
    vocabulary |= {spelled[token]: ranks[token] for token in tokens if token not in special}
    return json.dumps(_document(vocabulary, merges), ensure_ascii=False).encode()


def _parts(token: bytes, ranks: dict[bytes, int], limit: int) -> list[bytes]:
    """Byte-pair merging of a token with the ranks below `limit`."""
    parts = [bytes([byte]) for byte in token]
    while True:
        best, where = limit, -1
        for place in range(len(parts) - 1):
            rank = ranks.get(parts[place] + parts[place + 1], limit)
            if rank < best:
                best, where = rank, place
        if where < 0:
            return parts
        parts[where : where + 2] = [parts[where] + parts[where + 1]]


def _document(vocabulary: dict[str, int], merges: list[str]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    added: list[dict[str, Any]] = [
        {"id": number, "special": True, "content": text, **plain, "normalized": False}
        for number, text in enumerate(SPECIAL)
    ]
    added += [
        {"id": GPT_NEOX_VOCABULARY + LONGEST_RUN - n, "special": False, "content": " " * n, **plain, "normalized": True}
        for n in range(LONGEST_RUN, 1, -1)
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "vocab": vocabulary,
        "merges": merges,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": model,
    }
