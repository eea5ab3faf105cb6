"""`corpusmith dedup exact`: an exact dedup as a run of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from corpusmith.command import make_parser, run_command
from corpusmith.steps.standalone import add_arguments, add_selection_arguments, config_from, run_dedup
from dedup.exact.config import ExactConfig
from dedup.exact.needs import plan_needs
from dedup.exact.stage import STAGE, plan_stage
from dedup.groups.selection import CONTENT_NORMALIZERS


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith dedup exact`."""
    parser = make_parser(
        "corpusmith dedup exact",
        "Keep one of all units (pages, or the strings of a list) with equal content.",
        "corpusmith dedup exact --input pages --output_dir unique --readable_name unique_pages --content_key url "
        "--normalize normalize_url --selection_key metadata.WARC-Date --selection_reverse",
    )
    parser.add_argument("--content_key", nargs="+", default="text", help="key of what is compared, or several together")
    parser.add_argument("--unit", choices=("content", "paragraph", "line"), default="content", help="what of it")
    parser.add_argument("--normalize", choices=sorted(CONTENT_NORMALIZERS), help="what it goes through before")
    add_selection_arguments(parser)
    add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run an exact dedup as the flags say."""
    if isinstance(arguments.content_key, list) and len(arguments.content_key) == 1:
        (arguments.content_key,) = arguments.content_key
    config = config_from(arguments, ExactConfig)
    run_dedup(arguments, partial(plan_stage, config), partial(plan_needs, config), STAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith dedup exact` and of the script."""
    return run_command(build_parser(), run, argv)
