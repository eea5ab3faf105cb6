"""`corpusmith tokenize`, and DCLM's script `ray_processing/tokenize_shuffle.py`: page shards to token shards.

Takes folders of page shards or their reference JSONs; writes token shards (webdataset, MDS, Parquet or flat binary),
the format's index and the tokenized reference JSON. Beside the output folder OUT stand `run/OUT/` (stages, records,
ledger, build log, `mixture.json`) and `errors/OUT/` (records without a text). The same command again continues a
killed run and reports a finished one; `--plan` says what it would take, and starts nothing.

Follows DCLM in flags and files; departs from it in that `--seed 0` is a seed, that local folders are counted and
sized too, and that no copy of the reference is put among the tars.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io.pages.shards import SHARD_SUFFIXES
from corpusmith.run.ray.execution import add_execution_arguments, execution_from
from ray_processing.datasets import split_list

if TYPE_CHECKING:
    from ray_processing.tokens.request import TokenRequest

DEFAULT_SAMPLING = str(pathlib.Path(__file__).with_name("tokenization_configs") / "rpj_lm_data.yaml")
EXAMPLE = "corpusmith tokenize --input pages/processed_data --output tokenized --readable_name my_pages --seqlen 2048"


def build_parser() -> argparse.ArgumentParser:
    """The flags, DCLM's names."""
    parser = make_parser("corpusmith tokenize", "Tokenize, pack, mix and shuffle pages into token shards.", EXAMPLE)
    add = parser.add_argument
    add("--input", help="folders of page shards, separated by commas")
    add("--source_ref_paths", nargs="+", help="untokenized reference JSONs instead of --input (spaces or commas)")
    add("--mirror", help="read the references' data from this one of their mirrors")
    add("--prefix_replacement", default="", help="OLD=NEW: an input folder that begins with OLD is read below NEW")
    add("--output", required=True, help="folder for the shards and their index")
    add("--readable_name", required=True, help="name of the data set; its reference JSON bears it")
    add("--exp-data-dir", default="exp_data", help="folder of reference JSONs (default: %(default)s)")
    add("--content_key", default="text", help="key of the page's text; in tars txt, json:KEY or npy (ids)")
    add("--tokenizer", default="EleutherAI/gpt-neox-20b", help="preset, hub name, file or tiktoken:ENCODING")
    add("--seqlen", type=int, default=2048, help="training's sequence length; sequences hold one token more")
    add("--pack", default="concat", help="concat (DCLM's), document (one per sequence) or best_fit (few cuts)")
    add("--pack_by", help="key of the page (metadata.domain) whose values are kept in different sequences")
    add("--format", default="wds", help="wds, mds, parquet or bin (default: %(default)s)")
    add("--dtype", default="auto", help="ids of mds and bin: auto, uint16 or uint32 (default: %(default)s)")
    add("--with_source", action="store_true", help="keep source and page ids with each sequence (not in bin)")
    add("--wds_chunk_size", type=int, default=8192, help="sequences per shard (default: %(default)s)")
    add("--seed", type=int, default=42, help="seed of shuffle, sampling and mixture")
    add("--subset", type=int, help="only this many shards, drawn by the seed")
    add("--no_shuffle", action="store_true", help="keep the order of the source")
    add("--do_sample", action="store_true", help="repeat or drop sequences by source, as --default_dataset_yaml says")
    add("--default_dataset_yaml", default=DEFAULT_SAMPLING, help="DCLM's sampling YAML (default: RedPajama's mix)")
    add("--mixture", help="YAML of sources with exactly one of proportion, tokens or repeat each")
    add(
        "--suffixes",
        nargs="+",
        default=list(SHARD_SUFFIXES),
        help="names of input shards end in one of these (or .tar)",
    )
    add("--plan", action="store_true", help="say what the run would read, hold and write, and start nothing")
    add("--overwrite", action="store_true", help="redo a finished or changed run, replace its reference")
    add("--keep-stages", action="store_true", help="keep the spill files")
    add("--ray_spill_location", help="Ray's folder for temporary files on this machine")
    add("--force_parallelism", type=int, help="accepted without effect: a task per shard and per partition")
    add("--num_writers_per_node", type=int, default=1, help="accepted without effect, for the same reason")
    add_execution_arguments(parser)
    return parser


def request_from(arguments: argparse.Namespace) -> TokenRequest:
    """Return what the flags ask for.

    Raises:
        InputError: a --prefix_replacement that is none.
    """
    from ray_processing.tokens.request import TokenRequest

    old, separator, new = arguments.prefix_replacement.partition("=")
    if arguments.prefix_replacement and not (old and separator):
        raise InputError(f"--prefix_replacement: expected OLD=NEW, got {arguments.prefix_replacement!r}")
    return TokenRequest(
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
        pack=arguments.pack,
        pack_by=arguments.pack_by,
        format_name=arguments.format,
        dtype=arguments.dtype,
        with_source=arguments.with_source,
        sampling_yaml=arguments.default_dataset_yaml if arguments.do_sample else None,
        mixture_yaml=arguments.mixture,
        mirror=arguments.mirror,
        prefix_replacement=(old, new) if separator else None,
    )


def tokenize_shuffle(arguments: argparse.Namespace) -> None:
    """Plan the run, execute it, write index and reference JSON."""
    # not at the top: they load numpy and pyarrow, and `--help` must be instant
    from corpusmith.run.progress import say
    from corpusmith.run.run import RunOptions
    from ray_processing.tokens.estimate import estimate_lines
    from ray_processing.tokens.outcome import finish_tokens, report_lines
    from ray_processing.tokens.stages import open_run

    if arguments.ray_spill_location:
        os.makedirs(arguments.ray_spill_location, exist_ok=True)
        os.environ["RAY_TMPDIR"] = os.path.abspath(arguments.ray_spill_location)
    tokens = open_run(request_from(arguments))
    if arguments.plan:
        lines = estimate_lines(tokens, execution_from(arguments))
    else:
        options = RunOptions(overwrite=arguments.overwrite, keep_stages=arguments.keep_stages)
        result = tokens.run.execute(execution_from(arguments), options)
        finish_tokens(tokens, result)
        lines = report_lines(tokens, result)
    for line in lines:
        say(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), tokenize_shuffle, argv)


if __name__ == "__main__":
    raise SystemExit(main())
