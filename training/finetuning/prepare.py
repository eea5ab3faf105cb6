"""Fine-tuning data as DCLM's fine-tuning guide has it: instructions and responses to padded token shards.

Departs from the guide in that the tokenizer, the mask ids, the length and the keys can be chosen, in counting what is
quarantined, and in a summary that is written last, so that the same call again reports what stands there.
`--num-consumers` is the largest number of output folders: the input files are dealt out over them, so that one file
fills folder 0, which is the one the guide trains on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from corpusmith.errors import ChangedError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.text.tokenizers.load import Tokenizer, load_tokenizer
from training.finetuning.examples import SftOptions, find_inputs
from training.finetuning.folders import FolderTask, data_folder, write_folder

SUMMARY_NAME = "summary.json"
#: Stands in the summary: raised with the layout of the output folder.
LAYOUT_VERSION = 1


def prepare_sft_data(options: SftOptions, execution: Execution | None = None) -> dict[str, Any]:
    """Tokenize all examples, write shards and manifests, then the summary.

    The same call again reports what stands there.

    Args:
        options: what to prepare.
        execution: cluster to use where there are several folders; by default one of this machine's CPUs.

    Returns:
        The summary: what decided the output, and counts that balance: read = kept + set_aside; `cut` of the kept ones
        lost their end.

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
    for folder in (data_folder(options), storage.join(options.output_dir, "errors")):
        storage.remove_tree(folder)
    folders = min(options.num_consumers, len(files))
    tasks = [
        FolderTask(options=options, tokenizer_hash=tokenizer.content_hash, consumer=n, files=tuple(files[n::folders]))
        for n in range(folders)
    ]
    summary = plan | _add_up(_run(tasks, execution or Execution()))
    storage.write_json(storage.join(options.output_dir, SUMMARY_NAME), summary, indent=4)
    return summary


def _run(tasks: list[FolderTask], execution: Execution) -> list[dict[str, int]]:
    """The counts of all folders; one folder is written in this process, several on Ray."""
    if len(tasks) == 1:
        return [write_folder(tasks[0])]
    counts = []
    with Runner(execution) as runner:
        for outcome in runner.map(write_folder, tasks, label="tokenizing", unit="folders"):
            if outcome.value is None:
                raise RunFailed(f"{tasks[outcome.index].folder}: {outcome.error}")
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
