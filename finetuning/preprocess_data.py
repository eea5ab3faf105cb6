"""Tokenize instruction data for fine-tuning (DCLM's script name and flags); see `training.finetuning.prepare`."""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.run.progress import say
from corpusmith.text.tokenizers.load import GPT_NEOX

EXAMPLE = "python finetuning/preprocess_data.py --input-files data/train.jsonl --output-dir sft_data"


def build_parser() -> argparse.ArgumentParser:
    """The guide's flags, and those that other tokenizers and models need."""
    parser = make_parser("preprocess_data.py", "Tokenize instructions and responses for fine-tuning.", EXAMPLE)
    parser.add_argument("--input-files", required=True, nargs="+", metavar="GLOB", help="JSONL files, also compressed")
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="shards go to DIR/SEQLEN-v1/CONSUMER/")
    parser.add_argument("--num-workers", type=int, default=32, help="CPUs to use at most, all by default (default 32)")
    parser.add_argument("--num-consumers", type=int, default=8, help="output folders at most; files share (default 8)")
    parser.add_argument("--tokenizer", default=GPT_NEOX, help=f"tokenizer.json or a name (default {GPT_NEOX})")
    parser.add_argument("--seqlen", type=int, default=2048, help="tokens that the model sees (default 2048)")
    parser.add_argument("--target-mask-left", type=int, default=50300, help="id after the prompt (default 50300)")
    parser.add_argument("--target-mask-individual", type=int, default=50400, help="padding id (default 50400)")
    parser.add_argument("--instruction-key", default="instruction", help="key of the instruction in each line")
    parser.add_argument("--response-key", default="response", help="key of the response in each line")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffle (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace what other options or inputs made there")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Prepare as the flags say."""
    import os

    from corpusmith.run.ray.execution import Execution
    from training.finetuning.examples import SequenceSpec, SftOptions
    from training.finetuning.prepare import prepare_sft_data

    if arguments.num_workers < 1:
        raise InputError(f"--num-workers must be at least 1, got {arguments.num_workers}")
    options = SftOptions(
        input_files=tuple(arguments.input_files),
        output_dir=arguments.output_dir,
        spec=SequenceSpec(
            tokenizer=arguments.tokenizer,
            seq_len=arguments.seqlen,
            mask_left=arguments.target_mask_left,
            mask_individual=arguments.target_mask_individual,
        ),
        num_consumers=arguments.num_consumers,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        instruction_key=arguments.instruction_key,
        response_key=arguments.response_key,
    )
    cpus = min(arguments.num_workers, os.cpu_count() or 1)
    found = prepare_sft_data(options, Execution(cpus=cpus))
    say(f"{found['read']} examples: {found['kept']} kept ({found['cut']} cut), {found['set_aside']} set aside")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
