"""Write corpusmith/text/segmentation/word_break_table.py from the Unicode tables of the package `uniseg`.

The table is committed, so nobody needs `uniseg` to use Corpusmith; this script and a test that runs it are how
anyone can check that the committed file says what Unicode says. Run it after moving to another Unicode version,
and remember that the boundaries of words, hence every n-gram of a data set, may change with it.
"""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import importlib
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io.storage import write_bytes
from corpusmith.run.progress import say

UNICODE_VERSION = "16.0.0"
TABLE_PATH = Path(__file__).resolve().parents[1] / "corpusmith" / "text" / "word_break_table.py"
CODE_POINTS = 0x110000

HEADER = '''"""Word_Break and Extended_Pictographic of every code point, as Unicode {version} gives them.

Written by tools/make_word_break_table.py; do not edit by hand. A range is `first-last` in hexadecimal, a single
code point stands alone. Code points in no range of `WORD_BREAK_RANGES` have the property value Other.
"""

UNICODE_VERSION = "{version}"

'''


def code_point_ranges(value_of: Callable[[str], str]) -> dict[str, list[tuple[int, int]]]:
    """Return the runs (first, last) of equal, non-empty `value_of(character)`, by value."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    start, current = 0, ""
    for code_point in range(CODE_POINTS + 1):
        value = value_of(chr(code_point)) if code_point < CODE_POINTS else ""
        if value == current and code_point < CODE_POINTS:
            continue
        if current:
            ranges.setdefault(current, []).append((start, code_point - 1))
        start, current = code_point, value
    return ranges


def format_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """Return `41-5A 61-7A AA …`, single code points without the dash."""
    return " ".join(f"{first:X}" if first == last else f"{first:X}-{last:X}" for first, last in ranges)


def _string_lines(text: str, indent: str) -> str:
    """Return the text as adjacent string literals, one a line."""
    lines = textwrap.wrap(text, 104, break_on_hyphens=False, break_long_words=False)
    spaced = [line + " " for line in lines[:-1]] + lines[-1:]
    return "\n".join(f'{indent}"{line}"' for line in spaced)


def render_table() -> str:
    """Return the whole text of the table's module, made from `uniseg`.

    Raises:
        ModuleNotFoundError: `uniseg` is not installed.
    """
    word_break = importlib.import_module("uniseg.wordbreak").word_break
    pictographic = importlib.import_module("uniseg.emoji").extended_pictographic

    def break_value(character: str) -> str:
        value = str(word_break(character).value)
        return "" if value == "Other" else value

    by_value = code_point_ranges(break_value)
    pictographs = code_point_ranges(lambda character: "yes" if pictographic(character) else "")["yes"]
    parts = [HEADER.format(version=UNICODE_VERSION), "WORD_BREAK_RANGES: dict[str, str] = {\n"]
    for value in sorted(by_value):
        parts.append(f'    "{value}": (\n{_string_lines(format_ranges(by_value[value]), "        ")}\n    ),\n')
    parts.append("}\n\nEXTENDED_PICTOGRAPHIC_RANGES = (\n")
    parts.append(_string_lines(format_ranges(pictographs), "    "))
    parts.append("\n)\n")
    return "".join(parts)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this script's flags."""
    parser = make_parser(
        "tools/make_word_break_table.py",
        "Write the committed Unicode word-break table from the package uniseg.",
        "python tools/make_word_break_table.py --check",
    )
    parser.add_argument("--output", default=str(TABLE_PATH), help="file to write (default: the committed table)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 2 if the file differs")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the table, or compare it with what is there; return the exit code."""
    try:
        text = render_table()
    except ModuleNotFoundError as error:
        raise InputError(f"{error}; the table is made from the package uniseg: pip install uniseg==0.10.1") from error
    output = Path(args.output)
    if args.check:
        if not output.is_file() or output.read_text(encoding="utf-8") != text:
            raise InputError(f"{output} is not what uniseg gives; run tools/make_word_break_table.py without --check")
        say(f"{output} is up to date")
        return 0
    write_bytes(str(output), text.encode("utf-8"))
    say(f"wrote {output}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
