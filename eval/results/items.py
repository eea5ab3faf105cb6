"""Results of a task item by item: scored, merged over processes, kept beside the evaluation JSON, read back.

An evaluation `X.json` has a folder `X_items/` with one JSON-lines file per task and shot count: a first line about the
task, then one line per row. The first line holds a fingerprint of all that decides the result (model, tokenizer, task,
data, code), so the same command again takes what is there and runs the rest. Comparisons and intervals read the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.deciding_code import Entry, code_versions
from corpusmith.run.fingerprint import Tree, digest
from eval.tasks.suites import Task

SUFFIX = ".jsonl"
#: nats between the two best choices below which rounding (batches, kernels, machines) may turn a decision
NEAR_TIE = 1e-4
_SCORING = "eval.scoring.task_run:run_part"


@dataclass(frozen=True, slots=True)
class ItemResult:
    """How one row came out.

    `row` counts within its category (or file). `losses` are the mean cross entropies in nats, one per choice (one for
    language modeling, none for generation); `text` is a cleaned generation.
    """

    row: int
    correct: bool
    category: str | None = None
    losses: tuple[float, ...] = ()
    text: str | None = None

    @property
    def margin(self) -> float:
        """Distance of the two smallest losses in nats; infinite where there are not two."""
        if len(self.losses) < 2:
            return math.inf
        first, second = sorted(self.losses)[:2]
        return second - first


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """A task at one shot count: its items in order of category and row.

    `truncated` counts sequences (one per choice) whose context lost its beginning to the context window.
    """

    label: str
    shots: int
    items: tuple[ItemResult, ...]
    seconds: float = 0.0
    truncated: int = 0

    @property
    def accuracy(self) -> float:
        """Share of correct rows; with categories the unweighted mean over them; NaN without items."""
        parts: dict[str | None, list[bool]] = {}
        for item in self.items:
            parts.setdefault(item.category, []).append(item.correct)
        shares = [sum(part) / len(part) for part in parts.values()]
        return sum(shares) / len(shares) if shares else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """The folder of items of one evaluation.

    `model` and `tokenizer` say what is evaluated, in any JSON form; `loaders` are the functions and classes of ours
    that made both, whose code decides the losses too.
    """

    folder: str
    model: Tree = field(default_factory=dict)
    tokenizer: str = ""
    loaders: tuple[Entry, ...] = ()

    def fingerprint(self, task: Task, shots: int) -> Tree:
        """What decides the result of a task."""
        entry = {key: value for key, value in asdict(task).items() if key not in ("data_url", "num_fewshot")}
        return {
            "model": self.model,
            "tokenizer": self.tokenizer,
            "task": entry | {"shots": shots},
            "data": digest(storage.read_bytes(task.data_url).decode("utf-8", "replace")),
            "code": code_versions(_SCORING, *self.loaders),
        }

    def load(self, task: Task, shots: int) -> TaskResult | None:
        """A finished result with the same fingerprint, if there is one."""
        url = self._url(task.label, shots)
        if not storage.exists(url):
            return None
        try:
            head, result = read_result(url)
        except InputError:
            return None  # it is no record of ours any more: the task is run again
        return result if head.get("fingerprint") == digest(self.fingerprint(task, shots)) else None

    def save(self, task: Task, result: TaskResult) -> None:
        """Write a result; it appears whole or not at all."""
        head = {
            "label": result.label,
            "shots": result.shots,
            "type": task.task_type,
            "accuracy": result.accuracy,
            "items": len(result.items),
            "cut": result.truncated,
            "near_ties": sum(item.margin < NEAR_TIE for item in result.items),
            "seconds": result.seconds,
            "fingerprint": digest(self.fingerprint(task, result.shots)),
        }
        lines = [orjson.dumps(head), *(orjson.dumps(_to_json(item)) for item in result.items)]
        storage.write_bytes(self._url(task.label, result.shots), b"\n".join(lines) + b"\n")

    def _url(self, label: str, shots: int) -> str:
        return storage.join(self.folder, f"{label.replace('/', '_')}-{shots}shot{SUFFIX}")


def items_folder(evaluation_url: str) -> str:
    """Where the items of an evaluation JSON are."""
    return f"{evaluation_url.removesuffix('.json')}_items"


def read_results(evaluation_url: str) -> dict[str, TaskResult]:
    """Results by label, of an evaluation JSON's own tasks: of several shot counts the one whose accuracy it reports.

    Raises:
        InputError: no items beside it.
    """
    document = storage.read_json(evaluation_url)
    icl: Mapping[str, float] = document["eval_metrics"]["icl"] if isinstance(document, Mapping) else {}
    folder = items_folder(evaluation_url)
    files = storage.list_files(folder, (SUFFIX,)) if storage.is_dir(folder) else []
    found: dict[str, TaskResult] = {}
    for file in files:
        head, result = read_result(file.url)
        if head.get("accuracy") == icl.get(result.label):
            found[result.label] = result
    if not found:
        raise InputError(f"{evaluation_url}: no items in {folder}; evaluate the model with this version first")
    return {label: found[label] for label in icl if label in found}


def read_result(url: str) -> tuple[dict[str, Any], TaskResult]:
    """The first line of a file of items, and the result.

    Raises:
        InputError: it is no such file.
    """
    try:
        head, *rows = map(orjson.loads, storage.read_bytes(url).splitlines())
        items = tuple(_from_json(row) for row in rows)
        if len(items) != head["items"] or not items:
            raise ValueError(f"{len(items)} rows, expected {head['items']}")
        result = TaskResult(
            label=head["label"], shots=head["shots"], items=items, seconds=head["seconds"], truncated=head["cut"]
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{url}: not a file of items of an evaluation ({error})") from error
    return head, result


def _to_json(item: ItemResult) -> dict[str, Any]:
    """A line; what is empty is left out, infinite losses are null."""
    line: dict[str, Any] = {"row": item.row, "correct": int(item.correct)}
    if item.category is not None:
        line["category"] = item.category
    if item.losses:
        line["losses"] = list(item.losses)
    if item.text is not None:
        line["text"] = item.text
    return line


def _from_json(line: Mapping[str, Any]) -> ItemResult:
    losses: Sequence[float | None] = line.get("losses", ())
    return ItemResult(
        row=line["row"],
        correct=bool(line["correct"]),
        category=line.get("category"),
        losses=tuple(math.inf if loss is None else loss for loss in losses),
        text=line.get("text"),
    )
