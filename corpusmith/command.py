"""What every entry point does: check the house, parse, call the library, turn errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from corpusmith import packages as house
from corpusmith.errors import CorpusmithError
from corpusmith.redact import redact

INTERRUPTED = 130


def make_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends with an example command."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_command(
    parser: argparse.ArgumentParser,
    function: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv`, call `function`, return the exit code: 0 done, 1 failed, 2 the user's mistake, 130 Ctrl-C."""
    arguments = parser.parse_args(argv)
    try:
        house.check()
        return function(arguments) or 0
    except CorpusmithError as error:
        sys.stderr.write(f"error: {redact(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        return INTERRUPTED
