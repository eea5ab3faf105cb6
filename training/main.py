"""The trainer behind OpenLM's own command line: `torchrun --nproc-per-node N -m training.main …`.

DCLM's `training.train` hands its list of arguments to the same function. Arguments become a `TrainConfig` here; torch
is imported after they are parsed, so that help is instant.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corpusmith.command import run_command
from corpusmith.errors import missing_package
from training.arguments.openlm import build_parser, parse_arguments

if TYPE_CHECKING:
    from training.state.checkpoint import RunProgress

__all__ = ["build_parser", "main", "run_trainer"]


def run_trainer(arguments: Sequence[str]) -> RunProgress:
    """Train as OpenLM's arguments say; every rank calls it, inside or outside a process group.

    Returns:
        How far the run has come: the progress of the final checkpoint.

    Raises:
        UserError: arguments or inputs that can't be used.
        RunFailed: training failed.
    """
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "train")
    from training.arguments.to_config import run

    return run(parse_arguments(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; a literal `--` in front, which torchrun passes through, is dropped."""
    given = list(sys.argv[1:] if argv is None else argv)
    given = given[1:] if given[:1] == ["--"] else given

    def work(_: argparse.Namespace) -> int:
        run_trainer(given)
        return 0

    return run_command(build_parser(), work, given)


if __name__ == "__main__":
    raise SystemExit(main())
