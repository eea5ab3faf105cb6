"""Make the GPQA task files from its published, encrypted archive, as DCLM does.

The archive's password is published with the data set; it is asked for, never stored, and the plain text stays on this
machine. Per file one generator seeded with 42 shuffles the four choices of each row in order.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import io
import os
import random
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.cache import cache_folder
from corpusmith.run.progress import say

FILES = ("gpqa_main.csv", "gpqa_diamond.csv", "gpqa_extended.csv")
PASSWORD_VARIABLE = "CORPUSMITH_GPQA_PASSWORD"
_SEED = 42
_COLUMNS = ("Question", "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_MAX_BYTES = 64 << 20


def convert_gpqa(archive: str, password: str, folder: str) -> list[str]:
    """Write `gpqa_data/<stem>.jsonl` below `folder` for each CSV of the archive; returns their URLs.

    Raises:
        InputError: no such archive, a wrong password, or a CSV without the columns.
    """
    written = []
    try:
        with zipfile.ZipFile(io.BytesIO(storage.read_bytes(archive))) as opened:
            members = {storage.basename(info.filename): info for info in opened.infolist()}
            for name in FILES:
                if name not in members:
                    continue
                if members[name].file_size > _MAX_BYTES:
                    raise InputError(f"{archive}: {name} unpacks to more than {_MAX_BYTES} bytes")
                text = opened.read(members[name], pwd=password.encode()).decode("utf-8")
                url = storage.join(folder, "gpqa_data", name.replace(".csv", ".jsonl"))
                lines = [orjson.dumps(row) for row in gpqa_rows(text, f"{archive}: {name}")]
                storage.write_bytes(url, b"\n".join(lines) + b"\n")
                written.append(url)
    except (zipfile.BadZipFile, RuntimeError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{archive}: can't be unpacked ({error}); is the password right?") from error
    if not written:
        raise InputError(f"{archive}: holds none of {', '.join(FILES)}")
    return written


def gpqa_rows(text: str, where: str) -> list[dict[str, Any]]:
    """Multiple-choice rows from the text of one CSV."""
    generator = random.Random(_SEED)
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), start=1):
        if any(row.get(column) is None for column in _COLUMNS):
            raise InputError(f"{where}: row {number} lacks one of the columns {', '.join(_COLUMNS)}")
        question, *answers = (row[column] for column in _COLUMNS)
        order = [0, 1, 2, 3]
        generator.shuffle(order)
        rows.append({"query": question, "choices": [answers[index] for index in order], "gold": order.index(0)})
    return rows


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = make_parser(
        "python -m eval.tasks.gpqa",
        f"Convert GPQA's archive to task files; the password is read from {PASSWORD_VARIABLE} or asked for.",
        "python -m eval.tasks.gpqa --archive dataset.zip --output local_data",
    )
    parser.add_argument("--archive", help="the archive (default: the fetched asset gpqa/dataset.zip)")
    parser.add_argument("--output", help="folder of task files (default: where fetched ones are)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Convert and say where the files are."""
    archive = arguments.archive or storage.join(cache_folder(), "gpqa", "dataset.zip")
    if not storage.exists(archive):
        raise InputError(f"{archive}: no such archive; run: corpusmith assets fetch gpqa/dataset.zip")
    password = os.environ.get(PASSWORD_VARIABLE) or getpass.getpass("password of GPQA's archive: ")
    for url in convert_gpqa(archive, password, arguments.output or storage.join(cache_folder(), "local_data")):
        say(f"wrote {url}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
