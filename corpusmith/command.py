"""What every entry point does: check our packages, parse, call the library, turn errors into one line and a code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from corpusmith import packages
from corpusmith.errors import CorpusmithError
from corpusmith.redact import redact

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser that takes `--output-dir` for `--output_dir` and the other way round; its help shows one spelling.

    Names of long options are looked at, whole or abbreviated; values are left as they are.
    """

    def parse_known_args(  # type: ignore[override]  # one signature for the three of the library
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, with the names of options put into the spelling that the parser knows."""
        return super().parse_known_args(self.as_documented(sys.argv[1:] if args is None else args), namespace)

    def as_documented(self, words: Sequence[str]) -> list[str]:
        """Return a command line with the names of its options as the help spells them; `--` ends the options."""
        end = list(words).index("--") if "--" in words else len(words)
        return [*map(self._documented, words[:end]), *words[end:]]

    def _documented(self, word: str) -> str:
        name, separator, value = word.partition("=")
        options = [option for action in self._actions for option in action.option_strings]
        if not name.startswith("--") or name in options:
            return word
        matching = [option for option in options if _folded(option).startswith(_folded(name))]
        same = [option for option in matching if len(option) == len(name)]
        if not same and any(option.startswith(name) for option in matching):
            return word  # an abbreviation, which argparse resolves
        found = same or (matching if self.allow_abbrev else [])
        if len(found) > 1:
            self.error(f"ambiguous option: {name} could match {', '.join(found)}")
        return f"{found[0]}{separator}{value}" if found else word


def _folded(option: str) -> str:
    return option.replace("_", "-")


def make_parser(prog: str, description: str, example: str) -> Parser:
    """Return a parser whose help ends with an example command."""
    return Parser(
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
        packages.check_origin()
        return function(arguments) or 0
    except CorpusmithError as error:
        sys.stderr.write(f"error: {redact(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        return INTERRUPTED
