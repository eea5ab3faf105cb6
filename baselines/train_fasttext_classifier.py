"""Train a fastText classifier of pages of high and of low quality (DCLM's script).

Each line of the input is `__label__hq text …` or `__label__cc text …`. Follows DCLM's flags and output; departs from
it in making the output folder, in removing its temporary files also after a failure, in taking URLs for input and
output, and in `--thread 1`, with which the same input gives the same model.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import contextlib
import ctypes
import hashlib
import importlib
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import CorpusmithError, InputError, missing_package
from corpusmith.io import storage
from corpusmith.run.progress import say

LABEL = "__label__"
MODEL_SUFFIX = ".bin"
# mallopt's M_PERTURB: glibc fills what it allocates with the complement of this byte
FILL_ALLOCATED = -6
FILL_WITH_ZEROS = 0xFF


def build_parser() -> argparse.ArgumentParser:
    """The flags of the script."""
    parser = make_parser(
        "python baselines/train_fasttext_classifier.py",
        "Train a fastText classifier for the enricher classify_fasttext_hq_prob_enricher.",
        "python baselines/train_fasttext_classifier.py --input labelled.txt --valid_frac 0.1 --name mine "
        "--wordNgrams 2",
    )
    parser.add_argument("--input", required=True, help="labelled lines: `__label__hq …` or `__label__cc …`")
    parser.add_argument("--valid_input", help="labelled lines to validate on")
    parser.add_argument("--valid_frac", type=float, default=0, help="share of the input to validate on instead")
    parser.add_argument(
        "--output_dir",
        default="./mappers/enrichers/quality_prediction_enrichment_models/",
        help="folder of the model (the default fits a run inside baselines/)",
    )
    parser.add_argument("--name", required=True, help="name of the model; .bin is added")
    parser.add_argument("--seed", type=int, default=42, help="seed of the split (default 42)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default 0.1)")
    parser.add_argument("--dim", type=int, default=100, help="size of the word vectors (default 100)")
    parser.add_argument("--ws", type=int, default=5, help="size of the context window (default 5)")
    parser.add_argument("--epoch", type=int, default=5, help="passes over the input (default 5)")
    parser.add_argument("--minCount", type=int, default=1, help="least occurrences of a word (default 1)")
    parser.add_argument("--wordNgrams", type=int, default=1, help="longest n-gram of words (default 1)")
    parser.add_argument("--thread", type=int, default=0, help="threads; 1 repeats exactly (default: all cores)")
    return parser


def _labelled_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}") from error
    if not any(line.startswith(LABEL) for line in lines):
        raise InputError(f"{path}: has no line with a label; lines begin with {LABEL}hq or {LABEL}cc")
    return lines


@contextlib.contextmanager
def split_input(path: str, valid_frac: float, seed: int) -> Iterator[tuple[str, str]]:
    """Give files with the shuffled lines to train and to validate on, beside the input; they are gone in the end.

    Args:
        path: the input.
        valid_frac: share of its lines to validate on.
        seed: of the shuffle.
    """
    lines = _labelled_lines(path)
    random.Random(seed).shuffle(lines)
    train_lines = int(len(lines) * (1 - valid_frac))
    base, extension = os.path.splitext(path)
    parts = {f"{base}_train{extension}": lines[:train_lines], f"{base}_valid{extension}": lines[train_lines:]}
    for part in parts:
        if os.path.exists(part):
            raise InputError(f"{part} exists and would be overwritten by the split; move it or pass --valid_input")
    try:
        for part, part_lines in parts.items():
            with open(part, "w", encoding="utf-8", newline="") as file:
                file.write("\n".join(part_lines))
        train, valid = parts
        yield train, valid
    finally:
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)


def train_classifier(path: str, settings: dict[str, Any]) -> Any:
    """Train on a file of labelled lines; `settings` are arguments of fastText's `train_supervised`.

    Raises:
        UserError: fastText is not installed.
        CorpusmithError: training failed.
    """
    try:
        fasttext = importlib.import_module("fasttext")
    except ModuleNotFoundError as error:
        raise missing_package("fasttext-numpy2", "mappers") from error
    try:
        with zeroed_allocations():
            return fasttext.train_supervised(input=path, verbose=0, **settings)
    except RuntimeError as error:
        raise CorpusmithError(f"training failed: {error} (a lower --lr may help)") from error


@contextlib.contextmanager
def zeroed_allocations() -> Iterator[None]:
    """Let the C library hand out zeroed memory.

    fastText since 0.9.3 fills only some tenths of its word vectors, one for each thread, and takes the rest for zeros
    which nobody wrote: without this, training ends in NaN at random and never gives the same model twice.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(FILL_ALLOCATED, FILL_WITH_ZEROS)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(FILL_ALLOCATED, 0)


def _show(title: str, results: tuple[int, float, float]) -> None:
    samples, precision, recall = results
    say(f"{title} results\nNum samples\t{samples}\nPrecision@1\t{precision:.3f}\nRecall@1\t{recall:.3f}")


def _here(path: str, scratch: str) -> str:
    """The local path of a file of lines; fastText reads no others."""
    if "://" not in path:
        return path
    here = os.path.join(scratch, hashlib.sha256(path.encode()).hexdigest()[:8] + "-" + storage.basename(path))
    storage.copy_file(path, here)
    return here


def run(arguments: argparse.Namespace) -> None:
    """Train, validate, save."""
    if not 0 <= arguments.valid_frac < 1:
        raise InputError(f"--valid_frac must lie in [0, 1), got {arguments.valid_frac}")
    name = arguments.name if arguments.name.endswith(MODEL_SUFFIX) else arguments.name + MODEL_SUFFIX
    settings = {key: getattr(arguments, key) for key in ("lr", "dim", "ws", "epoch", "minCount", "wordNgrams")}
    settings["thread"] = arguments.thread or os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        train, valid = _here(arguments.input, scratch), arguments.valid_input
        _labelled_lines(train)
        if valid is not None:
            valid = _here(valid, scratch)
            _labelled_lines(valid)
        elif arguments.valid_frac > 0:
            train, valid = stack.enter_context(split_input(train, arguments.valid_frac, arguments.seed))
        model = train_classifier(train, settings)
        _show("Training", model.test(train))
        if valid is not None:
            _show("Validation", model.test(valid))
        path, saved = storage.join(arguments.output_dir, name), os.path.join(scratch, "model")
        model.save_model(saved)
        storage.copy_file(saved, path)
    say(f"model: {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the script."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
