"""Instruction data from the Hugging Face Hub, or from files of one's own, as JSONL with `instruction` and `response`.

Follows DCLM's guide, whose script turned OpenMathInstruct-1 into such a file (question to instruction, expected answer
to response). Departs from it in taking any data set of JSONL or Parquet files and any pair of keys.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError, RunFailed, missing_package
from corpusmith.io import storage
from corpusmith.io.pages.shards import Record, open_shard_writer, read_records
from training.finetuning.examples import find_inputs

OPEN_MATH = "nvidia/OpenMathInstruct-1"
OPEN_MATH_FILES = "correct_solutions/train.jsonl"
QUESTION, ANSWER = "question", "expected_answer"


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadOptions:
    """`input_files` are local patterns or URLs in place of a download; `files` is a pattern within the data set."""

    output: str
    dataset: str = OPEN_MATH
    files: str = OPEN_MATH_FILES
    input_files: tuple[str, ...] = ()
    instruction_key: str = QUESTION
    response_key: str = ANSWER
    overwrite: bool = False


def make_instruction_file(options: DownloadOptions) -> dict[str, int]:
    """Write the JSONL file; returns how many rows were read, kept and skipped (read = kept + skipped).

    A row without a string (or a number) under both keys is skipped.

    Raises:
        InputError: no such file, or the output exists.
        RunFailed: the download failed.
    """
    if storage.exists(options.output) and not options.overwrite:
        raise InputError(f"{options.output} exists; pass --overwrite or another --output")
    urls = find_inputs(options.input_files) if options.input_files else _download(options)
    counts = {"read": 0, "kept": 0, "skipped": 0}
    with open_shard_writer(options.output) as writer:
        for url in urls:
            for record in read_records(url):
                counts["read"] += 1
                row = _example(record, options)
                counts["skipped" if row is None else "kept"] += 1
                if row is not None:
                    writer.write(row)
        if not counts["kept"]:
            keys = f"{options.instruction_key!r} and {options.response_key!r}"
            raise InputError(f"none of {counts['read']} rows has strings under {keys}; see --instruction-key")
    return counts


def _example(record: Record, options: DownloadOptions) -> dict[str, str] | None:
    """The row of a record, or None."""
    page: dict[str, Any] = record.page or {}
    values = [page.get(options.instruction_key), page.get(options.response_key)]
    if any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in values):
        return None
    instruction, response = map(str, values)
    return {"instruction": instruction, "response": response} if instruction.strip() and response.strip() else None


def _download(options: DownloadOptions) -> Sequence[str]:
    """Local copies of the data set's files, in order of name."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise missing_package("huggingface_hub", "train") from error
    try:
        folder = snapshot_download(repo_id=options.dataset, repo_type="dataset", allow_patterns=options.files)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunFailed(
            f"{options.dataset} could not be downloaded ({reason}); give files with --input-files"
        ) from error
    found = [info.url for info in storage.list_files(os.path.abspath(folder))]
    if not found:
        raise InputError(f"{options.dataset} has no file {options.files!r}")
    return found
