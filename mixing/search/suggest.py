"""`corpusmith mix suggest`: a table of finished runs in, the mixtures to measure next and the answer so far out."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from corpusmith.command import make_parser, run_command
from corpusmith.config import load_yaml
from corpusmith.errors import ConfigError, InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from mixing.search.config import ObjectiveConfig, SearchConfig, load_search_config
from mixing.search.facts import search_facts
from mixing.search.mixtures.one_thread import one_thread
from mixing.search.mixtures.run_tables import read_runs, write_runs
from mixing.search.mixtures.runs import Runs
from mixing.search.mixtures.space import mixture_id
from mixing.search.predictors.base import LEAST_ROWS
from mixing.search.report import claim_line
from mixing.search.run_folder import ANSWER, RUNS, SEARCH, answer_document, search_document
from mixing.search.search import Search

_SHOWN = 12


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = make_parser(
        "corpusmith mix suggest",
        "Read finished runs, and tell which mixtures to measure next and which is best so far. Nothing is trained.",
        "corpusmith mix suggest --runs ratios.csv metrics.csv --prior prior.json --metric loss --better lower -n 32",
    )
    parser.add_argument(
        "--runs",
        nargs="*",
        default=[],
        metavar="TABLE",
        help="CSV or Parquet with a column for each group and each metric, or a pair: weights, scores; none: a start",
    )
    parser.add_argument("--prior", required=True, help="JSON or YAML: tokens (or natural shares) by group")
    parser.add_argument("-n", type=int, help="how many mixtures to propose (the config's `parallel`: 4)")
    parser.add_argument("--metric", action="append", help="a column to improve; several: their mean")
    parser.add_argument("--better", choices=("higher", "lower"), help="which scores are better (higher)")
    parser.add_argument("--config", help="YAML with a section `search`: strategy, caps, weights of tasks, seed")
    parser.add_argument("--output", help="folder for proposals.csv, answer.json and what `mix show` reads")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Read, learn, print, write."""
    config, folder = load_search_config(arguments.config) if arguments.config else (SearchConfig(), ".")
    config = _with_metrics(config, arguments.metric, arguments.better)
    if len(arguments.runs) > 2:
        raise InputError(f"--runs takes a table or a pair of tables, got {len(arguments.runs)}")
    space, objective = config.make_space(read_prior(arguments.prior)), config.make_objective()
    runs = read_runs(arguments.runs, space.names, objective) if arguments.runs else Runs.none(space.names, objective)
    count = config.parallel if arguments.n is None else arguments.n
    if count < 1:
        raise InputError(f"-n must be at least 1, got {count}")
    done = int(runs.rounds.max()) + 1 if len(runs) else 0
    search = Search(config.make_strategy(folder), space, objective, rounds=[count] * (done + 1), seed=config.seed)
    search.runs, search.closed = runs, done
    with one_thread():
        _suggest(search, config, arguments.output, read_prior(arguments.prior))


def _suggest(search: Search, config: SearchConfig, output: str | None, tokens: dict[str, float]) -> None:
    """Print what to measure next and the answer so far, and write both."""
    proposals, runs, space = search.proposals(), search.runs, search.space
    say(f"{len(proposals)} mixtures to measure next:")
    for proposal in proposals[:_SHOWN]:
        weights = sorted(proposal.weights.items(), key=lambda item: (-item[1], item[0]))
        say(f"  {proposal.id}  " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights if weight >= 0.005))
    if len(proposals) > _SHOWN:
        say(f"  … and {len(proposals) - _SHOWN} more" + ("" if output else "; --output keeps them all"))
    if output:
        _write_proposals(output, space.names, [list(each.weights.values()) for each in proposals])
        document = search_document(search, {**config.identity(), "groups": tokens})
        storage.write_json(storage.join(output, SEARCH), document, indent=2)
        write_runs(storage.join(output, RUNS), runs)
    if len(runs) >= LEAST_ROWS:
        _tell_answer(search, output)
    elif len(runs):
        say(f"{len(runs)} runs are too few for an answer (at least {LEAST_ROWS})")


def _tell_answer(search: Search, output: str | None) -> None:
    answer = search.answer()
    found = search_facts(search.runs, search.space, answer, search.seed)
    say(f"answer after {len(search.runs)} runs, {claim_line(found)}:")
    for name, weight in sorted(found["answer"].items(), key=lambda item: (-item[1], item[0])):
        if weight > 0:
            say(f"  {name}  {weight:.4f}  (natural {found['natural'][name]:.4f})")
    fit = found["fit"]
    say(f"held-out rank correlation {fit['spearman']:.3f}, in the best quarter {fit['spearman_top_quarter']:.3f}")
    if output:
        storage.write_json(storage.join(output, ANSWER), answer_document(search, answer), indent=2)


def read_prior(path: str) -> dict[str, float]:
    """Tokens or natural shares by group, as a mapping or under `groups`.

    Raises:
        ConfigError: not such a mapping, or a value that is no number above 0.
    """
    document = load_yaml(path)
    data = document.data
    groups = data.get("groups", data) if isinstance(data, dict) else None
    if not isinstance(groups, dict) or not groups:
        raise ConfigError(document.where(), "expected a mapping from groups to tokens or natural shares")
    for name, value in groups.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ConfigError(document.where(str(name)), f"expected a number above 0, got {value!r}")
    return {str(name): float(value) for name, value in groups.items()}


def _with_metrics(config: SearchConfig, metrics: Sequence[str] | None, better: str | None) -> SearchConfig:
    """The config with the metrics of the command line in place of its own."""
    objective = config.objective
    tasks = dict.fromkeys(metrics, 1.0) if metrics else objective.tasks
    return replace(config, objective=ObjectiveConfig(tasks=tasks, better=better or objective.better))


def _write_proposals(folder: str, names: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """`proposals.csv`: an id and the weights by group."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["id", *names])
    for row in rows:
        writer.writerow([mixture_id(names, np.asarray(row)), *(repr(float(weight)) for weight in row)])
    storage.write_bytes(storage.join(folder, "proposals.csv"), sink.getvalue().encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)
