"""The output folder of one consumer: its share of the examples, shuffled into padded token shards with a manifest.

Follows the layout of DCLM's fine-tuning guide, `DIR/<seq_len>-v1/<consumer>/shard-%07d.tar` with `txt` members. Departs
from it in two ways: the shuffle is decided by the seed and the input alone, and the manifest is written at once.

Shape suffixes: S sequences, L tokens in a sequence.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass

import numpy as np

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import open_shard_writer
from corpusmith.io.tokens import wds
from corpusmith.redact import redact
from corpusmith.seeds import stable_hash
from training.finetuning.examples import SftOptions, U32Array, read_examples

SHARDS_PER_FOLDER = 8
MAX_SHARD_SEQUENCES = 8192
DATA_KEY = "txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderTask:
    """The work of one consumer: its files, its folder, and what decides the bytes."""

    options: SftOptions
    tokenizer_hash: str
    consumer: int
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return storage.join(data_folder(self.options), str(self.consumer))

    @property
    def errors_url(self) -> str:
        """Where quarantined records go."""
        return storage.join(self.options.output_dir, "errors", f"{self.consumer}.jsonl")


def data_folder(options: SftOptions) -> str:
    """The folder above those of the consumers."""
    return storage.join(options.output_dir, f"{options.spec.seq_len}-v1")


def write_folder(task: FolderTask) -> dict[str, int]:
    """Write one consumer's shards and manifest.

    Returns:
        Counts: read = kept + set_aside; `cut` of the kept ones lost their end.

    Raises:
        InputError: no record could be used.
    """
    counts = {"read": 0, "kept": 0, "set_aside": 0, "cut": 0}
    sequences: list[U32Array] = []  # without padding, which would be most of it
    with open_shard_writer(task.errors_url) as errors:
        for url, record, outcome in read_examples(task.files, task.options, task.tokenizer_hash):
            counts["read"] += 1
            if isinstance(outcome, str):
                counts["set_aside"] += 1
                raw = record.raw.decode(errors="replace")
                errors.write({"file": url, "index": record.index, "error": redact(outcome), "raw": raw})
            else:
                counts["kept"] += 1
                counts["cut"] += outcome.is_truncated
                sequences.append(outcome.ids)
    if not counts["set_aside"]:
        storage.remove(task.errors_url)
    if not sequences:
        raise InputError(f"no example in {', '.join(task.files)} could be used; {task.errors_url} says why")
    _write_shards(task, sequences)
    return counts


def _write_shards(task: FolderTask, sequences: list[U32Array]) -> None:
    """Shuffle, pad and write the sequences, then the manifest."""
    spec, size = task.options.spec, min(-(-len(sequences) // SHARDS_PER_FOLDER), MAX_SHARD_SEQUENCES)
    draws = np.random.default_rng(stable_hash("fine-tuning data", task.options.seed, task.consumer))
    order = draws.permutation(len(sequences))
    entries = []
    for number, start in enumerate(range(0, len(sequences), size)):
        chosen = order[start : start + size]
        rows_SL = np.full((len(chosen), spec.seq_len + 1), spec.mask_individual, dtype=np.uint32)
        for row_L, index in zip(rows_SL, chosen, strict=True):
            row_L[: len(sequences[index])] = sequences[index]
        name = f"shard-{number:07d}"
        write_txt_shard(storage.join(task.folder, f"{name}.tar"), rows_SL)
        entries.append(wds.ManifestEntry(shard=name, num_sequences=len(chosen)))
    wds.write_manifest(storage.join(task.folder, wds.MANIFEST_NAME), entries)


def write_txt_shard(url: str, rows_SL: U32Array) -> None:
    """Write a tar with one `txt` member per row, a Python list literal; equal rows give equal bytes."""
    with storage.atomic_write(url) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index, row_L in enumerate(rows_SL):
            content = str(row_L.tolist()).encode()
            member = tarfile.TarInfo(f"{index:08d}.{DATA_KEY}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
