"""A run's report: one self-contained HTML file, written from the records of the run.

`corpusmith process` writes it when a run ends; `corpusmith report` writes it at any time, also of a run that was
killed or failed, and with what has come of the data since: token sets, models, evaluations.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.report.facts import read_run
from corpusmith.report.lineage import follow
from corpusmith.report.page import render
from corpusmith.run.progress import say

DEFAULT_EXP_DATA = "exp_data"
REPORT_NAME = "report.html"


def write_report(base: str, exp_data_dir: str | None = None, output: str | None = None) -> str:
    """Write the report of a run; returns its URL.

    Args:
        base: the folder that holds `run/`, or is it.
        exp_data_dir: the experiment database in which to follow the run's output, None for none.
        output: where to write, by default `<base>/report.html`.

    Raises:
        InputError: there is no run at `base`.
    """
    run = read_run(base)
    lineage = follow(base, exp_data_dir) if exp_data_dir is not None else None
    url = output if output is not None else storage.join(base, REPORT_NAME)
    storage.write_bytes(url, render(run, lineage).encode())
    return url


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith report`."""
    parser = make_parser(
        "corpusmith report",
        "Write a run's self-contained HTML report.",
        "corpusmith report out/my_filters --exp-data-dir exp_data",
    )
    parser.add_argument("run_folder", metavar="RUN_FOLDER", help="folder that holds run/, or is it")
    parser.add_argument("--exp-data-dir", help="folder of the reference JSONs (default exp_data, where it exists)")
    parser.add_argument("--output", help="file to write (default RUN_FOLDER/report.html)")
    return parser


def write_from_arguments(arguments: argparse.Namespace) -> None:
    """Write the report and say where it is; without the flag, a database is used where the default folder stands."""
    exp_data_dir: str | None = arguments.exp_data_dir
    if exp_data_dir is None:
        exp_data_dir = DEFAULT_EXP_DATA if storage.is_dir(DEFAULT_EXP_DATA) else None
    elif not storage.is_dir(exp_data_dir):
        raise InputError(f"--exp-data-dir {exp_data_dir}: no such folder")
    say(write_report(arguments.run_folder.rstrip("/") or "/", exp_data_dir, arguments.output))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith report`."""
    return run_command(build_parser(), write_from_arguments, argv)


if __name__ == "__main__":
    raise SystemExit(main())
