"""Scales: the JSON files of `training/configs/` with their overrides, and the friendly name of a run.

Follows DCLM's scale registry and naming. Departs from it in that a scale is an immutable record: applying a token
multiplier returns a new one, so that asking twice in one process can't multiply twice. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from corpusmith.errors import ConfigError, InputError, did_you_mean
from corpusmith.io import storage
from training.models.config import model_stem

#: The leaderboard's names of scales, read without regard to case and to `-` or `_`.
SCALE_NAMES_FILE = Path(__file__).resolve().parent / "scale_names.json"
SCALES_FOLDER = Path(__file__).resolve().parent / "configs"
#: Further folders beside `configs/`, read where they exist.
EXTRA_FOLDERS = ("configs_ppl_filtering", "configs_grid")
DEFAULT_NORM = "gain_only_lp_layer_norm"
DEFAULT_VOCABULARY = 50432
DEFAULT_SEED = 124


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """One scale, in the order in which the model's reference JSON writes it.

    `model` is the path of a model config; `tokens` the training tokens (before the multiplier in a scale file, after
    it in a run); `warmup` in steps; `cd` the learning rate at the end of the cooldown; `global_bs` in sequences;
    `acc` the number of micro-batches per step.
    """

    model: str
    tokens: int
    warmup: int
    lr: float
    wd: float
    cd: float
    global_bs: int
    acc: int
    qk_norm: bool
    z_loss: float
    grad_checkpointing: bool
    params: int
    params_no_embed: int
    fsdp_flags: list[str] = field(default_factory=list)
    chinchilla_multiplier: int | float = 1
    seed: int = DEFAULT_SEED
    vocab_size: int = DEFAULT_VOCABULARY
    norm: str = DEFAULT_NORM

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the model's reference."""
        return asdict(self)


def get_scale(name: str) -> Hyperparameters:
    """Read a scale by the stem of its file or by its name on the leaderboard; its multiplier is not yet applied.

    Raises:
        InputError: no such scale.
        ConfigError: a key is unknown, missing or of the wrong type.
    """
    files, public = _scale_files(), _public_names()
    changed = {} if name in files else dict(public.get(_plain(name), {}))
    stem = changed.pop("scale", name)
    if stem not in files:
        known = [*sorted(files), *storage.read_json(str(SCALE_NAMES_FILE))]
        hint = did_you_mean(name, known) or f"; known scales: {', '.join(known)}"
        raise InputError(f"unknown scale {name!r}{hint}")
    document = storage.read_json(str(files[stem])) | changed
    return hyperparameters_from(document, where=str(files[stem]))


def hyperparameters_from(document: Mapping[str, Any], *, where: str) -> Hyperparameters:
    """Build `Hyperparameters` from a JSON object; `where` names its origin in errors."""
    types = {entry.name: str(entry.type) for entry in fields(Hyperparameters)}
    required = [entry.name for entry in fields(Hyperparameters) if entry.default is entry.default_factory is MISSING]
    missing = [name for name in required if name not in document]
    if missing:
        raise ConfigError(where, f"the scale lacks {', '.join(missing)}")
    for key, value in document.items():
        if key not in types:
            raise ConfigError(f"{where}: {key}", f"unknown key{did_you_mean(key, types)}")
        if not _fits(value, types[key]):
            raise ConfigError(f"{where}: {key}", f"must be of type {types[key]}, got {value!r}")
    return Hyperparameters(**document)


def apply_overrides(scale: Hyperparameters, *, seed: int | None = None, **overrides: float | None) -> Hyperparameters:
    """The scale with the values of flags that were given, its tokens multiplied.

    `overrides` may hold warmup, lr, wd, cd, global_bs, acc and chinchilla_multiplier (which replaces the scale's own
    multiplier); None means not given. `tokens` becomes `int(tokens * chinchilla_multiplier)`.

    Raises:
        InputError: a value that no run can use.
    """
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    if seed is not None:
        given["seed"] = seed
    changed = replace(scale, **given)
    changed = replace(changed, tokens=int(changed.tokens * changed.chinchilla_multiplier))
    for key in ("tokens", "global_bs", "acc", "lr"):
        if getattr(changed, key) <= 0:
            raise InputError(f"{key} must be above 0, got {getattr(changed, key)}")
    return changed


def friendly_name(dataset: str, hyperparameters: Hyperparameters, suffix: str = "") -> str:
    """The name of a run, as DCLM builds it from the data set's name and the hyperparameters.

    Values are `str(v)` with `.` as `p` and `/` as `-`; norm and vocabulary appear only where they differ from the
    usual ones.

    Args:
        dataset: the data set's name.
        hyperparameters: after all overrides.
        suffix: appended as it is.
    """
    values: dict[str, int | float | str] = {
        "warm": hyperparameters.warmup,
        "lr": hyperparameters.lr,
        "wd": hyperparameters.wd,
        "cd": hyperparameters.cd,
        "bs": hyperparameters.global_bs,
        "mult": hyperparameters.chinchilla_multiplier,
        "seed": hyperparameters.seed,
        "tokens": hyperparameters.tokens,
    }
    if hyperparameters.norm != DEFAULT_NORM:
        values["norm"] = hyperparameters.norm
    if hyperparameters.vocab_size != DEFAULT_VOCABULARY:
        values["vocab"] = hyperparameters.vocab_size
    parts = [f"{key}={str(value).replace('.', 'p').replace('/', '-')}" for key, value in values.items()]
    return "-".join([dataset, model_stem(hyperparameters.model), *parts]) + suffix


def _scale_files() -> dict[str, Path]:
    """Scale name to file, the extra folders included."""
    folders = [SCALES_FOLDER, *(SCALES_FOLDER.parent / name for name in EXTRA_FOLDERS)]
    return {path.stem: path for folder in reversed(folders) for path in folder.glob("*.json")}


def _public_names() -> dict[str, dict[str, Any]]:
    """The leaderboard's names, plainly spelt, with the scale that each means and what it changes."""
    return {_plain(name): entry for name, entry in storage.read_json(str(SCALE_NAMES_FILE)).items()}


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _fits(value: object, kind: str) -> bool:
    """Whether a JSON value is of the type that a field's annotation names."""
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    if kind == "str":
        return isinstance(value, str)
    if kind == "int":
        return isinstance(value, int)
    if "float" in kind:
        return isinstance(value, (int, float))
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
