"""What came of a run's data: the references that link to it, from raw sources down to evaluations.

Follows the uuids of `exp_data`: raw source <- data set <- tokenized data set <- model <- evaluation. A link that leads
nowhere is kept as such: published databases are incomplete. A file that cannot be read becomes a note, not an error,
so a broken reference of somebody else's never costs a finished run its report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from corpusmith.errors import CorpusmithError
from corpusmith.expdb.references import read_table
from corpusmith.io import storage
from corpusmith.report.values import as_dict, as_int, as_number

TRAIN_LOG = "train_log.jsonl"
CURVE_POINTS = 400

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A reference that another names; `row` is None where it is not in the database."""

    uuid: str
    name: str
    row: Row | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPoint:
    """Mean loss (nats per token) of the log lines that end at `step`."""

    step: int
    tokens: int | None
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingLog:
    """A training log, thinned to at most `CURVE_POINTS` points; `lines_per_point` lines were averaged for each."""

    points: list[LossPoint]
    lines: int
    lines_per_point: int
    tokens_per_second: float | None


@dataclass(kw_only=True)
class ModelFacts:
    """A model's reference, its training log (or why there is none) and the evaluations that name it."""

    row: Row
    log: TrainingLog | None = None
    note: str = ""
    evaluations: list[Row] = field(default_factory=list)


@dataclass(kw_only=True)
class TokenizedFacts:
    """A tokenized data set with its sources and the models trained on it."""

    row: Row
    sources: list[Link]
    models: list[ModelFacts] = field(default_factory=list)


@dataclass(kw_only=True)
class DatasetFacts:
    """The reference of the run's own output, where it came from and what came of it."""

    row: Row
    sources: list[Link]
    tokenized: list[TokenizedFacts] = field(default_factory=list)


@dataclass(kw_only=True)
class Lineage:
    """The references of a run's output in one database, and what could not be read there.

    `tokenized`: token sets that stand in the run's folder but name other sources than its output.
    """

    exp_data_dir: str
    datasets: list[DatasetFacts] = field(default_factory=list)
    tokenized: list[TokenizedFacts] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def follow(base: str, exp_data_dir: str) -> Lineage:
    """Follow the links from the output of the run at `base` through the database at `exp_data_dir`."""
    lineage = Lineage(exp_data_dir=exp_data_dir)
    datasets = _rows(lineage, "datasets")
    by_uuid = {row["uuid"]: row for row in reversed(datasets) if isinstance(row.get("uuid"), str)}
    own = [row for row in datasets if not row.get("tokenized") and _lies_in(row, base, "processed_data")]
    beside = [row for row in datasets if row.get("tokenized") and _lies_in(row, base, "tokenized")]
    if not own and not beside:
        return lineage
    models = [*_rows(lineage, "models"), *_rows(lineage, "failed_models")]
    evaluations = _rows(lineage, "evals")

    def tokenized_facts(row: Row) -> TokenizedFacts:
        uuid = row.get("uuid")
        named = [model for model in models if uuid is not None and model.get("dataset_uuid") == uuid]
        trained = [_model(model, evaluations) for model in named]
        return TokenizedFacts(row=row, sources=_links(row, by_uuid), models=trained)

    for row in own:
        made = _naming(row.get("uuid"), datasets)
        made += [each for each in beside if each not in made and not any(_sources(each))]
        facts = DatasetFacts(row=row, sources=_links(row, by_uuid), tokenized=[tokenized_facts(each) for each in made])
        lineage.datasets.append(facts)
    shown = [facts.row for dataset in lineage.datasets for facts in dataset.tokenized]
    lineage.tokenized = [tokenized_facts(row) for row in beside if row not in shown]
    return lineage


def _rows(lineage: Lineage, table: str) -> list[Row]:
    try:
        return [row for _, row in read_table(lineage.exp_data_dir, table)]
    except CorpusmithError as error:
        lineage.notes.append(f"{table}: {error}")
        return []


def _place(url: object) -> str | None:
    """A folder's URL in one spelling; None for anything else."""
    if not isinstance(url, str) or not url:
        return None
    return url.rstrip("/") if "://" in url else os.path.abspath(url)


def _lies_in(row: Row, base: str, folder: str) -> bool:
    """Whether a data set is the run's output of this name, or a part of it."""
    place, output = _place(row.get("dataset_url")), _place(storage.join(base, folder))
    return place is not None and output is not None and f"{place}/".startswith(f"{output}/")


def _sources(row: Row) -> Iterator[Row]:
    sources = row.get("sources")
    return iter([source for source in sources if isinstance(source, dict)] if isinstance(sources, list) else [])


def _links(row: Row, by_uuid: dict[str, Row]) -> list[Link]:
    return [
        Link(
            uuid=str(source.get("uuid") or ""),
            name=str(source.get("name") or ""),
            row=by_uuid.get(str(source.get("uuid"))),
        )
        for source in _sources(row)
    ]


def _naming(uuid: object, datasets: list[Row]) -> list[Row]:
    """The tokenized data sets that name `uuid` as a source."""
    return [
        row
        for row in datasets
        if row.get("tokenized") and uuid is not None and any(source.get("uuid") == uuid for source in _sources(row))
    ]


def _model(row: Row, evaluations: list[Row]) -> ModelFacts:
    uuid = row.get("uuid")
    named = [each for each in evaluations if uuid is not None and each.get("model_uuid") == uuid]
    facts = ModelFacts(row=row, evaluations=named)
    params_url = row.get("params_url")
    if not isinstance(params_url, str) or not params_url:
        facts.note = "the model's reference has no params_url, beside which the training log would lie"
        return facts
    url = storage.join(storage.parent(params_url), TRAIN_LOG)
    try:
        facts.log = read_training_log(url)
    except CorpusmithError as error:
        facts.note = f"the training log cannot be read: {error}"
    else:
        facts.note = "" if facts.log else f"no training log at {url}"
    return facts


def read_training_log(url: str) -> TrainingLog | None:
    """The log's losses by step, a repeated step by its last line; None where there is no log or nothing in it.

    Neighbouring lines are averaged until at most `CURVE_POINTS` are left; lines that are not JSON are passed over.
    """
    if not storage.exists(url):
        return None
    losses: dict[int, tuple[float, int | None, float | None]] = {}
    with storage.open_read(url) as file:
        for line in file:
            try:
                row = as_dict(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue
            step, loss = as_int(row.get("step")), as_number(row.get("loss"))
            if step is not None and loss is not None:
                losses[step] = (loss, as_int(row.get("tokens")), as_number(row.get("tokens_per_second")))
    if not losses:
        return None
    rows = sorted(losses.items())
    size = -(-len(rows) // CURVE_POINTS)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    points = [
        LossPoint(step=group[-1][0], tokens=group[-1][1][1], loss=sum(entry[1][0] for entry in group) / len(group))
        for group in groups
    ]
    rates = sorted(rate for _, (_, _, rate) in rows if rate is not None)
    median = rates[len(rates) // 2] if rates else None
    return TrainingLog(points=points, lines=len(rows), lines_per_point=size, tokens_per_second=median)
