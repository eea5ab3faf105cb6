"""`corpusmith tokenize` against the bare tokenizer and against datatrove's tokenizer and merger.

All sides run in one process on the same shards and are measured in CPU seconds (threads and children included), so
the figures are per core: a run on Ray divides the same tasks over the cores. The whole job reads and decompresses
pages, tokenizes, packs, spills, shuffles, and writes shards, log, records and checksums. The bare tokenizer encodes
the same texts from memory and does nothing else: once with the engine that the job uses, once with the package
`tokenizers` and the same `tokenizer.json`. Memory is that of the whole job at 1 and 16 times the data.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks._bench import ROOT, SHARED, Row, interleaved, make_parser, page_shards, run, spread
from corpusmith.errors import InputError
from corpusmith.io.pages.shards import ShardRef, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome
from corpusmith.run.run import Run, RunOptions
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokens.config import plan_partitions
from ray_processing.tokens.outcome import finish_tokens
from ray_processing.tokens.request import TokenRequest
from ray_processing.tokens.stages import open_run, plan_run

#: partitions of the memory rows: small, so that one time the data is several of them
PARTITION_BYTES = 1 << 19
PEER = ROOT / ".peers" / "datatrove" / "bin" / "python"
PEER_CODE = """
import json, os, resource, sys, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger
from loguru import logger
logger.remove()
source, output, tokenizer = sys.argv[1:]
started = time.process_time()
steps = DocumentTokenizer(output + "/parts", tokenizer, eos_token="<|endoftext|>", seed=1)
steps.run(JsonlReader(source, doc_progress=False).run(None, 0, 1), 0, 1)
merger = DocumentTokenizerMerger(output + "/parts", output + "/merged", "all", seed=1, progress=False)
merger.run(None, 0, 1)
print(json.dumps({"seconds": time.process_time() - started}))
"""


class InlineRunner:
    """Runs the tasks of a stage one by one in this process."""

    def __init__(self, _: Execution) -> None:
        pass

    def __enter__(self) -> InlineRunner:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        for index, task in enumerate(tasks):
            yield Outcome(index=index, value=function(task))


def whole_job(folder: pathlib.Path, tokenizer: str, format_name: str, partition_bytes: int | None = None) -> None:
    """The job from page shards to token shards, in a folder that is removed, with partitions and spills of a size."""
    with tempfile.TemporaryDirectory() as temporary:
        request = TokenRequest(
            inputs=(str(folder),),
            references=(),
            output=f"{temporary}/tokens",
            name="bench",
            exp_data_dir=f"{temporary}/exp_data",
            tokenizer=tokenizer,
            format_name=format_name,
        )
        tokens = open_run(request)
        if partition_bytes is not None:
            config = replace(
                tokens.config, partition_bytes=partition_bytes, spill_bytes=partition_bytes, shard_sequences=1000
            )
            shards = tokens.run.plan.inputs
            run = Run(tokens.run.place, plan_run(shards, config, plan_partitions(shards, config), None))
            tokens = replace(tokens, run=run, config=config)
        tokens.run._open_runner = InlineRunner  # type: ignore[assignment]
        finish_tokens(tokens, tokens.run.execute(Execution(), RunOptions()))


def bare_package(texts: list[str], tokenizer: str) -> Callable[[], object]:
    """Encoding by the package `tokenizers`."""
    import tokenizers

    loaded = tokenizers.Tokenizer.from_file(tokenizer)
    return lambda: [encoding.ids for encoding in loaded.encode_batch_fast(texts, add_special_tokens=False)]


def datatrove_seconds(folder: pathlib.Path, tokenizer: str) -> float | str:
    """CPU seconds of datatrove's tokenizer and merger, or why there are none."""
    if not PEER.exists():
        return "no environment of datatrove; `bash tools/peers.sh datatrove` makes it"
    with tempfile.TemporaryDirectory() as temporary:
        command = [str(PEER), "-c", PEER_CODE, str(folder), temporary, tokenizer]
        environment = os.environ | {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        return done.stderr.strip().splitlines()[-1]
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def peak_memory(folder: pathlib.Path, tokenizer: str) -> float:
    """Peak resident MiB of the whole job in a process of its own."""
    code = f"import sys; sys.path[:0] = [{str(ROOT / 'benchmarks')!r}]; import tokenize_shuffle as t, pathlib; " + (
        f"t.whole_job(pathlib.Path({str(folder)!r}), {tokenizer!r}, 'wds', {PARTITION_BYTES}); print(t.own_peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def own_peak() -> float:
    """Peak resident MiB of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def multiplied(shards: list[ShardRef], folder: pathlib.Path, times: int) -> pathlib.Path:
    """A folder with each shard `times` times."""
    folder.mkdir()
    for copy in range(times):
        for shard in shards:
            shutil.copy(shard.url, folder / f"{copy:02d}-{shard.name}")
    return folder


def measure(arguments: argparse.Namespace) -> list[Row]:
    """The whole job in two formats beside the bare tokenizer, the package and datatrove."""
    if not pathlib.Path(arguments.tokenizer).exists():
        raise InputError(f"no tokenizer at {arguments.tokenizer}; give --tokenizer FILE")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    shards = page_shards(arguments.source, arguments.quick)
    repeats = 1 if arguments.quick else 3
    with tempfile.TemporaryDirectory() as temporary:
        home = pathlib.Path(temporary)
        folder = multiplied(shards, home / "once", 1)
        texts = [
            page["text"] for shard in shards for page in read_shard(shard.url) if isinstance(page.get("text"), str)
        ]
        tokenizer = load_tokenizer(arguments.tokenizer)
        package = bare_package([text.encode("utf-8", "replace").decode() for text in texts], arguments.tokenizer)
        seconds = interleaved(
            {
                "job wds": lambda: whole_job(folder, arguments.tokenizer, "wds"),
                "job bin": lambda: whole_job(folder, arguments.tokenizer, "bin"),
                "bare": lambda: tokenizer.encode_arrays(texts),
                "package": package,
            },
            repeats,
        )
        peers = [datatrove_seconds(folder, arguments.tokenizer) for _ in range(repeats)]
        memory = [] if arguments.quick else [memory_row(shards, home, arguments.tokenizer)]
    megabytes = sum(len(text.encode("utf-8", "replace")) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB of text, {len(shards)} shards")
    for name, values in seconds.items():
        print(f"{name:<8} {spread(values)}")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    return [
        *(
            _row(f"whole job to {name} / bare tokenizer", middle[f"job {name}"], middle["bare"], 1.3)
            for name in ("wds", "bin")
        ),
        _row("whole job to wds / bare package tokenizers", middle["job wds"], middle["package"], None),
        *datatrove_rows(peers, middle["job bin"]),
        *memory,
    ]


def datatrove_rows(peers: Sequence[float | str], ours: float) -> list[Row]:
    """datatrove beside the job to `bin`, unless it could not be run."""
    numbers = [value for value in peers if isinstance(value, float)]
    if not numbers:
        print(f"datatrove: {peers[0]}")
        return []
    print(f"datatrove {spread(numbers)}")
    peer = statistics.median(numbers)
    ratio = peer / ours
    name = "datatrove tokenizer + merger / whole job to bin"
    return [Row(name=name, ours=ours, other=peer, unit="s", ratio=ratio, goal=">= 2", met=ratio >= 2)]


def memory_row(shards: Sequence[ShardRef], home: pathlib.Path, tokenizer: str) -> Row:
    """Peak memory at 16 times the data beside once."""
    some = sorted(shards, key=lambda shard: shard.bytes)[2:4]
    small = peak_memory(multiplied(some, home / "less", 1), tokenizer)
    large = peak_memory(multiplied(some, home / "more", 16), tokenizer)
    ratio = large / small
    name = "peak memory at 16 times the data / once"
    return Row(name=name, ours=large, other=small, unit="MiB", ratio=ratio, goal="<= 1.1", met=ratio <= 1.1)


def _row(name: str, ours: float, other: float, goal: float | None) -> Row:
    ratio = ours / other
    shown = "" if goal is None else f"<= {goal}"
    return Row(
        name=name,
        ours=ours,
        other=other,
        unit="s",
        ratio=ratio,
        goal=shown,
        met=None if goal is None else ratio <= goal,
    )


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.add_argument("--tokenizer", default=str(SHARED / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"))
    return run(parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
