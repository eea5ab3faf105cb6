"""DCLM's `process_common_crawl_w_ray.py` by its flags: a JSON list of WARC files to gzipped JSON lines, one file each.

Departs from it as `raw_sources.ingest.run` does: any charset, WET text as it is, nothing lost silently, local and
remote output, a run that is continued. `--allow_errors`, `--force_parallelism`, `--ray_spill_location` and
`--batch_size` are accepted without effect. Output names mirror the input's path (DCLM: base name and a piece of a
hash).
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import dataclasses
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import RunOptions
from raw_sources.common_crawl.paths import BASE, reachable, read_paths
from raw_sources.ingest.config import IngestConfig, load_ingest_config
from raw_sources.ingest.inputs import listed_units
from raw_sources.ingest.run import ingest, summary


def build_parser() -> argparse.ArgumentParser:
    """DCLM's flags, and ours for what it lacks."""
    parser = make_parser(
        "process_common_crawl.py",
        "Extract the pages of Common Crawl's WARC or WET files.",
        "python raw_sources/process_common_crawl.py --json_file_path pool.json --output_path pages",
    )
    parser.add_argument("--json_file_path", required=True, help="JSON with dataset_urls, or a text list")
    parser.add_argument("--output_path", required=True, help="folder of the result, local or s3://")
    parser.add_argument("--documents_per_jsonl", type=int, help="pages of a shard (default: all of a WARC file)")
    parser.add_argument("--wet", action="store_true", help="read the WET files of the WARC paths")
    parser.add_argument("--subset", type=int, help="only the first N files")
    parser.add_argument("--subset_frac", type=float, help="only the first share of the files")
    parser.add_argument("--readable_name", help="name of the data set (default: last part of --output_path)")
    parser.add_argument("--exp-data-dir", default="exp_data", help="experiment database (default: ./exp_data)")
    parser.add_argument("--config", help="YAML as of corpusmith ingest")
    parser.add_argument("--base", default=BASE, help=f"where relative paths stand (default {BASE})")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--ray_address", help="Ray cluster to join")
    parser.add_argument("--allow_errors", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--force_parallelism", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ray_spill_location", help=argparse.SUPPRESS)
    parser.add_argument("--batch_size", type=int, help=argparse.SUPPRESS)
    return parser


def wet_path(path: str) -> str:
    """The WET file of a WARC file, as Common Crawl names it."""
    head, _, name = path.replace("/warc/", "/wet/").rpartition("/")
    return f"{head}/{name.removesuffix('.warc.gz')}.warc.wet.gz" if name.endswith(".warc.gz") else path


def chosen_paths(paths: list[str], subset: int | None, fraction: float | None) -> list[str]:
    """The first files that the flags ask for; InputError where both do, or neither can be."""
    if subset is not None and fraction is not None:
        raise InputError("--subset and --subset_frac exclude each other")
    if fraction is not None and not 0 < fraction <= 1:
        raise InputError(f"--subset_frac must lie in (0, 1], got {fraction}")
    if subset is not None and subset < 1:
        raise InputError(f"--subset must be at least 1, got {subset}")
    count = subset if subset is not None else len(paths) if fraction is None else max(1, int(len(paths) * fraction))
    return paths[:count]


def run(arguments: argparse.Namespace) -> None:
    """Ingest as DCLM's flags say."""
    base = reachable(arguments.base)
    paths = chosen_paths(read_paths(arguments.json_file_path, base), arguments.subset, arguments.subset_frac)
    config = load_ingest_config(arguments.config) if arguments.config else IngestConfig()
    config = dataclasses.replace(config, output="jsonl.gz", pages_per_shard=arguments.documents_per_jsonl)
    result = ingest(
        listed_units([wet_path(path) for path in paths] if arguments.wet else paths, base),
        arguments.output_path,
        readable_name=arguments.readable_name or storage.basename(arguments.output_path),
        config=config,
        exp_data_dir=arguments.exp_data_dir,
        execution=Execution(ray_address=arguments.ray_address),
        options=RunOptions(overwrite=arguments.overwrite),
    )
    for line in summary(result):
        say(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the script."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
