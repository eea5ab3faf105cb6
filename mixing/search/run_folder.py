"""A search on disk: `run_search` measures what is asked for until the answer stands, and continues what was killed.

    search.json                        configuration, space and objective: a changed one is refused by key
    rounds/<r>/proposals.json          what a round asks for, before anything is measured
    runs/<mixture-id>/result.json      one for each finished run, as it arrives: the state
    runs.parquet, answer.json          written from these after each round, and at the end

Each file appears whole or not at all, and holds nothing of time or place, so a search that was killed anywhere and run
again leaves the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from corpusmith.errors import ChangedError, InputError
from corpusmith.io import storage
from corpusmith.run.fingerprint import first_difference
from corpusmith.run.ray.runner import Runner
from mixing.search import claims
from mixing.search.mixtures.arrays import Json
from mixing.search.mixtures.mixture_file import mixture_document
from mixing.search.mixtures.run_tables import read_runs, write_runs
from mixing.search.mixtures.runs import Objective
from mixing.search.mixtures.sampler import Sampler
from mixing.search.mixtures.space import make_space
from mixing.search.search import Proposal, Result, Search, checked
from mixing.search.strategies.base import Answer
from mixing.search.strategies.registry import make_strategy

SEARCH, ANSWER, RUNS = "search.json", "answer.json", "runs.parquet"


class Evaluator(Protocol):
    """Measures mixtures."""

    def evaluate(self, proposals: Sequence[Proposal]) -> Iterator[Result]:
        """A result for each proposal, in any order, each as soon as it is there."""
        ...


class RayEvaluator:
    """Calls a module-level function, from weights by group to scores by task, once per proposal on Ray."""

    def __init__(self, function: Callable[[Mapping[str, float]], Mapping[str, float]], runner: Runner) -> None:
        self._function, self._runner = function, runner

    def evaluate(self, proposals: Sequence[Proposal]) -> Iterator[Result]:
        """Results as they arrive; a call that raised is a result with its error."""
        tasks = [dict(proposal.weights) for proposal in proposals]
        for outcome in self._runner.map(self._function, tasks, label="mixtures", unit="runs"):
            proposal = proposals[outcome.index]
            if outcome.error is not None or outcome.value is None:
                yield Result(id=proposal.id, error=outcome.error or "no scores")
            else:
                yield Result(id=proposal.id, scores=dict(outcome.value))


def run_search(search: Search, evaluator: Evaluator, folder: str, identity: Mapping[str, Any]) -> Answer:
    """Measure round after round, keep every result, and write the answer.

    Args:
        identity: what decides the search beside its space and objective, as `SearchConfig.identity` gives it.

    Raises:
        ChangedError: the folder holds another search; the message names the key.
        RunFailed: more than a tenth of a round failed.
    """
    _check_identity(search, folder, identity)
    while not search.is_finished:
        proposals = search.proposals()
        if not proposals:
            break
        _write_once(storage.join(folder, "rounds", str(proposals[0].round), "proposals.json"), _proposals(proposals))
        known = [result for proposal in proposals if (result := _read_result(folder, proposal.id)) is not None]
        found = {result.id for result in known}
        waiting = [proposal for proposal in proposals if proposal.id not in found]
        for reported in evaluator.evaluate(waiting) if waiting else ():
            result = checked(reported, search.runs.objective)
            storage.write_json(_result_path(folder, result.id), _result_document(result))
            known.append(result)
        search.tell(known)
        write_runs(storage.join(folder, RUNS), search.runs)
    answer = search.answer()
    storage.write_json(storage.join(folder, ANSWER), answer_document(search, answer), indent=2)
    return answer


def answer_document(search: Search, answer: Answer) -> Json:
    """The answer as a mixture file, with what is known about it: the best measured mixture and what is claimed."""
    document = mixture_document(search.space, answer.weights, source="answer of a search")
    if len(search.runs):
        best = search.runs.best()
        document["best_measured"] = {
            "id": search.runs.ids[best],
            "groups": search.space.as_dict(search.runs.weights[best]),
            "scores": dict(zip(search.runs.objective.tasks, map(float, search.runs.scores[best]), strict=True)),
        }
    if answer.model is not None:
        document["predicted"] = claims.predictions(search.runs, answer)
    document |= {"runs": len(search.runs), "failed": dict(sorted(search.failed.items()))}
    return document


def search_document(search: Search, identity: Mapping[str, Any]) -> Json:
    """What `search.json` holds."""
    space = search.space
    return {
        "config": dict(identity),
        "prior": space.as_dict(space.prior),
        "caps": space.as_dict(np.minimum(space.caps, 1.0)),
        "objective": asdict(search.runs.objective),
    }


def load_search(folder: str, module_folder: str = ".") -> tuple[Search, dict[str, float] | None]:
    """A search from its folder with the runs of its finished rounds, and the epochs that weight 1 would ask for.

    Raises:
        InputError: not the folder of a search, or one without a finished round.
    """
    path = storage.join(folder, SEARCH)
    if not storage.exists(path):
        raise InputError(f"{folder}: no {SEARCH}: not the folder of a search")
    document = storage.read_json(path)
    config, names = document["config"], tuple(document["prior"])
    objective = Objective(
        tasks=tuple(document["objective"]["tasks"]),
        weights=tuple(document["objective"]["weights"] or ()) or None,
        better=document["objective"]["better"],
    )
    space = make_space(document["prior"], document["caps"], config["sampler"]["minimum"], config.get("fixed"))
    if not storage.exists(storage.join(folder, RUNS)):
        raise InputError(f"{folder}: no round is finished yet")
    runs = read_runs([storage.join(folder, RUNS)], names, objective)
    name = config["strategy"] if config["mode"] in (None, "thompson") else f"climb-{config['mode']}"
    closed = int(runs.rounds.max()) + 1 if len(runs) else 0
    strategy = make_strategy(name, Sampler(), module_folder)
    search = Search(strategy, space, objective, rounds=[1] * closed, seed=config["seed"])
    search.runs, search.closed = runs, closed
    caps, tokens = config.get("caps"), config.get("groups")
    if caps is None or tokens is None:
        return search, None
    return search, {group: float(caps["target_tokens"]) / count for group, count in tokens.items()}


def _check_identity(search: Search, folder: str, identity: Mapping[str, Any]) -> None:
    document = search_document(search, identity)
    path = storage.join(folder, SEARCH)
    if not storage.exists(path):
        storage.write_json(path, document, indent=2)
        return
    stored = storage.read_json(path)
    difference = first_difference(stored, _as_read(document))
    if difference is not None:
        key, old, new = difference
        raise ChangedError(f"{folder} holds another search: {key} was {old!r} and is now {new!r}; use another folder")


def _as_read(document: Json) -> Json:
    """The document as it comes back from JSON: tuples are lists."""
    plain: Json = {}
    for key, value in document.items():
        if isinstance(value, dict):
            plain[key] = _as_read(value)
        else:
            plain[key] = list(value) if isinstance(value, tuple) else value
    return plain


def _proposals(proposals: Sequence[Proposal]) -> Json:
    return {"round": proposals[0].round, "proposals": [asdict(proposal) for proposal in proposals]}


def _write_once(path: str, document: Json) -> None:
    """Write what a round asks for, or hold it against what was asked before."""
    if not storage.exists(path):
        storage.write_json(path, document, indent=1)
        return
    if first_difference(storage.read_json(path), document) is not None:
        raise ChangedError(
            f"{path} asks for other mixtures than this program would: the search was begun by another version of "
            "Corpusmith, numpy or scipy; go on with that one, or begin anew in another folder"
        )


def _result_path(folder: str, mixture: str) -> str:
    return storage.join(folder, "runs", mixture, "result.json")


def _result_document(result: Result) -> Json:
    return {"id": result.id, "scores": None if result.scores is None else dict(result.scores), "error": result.error}


def _read_result(folder: str, mixture: str) -> Result | None:
    path = _result_path(folder, mixture)
    if not storage.exists(path):
        return None
    document = storage.read_json(path)
    if not isinstance(document, dict) or not {"id", "scores", "error"} <= set(document):
        raise InputError(f"{path}: not a result of a search; remove it to measure again")
    return Result(id=document["id"], scores=document["scores"], error=document["error"])
