"""The experiment database: small JSON files ("references") that identify data sets, models and evaluations.

It follows DCLM's `exp_data` folder: each asset has one JSON file whose stem is its name, a uuid (version 4) identifies
it, and links between files are uuids. It departs from DCLM in four ways. A uuid and a date are made per record, never
once per process. Keys that we don't know are kept in `extra` and written back. A file that exists is never overwritten
unless asked. Dates are in UTC.

A reader must not fail on a link that leads nowhere: published databases are incomplete.
"""

import functools
import operator as operator_module
import re
import subprocess
import uuid as uuid_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.redact import holds_secret, redact, redact_tree

DATE_FORMAT = "%Y_%m_%d-%H_%M_%S"

#: kind -> folders below the database
FOLDERS: dict[str, tuple[str, ...]] = {
    "raw_sources": ("datasets", "raw_sources"),
    "untokenized": ("datasets", "untokenized"),
    "tokenized": ("datasets", "tokenized"),
    "models": ("models",),
    "failed_models": ("failed_models",),
    "evals": ("evals",),
}

_DATASET_ORDER = (
    *("uuid", "name", "creation_date", "dataset_url", "manifest_url", "sources", "tokenized", "tokenizer"),
    *("num_tokens", "size", "dcnlp_commit_hash", "dcnlp_diff", "data_key", "sampling_yaml", "mirrors", "note"),
)
_TOKENIZED_REQUIRED = (
    *("name", "sources", "tokenized", "num_tokens", "size", "dataset_url", "manifest_url"),
    *("dcnlp_commit_hash", "dcnlp_diff", "sampling_yaml"),
)
_MODEL_ORDER = (
    *("name", "dataset_name", "dataset_uuid", "hyperparameters", "checkpoint_url", "open_lm_version"),
    *("open_lm_args", "results", "params_url", "uuid", "creation_date", "failed", "error"),
)
_MODEL_REQUIRED = _MODEL_ORDER[:9]
_GIT_SECONDS = 30
DIFF_LEFT_OUT = "(left out: something in the uncommitted changes looks like a secret)"
_SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator_module.gt,
    ">=": operator_module.ge,
    "<": operator_module.lt,
    "<=": operator_module.le,
}


def new_uuid() -> str:
    """A fresh uuid, version 4."""
    return str(uuid_module.uuid4())


def now() -> str:
    """The present moment in UTC, as references write it."""
    return datetime.now(UTC).strftime(DATE_FORMAT)


@dataclass(frozen=True, kw_only=True)
class DatasetReference:
    """Reference JSON of a data set: raw pages, processed pages or token shards.

    `size` is in bytes, `num_tokens` counts sequences times (sequence length + 1). `sources` lists `{uuid, name}`;
    published files also hold strings there, which are kept. `sampling_yaml` is written for tokenized data sets only.
    """

    name: str
    dataset_url: str | None = None
    manifest_url: str | None = None
    sources: list[dict[str, str]] | str | None = field(default_factory=list)
    tokenized: bool = False
    tokenizer: str | None = None
    num_tokens: int | None = None
    size: int | str | None = None
    dcnlp_commit_hash: str | None = ""
    dcnlp_diff: str | None = ""
    data_key: str | None = None
    sampling_yaml: dict[str, Any] | str | None = None
    uuid: str = field(default_factory=new_uuid)
    creation_date: str = field(default_factory=now)
    mirrors: dict[str, Any] | None = None
    note: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """Reference JSON of a trained (or failed) model, eleven fields and the outcome.

    `hyperparameters` is the scale after overrides, `results` one object per validation set, `open_lm_args` the
    argument list handed to the trainer.
    """

    name: str
    dataset_name: str
    dataset_uuid: str
    hyperparameters: dict[str, Any]
    checkpoint_url: str
    open_lm_version: str
    open_lm_args: list[str]
    results: list[Any]
    params_url: str
    uuid: str = field(default_factory=new_uuid)
    creation_date: str = field(default_factory=now)
    failed: bool = False
    error: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


Reference = DatasetReference | ModelReference


