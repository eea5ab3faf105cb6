"""`corpusmith common-crawl`: path lists, pools, samples and queries of the index, as inputs of `corpusmith ingest`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import add_execution_arguments, execution_from
from corpusmith.run.run import RunOptions
from raw_sources.common_crawl import paths as common_crawl
from raw_sources.common_crawl.columnar_index import IndexQuery, query_index


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith common-crawl`, by command."""
    parser = make_parser(
        "corpusmith common-crawl",
        "Lists of Common Crawl's files and records, for corpusmith ingest --paths_file and --records.",
        "corpusmith common-crawl paths --crawls CC-MAIN-2024-10 --kind wet --output wet.txt",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    paths = commands.add_parser("paths", help="write the list of a crawl's files")
    _add_crawls(paths)
    paths.add_argument("--kind", choices=common_crawl.LIST_KINDS, default="warc")
    paths.add_argument("--output", required=True, help="text file, one URL a line")
    pool = commands.add_parser("pool", help="sample a pool of DCLM's competition, or take it whole")
    pool.add_argument("--scale", required=True, choices=common_crawl.POOLS)
    pool.add_argument("--kind", choices=common_crawl.POOL_KINDS, default="raw_warcs")
    pool.add_argument("--pools_dir", required=True, help="DCLM's data/competition_pools")
    sample = commands.add_parser("sample", help="draw files of a list")
    sample.add_argument("--keys-path", required=True, help="list of files: text, gzip or a reference JSON")
    sample.add_argument("--regex", help="only what this matches at its beginning")
    for command in (pool, sample):
        command.add_argument("--subset-size", type=int, help="how many files (default: all)")
        command.add_argument("--seed", type=int, default=42)
        command.add_argument("--name", required=True, help="name of the reference JSON")
        command.add_argument("--exp_data_path", default="exp_data")
        command.add_argument("--overwrite", action="store_true")
    index = commands.add_parser("index", help="find records by domain, host, language, media type or status")
    _add_crawls(index)
    index.add_argument("--files", nargs="+", help="files of the index, instead of those of --crawls")
    for flag in ("domains", "hosts", "tlds", "languages", "media_types"):
        index.add_argument(f"--{flag}", nargs="+", default=[])
    index.add_argument("--statuses", nargs="+", type=int, default=[])
    index.add_argument("--primary_language", action="store_true", help="the language must be the page's first")
    index.add_argument("--drop_truncated", action="store_true", help="leave out pages that the crawler cut")
    index.add_argument("--output_dir", required=True, help="folder of the result: records/, run/")
    index.add_argument("--overwrite", action="store_true")
    add_execution_arguments(index)
    for command in (paths, pool, sample, index):
        command.add_argument("--base", default=common_crawl.BASE, help=f"where the crawls lie ({common_crawl.BASE})")
    return parser


def _add_crawls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crawls", nargs="+", default=[], help="names of crawls, or `all`")
    parser.add_argument("--collinfo", default=common_crawl.COLLINFO, help="list of all crawls")


def _crawls(arguments: argparse.Namespace) -> list[str]:
    if arguments.crawls == ["all"]:
        return common_crawl.crawl_ids(arguments.collinfo)
    if not arguments.crawls:
        raise InputError("--crawls is missing: name crawls like CC-MAIN-2024-10, or `all`")
    return list(arguments.crawls)


def run(arguments: argparse.Namespace) -> None:
    """Do what the command says."""
    base = common_crawl.reachable(arguments.base)
    {"paths": _paths, "pool": _sample, "sample": _sample, "index": _index}[arguments.command](arguments, base)


def _paths(arguments: argparse.Namespace, base: str) -> None:
    paths = list(common_crawl.crawl_paths(_crawls(arguments), arguments.kind, base))
    storage.write_bytes(arguments.output, ("\n".join(paths) + "\n").encode())
    say(f"{arguments.output}: {len(paths)} files")


def _sample(arguments: argparse.Namespace, base: str) -> None:
    pattern = None
    if arguments.command == "pool":
        source = f"DCLM pool {arguments.scale} ({arguments.kind})"
        paths = common_crawl.pool_paths(arguments.scale, arguments.kind, arguments.pools_dir, base)
    else:
        source, pattern = arguments.keys_path, arguments.regex
        paths = common_crawl.read_paths(arguments.keys_path, base)
    size = len(paths) if arguments.subset_size is None else arguments.subset_size
    chosen = common_crawl.sample_paths(paths, size, arguments.seed, pattern)
    url = common_crawl.write_sample(
        chosen,
        name=arguments.name,
        source=source,
        seed=arguments.seed,
        exp_data_dir=arguments.exp_data_path,
        overwrite=arguments.overwrite,
    )
    tokens = len(chosen) * common_crawl.APPROXIMATE_TOKENS_PER_WARC
    say(f"{url}: {len(chosen)} of {len(paths)} files, about {tokens:.3g} tokens of raw text if they are WARC")


def _index(arguments: argparse.Namespace, base: str) -> None:
    query = IndexQuery(
        domains=tuple(arguments.domains),
        hosts=tuple(arguments.hosts),
        tlds=tuple(arguments.tlds),
        languages=tuple(arguments.languages),
        primary_language=arguments.primary_language,
        media_types=tuple(arguments.media_types),
        statuses=tuple(arguments.statuses),
        drop_truncated=arguments.drop_truncated,
    )
    query.check()
    files = arguments.files or [
        path for path in common_crawl.crawl_paths(_crawls(arguments), "cc-index-table", base) if "/subset=warc/" in path
    ]
    result = query_index(
        files,
        query,
        arguments.output_dir,
        execution=execution_from(arguments),
        options=RunOptions(overwrite=arguments.overwrite),
    )
    counts = result.stages[-1].counts()
    say(f"{counts.kept} of {counts.read} records match: corpusmith ingest --records {arguments.output_dir}/records …")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `corpusmith common-crawl`."""
    return run_command(build_parser(), run, argv)
