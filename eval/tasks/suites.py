"""Evaluation suites: the YAML that lists tasks, and the JSONL files that hold their rows.

Follows the task YAML of DCLM (llm-foundry's `icl_tasks`) and its four task types. Departs from it in checking all of
it: unknown keys, wrong types and missing fields are errors that name file, line and key, and `category` splits are
made here. A task whose data file isn't there is listed in `Suite.missing`, never dropped in silence.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from corpusmith.config import YamlDocument, build, load_yaml
from corpusmith.errors import ConfigError, InputError, did_you_mean
from corpusmith.io import storage

TaskType = Literal["language_modeling", "multiple_choice", "schema", "generation_task_with_answers"]
LANGUAGE_MODELING: TaskType = "language_modeling"
MULTIPLE_CHOICE: TaskType = "multiple_choice"
SCHEMA: TaskType = "schema"
GENERATION: TaskType = "generation_task_with_answers"
TASK_TYPES: tuple[TaskType, ...] = (LANGUAGE_MODELING, MULTIPLE_CHOICE, SCHEMA, GENERATION)


#: llm-foundry's old names of task types
_OLD_TYPES: dict[str, TaskType] = {"question_answering": GENERATION}

_HEADER_KEYS = (
    "epoch", "dataset", "num_params", "max_seq_len", "seed", "precision", "tokenizer", "model", "load_path",
    "device_eval_batch_size", "fsdp_config", "icl_tasks",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Task:
    """One entry of `icl_tasks`, defaults included.

    `data_url` is where its rows are; `num_fewshot` the shot counts to run, of which the last one is reported;
    `early_stopping_criteria` regular expressions that end a generation.
    """

    label: str
    data_url: str
    task_type: TaskType
    num_fewshot: tuple[int, ...]
    has_categories: bool = False
    prompt_string: str = ""
    prelimiter: str = ""
    example_delimiter: str = "\n"
    continuation_delimiter: str = " "
    cot_delimiter: str = ""
    early_stopping_criteria: tuple[str, ...] = ()
    do_normalization: bool = True
    fewshot_random_seed: int = 1234
    max_seq_len: int = 2048


@dataclass(frozen=True, kw_only=True)
class Suite:
    """An evaluation YAML: its stem, its tasks, and those of its tasks whose data file is absent."""

    name: str
    tasks: tuple[Task, ...]
    missing: tuple[Task, ...] = ()
    max_seq_len: int = 2048
    device_eval_batch_size: int = 4


@dataclass(frozen=True, slots=True)
class LanguageModelingRow:
    """A context whose continuation must be predicted token by token."""

    context: str
    continuation: str
    category: str | None = None


@dataclass(frozen=True, slots=True)
class MultipleChoiceRow:
    """A query whose choices are compared; `gold` is the index of the right one."""

    query: str
    choices: tuple[str, ...]
    gold: int
    category: str | None = None


@dataclass(frozen=True, slots=True)
class SchemaRow:
    """Several contexts, one continuation; `gold` is the index of the context that it fits."""

    context_options: tuple[str, ...]
    continuation: str
    gold: int


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A context to be answered freely; `chain_of_thought` is None where the file has no such column."""

    context: str
    answer: str
    aliases: tuple[str, ...] = ()
    chain_of_thought: str | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """The answer and its aliases, each once, in order."""
        return tuple(dict.fromkeys((self.answer, *self.aliases)))


Row = LanguageModelingRow | MultipleChoiceRow | SchemaRow | GenerationRow

_ROW_TYPES: dict[TaskType, type[Row]] = {
    LANGUAGE_MODELING: LanguageModelingRow,
    MULTIPLE_CHOICE: MultipleChoiceRow,
    SCHEMA: SchemaRow,
    GENERATION: GenerationRow,
}
_OPTIONAL_FIELDS = frozenset({"category", "aliases", "chain_of_thought"})


@dataclass(frozen=True, kw_only=True)
class _TaskEntry:
    """The keys of one task as they stand in the YAML."""

    label: str
    dataset_uri: str
    num_fewshot: list[int]
    icl_task_type: str
    has_categories: bool = False
    prompt_string: str = ""
    prelimiter: str | None = None
    question_prelimiter: str | None = None
    example_delimiter: str = "\n"
    continuation_delimiter: str = " "
    cot_delimiter: str = ""
    early_stopping_criteria: list[str] | None = None
    do_normalization: bool = True
    fewshot_random_seed: int = 1234
    max_seq_len: int | None = None
    batch_size: int | None = None


