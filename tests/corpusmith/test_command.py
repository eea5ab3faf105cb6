"""Names of flags mean the same in both spellings; values are never touched."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.command import Parser, make_parser
from tests.doors.parsers import parser_of
from tests.doors.test_flags import DOORS


def swapped(option: str) -> str:
    """A name in the other spelling."""
    name = option.removeprefix("--")
    return f"--{name.translate(str.maketrans('-_', '_-'))}"


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and those of its own commands."""
    commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(inner for action in commands for each in action.choices.values() for inner in parsers(each))]


def words_for(action: argparse.Action) -> list[str]:
    """Values that an option takes."""
    if action.nargs == 0:
        return []
    value = str(next(iter(action.choices))) if action.choices else "1"
    return [value] * (action.nargs if isinstance(action.nargs, int) else 1)


def outcome(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, Any]:
    found, rest = parser.parse_known_args(words)
    assert not rest, rest
    return vars(found)


@pytest.mark.parametrize("door", DOORS)
def test_each_flag_of_each_verb_and_script_may_be_written_with_hyphens_or_underscores(door: str) -> None:
    for parser in parsers(parser_of(door)):
        for action in parser._actions:
            action.required = False
        for group in parser._mutually_exclusive_groups:
            group.required = False
        options = {option: action for action in parser._actions for option in action.option_strings}
        folded = [option.replace("_", "-") for option in options]
        assert len(set(folded)) == len(folded), "two flags differ only in their spelling"
        for option, action in options.items():
            if option.startswith("--") and option != "--help":
                words = words_for(action)
                assert outcome(parser, [swapped(option), *words]) == outcome(parser, [option, *words])


def example() -> Parser:
    parser = make_parser("example", "An example.", "example --output_dir a")
    parser.add_argument("--output_dir")
    parser.add_argument("--data-key")
    parser.add_argument("--data_size", type=int)
    parser.add_argument("--multi_word", action=argparse.BooleanOptionalAction)
    parser.add_argument("rest", nargs="*")
    return parser


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--output-dir", "a_b-c"], {"output_dir": "a_b-c"}),
        (["--output-dir=--data_key=a_b"], {"output_dir": "--data_key=a_b"}),
        (["--output-d", "a"], {"output_dir": "a"}),
        (["--data_k", "a", "--data-s=3"], {"data_key": "a", "data_size": 3}),
        (["--no_multi-word"], {"multi_word": False}),
        (["--multi-word"], {"multi_word": True}),
        (["--", "--output-dir", "--data_key"], {"rest": ["--output-dir", "--data_key"]}),
        (["a_b", "c-d"], {"rest": ["a_b", "c-d"]}),
    ],
)
def test_values_and_what_follows_two_hyphens_stay_as_they_are(words: list[str], expected: dict[str, Any]) -> None:
    empty: dict[str, Any] = {"output_dir": None, "data_key": None, "data_size": None, "multi_word": None, "rest": []}
    assert vars(example().parse_args(words)) == {**empty, **expected}


@given(st.text(), st.text())
def test_any_value_reaches_its_flag(first: str, second: str) -> None:
    found = example().parse_args([f"--output-dir={first}", f"--data_key={second}"])
    assert (found.output_dir, found.data_key) == (first, second)


def test_commands_of_a_parser_take_both_spellings_too() -> None:
    parser = make_parser("example", "An example.", "example make --to_folder a")
    parser.add_subparsers(dest="command").add_parser("make").add_argument("--to_folder")
    assert parser.parse_args(["make", "--to-folder", "a"]).to_folder == "a"


def test_help_shows_one_spelling() -> None:
    shown = example().format_help()
    assert "--output_dir" in shown
    assert "--output-dir" not in shown


@pytest.mark.parametrize(
    ("words", "said"), [(["--data", "a"], "ambiguous option: --data could match"), (["--dta_key", "a"], "unrecognized")]
)
def test_what_names_no_flag_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        example().parse_args(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_an_abbreviation_that_two_flags_share_in_the_other_spelling_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = make_parser("example", "An example.", "example")
    parser.add_argument("--data_key")
    parser.add_argument("--data_size")
    with pytest.raises(SystemExit):
        parser.parse_args(["--data-", "a"])
    assert "ambiguous option: --data- could match --data_key, --data_size" in capsys.readouterr().err
