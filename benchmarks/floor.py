"""The I/O floor of a text stage, and the ten-mapper pipeline as a ratio to it.

The floor reads, decompresses, parses, serialises, compresses (zstd level 3) and writes the same shards and does
nothing else. Both sides run in this process, on one core, over the same shards, in turn.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import statistics
import tempfile

from baselines.core.shard_processor import LocalTask, process_shard
from baselines.core.steps import LocalStep
from benchmarks._bench import Row, interleaved, make_parser, page_shards, run, spread
from corpusmith.io.pages.shards import ShardRef, open_shard_writer, read_shard
from corpusmith.run.stage import StagePlace

GOAL = 3.0
TEN_MAPPERS = (
    LocalStep(index=0, func="newline_removal_modifier", arguments={"max_consecutive": 2}),
    LocalStep(
        index=1,
        func="page_length_filter",
        arguments={"length_type": "word", "min_length": 50, "max_length": 100000, "ignore_punctuation": True},
    ),
    LocalStep(index=2, func="word_length_filter", arguments={"min_length": 3, "max_length": 10}),
    LocalStep(index=3, func="symbol_ratio_filter"),
    LocalStep(index=4, func="bullet_count_filter"),
    LocalStep(index=5, func="ellipsis_count_filter"),
    LocalStep(index=6, func="alphabetic_word_ratio_filter"),
    LocalStep(index=7, func="stop_word_filter"),
    LocalStep(index=8, func="massive_web_repetition_filters"),
    LocalStep(index=9, func="word_counter_enricher"),
)


def run_floor(shards: list[ShardRef], folder: str) -> None:
    """Read and write every page of the shards."""
    for shard in shards:
        with open_shard_writer(f"{folder}/floor/{shard.name}") as writer:
            for page in read_shard(shard.url):
                writer.write(page)


def run_pipeline(shards: list[ShardRef], folder: str) -> None:
    """Run the ten mappers over the shards as a stage does, records and errors included."""
    place = StagePlace(name="ten", folder=f"{folder}/ten", output=f"{folder}/ten/shards", errors=f"{folder}/ten/errors")
    for shard in shards:
        process_shard(
            LocalTask(place=place, shard=shard, identity="benchmark", output=shard.name, steps=TEN_MAPPERS, seed=0)
        )


def measure(arguments: argparse.Namespace) -> list[Row]:
    """The pipeline beside the floor."""
    shards = page_shards(arguments.source, arguments.quick)
    megabytes = sum(shard.bytes for shard in shards) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        contenders = {"floor": lambda: run_floor(shards, folder), "ten mappers": lambda: run_pipeline(shards, folder)}
        seconds = interleaved(contenders, repeats=1 if arguments.quick else 5)
    for name, values in seconds.items():
        print(f"{name}: {spread(values)} for {len(shards)} shards, {megabytes:.1f} MB compressed")
    ours, floor = (statistics.median(seconds[name]) for name in ("ten mappers", "floor"))
    ratio = ours / floor
    return [
        Row(
            name="ten mappers / floor",
            ours=ours,
            other=floor,
            unit="s",
            ratio=ratio,
            goal=f"<= {GOAL}",
            met=ratio <= GOAL,
        )
    ]


def main() -> int:
    """Print the ratio; exit code 2 where there is nothing to measure."""
    return run(make_parser(__doc__ or ""), measure)


if __name__ == "__main__":
    raise SystemExit(main())
