"""Run the steps of a YAML over one shard from the command line (DCLM's script).

Follows DCLM's flags; whole data sets go through `corpusmith process`.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from typing import Any

from corpusmith.command import make_parser, run_command
from corpusmith.config import load_yaml
from corpusmith.errors import ConfigError, CorpusmithError, InputError
from corpusmith.run.progress import say


def build_parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    parser = make_parser(
        "python baselines/process_single_file.py",
        "Run the steps of a YAML over one shard.",
        "python baselines/process_single_file.py --yaml filters.yaml --raw_data_dirpath pages --jsonl a.jsonl.zst "
        "--source_name cc --output_dir out",
    )
    parser.add_argument("--yaml", required=True, help="the YAML")
    parser.add_argument("--raw_data_dirpath", required=True, help="folder of the shards")
    parser.add_argument("--jsonl", required=True, help="the shard, relative to that folder")
    parser.add_argument("--source_name", required=True, help="entry of the YAML")
    parser.add_argument("--output_dir", required=True, help="gets processed_data/ and stats/")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1); the result is the same")
    parser.add_argument("--overwrite", action="store_true", help="forget what the stats file says was done")
    return parser


def read_config(path: str) -> dict[str, dict[str, Any]]:
    """The sources of a YAML by name; ConfigError where it is no list of sources."""
    document = load_yaml(path)
    entries = document.data
    if not isinstance(entries, list):
        raise ConfigError(document.where(), "must be a list of sources, each with `source` and `steps`")
    config: dict[str, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"source", "steps"} <= entry.keys():
            raise ConfigError(document.where(index), "a source must be a mapping with `source` and `steps`")
        if entry["source"] in config:
            raise ConfigError(document.where(index, "source"), f"the source {entry['source']!r} stands twice")
        config[entry["source"]] = entry
    return config


def run(arguments: argparse.Namespace) -> None:
    """Process the shard and say what became of its pages."""
    from baselines.core.processor import process_single_file

    config = read_config(arguments.yaml)
    try:
        output_path, stats_path, pages_in, pages_out = process_single_file(
            config_data=config,
            raw_data_dirpath=arguments.raw_data_dirpath,
            jsonl_relpath=arguments.jsonl,
            source_name=arguments.source_name,
            base_output_path=arguments.output_dir,
            workers=arguments.workers,
            overwrite=arguments.overwrite,
        )
    except (AssertionError, FileNotFoundError, TypeError, ValueError) as error:
        raise InputError(f"{arguments.jsonl}: {error}") from error
    except (KeyError, RuntimeError) as error:
        raise CorpusmithError(f"{arguments.jsonl}: {type(error).__name__}: {error}") from error
    say(f"pages: {pages_in} in, {pages_out} out")
    say(f"  data:  {output_path}")
    say(f"  stats: {stats_path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the script."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