def load_dataset(path: str) -> DatasetReference:
    """Read a data set's reference JSON.

    Unknown keys go to `extra`. Older tokenized files without `tokenizer` or `data_key` get DCLM's defaults
    (`EleutherAI/gpt-neox-20b`, `json.gz`).

    Raises:
        InputError: no such file, not a JSON object, or a required key is missing.
    """
    known, extra = _split(_read_object(path), _DATASET_ORDER)
    if known.get("tokenized"):
        _require(known, _TOKENIZED_REQUIRED, path)
        known.setdefault("tokenizer", "EleutherAI/gpt-neox-20b")
        known.setdefault("data_key", "json.gz")
    else:
        _require(known, ("name",), path)
        known.setdefault("sources", None)
    return DatasetReference(**_fill_identity(known), extra=extra)


def load_model_reference(path: str) -> ModelReference:
    """Read a model's reference JSON; unknown keys go to `extra`.

    Raises:
        InputError: no such file, not a JSON object, or one of the nine required keys is missing.
    """
    known, extra = _split(_read_object(path), _MODEL_ORDER)
    _require(known, _MODEL_REQUIRED, path)
    return ModelReference(**_fill_identity(known), extra=extra)


def to_json(reference: Reference) -> dict[str, Any]:
    """The reference as a dict in the order in which its kind is written, unknown keys at the end."""
    order = _MODEL_ORDER if isinstance(reference, ModelReference) else _DATASET_ORDER
    row = {key: getattr(reference, key) for key in order}
    if isinstance(reference, DatasetReference):
        optional = ["mirrors", "note"] + ([] if reference.tokenized else ["sampling_yaml"])
        for key in optional:
            if row[key] is None:
                del row[key]
    return row | reference.extra


def write_reference(reference: Reference | Mapping[str, Any], path: str, overwrite: bool = False) -> None:
    """Write a reference JSON (indent 4), whole or not at all, and without secrets that stand in URLs.

    Raises:
        InputError: the file exists and `overwrite` is not set.
    """
    if not overwrite and storage.exists(path):
        raise InputError(f"{path} exists; a reference is never overwritten, choose another name or pass --overwrite")
    row = to_json(reference) if isinstance(reference, (DatasetReference, ModelReference)) else dict(reference)
    storage.write_json(path, redact_tree(row), indent=4)


def refuse_foreign_reference(path: str, dataset_url: str, overwrite: bool) -> None:
    """Raise InputError where a reference of this name stands already and belongs to other data."""
    if overwrite or not storage.exists(path):
        return
    found = load_dataset(path).dataset_url
    if found != redact(dataset_url):
        raise InputError(f"{path} exists and belongs to {found}; choose another --readable_name or pass --overwrite")


def reference_path(exp_data_dir: str, kind: str, name: str) -> str:
    """Where the reference called `name` lives; `kind` is a key of `FOLDERS`.

    Raises:
        InputError: unknown kind, or a name that can't be a file name.
    """
    if kind not in FOLDERS:
        raise InputError(f"unknown kind of reference {kind!r}; it must be one of {', '.join(FOLDERS)}")
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise InputError(f"{name!r} can't name a reference: a name must not be empty and must not hold slashes")
    return storage.join(exp_data_dir, *FOLDERS[kind], f"{name}.json")


def read_table(exp_data_dir: str, table: str) -> list[tuple[str, dict[str, Any]]]:
    """All rows of a table as (path, object), ordered by path; a table that doesn't exist is empty.

    `table` is a folder of the database (`datasets`, `models`, `evals`, …) or a kind of `FOLDERS`.

    Raises:
        InputError: a file is not a JSON object.
    """
    folder = storage.join(exp_data_dir, *FOLDERS.get(table, (table,)))
    if not storage.is_dir(folder):
        return []
    paths = [info.url for info in storage.list_files(folder, (".json",))]
    return [(path, _read_object(path)) for path in paths]


def find_by_uuid(exp_data_dir: str, table: str, uuid: str) -> tuple[str, dict[str, Any]] | None:
    """The first row of `table` with this uuid, or None."""
    return next(((path, row) for path, row in read_table(exp_data_dir, table) if row.get("uuid") == uuid), None)


