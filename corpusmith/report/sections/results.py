"""The report's part on what came of the data: tokenized data sets, models with their loss curves, evaluations."""

from __future__ import annotations

from typing import Any

from corpusmith.io import storage
from corpusmith.report.html import (
    Child,
    Html,
    Level,
    bar,
    columns,
    el,
    facts,
    folded,
    join,
    legend,
    line_chart,
    page_text,
    table,
)
from corpusmith.report.lineage import DatasetFacts, Lineage, Link, ModelFacts, TokenizedFacts, TrainingLog
from corpusmith.report.values import as_dict, as_int, as_number, as_rows
from corpusmith.units import UNKNOWN, byte_size, decimal, number, short_number

AGGREGATES = {
    "Core_v2": "CORE (v2)",
    "Extended_v2": "EXTENDED (v2)",
    "Core_v1": "CORE (v1)",
    "Extended_v1": "EXTENDED (v1)",
    "low_variance_datasets": "low-variance tasks, mean accuracy",
    "aggregated_results": "all tasks, mean accuracy",
    "aggregated_centered_results": "all tasks, mean centered accuracy",
}
LOSS_UNIT = "nats per token"
TASKS_UNFOLDED = 12


def results_section(lineage: Lineage) -> Html:
    """The references that link to the run's output, each with what it says."""
    parts: list[Child] = [el("p", note, class_="bad-text") for note in lineage.notes]
    if not lineage.datasets and not lineage.tokenized:
        parts.append(el("p", f"No reference in {lineage.exp_data_dir} names this run's output.", class_="hint"))
    parts += [_dataset(dataset) for dataset in lineage.datasets]
    parts += [_tokenized(tokenized) for tokenized in lineage.tokenized]
    return join(parts)


def _title(kind: str, row: dict[str, Any]) -> Html:
    return el("h3", f"{kind} ", page_text(str(row.get("name") or UNKNOWN)))


def _identity(row: dict[str, Any]) -> list[tuple[str, Child]]:
    return [("uuid", str(row.get("uuid") or UNKNOWN)), ("made", str(row.get("creation_date") or UNKNOWN))]


def _links(links: list[Link]) -> Child:
    """The sources by name; those that are not in the database are marked."""
    if not links:
        return "none named"
    items: list[Child] = []
    for position, link in enumerate(links):
        items += [", "] if position else []
        items.append(page_text(link.name or link.uuid))
        if link.row is None:
            missing = f"link unresolved: {link.uuid or 'no uuid'}"
            items += [" ", el("span", missing, class_="badge bad")]
    return join(items)


def _dataset(dataset: DatasetFacts) -> Html:
    row = dataset.row
    pairs: list[tuple[str, Child]] = [
        *_identity(row),
        ("sources", _links(dataset.sources)),
        ("size", _size(row.get("size"))),
    ]
    following: list[Child] = [_tokenized(each) for each in dataset.tokenized]
    if not following:
        following = [el("p", "Nothing has been tokenized from this data set yet.", class_="hint")]
    return join([_title("Data set", row), facts(pairs), el("div", *following, class_="chain")])


def _size(value: object) -> str:
    size = as_int(value)
    return byte_size(size) if size is not None and size >= 0 else str(value or UNKNOWN)


def _tokenized(tokenized: TokenizedFacts) -> Html:
    row = tokenized.row
    pairs: list[tuple[str, Child]] = [
        *_identity(row),
        ("tokens", number(as_int(row.get("num_tokens")))),
        ("tokenizer", page_text(str(row.get("tokenizer") or UNKNOWN))),
        ("size", _size(row.get("size"))),
    ]
    if len(tokenized.sources) != 1 or tokenized.sources[0].row is None:
        pairs.append(("sources", _links(tokenized.sources)))
    following: list[Child] = [_model(model) for model in tokenized.models]
    if not following:
        following = [el("p", "No model has been trained on this data set yet.", class_="hint")]
    return join([_title("Tokenized data set", row), facts(pairs), el("div", *following, class_="chain")])


# --- models ----------------------------------------------------------------------------------------------------------


def _model(model: ModelFacts) -> Html:
    row = model.row
    hyperparameters = as_dict(row.get("hyperparameters"))
    multiplier = as_number(hyperparameters.get("chinchilla_multiplier"))
    pairs: list[tuple[str, Child]] = [
        *_identity(row),
        ("architecture", str(hyperparameters.get("model") or UNKNOWN)),
        ("parameters", short_number(as_number(hyperparameters.get("params")))),
        ("tokens to train on", short_number(as_number(hyperparameters.get("tokens")))),
        ("Chinchilla multiplier", UNKNOWN if multiplier is None else f"{multiplier:g}"),
    ]
    if model.log is not None and model.log.tokens_per_second is not None:
        pairs.append(("tokens per second (median)", f"{model.log.tokens_per_second:,.0f}"))
    settings = [(str(key), _setting(value)) for key, value in hyperparameters.items()]
    results = _results(row.get("results"))
    parts: list[Child] = [_title("Model", row), facts(pairs)]
    if row.get("failed"):
        parts.append(el("p", f"Training failed: {row.get('error') or 'no reason given'}", class_="bad-text"))
    parts.append(_loss_chart(model.log, results) if model.log else el("p", model.note, class_="hint"))
    parts.append(_validation(results))
    if settings:
        parts.append(folded("Hyperparameters", table("Hyperparameters", columns("name", "value"), settings)))
    evaluated: list[Child] = [_evaluation(evaluation) for evaluation in model.evaluations]
    if not evaluated:
        evaluated = [el("p", "This model has not been evaluated yet.", class_="hint")]
    return join([*parts, el("div", *evaluated, class_="chain")])


