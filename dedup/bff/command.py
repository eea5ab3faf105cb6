"""`corpusmith dedup bff`, and the script `dedup/bff`: the Bloom-filter dedup by DCLM's flags of its `bff`.

    bff [bff] --inputs pages --output-directory out --expected-ngram-count 1000000000 --fp-rate 0.01 …
    bff sysreq --expected-ngram-count 1000000000 --fp-rate 0.01

Shards go to the output directory under their names; beside it stand `run/OUT/` (stage, records, ledger, the figures of
the filter, `report.html`) and `errors/OUT/`. The same command again continues a killed run and reports a finished one.
`--plan` tells what the run will take, and starts nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from corpusmith.command import make_parser, run_command
from corpusmith.errors import FieldError, InputError
from corpusmith.io import storage
from corpusmith.run.ray.execution import add_execution_arguments, execution_from

if TYPE_CHECKING:
    from corpusmith.io.pages.shards import ShardRef
    from dedup.bff.config import BffConfig

MODES = ("paragraph", "document", "both", "naive-both", "old-both", "substring", "exact")
EXAMPLE = (
    "corpusmith dedup bff --inputs pages --output-directory deduplicated --expected-ngram-count 1000000000 \\\n"
    "    --fp-rate 0.01 --min-ngram-size 13 --max-ngram-size 13 --remove-type old-both"
)


def _add_sizing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--expected-ngram-count", type=int, help="distinct n-grams of the input (default: estimated from it)")
    add("--fp-rate", type=float, default=0.01, help="share of new n-grams taken for known ones (default %(default)s)")
    add("--num-hashers", type=int, default=0, help="bits of an n-gram in the filter (default 0: the best number)")


def build_parser() -> argparse.ArgumentParser:
    """The flags of `bff`, DCLM's names and defaults."""
    parser = make_parser(
        "corpusmith dedup bff",
        "Remove (or mark) text whose n-grams were seen before, by a Bloom filter over the whole input.",
        EXAMPLE,
    )
    add = parser.add_argument
    add("--inputs", nargs="+", required=True, help="folders of page shards, or shards")
    add("--output-directory", required=True, help="where the shards go, under their names relative to the input")
    add("--bloom-filter-file", help="filter that is loaded if it exists, and saved at the end")
    _add_sizing(parser)
    add("--min-ngram-size", type=int, default=20, help="units of fewer tokens stay and are never inserted (default 20)")
    add("--max-ngram-size", type=int, default=20, help="tokens of an n-gram (default 20)")
    add("--filtering-threshold", type=float, default=0.8, help="share of known n-grams above which a unit goes")
    add("--substr-seqlen", type=int, default=50, help="shortest run of tokens that substring mode removes (default 50)")
    add("--remove-type", default="paragraph", choices=MODES, help="what is compared and removed (default paragraph)")
    add("--no-update-bloom-filter", action="store_true", help="check against the filter, insert and save nothing")
    add("--annotate", action="store_true", help="mark duplicates and remove nothing")
    add("--no-save-bloom-filter", action="store_true", help="do not save the filter")
    add("--content-key", default="text", help="key of the page's text (default text)")
    add("-t", "--threads", type=int, default=0, help="CPUs to use on this machine (default 0: all)")
    add("--no-progress-bar", action="store_true", help="plain lines instead of a bar")
    add("--shard-num", type=int, default=0, help="with --total-shards: take the shards of this remainder only")
    add("--total-shards", type=int, default=1, help="into how many the sorted input list is dealt out (default 1)")
    add("--overwrite", action="store_true", help="redo a finished or changed run")
    add("--plan", action="store_true", help="print memory, disk and expected false-positive rate, and stop")
    add_execution_arguments(parser)
    return parser


def build_sysreq_parser() -> argparse.ArgumentParser:
    """The flags of `bff sysreq`."""
    parser = make_parser(
        "corpusmith dedup bff sysreq",
        "Print the size of the filter for a number of n-grams.",
        "corpusmith dedup bff sysreq --expected-ngram-count 1000000000 --fp-rate 0.01",
    )
    _add_sizing(parser)
    return parser


