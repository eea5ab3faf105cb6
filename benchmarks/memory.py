"""Peak memory of a worker for a large shard against a small one: both must be the same, whatever the shard's size.

Each measurement is a process of its own that runs ten mappers over one shard as a stage does and tells the most
memory that it ever held. The shards are made of the pages of `--source`, over and over, until they have the size
asked for (uncompressed): 10 MB and 1 GB, with `--quick` 10 MB and 100 MB. What a worker holds is decided by its
longest page, so the source with the longest page comes first and both sizes have it.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile

from benchmarks._bench import ROOT, Row, make_parser, page_shards, run
from corpusmith.errors import ShardError
from corpusmith.io.pages.shards import ShardRef, dump_page, open_shard_writer, read_shard

GOAL = 1.10
SMALL_BYTES = 10_000_000
LARGE_BYTES = 1_000_000_000
QUICK_BYTES = 100_000_000
SUFFIXES = (".jsonl.zst", ".parquet", ".arrow")
MEASURE = "--measure"


def make_shard(url: str, sources: list[ShardRef], size: int) -> None:
    """Write a shard of `size` bytes of JSON lines, made of the pages of the sources again and again."""
    written = 0
    with open_shard_writer(url) as writer:
        for number, source in enumerate(itertools.cycle(sources)):
            for page in read_shard(source.url):
                line = dump_page({"text": page.get("text"), "url": page.get("url"), "copy": number})
                writer.write_line(line)
                written += len(line) + 1
                if written >= size:
                    return


def longest_page(source: ShardRef) -> int:
    """Bytes of the longest page of a shard."""
    return max((len(dump_page(page)) for page in read_shard(source.url)), default=0)


def measure(url: str) -> None:
    """Run ten mappers over the shard at `url` in this process and print its peak memory in bytes."""
    from baselines.core.shard_processor import LocalTask, process_shard
    from benchmarks.floor import TEN_MAPPERS
    from corpusmith.run.stage import StagePlace

    folder, name = os.path.split(url)
    place = StagePlace(name="ten", folder=f"{folder}/ten", output=f"{folder}/ten/shards", errors=f"{folder}/ten/errors")
    shard = ShardRef(name=name, url=url, identity="benchmark", bytes=os.path.getsize(url))
    process_shard(LocalTask(place=place, shard=shard, identity="benchmark", output=name, steps=TEN_MAPPERS, seed=0))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def peak(url: str) -> int:
    """Peak memory, in bytes, of a process that works on the shard at `url`."""
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), MEASURE, url]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ShardError(url, 0, f"the measuring process failed: {result.stderr[-2000:]}")
    return int(result.stdout)


def compare(suffix: str, sources: list[ShardRef], large: int) -> Row:
    """Both sizes in one format."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("small", SMALL_BYTES), ("large", large)):
            url = f"{folder}/{name}{suffix}"
            make_shard(url, sources, size)
            peaks[name] = peak(url)
    ratio = peaks["large"] / peaks["small"]
    return Row(
        name=f"{suffix}: {large // 1_000_000} MB / {SMALL_BYTES // 1_000_000} MB",
        ours=peaks["large"] / 1e6,
        other=peaks["small"] / 1e6,
        unit="MB",
        ratio=ratio,
        goal=f"<= {GOAL}",
        met=ratio <= GOAL,
    )


def compare_all(arguments: argparse.Namespace) -> list[Row]:
    """A row for each format."""
    sources = sorted(page_shards(arguments.source, quick=False), key=longest_page, reverse=True)
    large = QUICK_BYTES if arguments.quick else LARGE_BYTES
    return [compare(suffix, sources, large) for suffix in SUFFIXES]


def main() -> int:
    """Print the ratios; exit code 2 where there is nothing to measure."""
    if sys.argv[1:2] == [MEASURE]:
        measure(sys.argv[2])
        return 0
    return run(make_parser(__doc__ or ""), compare_all)


if __name__ == "__main__":
    raise SystemExit(main())