def load_suite(path: str, data_dirs: Sequence[str] | None = None, fewshot_seed: int | None = None) -> Suite:
    """Read an evaluation YAML.

    A relative `dataset_uri` is looked for in each of `data_dirs` (default: the working directory, then the YAML's
    folder), as it stands and without a leading `local_data/`. With `fewshot_seed`, every task draws its few-shot
    examples from that seed. Of the header's keys `max_seq_len` and `device_eval_batch_size` have an effect, the others
    of upstream's are accepted without one; so is a task's `batch_size`, since batches are made by length.

    Raises:
        ConfigError: unknown or missing keys, wrong types, unsupported task types; names file, line and key.
    """
    document = load_yaml(path)
    header = _check_header(document)
    max_seq_len = _positive_int(document, header, "max_seq_len", 2048)
    folders = list(data_dirs) if data_dirs is not None else [".", storage.parent(path)]
    present: list[Task] = []
    missing: list[Task] = []
    for index, entry in enumerate(header["icl_tasks"]):
        task = _read_task(document, index, entry, max_seq_len)
        if fewshot_seed is not None:
            task = replace(task, fewshot_random_seed=fewshot_seed)
        found = _find_data(task.data_url, folders)
        if found is None:
            missing.append(task)
        else:
            present.append(replace(task, data_url=found))
    return Suite(
        name=_stem(path),
        tasks=tuple(present),
        missing=tuple(missing),
        max_seq_len=max_seq_len,
        device_eval_batch_size=_positive_int(document, header, "device_eval_batch_size", 4),
    )


def find_suite(path: str) -> str:
    """An evaluation YAML as given, or the built-in one of that name (`eval/heavy.yaml`, `heavy.yaml`).

    Raises:
        InputError: neither exists.
    """
    built_in = Path(__file__).resolve().parents[1]
    names = sorted(file.name for file in built_in.glob("*.yaml"))
    if storage.exists(path):
        return path
    if path.removeprefix("eval/") in names:
        return str(built_in / path.removeprefix("eval/"))
    hint = did_you_mean(storage.basename(path), names) or f"; built-in suites: {', '.join(names)}"
    raise InputError(f"{path}: no such evaluation YAML{hint}")


def read_rows(task: Task) -> list[Row]:
    """All rows of a task's file, top-level strings stripped at both ends, in file order.

    Raises:
        InputError: a line is not a JSON object or lacks a field; names file, line and key.
    """
    raw = storage.read_bytes(task.data_url).split(b"\n")
    objects = [
        (_parse_line(line, f"{task.data_url}:{number}"), f"{task.data_url}:{number}")
        for number, line in enumerate(raw, start=1)
        if line.strip()
    ]
    if not objects:
        raise InputError(f"{task.data_url}: no rows")
    rows = [_make_row(task.task_type, obj, where) for obj, where in objects]
    if task.task_type == GENERATION:
        return list(_with_thought_column(cast(list[GenerationRow], rows)))
    return rows


def count_rows(task: Task) -> int:
    """Rows of a task's file, by its lines."""
    return sum(1 for line in storage.read_bytes(task.data_url).split(b"\n") if line.strip())


def split_categories(task: Task, rows: Sequence[Row]) -> list[tuple[str | None, list[Row]]]:
    """The independent data sets of a task: one per category, sorted by name, or the whole file under None.

    Raises:
        InputError: the task has categories and a row lacks one.
    """
    if not task.has_categories:
        return [(None, list(rows))]
    parts: dict[str, list[Row]] = {}
    for number, row in enumerate(rows, start=1):
        category = getattr(row, "category", None)
        if category is None:
            raise InputError(f"{task.data_url}: row {number} lacks 'category', but task {task.label} has categories")
        parts.setdefault(category, []).append(row)
    return sorted(parts.items())


def _check_header(document: YamlDocument) -> dict[str, Any]:
    """The YAML's top level as a dict with a non-empty `icl_tasks`."""
    header = document.data
    if not isinstance(header, dict):
        raise ConfigError(document.where(), "an evaluation YAML must be a mapping with the key icl_tasks")
    for key in header:
        if key not in _HEADER_KEYS:
            raise ConfigError(document.where(key), f"unknown key {key!r}{did_you_mean(str(key), _HEADER_KEYS)}")
    tasks = header.get("icl_tasks")
    if not isinstance(tasks, list) or not tasks:
        raise ConfigError(document.where(), "icl_tasks must be a list of at least one task")
    return header


def _positive_int(document: YamlDocument, header: Mapping[str, Any], key: str, default: int) -> int:
    """A whole number of at least 1 from the header."""
    value = header.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(document.where(key), f"{key} must be a whole number of at least 1, got {value!r}")
    return value


