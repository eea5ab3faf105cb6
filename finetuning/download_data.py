"""Get instruction data as JSONL with `instruction` and `response` (DCLM's script name); see
`training.finetuning.download`."""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.run.progress import say

EXAMPLE = "python finetuning/download_data.py --output data/train.jsonl"


def build_parser() -> argparse.ArgumentParser:
    """The flags; without any but `--output`, DCLM's example: OpenMathInstruct-1."""
    parser = make_parser("download_data.py", "Write instruction data as JSONL for preprocess_data.py.", EXAMPLE)
    parser.add_argument("--output", required=True, help="the JSONL file to write (.jsonl, .jsonl.zst, .jsonl.gz)")
    parser.add_argument("--dataset", default="nvidia/OpenMathInstruct-1", help="data set on the Hugging Face Hub")
    parser.add_argument("--files", default="correct_solutions/train.jsonl", help="which of its files, as a pattern")
    parser.add_argument("--input-files", nargs="+", default=[], metavar="GLOB", help="files in place of a download")
    parser.add_argument("--instruction-key", default="question", help="key that becomes the instruction")
    parser.add_argument("--response-key", default="expected_answer", help="key that becomes the response")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Fetch and convert as the flags say."""
    from training.finetuning.download import DownloadOptions, make_instruction_file

    options = DownloadOptions(**vars(arguments) | {"input_files": tuple(arguments.input_files)})
    counts = make_instruction_file(options)
    say(f"{options.output}: {counts['kept']} examples of {counts['read']} rows ({counts['skipped']} skipped)")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
