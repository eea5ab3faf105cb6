"""Flags of verbs and scripts: today's, held whole in flags.json, and DCLM's with its defaults.

Where a flag changes on purpose, `python -m tests.doors.test_flags` writes flags.json again; the difference then shows
in the commit.
"""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from corpusmith.cli import VERBS
from tests.doors.parsers import describe, options_of, parse, parser_of
from tests.doors.tables import CLOSED, gaps, table, write_table
from tests.doors.test_scripts import SCRIPTS

TABLE = "flags"
SAME_AS = "same as"
ON_PURPOSE = "if on purpose, write the list again: python -m tests.doors.test_flags"
REQUIRED, ANY = "REQUIRED", "ANY"
DOORS = (*VERBS, "dedup bff sysreq", *SCRIPTS)
OF_DCLM = table("flags_of_dclm")


def all_flags() -> dict[str, dict[str, Any]]:
    """The options of each door; a script with those of a verb only names it."""
    found: dict[str, dict[str, Any]] = {}
    for door in DOORS:
        options = describe(parser_of(door))
        verb = next((verb for verb in VERBS if verb != door and found.get(verb) == options), None)
        found[door] = options if verb is None else {SAME_AS: verb}
    return found


@pytest.fixture(scope="module")
def flags() -> dict[str, dict[str, Any]]:
    return all_flags()


def test_each_door_has_its_flags_listed() -> None:
    assert list(table(TABLE)) == list(DOORS), ON_PURPOSE


@pytest.mark.parametrize("door", DOORS)
def test_flags_their_defaults_and_choices_are(door: str, flags: dict[str, dict[str, Any]]) -> None:
    listed, found = table(TABLE)[door], flags[door]
    changed = [
        f"{option}: {listed.get(option, 'absent')} -> {found.get(option, 'absent')}"
        for option in listed | found
        if listed.get(option) != found.get(option)
    ]
    if changed:
        pytest.fail(f"{door}: users' command lines change; {ON_PURPOSE}\n  " + "\n  ".join(changed), pytrace=False)


@pytest.mark.parametrize("door", OF_DCLM)
def test_flags_of_dclm_are_there(door: str) -> None:
    missing = [flag for flag in OF_DCLM[door] if flag not in options_of(parser_of(door))]
    assert missing == gaps("flags").get(door, []), CLOSED


@pytest.mark.parametrize("door", OF_DCLM)
def test_defaults_of_dclm_are_ours(door: str) -> None:
    options = options_of(parser_of(door))
    differing = {}
    for flag, theirs in OF_DCLM[door].items():
        if flag in options and theirs != ANY:
            entry = describe(parser_of(door))[" ".join(options[flag].option_strings)]
            ours = REQUIRED if entry.get("required") else entry.get("default")
            if ours != theirs:
                differing[flag] = ours
    assert differing == gaps("defaults").get(door, {}), CLOSED


@pytest.mark.parametrize("kind", ["flags", "defaults"])
def test_gaps_of_flags_belong_to_doors_of_dclm(kind: str) -> None:
    for door, missing in gaps(kind).items():
        assert set(missing) <= set(OF_DCLM[door])


def test_a_flag_of_several_values_that_dclm_adds_up_when_repeated() -> None:
    keeps_last = []
    for door, flag, rest in (
        ("dedup bff", "--inputs", ["--output-directory", "o", "--expected-ngram-count", "9", "--fp-rate", "0.1"]),
        ("eval", "--filters", []),
        ("tools/eval_expdb.py", "-f", []),
        ("expdb", "--columns", []),
        ("expdb", "--leading_columns", []),
        ("tools/expdb.py", "--filter", []),
    ):
        values = vars(parse(door, [flag, "first", flag, "second", *rest]))
        if values[options_of(parser_of(door))[flag].dest] != ["first", "second"]:
            keeps_last.append(f"{door} {flag}")
    assert keeps_last == gaps("repeated flags"), CLOSED


@pytest.mark.parametrize("verb", VERBS)
def test_each_help_ends_with_an_example_that_its_parser_takes(verb: str) -> None:
    parser = parser_of(verb)
    lines = parser.format_help().rstrip().splitlines()
    start = max(index for index, line in enumerate(lines) if line.strip() == "example:")
    words = shlex.split(" ".join(line.strip().rstrip("\\") for line in lines[start + 1 :]))
    if words[0] == "torchrun":
        words = ["corpusmith", "train", *words[words.index("--") + 1 :]]
    own = ["corpusmith", *verb.split()]
    assert words[: len(own)] == own
    parser.parse_args(words[len(own) :])


if __name__ == "__main__":
    write_table(TABLE, all_flags())
