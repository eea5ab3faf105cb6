"""Fine-tuning data: instructions and responses to padded token sequences, as DCLM's fine-tuning guide has them.

Follows the guide's prompt, its mask ids (50300 between prompt and response, 50400 as padding) and its layout
`DIR/<seq_len>-v1/<consumer>/shard-%07d.tar` with `txt` members. Departs from it in four ways: the end-of-text is the
tokenizer's id (the guide's script put a string there, which the loader reads as 0, GPT-NeoX's id); what leaves no
token of the response to learn from is set aside and counted, not trained on; the shuffle is decided by the seed and
the input alone; and the manifest of each folder is written at once. `--num-consumers` is the largest number of output
folders: the input files are dealt out over them, so that one file fills folder 0, which is the one the guide trains on.

Shape suffixes: S sequences, L tokens in a sequence.
"""

from __future__ import annotations

import glob
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from corpusmith.errors import ChangedError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.pages.shards import Record, open_shard_writer, read_records
from corpusmith.io.tokens import wds
from corpusmith.redact import redact
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.progress import say
from corpusmith.run.ray.runner import Execution, Runner
from corpusmith.seeds import stable_hash
from corpusmith.text.tokenizers.load import GPT_NEOX, Tokenizer, cached_tokenizer, load_tokenizer

U32Array = npt.NDArray[np.uint32]

