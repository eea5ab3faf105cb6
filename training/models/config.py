"""Model configs: the JSON files of `training/open_lm_configs/`, as a typed record.

Follows OpenLM: a config must have the seven sizes, and may fix norm, qk norm, positional embedding and FFN; what it
fixes wins over the flags of the same name. Loads no torch. Departs from OpenLM in refusing unknown keys and sizes that
do not fit each other, with the file's name in the message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from corpusmith.errors import ConfigError, InputError, did_you_mean
from corpusmith.io import storage

CONFIG_FOLDER = Path(__file__).resolve().parents[1] / "open_lm_configs"

NORMS = (
    "default_layer_norm",
    "lp_layer_norm",
    "gain_only_lp_layer_norm",
    "gain_only_layer_norm",
    "no_wb_layer_norm",
    "rms_norm",
)
POSITIONAL_EMBEDDINGS = ("rotary", "head_rotary", "llama_rotary", "none")
FFN_TYPES = ("swiglu", "swiglu_torch", "gelu", "gemma_geglu")
_CHOICES = {"model_norm": NORMS, "positional_embedding_type": POSITIONAL_EMBEDDINGS, "ffn_type": FFN_TYPES}
_REQUIRED = ("hidden_dim", "n_layers", "n_heads", "seq_len", "vocab_size", "post_embed_norm", "weight_tying")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that decides the shape and the arithmetic of a model.

    `seq_len` is in tokens. `rotary_table` is `buffer` (angles come from the checkpoint's `inv_freq`, also where bf16
    training has rounded it) or `exact` (angles from the formula, the buffer is ignored). `architecture` is a name in
    `training.models.registry`.
    """

    hidden_dim: int
    n_layers: int
    n_heads: int
    seq_len: int
    vocab_size: int
    post_embed_norm: bool = False
    weight_tying: bool = False
    model_norm: str = "default_layer_norm"
    qk_norm: bool = False
    positional_embedding_type: str = "rotary"
    ffn_type: str = "swiglu"
    rotary_table: str = "buffer"
    architecture: str = "transformer"

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_dim // self.n_heads

    @property
    def ffn_dim(self) -> int:
        """Hidden width of the feed-forward block: 4 D for gelu, else 8 D / 3 rounded up to a multiple of 256."""
        if self.ffn_type == "gelu":
            return 4 * self.hidden_dim
        return 256 * ((int(2 * 4 * self.hidden_dim / 3) + 255) // 256)


def load_model_config(name_or_path: str, **flags: str | bool | None) -> ModelConfig:
    """Read a model config by path, or by the stem of a file in `training/open_lm_configs/`.

    `flags` are the values of `--model-norm`, `--qk-norm`, `--positional-embedding-type` and `--ffn-type` under the
    names of the fields; None means not given. A value in the file wins.

    Raises:
        InputError: no such config.
        ConfigError: a key is unknown, missing, of the wrong type, or doesn't fit the others.
    """
    path = find_model_config(name_or_path)
    document = storage.read_json(path)
    if not isinstance(document, dict):
        raise ConfigError(path, f"a model config is a JSON object, found {type(document).__name__}")
    return model_config_from(document, where=path, **flags)


def find_model_config(name_or_path: str) -> str:
    """The path of a model config: as given, below the checkout, or a built-in one by its stem."""
    stem = model_stem(name_or_path)
    beside = CONFIG_FOLDER.parents[1] / name_or_path
    for candidate in (name_or_path, str(beside), str(CONFIG_FOLDER / f"{stem}.json")):
        if candidate.endswith(".json") and storage.exists(candidate):
            return candidate
    known = sorted(path.stem for path in CONFIG_FOLDER.glob("*.json"))
    raise InputError(f"no model config {name_or_path!r}{did_you_mean(stem, known) or '; known: ' + ', '.join(known)}")


def model_stem(name_or_path: str) -> str:
    """The name of a model config: its file's name before the first dot."""
    return os.path.basename(name_or_path).split(".")[0]


def model_config_from(document: Mapping[str, Any], *, where: str, **flags: str | bool | None) -> ModelConfig:
    """Build a `ModelConfig` from a JSON object; `where` names its origin in errors."""
    for key in _REQUIRED:
        if key not in document:
            raise ConfigError(where, f"the key {key!r} is missing")
    types = {entry.name: type(_EXAMPLE[entry.name]) for entry in fields(ModelConfig)}
    for key, value in document.items():
        if key not in types:
            raise ConfigError(f"{where}: {key}", f"unknown key{did_you_mean(key, types)}")
        if type(value) is not types[key]:
            raise ConfigError(f"{where}: {key}", f"must be of type {types[key].__name__}, got {value!r}")
    values = {key: value for key, value in flags.items() if value is not None} | dict(document)
    config = ModelConfig(**values)
    _check(config, where)
    return config


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """The config as a JSON object that `model_config_from` reads back."""
    return asdict(config)


def _check(config: ModelConfig, where: str) -> None:
    """Refuse sizes that don't fit each other, and names that we don't know."""
    for key, names in _CHOICES.items():
        value = getattr(config, key)
        if value not in names:
            hint = did_you_mean(value, names) or f"; known: {', '.join(names)}"
            raise ConfigError(f"{where}: {key}", f"unknown value {value!r}{hint}")
    for key in ("hidden_dim", "n_layers", "n_heads", "seq_len", "vocab_size"):
        if getattr(config, key) < 1:
            raise ConfigError(f"{where}: {key}", f"must be at least 1, got {getattr(config, key)}")
    if config.hidden_dim % config.n_heads:
        raise ConfigError(f"{where}: n_heads", f"{config.n_heads} heads do not divide hidden_dim {config.hidden_dim}")
    if config.positional_embedding_type != "none" and config.head_dim % 2:
        raise ConfigError(f"{where}: n_heads", f"rotary embeddings need an even head width, got {config.head_dim}")


_EXAMPLE = asdict(ModelConfig(hidden_dim=1, n_layers=1, n_heads=1, seq_len=1, vocab_size=1))