def _setting(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _results(value: object) -> list[dict[str, Any]]:
    """The objects of validation sets, also where they stand in a list of lists."""
    if not isinstance(value, list):
        return []
    return [row for entry in value for row in (as_rows(entry) if isinstance(entry, list) else as_rows([entry]))]


def _loss_chart(log: TrainingLog, results: list[dict[str, Any]]) -> Html:
    levels = []
    for key, style, name in (("loss", "valid", "validation loss"), ("unigram_loss", "unigram", "unigram loss")):
        value = as_number(results[0].get(key)) if results else None
        if value is not None:
            levels.append(Level(name=name, style=style, value=value))
    first, last = log.points[0], log.points[-1]
    said = f"Loss {first.loss:.3f} at step {first.step:,}, {last.loss:.3f} at step {last.step:,}; {LOSS_UNIT}."
    chart = line_chart(
        "Training loss by step", said, "step", [(point.step, point.loss) for point in log.points], levels
    )
    keys = [("line", "training loss"), *((level.style, f"{level.name} {level.value:.3f}") for level in levels)]
    every = max(1, -(-len(log.points) // 12))
    chosen = [point for index, point in enumerate(log.points) if index % every == 0 or point is last]
    cells = [(number(point.step), number(point.tokens), decimal(point.loss)) for point in chosen]
    mean = f", each point the mean of {log.lines_per_point} log lines" if log.lines_per_point > 1 else ""
    return join(
        [
            el("p", f"Loss in {LOSS_UNIT} by step, from {log.lines:,} log lines{mean}.", class_="hint"),
            legend(keys),
            chart,
            folded("The curve in numbers", table("Training loss", columns("#step", "#tokens", "#loss"), cells)),
        ]
    )


def _validation(results: list[dict[str, Any]]) -> Html:
    if not results:
        return el("p", "No validation loss was measured.", class_="hint")
    cells = []
    for row in results:
        loss, unigram = as_number(row.get("loss")), as_number(row.get("unigram_loss"))
        gain = None if loss is None or unigram is None else unigram - loss
        sets = row.get("val_data")
        name = " ".join(map(str, sets)) if isinstance(sets, list) else str(sets or UNKNOWN)
        tokens = as_int(row.get("tokens"))
        cells.append((page_text(name), decimal(loss), decimal(unigram), decimal(gain), number(tokens)))
    heads = columns("validation set", "#loss", "#unigram loss", "#better by", "#tokens")
    return table(f"Validation loss ({LOSS_UNIT}), and that of always predicting the training unigrams", heads, cells)


# --- evaluations -----------------------------------------------------------------------------------------------------


def _evaluation(row: dict[str, Any]) -> Html:
    metrics = as_dict(row.get("eval_metrics"))
    icl = {str(task): as_number(score) for task, score in as_dict(metrics.get("icl")).items()}
    pairs: list[tuple[str, Child]] = [*_identity(row), ("tasks", number(len(icl)))]
    perplexity = as_number(metrics.get("perplexity"))
    if perplexity is not None:
        pairs.append((f"validation loss ({LOSS_UNIT})", decimal(perplexity)))
    aggregates = [(said, _aggregate(row[key])) for key, said in AGGREGATES.items() if row.get(key) is not None]
    cells = [(task, decimal(score), _score_bar(task, score)) for task, score in sorted(icl.items())]
    parts: list[Child] = [
        _title("Evaluation", row | {"name": storage.basename(str(row.get("name") or UNKNOWN))}),
        facts(pairs),
    ]
    if aggregates:
        parts.append(table("Aggregates (fractions; centered: 0 is chance)", columns("what", "#score"), aggregates))
    if cells:
        caption = "Accuracy by task (fractions, not centered)"
        parts.append(
            folded(
                "Scores by task",
                table(caption, columns("task", "#accuracy", ""), cells),
                is_open=len(cells) <= TASKS_UNFOLDED,
            )
        )
    losses = as_dict(metrics.get("downstream_perpexity"))
    if losses:
        rows = [(str(name), decimal(as_number(value))) for name, value in sorted(losses.items())]
        caption = f"Loss on the tasks' texts ({LOSS_UNIT})"
        parts.append(folded(caption, table(caption, columns("task", "#loss"), rows)))
    return join(parts)


def _aggregate(value: object) -> Child:
    score = as_number(value)
    if score is not None:
        return decimal(score)
    text = str(value)
    head, colon, rest = text.partition(":")  # CORE says "N/A due to missing tasks: [...]", at length
    return el("div", folded(head, el("p", rest)) if colon else text, class_="wide")


def _score_bar(task: str, score: float | None) -> Child:
    if score is None:
        return ""
    return bar(f"{task}: {score:.4f}", [("keep", min(max(score, 0.0), 1.0))], "mini")