PROMPT = (
    "Below is an instruction that describes a task.\n\nWrite a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
RESPONSE_MARK = 50300
PADDING = 50400
SHARDS_PER_FOLDER = 8
MAX_SHARD_SEQUENCES = 8192
SUMMARY_NAME = "summary.json"
DATA_KEY = "txt"
_BATCH = 1024
#: Stands in the summary: raised with the layout of the output folder.
LAYOUT_VERSION = 1


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
        return storage.join(_data_folder(self.options), str(self.consumer))

    @property
    def errors_url(self) -> str:
        """Where examples that were set aside go."""
        return storage.join(self.options.output_dir, "errors", f"{self.consumer}.jsonl")


def format_prompt(instruction: str) -> str:
    """The prompt of an instruction; a response follows its colon."""
    return PROMPT.format(instruction=instruction)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The ids of an example, without padding and no more than fit; `cut` says whether some did not."""

    ids: U32Array
    cut: bool


def encode_example(
    prompt: npt.NDArray[Any], response: npt.NDArray[Any], eot: int, spec: SequenceSpec
) -> Encoded | None:
    """Prompt, mark, response and end-of-text; None where the prompt leaves no place for a token of the response."""
    length = spec.seq_len + 1
    if len(prompt) + 1 >= length:
        return None
    ids = np.concatenate([prompt, [spec.mask_left], response, [eot]]).astype(np.uint32)
    return Encoded(ids=ids[:length], cut=len(ids) > length)


def prepare_sft_data(options: SftOptions, execution: Execution | None = None) -> dict[str, Any]:
    """Tokenize all examples, write shards and manifests; returns the summary, which is written last.

    The summary's counts balance: read = kept + set_aside; `cut` of the kept ones lost their end. The same call again
    reports what stands there.

    Raises:
        InputError: no input, or ids that clash with the tokenizer's.
        ChangedError: the folder holds what other options or other inputs gave.
        RunFailed: a folder could not be written.
    """
    tokenizer = load_tokenizer(options.spec.tokenizer)
    _check(options, tokenizer)
    files = find_inputs(options.input_files)
    plan = deciding(options, tokenizer, files)
    stored = _stored_summary(options)
    if stored is not None and not options.overwrite:
        for key, value in plan.items():
            if stored.get(key) != value:
                raise ChangedError(f"{options.output_dir} was made with another {key}; pass --overwrite or another DIR")
        say(f"{options.output_dir} is complete: {stored['kept']} sequences")
        return stored
    storage.remove(storage.join(options.output_dir, SUMMARY_NAME))
    for folder in (_data_folder(options), storage.join(options.output_dir, "errors")):
        storage.remove_tree(folder)
    folders = min(options.num_consumers, len(files))
    tasks = [
        FolderTask(
            options=options, tokenizer_hash=tokenizer.content_hash, consumer=n, files=tuple(files[n::folders])
        )
        for n in range(folders)
    ]  # fmt: skip
    summary = plan | _add_up(_run(tasks, execution or Execution()))
    storage.write_json(storage.join(options.output_dir, SUMMARY_NAME), summary, indent=4)
    return summary


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


def write_folder(task: FolderTask) -> dict[str, int]:
    """Write one consumer's shards and manifest; returns its counts."""
    counts = {"read": 0, "kept": 0, "set_aside": 0, "cut": 0}
    pool: list[U32Array] = []  # without padding, which would be most of it
    with open_shard_writer(task.errors_url) as errors:
        for url, record, outcome in _encoded_records(task):
            counts["read"] += 1
            if isinstance(outcome, str):
                counts["set_aside"] += 1
                raw = record.raw.decode(errors="replace")
                errors.write({"file": url, "index": record.index, "error": redact(outcome), "raw": raw})
            else:
                counts["kept"] += 1
                counts["cut"] += outcome.cut
                pool.append(outcome.ids)
    if not counts["set_aside"]:
        storage.remove(task.errors_url)
    if not pool:
        raise InputError(f"no example in {', '.join(task.files)} could be used; {task.errors_url} says why")
    _write_shards(task, pool)
    return counts


def _encoded_records(task: FolderTask) -> Iterator[tuple[str, Record, Encoded | str]]:
    """(file, record, its ids or why it has none) for all records of the task's files in order."""
    for url in task.files:
        batch: list[Record] = []
        for record in read_records(url):
            batch.append(record)
            if len(batch) == _BATCH:
                yield from ((url, one, outcome) for one, outcome in _encode_batch(task, batch))
                batch = []
        yield from ((url, one, outcome) for one, outcome in _encode_batch(task, batch))


def _encode_batch(task: FolderTask, batch: list[Record]) -> Iterator[tuple[Record, Encoded | str]]:
    """The records in order, those that are examples tokenized together."""
    options, spec = task.options, task.options.spec
    tokenizer = cached_tokenizer(spec.tokenizer, task.tokenizer_hash)
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


def _write_shards(task: FolderTask, pool: list[U32Array]) -> None:
    """Shuffle, pad and write the sequences, then the manifest."""
    spec, size = task.options.spec, min(-(-len(pool) // SHARDS_PER_FOLDER), MAX_SHARD_SEQUENCES)
    draws = np.random.default_rng(stable_hash("fine-tuning data", task.options.seed, task.consumer))
    order = draws.permutation(len(pool))
    entries = []
    for number, start in enumerate(range(0, len(pool), size)):
        chosen = order[start : start + size]
        rows_SL = np.full((len(chosen), spec.seq_len + 1), spec.mask_individual, dtype=np.uint32)
        for row_L, index in zip(rows_SL, chosen, strict=True):
            row_L[: len(pool[index])] = pool[index]
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


def _run(tasks: list[FolderTask], execution: Execution) -> list[dict[str, int]]:
    """The counts of all folders; one folder is written in this process, several on Ray."""
    if len(tasks) == 1:
        return [write_folder(tasks[0])]
    counts = []
    with Runner(execution) as runner:
        for outcome in runner.map(write_folder, tasks, name=lambda t: t.folder, label="tokenizing", unit="folders"):
            if outcome.value is None:
                raise RunFailed(f"{outcome.name}: {outcome.error}")
            counts.append(outcome.value)
    return counts


def _add_up(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {key: sum(one[key] for one in counts) for key in counts[0]}


def deciding(options: SftOptions, tokenizer: Tokenizer, files: Sequence[str]) -> dict[str, Any]:
    """What decides the output, as the summary keeps it."""
    inputs = [[info.url, info.size, info.etag] for info in map(storage.stat, files)]
    return asdict(options.spec) | {
        "tokenizer_hash": tokenizer.content_hash,
        "seed": options.seed,
        "num_consumers": options.num_consumers,
        "instruction_key": options.instruction_key,
        "response_key": options.response_key,
        "version": LAYOUT_VERSION,
        "code": code_versions(write_folder),
        "inputs": inputs,
    }


def _stored_summary(options: SftOptions) -> dict[str, Any] | None:
    """The summary of an earlier, complete call."""
    url = storage.join(options.output_dir, SUMMARY_NAME)
    if not storage.exists(url):
        return None
    stored = storage.read_json(url)
    return stored if isinstance(stored, dict) else {}


def _data_folder(options: SftOptions) -> str:
    return storage.join(options.output_dir, f"{options.spec.seq_len}-v1")


def _check(options: SftOptions, tokenizer: Tokenizer) -> None:
    """Refuse sizes that can't be, and mask ids that a text could have."""
    spec = options.spec
    if spec.seq_len < 2 or options.num_consumers < 1:
        raise InputError("--seqlen must be at least 2 and --num-consumers at least 1")
    if spec.mask_left == spec.mask_individual:
        raise InputError(f"--target-mask-left and --target-mask-individual must differ, both are {spec.mask_left}")
    for flag, value in (("--target-mask-left", spec.mask_left), ("--target-mask-individual", spec.mask_individual)):
        if not tokenizer.num_ids <= value < 1 << 31:
            raise InputError(
                f"{flag} {value}: must lie beyond the {tokenizer.num_ids} ids of tokenizer {tokenizer.name}, and below "
                "the vocabulary of the model"
            )
