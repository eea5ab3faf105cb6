"""Examples: from files of instructions and responses to token ids.

Follows the prompt and the mask ids of DCLM's fine-tuning guide (50300 between prompt and response, 50400 as padding).
Departs from it in the end-of-text, which is the tokenizer's id (the guide's script put a string there, which the loader
reads as 0, GPT-NeoX's id); and in what leaves no token of the response to learn from: it has a fault instead of ids.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import Record, read_records
from corpusmith.text.tokenizers.load import GPT_NEOX, Tokenizer, cached_tokenizer

U32Array = npt.NDArray[np.uint32]

PROMPT = (
    "Below is an instruction that describes a task.\n\nWrite a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
RESPONSE_MARK = 50300
PADDING = 50400
_BATCH_RECORDS = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceSpec:
    """How an example becomes a sequence of `seq_len + 1` ids.

    `mask_left` follows the prompt (`--target-mask-left` of the trainer), `mask_individual` fills the rest
    (`--target-mask-individual`); neither may be an id of the tokenizer.
    """

    tokenizer: str = GPT_NEOX
    seq_len: int = 2048
    mask_left: int = RESPONSE_MARK
    mask_individual: int = PADDING


@dataclass(frozen=True, kw_only=True, slots=True)
class SftOptions:
    """What to prepare: patterns of input files (JSONL, plain or compressed, or Parquet), and where it goes."""

    input_files: tuple[str, ...]
    output_dir: str
    spec: SequenceSpec = field(default_factory=SequenceSpec)
    num_consumers: int = 8
    seed: int = 0
    overwrite: bool = False
    instruction_key: str = "instruction"
    response_key: str = "response"


def format_prompt(instruction: str) -> str:
    """The prompt of an instruction; a response follows its colon."""
    return PROMPT.format(instruction=instruction)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The ids of an example, without padding and no more than fit; `is_truncated` says whether some did not."""

    ids: U32Array
    is_truncated: bool


def encode_example(
    prompt: npt.NDArray[Any], response: npt.NDArray[Any], eot: int, spec: SequenceSpec
) -> Encoded | None:
    """Prompt, mark, response and end-of-text; None where the prompt leaves no room for a token of the response.

    Args:
        prompt: token ids.
        response: token ids.
        eot: id that ends the response.
        spec: length and mark.
    """
    length = spec.seq_len + 1
    if len(prompt) + 1 >= length:
        return None
    ids = np.concatenate([prompt, [spec.mask_left], response, [eot]]).astype(np.uint32)
    return Encoded(ids=ids[:length], is_truncated=len(ids) > length)


def find_inputs(patterns: Sequence[str]) -> list[str]:
    """The files that the patterns name, sorted, each once; URLs are taken as they stand.

    Raises:
        InputError: a pattern that names no file.
    """
    found: set[str] = set()
    for pattern in patterns:
        files = [pattern] if "://" in pattern else glob.glob(pattern, recursive=True)
        if not files or not all(map(storage.exists, files)):
            raise InputError(f"--input-files {pattern}: no such file")
        found |= set(files)
    return sorted(found)


def read_examples(
    files: Sequence[str], options: SftOptions, tokenizer_hash: str
) -> Iterator[tuple[str, Record, Encoded | str]]:
    """The records of the files in order, each with its file, and its ids or why it has none.

    Args:
        files: URLs.
        options: keys of instruction and response, tokenizer, length.
        tokenizer_hash: of the tokenizer's content, so that a worker loads the very same.
    """
    tokenizer = cached_tokenizer(options.spec.tokenizer, tokenizer_hash)
    for url in files:
        batch: list[Record] = []
        for record in read_records(url):
            batch.append(record)
            if len(batch) == _BATCH_RECORDS:
                yield from ((url, *encoded) for encoded in _encode_batch(batch, options, tokenizer))
                batch = []
        yield from ((url, *encoded) for encoded in _encode_batch(batch, options, tokenizer))


def _encode_batch(
    batch: list[Record], options: SftOptions, tokenizer: Tokenizer
) -> Iterator[tuple[Record, Encoded | str]]:
    """The records in order, those that are examples tokenized together."""
    spec = options.spec
    faults = [_fault(record, options) for record in batch]
    pages = [record.page for record, fault in zip(batch, faults, strict=True) if fault is None and record.page]
    prompts = tokenizer.encode_arrays([format_prompt(page[options.instruction_key]) for page in pages])
    responses = tokenizer.encode_arrays([page[options.response_key] for page in pages])
    pairs = iter(zip(prompts, responses, strict=True))
    for record, fault in zip(batch, faults, strict=True):
        if fault is not None:
            yield record, fault
            continue
        encoded = encode_example(*next(pairs), tokenizer.eot_id, spec)
        yield record, encoded or f"the prompt fills all {spec.seq_len + 1} tokens, so nothing of the response is left"


def _fault(record: Record, options: SftOptions) -> str | None:
    """Why a record is no example, or None."""
    if record.page is None:
        return record.error or "unreadable"
    for key in (options.instruction_key, options.response_key):
        value = record.page.get(key)
        if not isinstance(value, str):
            return f"no string under {key!r}"
        if not value.strip():
            return f"nothing under {key!r}"
    return None
