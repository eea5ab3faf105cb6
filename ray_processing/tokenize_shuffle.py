"""`corpusmith tokenize`, and DCLM's script `ray_processing/tokenize_shuffle.py`: page shards to token shards.

Takes folders of page shards or their reference JSONs; writes webdataset tars, `manifest.jsonl` and the tokenized
reference JSON. Beside the output folder OUT stand `run/OUT/` (stages, records, ledger) and `errors/OUT/` (records
without a text). The same command again continues a killed run and reports a finished one.

Follows DCLM in flags and files; departs from it in that `--seed 0` is a seed, that local folders are counted and
sized too, and that no copy of the reference is put among the tars.
"""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

import argparse
import os
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.io.shards import SHARD_SUFFIXES
from corpusmith.run.runner import add_execution_arguments, execution_from
from ray_processing.utils import split_list

EXAMPLE = "corpusmith tokenize --input pages/processed_data --output tokenized --readable_name my_pages --seqlen 2048"


def build_parser() -> argparse.ArgumentParser:
    """The flags, DCLM's names."""
    parser = make_parser("corpusmith tokenize", "Tokenize, pack and shuffle pages into token shards.", EXAMPLE)
    add = parser.add_argument
    add("--input", help="folders of page shards, separated by commas")
    add("--source_ref_paths", nargs="+", help="untokenized reference JSONs instead of --input (spaces or commas)")
    add("--output", required=True, help="folder for the tars and manifest.jsonl")
    add("--readable_name", required=True, help="name of the data set; its reference JSON bears it")
    add("--exp-data-dir", default="exp_data", help="folder of reference JSONs (default: %(default)s)")
    add("--content_key", default="text", help="key of the page's text (default: %(default)s)")
    add("--tokenizer", default="EleutherAI/gpt-neox-20b", help="name or file (default: %(default)s)")
    add("--seqlen", type=int, default=2048, help="training's sequence length; sequences hold one token more")
    add("--wds_chunk_size", type=int, default=8192, help="sequences per tar (default: %(default)s)")
    add("--seed", type=int, default=42, help="seed of the shuffle (default: %(default)s)")
    add("--subset", type=int, help="only this many shards, drawn by the seed")
    add("--no_shuffle", action="store_true", help="keep the order of the source")
    add("--suffixes", nargs="+", default=list(SHARD_SUFFIXES), help="names of input shards end in one of these")
    add("--overwrite", action="store_true", help="redo a finished or changed run, replace its reference")
    add("--keep-stages", action="store_true", help="keep the spill files")
    add("--ray_spill_location", help="Ray's folder for temporary files on this machine")
    add_execution_arguments(parser)
    return parser


def tokenize_shuffle(arguments: argparse.Namespace) -> None:
    """Plan the run, execute it, write the manifest and the reference JSON."""
    # not at the top: they load numpy and pyarrow, and `--help` must be instant
    from corpusmith.run.progress import say
    from corpusmith.run.run import RunOptions
    from ray_processing.token_plan import TokenRequest, finish_tokens, open_run, report_lines

    request = TokenRequest(
        inputs=tuple(split_list([arguments.input] if arguments.input else None)),
        references=tuple(split_list(arguments.source_ref_paths)),
        output=arguments.output,
        name=arguments.readable_name,
        exp_data_dir=arguments.exp_data_dir,
        tokenizer=arguments.tokenizer,
        content_key=arguments.content_key,
        seqlen=arguments.seqlen,
        shard_sequences=arguments.wds_chunk_size,
        seed=arguments.seed,
        subset=arguments.subset,
        shuffle=not arguments.no_shuffle,
        suffixes=tuple(arguments.suffixes),
        overwrite=arguments.overwrite,
    )
    if arguments.ray_spill_location:
        os.makedirs(arguments.ray_spill_location, exist_ok=True)
        os.environ["RAY_TMPDIR"] = os.path.abspath(arguments.ray_spill_location)
    tokens = open_run(request)
    options = RunOptions(overwrite=arguments.overwrite, keep_stages=arguments.keep_stages)
    result = tokens.run.execute(execution_from(arguments), options)
    finish_tokens(tokens, result)
    for line in report_lines(tokens, result):
        say(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), tokenize_shuffle, argv)


if __name__ == "__main__":
    raise SystemExit(main())
