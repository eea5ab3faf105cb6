"""`corpusmith detokenize IN OUT`: token shards of any format back to page shards.

Each sequence is cut after its end-of-text tokens, and each part becomes a page with `text`, `token_count` (of the part,
without that token) and what the format keeps beside the ids (`source`, `pages`, `cluster_id`). Padding is left out. A
document that packing cut comes back as the parts that it was cut into; which parts belong together is told by
`corpusmith trace`. Where padding is the end-of-text token, all such tokens at the end of a sequence but one count as
padding.

A run of one stage: beside OUT stand `run/OUT/` and `errors/OUT/`, the same command continues and reports. Follows
NVIDIA's detokenize_climbmix.py in its columns and in names (`.tokenized` becomes `.detokenized`); departs from it in
that a shard that cannot be read fails the run.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.run.ray.execution import add_execution_arguments, execution_from

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from corpusmith.io.pages.shards import ShardRef
    from corpusmith.run.ray.runner import Runner
    from corpusmith.run.stage import Stage, StagePlace

VERSION = 1

STEP = "padding"
EXAMPLE = "corpusmith detokenize tokenized pages --tokenizer EleutherAI/gpt-neox-20b"
MODULES = (
    *(
        "corpusmith.io.tokens.mds",
        "corpusmith.io.tokens.flat_binary",
        "corpusmith.io.tokens.parquet",
        "corpusmith.io.tokens.shards",
    ),
    *("corpusmith.io.tokens.wds", "corpusmith.text.tokenizers.load", "ray_processing.tokens.detokenize"),
)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith detokenize`."""
    parser = make_parser("corpusmith detokenize", "Turn token shards of any format back into pages.", EXAMPLE)
    add = parser.add_argument
    add("input", help="folder of token shards (webdataset, MDS, Parquet, flat binary), or one .bin")
    add("output", help="folder for the page shards")
    add("--tokenizer", help="name or file (default: what the data set's reference JSON says)")
    add("--exp-data-dir", default="exp_data", help="folder of reference JSONs (default: %(default)s)")
    add("--data-key", default="json.gz", help="members of a webdataset that hold tokens (default: %(default)s)")
    add("--seqlen", type=int, help="rows of a .bin without an index hold one token more")
    add("--dtype", default="uint16", help="integers of a .bin without an index (default: %(default)s)")
    add("--overwrite", action="store_true", help="redo a finished or changed run")
    add_execution_arguments(parser)
    return parser


@dataclass(frozen=True, kw_only=True, slots=True)
class DetokenizeTask:
    """One token shard to turn into pages."""

    place: StagePlace
    unit: str
    identity: str
    source: Source
    shard: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A tokenized data set, and what reads it."""

    url: str
    tokenizer_url: str
    tokenizer_hash: str
    data_key: str
    sequence_length: int | None
    dtype: str


def output_name(shard: str) -> str:
    """The page shard that a token shard becomes."""
    return f"{shard.removesuffix('.mds').replace('.tokenized', '.detokenized')}.jsonl.zst"


def detokenize_shard(task: DetokenizeTask) -> None:
    """Write the pages of one token shard, and its record."""
    from corpusmith.io.pages.shards import file_checksum, open_shard_writer
    from corpusmith.run.ledger import Counts
    from corpusmith.run.stage import OutputFile, ShardRecord
    from corpusmith.text.tokenizers.load import cached_tokenizer

    tokenizer = cached_tokenizer(task.source.tokenizer_url, task.source.tokenizer_hash)
    data = _open(task.source)
    counts = Counts()
    tokens = 0
    name = output_name(task.shard)
    url = task.place.output_url(name)
    with open_shard_writer(url) as writer:
        for row in data.read(task.shard):
            counts.read += 1
            tokens += len(row.tokens)
            parts = list(split_row(row.tokens, tokenizer.eot_id, tokenizer.pad_id))
            for part in parts:
                text = tokenizer.decode(part.tolist())
                writer.write({"text": text, "token_count": len(part), **row.meta})
            counts.kept += len(parts)
            counts.added += max(0, len(parts) - 1)
            if not parts:
                counts.remove(STEP)
    from corpusmith.io import storage

    file = OutputFile(name=name, bytes=storage.stat(url).size, checksum=file_checksum(url), records=counts.kept)
    task.place.write_record(
        ShardRecord(unit=task.unit, identity=task.identity, outputs=[file], counts=counts, details={"tokens": tokens})
    )


def split_row(tokens: npt.NDArray[Any], eot_id: int, pad_id: int) -> Iterator[npt.NDArray[np.int64]]:
    """The parts of a row between its end-of-text tokens, padding at its end left out."""
    import numpy as np

    end = len(tokens)
    while end > 0 and tokens[end - 1] == pad_id:
        end -= 1
    if pad_id == eot_id:
        end = min(len(tokens), end + 1)  # one of them ends the last document
    elif end > 0 and tokens[end - 1] != eot_id:
        end = len(tokens)  # GPT-NeoX's pad id is also 22 spaces: padding follows an end-of-text token
    start = 0
    for stop in np.flatnonzero(tokens[:end] == eot_id).tolist():
        yield tokens[start:stop]
        start = stop + 1
    if start < end:
        yield tokens[start:end]


def _open(source: Source) -> Any:
    from corpusmith.io.tokens.shards import open_token_shards

    return open_token_shards(
        source.url, data_key=source.data_key, sequence_length=source.sequence_length, dtype=source.dtype
    )


def detokenize_work(source: Source, stage: Stage, runner: Runner) -> list[str]:
    """The pending token shards on Ray; returns a line for each that failed."""
    pending = set(stage.pending())
    tasks = {
        ref.name: DetokenizeTask(place=stage.place, unit=ref.name, identity=ref.identity, source=source, shard=ref.name)
        for ref in stage.inputs
        if ref.name in pending
    }
    return stage.run_units(runner, detokenize_shard, tasks, label="detokenize")


def _inputs(source: Source) -> list[ShardRef]:
    """The token shards as the stage's input."""
    from corpusmith.io import storage
    from corpusmith.io.pages.shards import ShardRef

    data = _open(source)
    folder = data.folder
    files = {storage.relative(info.url, folder): info for info in storage.list_files(folder)}
    refs = []
    for entry in data.entries:
        found = [files[name] for name in (entry.shard, *(f"{entry.shard}{s}" for s in _ENDINGS)) if name in files]
        identity = ",".join(f"{info.size}:{info.etag}" for info in found)
        refs.append(ShardRef(name=entry.shard, url=folder, identity=identity, bytes=sum(i.size for i in found)))
    return sorted(refs, key=lambda ref: ref.name)


