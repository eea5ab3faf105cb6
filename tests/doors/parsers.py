"""The parsers behind the doors, caught where they are about to parse: no module of ours is named to reach them."""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

from corpusmith.cli import VERBS, main
from tests.doors.tables import ROOT

MODULE = "-m "


class _Caught(BaseException):
    """Carries the parser, and the words that it was to parse, out of a program."""

    def __init__(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
        self.parser = parser
        self.words = list(words)


def _catch(self: argparse.ArgumentParser, args: Sequence[str] | None = None, namespace: Any = None) -> None:
    raise _Caught(self, sys.argv[1:] if args is None else args)


def _start(door: str, words: Sequence[str]) -> None:
    """Call a verb, a script or (`-m NAME`) a module, as the command line does."""
    verb = door if door in VERBS else door.rpartition(" ")[0]
    if verb in VERBS:
        main([*door.split(), *words])
    elif door.startswith(MODULE):
        importlib.import_module(door.removeprefix(MODULE)).main(words)
    else:
        script = ROOT / door
        with mock.patch.object(sys, "argv", [str(script), *words]), mock.patch.object(sys, "path", ["", *sys.path]):
            runpy.run_path(str(script), run_name="__main__")


def _caught(door: str, words: Sequence[str]) -> _Caught:
    kind = argparse.ArgumentParser
    with mock.patch.object(kind, "parse_args", _catch), mock.patch.object(kind, "parse_known_args", _catch):
        try:
            _start(door, words)
        except _Caught as caught:
            return caught
    raise AssertionError(f"{door} parsed nothing")


def parser_of(door: str) -> argparse.ArgumentParser:
    """The parser of a verb (also with its own command, `dedup bff sysreq`), a script's path, or `-m MODULE`."""
    return _caught(door, []).parser


def parse(door: str, words: Sequence[str]) -> argparse.Namespace:
    """What a door makes of a command line; SystemExit where it refuses it."""
    caught = _caught(door, words)
    return caught.parser.parse_args(caught.words)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's own commands, by name."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def _entry(action: argparse.Action) -> dict[str, Any]:
    """What a user must know of an option: everything that is not argparse's own default."""
    default = action.default
    if isinstance(default, str):
        default = default.replace(f"{ROOT}/", "")
    known = {
        "required": action.required or None,
        "nargs": action.nargs,
        "default": default,
        "choices": None if action.choices is None else list(action.choices),
        "type": action.type.__name__ if action.type in (int, float) else None,
        "repeatable": isinstance(action, argparse._AppendAction) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def describe(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """Its options, by their spellings or a positional's name; those of its own commands have the command in front."""
    found = {
        " ".join(action.option_strings) or action.dest: _entry(action)
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    }
    for name, command in _commands(parser).items():
        found |= {f"{name} {option}": entry for option, entry in describe(command).items()}
    return found


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Its options by each spelling."""
    return {option: action for action in parser._actions for option in action.option_strings}
