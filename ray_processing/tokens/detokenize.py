"""`corpusmith detokenize IN OUT`: token shards of any format back to page shards.

Each sequence is cut after its end-of-text tokens, and each part becomes a page with `text`, `token_count` (of the part,
without that token) and what the format keeps beside the ids (`source`, `pages`, `cluster_id`). Padding is left out. A
document that packing cut comes back as the parts that it was cut into; which parts belong together is told by
`corpusmith trace`. Where padding is the end-of-text token, all such tokens at the end of a sequence but one count as
padding.

A run of one stage: beside OUT stand `run/OUT/` and `errors/OUT/`, the same command continues and reports. Follows
NVIDIA's detokenize_climbmix.py in its columns and in names (`.tokenized` becomes `.detokenized`); departs from it in
that a shard that cannot be read fails the run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.run.ray.execution import add_execution_arguments, execution_from

EXAMPLE = "corpusmith detokenize tokenized pages --tokenizer EleutherAI/gpt-neox-20b"


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith detokenize`."""
    parser = make_parser("corpusmith detokenize", "Turn token shards of any format back into pages.", EXAMPLE)
    add = parser.add_argument
    add("input", help="folder of token shards (webdataset, MDS, Parquet, flat binary), or one .bin")
    add("output", help="folder for the page shards")
    add("--tokenizer", help="name or file (default: what the data set's reference JSON says)")
    add("--exp-data-dir", default="exp_data", help="folder of reference JSONs (default: %(default)s)")
    add("--data-key", default="json.gz", help="members of a webdataset that hold tokens (default: %(default)s)")
    add("--seqlen", type=int, help="rows of a .bin without an index hold one token more")
    add("--dtype", default="uint16", help="integers of a .bin without an index (default: %(default)s)")
    add("--overwrite", action="store_true", help="redo a finished or changed run")
    add_execution_arguments(parser)
    return parser


def detokenize(arguments: argparse.Namespace) -> None:
    """Turn the token shards of a folder into page shards."""
    from corpusmith.run.progress import say
    from corpusmith.run.run import Run, RunOptions, RunPlan
    from corpusmith.text.tokenizers.load import load_tokenizer, resolve_tokenizer
    from ray_processing.datasets import absolute, place_beside, refuse_nested
    from ray_processing.tokens.detokenize_stage import TokenizedData, list_inputs, plan_stage

    url, output = absolute(arguments.input), absolute(arguments.output)
    refuse_nested(output, [url])
    spec = resolve_tokenizer(arguments.tokenizer or _tokenizer_of(arguments.input, arguments.exp_data_dir))
    source = TokenizedData(
        url=url,
        tokenizer_url=spec,
        tokenizer_hash=load_tokenizer(spec).content_hash,
        data_key=arguments.data_key,
        sequence_length=None if arguments.seqlen is None else arguments.seqlen + 1,
        dtype=arguments.dtype,
    )
    run = Run(place_beside(output), RunPlan(inputs=list_inputs(source), stages=[plan_stage(source)]))
    result = run.execute(execution_from(arguments), RunOptions(overwrite=arguments.overwrite))
    counts = result.stages[0].counts()
    say("finished before; nothing was recomputed" if result.was_finished else "finished")
    say(f"  {counts.read} sequences gave {counts.kept} pages: {output}")


def _tokenizer_of(folder: str, exp_data_dir: str) -> str:
    """The tokenizer that the reference JSON of a folder names."""
    from corpusmith.expdb.references import find_dataset

    bare = folder.rstrip("/")
    for spelling in (bare + "/", bare, os.path.abspath(bare) + "/"):
        found = find_dataset(exp_data_dir, "dataset_url", spelling, tokenized=True)
        if found is not None and found[1].get("tokenizer"):
            return str(found[1]["tokenizer"])
    raise InputError(
        f"{folder}: no reference JSON in {exp_data_dir} says which tokenizer it was made with; give --tokenizer"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith detokenize`."""
    return run_command(build_parser(), detokenize, argv)