_ENDINGS = (".tar", ".parquet", ".bin", ".idx", ".zstd", ".gz", ".bz2")


def detokenize(arguments: argparse.Namespace) -> None:
    """Turn the token shards of a folder into page shards."""
    from corpusmith.io import storage
    from corpusmith.run.fingerprint import SHARD_MODULES, code_versions
    from corpusmith.run.progress import say
    from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, StagePlan
    from corpusmith.text.tokenizers.load import load_tokenizer, resolve_tokenizer

    url, output = _absolute(arguments.input), _absolute(arguments.output)
    if f"{output}/".startswith(f"{url}/") or f"{url}/".startswith(f"{output}/"):
        raise InputError(f"the output folder {output} and the input {url} lie in each other; choose another")
    spec = resolve_tokenizer(arguments.tokenizer or _tokenizer_of(arguments.input, arguments.exp_data_dir))
    source = Source(
        url=url,
        tokenizer_url=spec,
        tokenizer_hash=load_tokenizer(spec).content_hash,
        data_key=arguments.data_key,
        sequence_length=None if arguments.seqlen is None else arguments.seqlen + 1,
        dtype=arguments.dtype,
    )
    above, name = storage.parent(output), storage.basename(output)
    place = RunPlace(root=storage.join(above, "run", name), output=output, errors=storage.join(above, "errors", name))
    fingerprint = {
        "tokenizer": source.tokenizer_hash,
        "data_key": source.data_key,
        "seqlen": source.sequence_length,
        "dtype": source.dtype,
        "code": code_versions((*SHARD_MODULES, *MODULES)),
    }
    stage = StagePlan(name="detokenize", fingerprint=fingerprint, work=functools.partial(detokenize_work, source))
    run = Run(place, RunPlan(inputs=_inputs(source), stages=[stage]))
    result = run.execute(execution_from(arguments), RunOptions(overwrite=arguments.overwrite))
    counts = result.stages[0].counts()
    say("finished before; nothing was recomputed" if result.was_finished else "finished")
    say(f"  {counts.read} sequences gave {counts.kept} pages: {output}")


def _tokenizer_of(folder: str, exp_data_dir: str) -> str:
    """The tokenizer that the reference JSON of a folder names."""
    from corpusmith.expdb.references import find_dataset

    bare = folder.rstrip("/")
    for spelling in (bare + "/", bare, os.path.abspath(bare) + "/"):
        found = find_dataset(exp_data_dir, "dataset_url", spelling, tokenized=True)
        if found is not None and found[1].get("tokenizer"):
            return str(found[1]["tokenizer"])
    raise InputError(
        f"{folder}: no reference JSON in {exp_data_dir} says which tokenizer it was made with; give --tokenizer"
    )


def _absolute(url: str) -> str:
    return url.rstrip("/") if "://" in url else os.path.abspath(url)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith detokenize`."""
    return run_command(build_parser(), detokenize, argv)