def _read_task(document: YamlDocument, index: int, raw: Any, max_seq_len: int) -> Task:
    """One task entry, checked, with the suite's defaults."""

    def where(*keys: str | int) -> str:
        return document.where("icl_tasks", index, *keys)

    if not isinstance(raw, dict):
        raise ConfigError(where(), f"a task must be a mapping, got {raw!r}")
    entry = build(_TaskEntry, raw, where)
    task_type = _OLD_TYPES.get(entry.icl_task_type, entry.icl_task_type)
    if task_type not in TASK_TYPES:
        hint = did_you_mean(entry.icl_task_type, TASK_TYPES) or f"; it must be one of {', '.join(TASK_TYPES)}"
        raise ConfigError(where("icl_task_type"), f"unsupported task type {entry.icl_task_type!r}{hint}")
    if entry.prelimiter is not None and entry.question_prelimiter is not None:
        message = "question_prelimiter is the old name of prelimiter; give one of them"
        raise ConfigError(where("question_prelimiter"), message)
    if not entry.num_fewshot or min(entry.num_fewshot) < 0:
        raise ConfigError(where("num_fewshot"), f"num_fewshot must list counts of at least 0, got {entry.num_fewshot}")
    stops = tuple(entry.early_stopping_criteria or ())
    _check_pattern(stops, where("early_stopping_criteria"))
    return Task(
        label=entry.label,
        data_url=entry.dataset_uri,
        task_type=task_type,
        num_fewshot=tuple(entry.num_fewshot),
        has_categories=entry.has_categories,
        prompt_string=entry.prompt_string,
        prelimiter=entry.prelimiter or entry.question_prelimiter or "",
        example_delimiter=entry.example_delimiter,
        continuation_delimiter=entry.continuation_delimiter,
        cot_delimiter=entry.cot_delimiter,
        early_stopping_criteria=stops,
        do_normalization=entry.do_normalization,
        fewshot_random_seed=entry.fewshot_random_seed,
        max_seq_len=entry.max_seq_len or max_seq_len,
    )


def _check_pattern(stops: tuple[str, ...], where: str) -> None:
    """Stop strings are used as regular expressions: refuse those that are none."""
    try:
        re.compile("|".join(stops))
    except re.error as error:
        raise ConfigError(where, f"{list(stops)} is no regular expression: {error}") from error


def _find_data(uri: str, folders: Sequence[str]) -> str | None:
    """Where a task's file is, or None."""
    if "://" in uri or uri.startswith("/"):
        return uri if storage.exists(uri) else None
    spellings = dict.fromkeys((uri, uri.removeprefix("local_data/")))
    candidates = (storage.join(folder, spelling) for folder in folders for spelling in spellings)
    return next((url for url in candidates if storage.exists(url)), None)


def _stem(path: str) -> str:
    """File name without `.yaml`."""
    name = storage.basename(path)
    return name.rsplit(".", 1)[0] if "." in name else name


def _parse_line(line: bytes, where: str) -> dict[str, Any]:
    """One JSON object of a JSONL file."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row must be a JSON object, found {type(row).__name__}")
    return row


def _make_row(task_type: TaskType, raw: Mapping[str, Any], where: str) -> Row:
    """A typed row; fields that the type doesn't know are ignored, since published files carry more."""
    row_type = _ROW_TYPES[task_type]
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(row_type)):
        value = raw.get(name)
        if value is None and name in _OPTIONAL_FIELDS:
            if name == "chain_of_thought" and name in raw:
                values[name] = ""
            continue
        if value is None:
            raise InputError(f"{where}: the row lacks {name!r}, which task type {task_type} needs")
        values[name] = _convert(name, value, where)
    row = row_type(**values)
    _check_gold(row, where)
    return row


def _convert(name: str, value: Any, where: str) -> Any:
    """A field's value in its own type; strings are stripped, the members of lists are not."""
    if name == "gold":
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{where}: 'gold' must be a whole number, got {value!r}")
        return value
    if name in ("choices", "context_options", "aliases"):
        if not isinstance(value, list) or not all(isinstance(member, str) for member in value):
            raise InputError(f"{where}: {name!r} must be a list of strings")
        return tuple(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: {name!r} must be a string, got {type(value).__name__}")
    return value.strip()


def _check_gold(row: Row, where: str) -> None:
    """The index of the right choice must be one of the choices."""
    if isinstance(row, MultipleChoiceRow):
        options = row.choices
    elif isinstance(row, SchemaRow):
        options = row.context_options
    else:
        return
    if not 0 <= row.gold < len(options):
        raise InputError(f"{where}: 'gold' is {row.gold}, but there are {len(options)} choices")


def _with_thought_column(rows: list[GenerationRow]) -> Iterable[GenerationRow]:
    """A column is a property of the file: where one row has a chain of thought, the others have an empty one."""
    if all(row.chain_of_thought is None for row in rows):
        return rows
    return [replace(row, chain_of_thought=row.chain_of_thought or "") for row in rows]