def find_inputs(inputs: Sequence[str], shard_num: int = 0, total_shards: int = 1) -> list[ShardRef]:
    """The shards of folders and files, sorted by name relative to the folder; InputError where two have one name."""
    from corpusmith.io.pages.shards import ShardRef, list_shards

    if not 0 <= shard_num < total_shards:
        raise InputError(f"--shard-num must lie in [0, --total-shards), got {shard_num} of {total_shards}")
    found: dict[str, ShardRef] = {}
    for url in inputs:
        if storage.is_dir(url):
            shards = list_shards(url)
        else:
            info = storage.stat(url)
            name = storage.basename(url)
            shards = [ShardRef(name=name, url=url, identity=f"{info.size}:{info.etag}", bytes=info.size)]
        for shard in shards:
            if shard.name in found:
                raise InputError(
                    f"{shard.url} and {found[shard.name].url} would both be written to {shard.name}; give the folder "
                    "above them, or rename one"
                )
            found[shard.name] = shard
    return [found[name] for name in sorted(found)][shard_num::total_shards]


def _config(arguments: argparse.Namespace) -> BffConfig:
    """The checked arguments; InputError names the flag."""
    from dataclasses import fields

    from dedup.bff.config import BffConfig

    names = {field.name for field in fields(BffConfig)}
    try:
        return BffConfig(**{name: value for name, value in vars(arguments).items() if name in names})
    except FieldError as error:
        raise InputError(f"--{error.field.replace('_', '-')}: {error.problem}") from error


def dedup(arguments: argparse.Namespace) -> None:
    """Plan the run, and execute it unless only the plan is wanted."""
    # not at the top: they load numpy, numba and pyarrow, and `--help` must be instant
    from corpusmith.report.command import REPORT_NAME, write_report
    from corpusmith.run.progress import plain_lines, say
    from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan
    from dedup.bff.plan import plan_needs
    from dedup.bff.stage import plan_stage

    config = _config(arguments)
    inputs = find_inputs(arguments.inputs, arguments.shard_num, arguments.total_shards)
    if not inputs:
        raise InputError("there are fewer shards than --total-shards, so none is left for this --shard-num")
    execution = execution_from(arguments)
    if arguments.threads:
        execution = replace(execution, cpus=arguments.threads)
    if arguments.plan:
        for line in plan_needs(config, inputs, inputs, execution.cpus or os.cpu_count() or 1).lines:
            say(line)
        return
    output = arguments.output_directory.rstrip("/")
    above, name = storage.parent(output), storage.basename(output)
    place = RunPlace(root=storage.join(above, "run", name), output=output, errors=storage.join(above, "errors", name))
    run = Run(place, RunPlan(inputs=inputs, stages=[plan_stage(config, "00-bff")]))
    with plain_lines(arguments.no_progress_bar):
        result = run.execute(execution, RunOptions(overwrite=arguments.overwrite))
    report = storage.join(place.root, REPORT_NAME)
    if not result.was_finished or not storage.exists(report):
        write_report(place.root)
    counts = result.stages[0].counts()
    say("finished before; nothing was recomputed" if result.was_finished else "finished")
    say(
        f"  pages:  {counts.read} read = {counts.kept} kept + {sum(counts.removed.values())} removed + "
        f"{sum(counts.errored.values())} set aside"
    )
    removed = read = 0
    for record in result.records:
        removed += record.details["steps"][0]["bytes_removed"]
        read += record.details["steps"][0]["bytes_seen"]
    say(f"  text:   {read:,} bytes seen, {removed:,} removed ({100 * removed / max(1, read):.2f} %)")
    say(f"  data:   {output}/")
    say(f"  report: {report}")


def sysreq(arguments: argparse.Namespace) -> None:
    """Print the size of a filter, as upstream's `bff sysreq`."""
    from corpusmith.run.progress import say
    from dedup.bff.bloom.filter import shape_for

    if arguments.expected_ngram_count is None:
        raise InputError("--expected-ngram-count: give the number of n-grams")
    shape = shape_for(arguments.expected_ngram_count, arguments.fp_rate, arguments.num_hashers)
    rate = shape.rate(arguments.expected_ngram_count)
    say(f"filter size: {shape.bytes:,} bytes, {shape.hashes} hashers, expected false-positive rate {rate:.4g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith dedup bff` and of the script."""
    rest = list(sys.argv[1:] if argv is None else argv)
    if rest[:1] == ["sysreq"]:
        return run_command(build_sysreq_parser(), sysreq, rest[1:])
    return run_command(build_parser(), dedup, rest[1:] if rest[:1] == ["bff"] else rest)
