"""Count the sequences of a folder's tars and write `manifest.jsonl` again (DCLM's and open_lm's script name)."""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.run.progress import say

EXAMPLE = "python tools/make_wds_manifest.py --data-dir tokenized/"


def build_parser() -> argparse.ArgumentParser:
    """open_lm's flags; `--tmp-dir` and `--num-workers` are accepted without effect."""
    parser = make_parser("make_wds_manifest.py", "Write the manifest of a folder of token shards.", EXAMPLE)
    parser.add_argument("--data-dir", required=True, help="folder that holds the tars")
    parser.add_argument("--manifest-filename", default="manifest.jsonl", help="name of the manifest there")
    parser.add_argument("--tmp-dir", help="accepted without effect: the tars are read as streams")
    parser.add_argument("--num-workers", type=int, default=2, help="accepted without effect")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Count and write."""
    from corpusmith.io.tokens.wds import make_manifest

    entries = make_manifest(arguments.data_dir, arguments.manifest_filename)
    say(f"{sum(entry.num_sequences for entry in entries)} sequences in {len(entries)} tars")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
