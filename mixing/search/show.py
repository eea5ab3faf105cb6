"""`corpusmith mix show`: the report of a search, finished or not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.io import storage
from corpusmith.run.progress import say
from mixing.search.facts import search_facts
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.report import claim_line, write_report
from mixing.search.run_folder import load_search


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = make_parser(
        "corpusmith mix show",
        "Write the report of a search: report.html and report.json in its folder.",
        "corpusmith mix show runs/my_search",
    )
    parser.add_argument("folder", help="folder of a search, or of `mix suggest --output`")
    parser.add_argument("--module-folder", default=".", help="where a strategy `module:Class` of your own lies (.)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Read the runs, learn, write."""
    search, epochs = load_search(arguments.folder, arguments.module_folder)
    with one_thread():
        found = search_facts(search.runs, search.space, search.answer(), search.seed, epochs)
    say(f"{len(search.runs)} runs, {claim_line(found)}")
    say(f"report: {write_report(arguments.folder, storage.basename(arguments.folder), found)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)
