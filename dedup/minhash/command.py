"""`corpusmith dedup minhash`: a MinHash dedup as a run of its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from corpusmith.command import make_parser, run_command
from corpusmith.steps.standalone import add_arguments, add_selection_arguments, config_from, run_dedup
from dedup.minhash.config import PRESETS, MinhashConfig
from dedup.minhash.needs import plan_needs
from dedup.minhash.stage import STAGE, plan_stage


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith dedup minhash`."""
    parser = make_parser(
        "corpusmith dedup minhash",
        "Keep one of each cluster of pages that are nearly equal.",
        "corpusmith dedup minhash --input pages --output_dir unique --readable_name unique_pages --preset fineweb",
    )
    parser.add_argument("--content_key", default="text", help="what is compared (default text)")
    parser.add_argument("--ngram_size", type=int, default=5, help="words or characters of a shingle (default 5)")
    parser.add_argument("--ngram", choices=("word", "character"), default="word", help="what shingles are made of")
    shown = ", ".join(f"{name} {bands} x {rows}" for name, (bands, rows) in PRESETS.items())
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"bands x rows: {shown} (default fineweb)")
    parser.add_argument("--bands", type=int, help="number of bands, with --rows")
    parser.add_argument("--rows", type=int, help="hash functions of a band")
    parser.add_argument("--threshold", type=float, help="choose bands and rows for this Jaccard similarity")
    parser.add_argument("--num_hashes", type=int, help="hash functions, with --threshold (default 128)")
    parser.add_argument("--hash_family", choices=("affine32", "mersenne61"), default="affine32", help="as datasketch's")
    parser.add_argument("--seed", type=int, default=1, help="seed of the hash functions (default 1, as datasketch's)")
    parser.add_argument("--annotate", action="store_true", help="keep all pages and tell their cluster under `minhash`")
    parser.add_argument("--cluster_size_key", help="key under which kept pages get the size of their cluster")
    add_selection_arguments(parser)
    add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Run a MinHash dedup as the flags say."""
    config = config_from(arguments, MinhashConfig)
    run_dedup(arguments, partial(plan_stage, config), partial(plan_needs, config), STAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith dedup minhash` and of the script."""
    return run_command(build_parser(), run, argv)
