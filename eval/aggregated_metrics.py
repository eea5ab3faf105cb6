"""Compute CORE, EXTENDED and the other aggregates of an evaluation JSON again, in place: DCLM's script."""

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments, spelt as in DCLM."""
    parser = make_parser(
        "eval/aggregated_metrics.py",
        "Compute the aggregates of an evaluation JSON again and rewrite it in place.",
        "python eval/aggregated_metrics.py --eval_results exp_data/evals/evaluation_m_heavy.json --version v2",
    )
    parser.add_argument("--eval_results", required=True, help="the evaluation JSON")
    parser.add_argument("--version", choices=("v1", "v2"), default="v2", help="version of the random baselines (v2)")
    parser.add_argument("--eval_meta_data", help="table of tasks, baselines and categories; default: ours")
    parser.add_argument("--additional_aggregation", help="JSON of named lists of tasks; default: ours")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Rewrite the file and print CORE and EXTENDED."""
    from corpusmith.io import storage
    from corpusmith.run.progress import say
    from eval.results.aggregation import ADDITIONAL_AGGREGATION, META_DATA, load_facts, reaggregate

    facts = load_facts(
        arguments.eval_meta_data or META_DATA, arguments.additional_aggregation or ADDITIONAL_AGGREGATION
    )
    document = reaggregate(storage.read_json(arguments.eval_results), arguments.version, facts)
    storage.write_json(arguments.eval_results, document, indent=4)
    for name in ("Core", "Extended"):
        say(f"{name}_{arguments.version}: {document[f'{name}_{arguments.version}']}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