def find_dataset(
    exp_data_dir: str, key: str, value: Any, tokenized: bool | None = None
) -> tuple[str, dict[str, Any]] | None:
    """The first data set whose `key` equals `value`, or None.

    Args:
        exp_data_dir: the database.
        key: a key of the reference.
        value: what it must be.
        tokenized: with True or False only data sets of that sort are looked at.
    """
    for path, row in read_table(exp_data_dir, "datasets"):
        if row.get(key) == value and tokenized in (None, bool(row.get("tokenized"))):
            return path, row
    return None


def flatten(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted names: `{"a": {"b": 1}}` becomes `{"a.b": 1}`; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@dataclass(frozen=True, kw_only=True)
class Filter:
    """One condition on a flattened row.

    `column==value` is exact equality of the value as text, `column=pattern` a regular expression searched in it,
    `column>number` (`>=`, `<`, `<=`) a comparison, where the number may end in K, M, B or T.
    """

    column: str
    operator: str
    value: str

    def matches(self, flat: Mapping[str, Any]) -> bool:
        """Whether a flattened row fulfils the condition; a row without the column doesn't."""
        if self.column not in flat:
            return False
        found = flat[self.column]
        if self.operator == "==":
            return str(found) == self.value
        if self.operator == "=":
            return re.search(self.value, str(found)) is not None
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            return False
        return _COMPARISONS[self.operator](found, _number(self.value))


def parse_filter(text: str) -> Filter:
    """A filter from its command-line spelling; the first operator decides.

    Raises:
        InputError: no operator, a bad regular expression or a bad number.
    """
    match = re.fullmatch(r"([^=<>]+)(==|>=|<=|=|<|>)(.*)", text, re.DOTALL)
    if match is None:
        raise InputError(f"filter {text!r} must read column==value, column=pattern, column>number or column<number")
    column, operator, value = match.groups()
    try:
        if operator == "=":
            re.compile(value)
        elif operator != "==":
            _number(value)
    except (re.error, ValueError) as error:
        raise InputError(f"filter {text!r}: {error}") from error
    return Filter(column=column.strip(), operator=operator, value=value)


def _number(text: str) -> float:
    """A number with an optional suffix K, M, B or T."""
    text = text.strip()
    factor = _SUFFIXES.get(text[-1:].upper(), 1.0)
    return float(text[:-1] if factor != 1.0 else text) * factor


@functools.cache
def git_state() -> tuple[str, str]:
    """Commit hash and uncommitted diff of the checkout that holds this package; ("", "") outside git.

    The diff covers tracked files and can hold whatever was not committed: one in which something looks like a secret
    is left out, and a sentence says so. Look at it before publishing a reference all the same.
    """
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "", ""  # no git, no commit yet, or another project's checkout around an installed copy
    diff = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff")
    return commit.strip(), shown_diff(diff or "")


def shown_diff(diff: str) -> str:
    """A diff as references hold it: whole, or not at all where something in it looks like a secret."""
    return DIFF_LEFT_OUT if holds_secret(diff) else diff


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of one git command, or None where it fails or git is absent."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _read_object(path: str) -> dict[str, Any]:
    """A JSON object from a file; everything else is the user's mistake."""
    if not storage.exists(path):
        raise InputError(f"{path}: no such reference JSON")
    row = storage.read_json(path)
    if not isinstance(row, dict):
        raise InputError(f"{path}: a reference must be a JSON object, found {type(row).__name__}")
    return row


def _split(row: Mapping[str, Any], order: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Known keys and the others."""
    known = {key: value for key, value in row.items() if key in order}
    return known, {key: value for key, value in row.items() if key not in order}


def _require(row: Mapping[str, Any], keys: tuple[str, ...], path: str) -> None:
    """Refuse a reference that lacks one of `keys`."""
    missing = [key for key in keys if key not in row]
    if missing:
        raise InputError(f"{path}: the reference lacks {', '.join(repr(key) for key in missing)}")


def _fill_identity(row: dict[str, Any]) -> dict[str, Any]:
    """Records without uuid or date stay without: an identity is never invented on reading."""
    return {"uuid": "", "creation_date": ""} | row
