"""`corpusmith compare-evals`: confidence intervals of an evaluation, or of the difference between two."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from corpusmith.command import make_parser, run_command

if TYPE_CHECKING:
    from eval.results.intervals import Estimate


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = make_parser(
        "corpusmith compare-evals",
        "Show an evaluation's accuracies with bootstrap intervals, or compare two row by row.",
        "corpusmith compare-evals exp_data/evals/evaluation_a_heavy.json exp_data/evals/evaluation_b_heavy.json",
    )
    parser.add_argument("evaluation", help="an evaluation JSON with its items beside it")
    parser.add_argument("other", nargs="?", help="another one, subtracted from the first on the same rows")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples (10000)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples (0)")
    parser.add_argument("--json", help="write the numbers to this file")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Read the items, resample, print."""
    from dataclasses import asdict

    from corpusmith.errors import InputError
    from corpusmith.io import storage
    from corpusmith.run.progress import say
    from eval.results.intervals import compare, intervals
    from eval.results.items import read_results

    if arguments.resamples < 1:
        raise InputError(f"--resamples must be at least 1, got {arguments.resamples}")
    first = read_results(arguments.evaluation)
    settings = {"resamples": arguments.resamples, "seed": arguments.seed, "confidence": arguments.confidence}
    if arguments.other is None:
        found = intervals(first, **settings)
    else:
        found = compare(first, read_results(arguments.other), **settings)
    for line in table_lines(found, arguments.confidence):
        say(line)
    if arguments.json:
        storage.write_json(arguments.json, {name: asdict(estimate) for name, estimate in found.items()}, indent=2)


def table_lines(found: Mapping[str, "Estimate"], confidence: float) -> list[str]:
    """One line for each task and aggregate, in percent."""
    width = max(map(len, found))
    with_p = any(estimate.p_value is not None for estimate in found.values())
    head = f"{'':<{width}}  {'%':>7}  {100 * confidence:g} % interval{'    p (sign test)' if with_p else ''}"
    lines = [head]
    for name, estimate in found.items():
        interval = f"{100 * estimate.low:7.2f} … {100 * estimate.high:6.2f}"
        p_value = "" if estimate.p_value is None else f"  {estimate.p_value:10.2g}"
        lines.append(f"{name:<{width}}  {100 * estimate.value:7.2f}  {interval}{p_value}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
