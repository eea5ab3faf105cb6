"""Checkpoints: the files of `<logs>/<name>/checkpoints/`, and the door through which other rooms load a model.

Follows OpenLM's file names and keys. Departs from it in three ways: each file appears whole or not at all, the weights
last, so that an `epoch_n.pt` means a complete checkpoint; only weights and plain values are unpickled; and the model's
config lies beside `params.txt`, so that an edited config can't change what a checkpoint means.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor, nn

from corpusmith.errors import InputError, StorageError
from corpusmith.io import storage
from training.models.config import ModelConfig, config_to_json, load_model_config, model_config_from
from training.models.openlm import Transformer, strip_prefixes
from training.models.registry import build_model
from training.state.params_txt import read_params_text
from training.state.run_folder import CHECKPOINTS, MODEL_CONFIG_NAME, PARAMS_NAME

_EPOCH_FILE = re.compile(r"epoch_\d+\.pt")
_CONFIG_PARAMS = ("model_norm", "qk_norm", "positional_embedding_type", "ffn_type")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProgress:
    """How far a run has come: `epoch` checkpoints' worth of data, `step` optimizer steps.

    `samples_seen` counts sequences; `next_shards` is the position in each source; `percentage_seen` compares the
    steps of the last epoch with those expected; `evaluation` holds the objects of `results.jsonl`.
    """

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0
    next_shards: list[int] = field(default_factory=list)
    is_final: bool = False
    percentage_seen: float = 0.0
    shards: str = ""
    evaluation: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointContent:
    """What the files of a checkpoint hold.

    `name` is the run's, `seed` that of the order of shards; `weights` and `optimizer` have whole tensors; `scaler` is
    the fp16 gradient scaler's state, where there is one; `averagers` is the content of each averager's file by its
    name.
    """

    name: str
    seed: int
    progress: RunProgress
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    scaler: Mapping[str, Any] | None = None
    averagers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def save_checkpoint(folder: str, content: CheckpointContent, number: int | None = None) -> str:
    """Write the files of a checkpoint, the weights last.

    Args:
        folder: `checkpoints` of the experiment, or one of the folders beside it.
        content: what the files hold.
        number: n of the file names; by default the epoch.

    Returns:
        The URL of the weights.

    Raises:
        StorageError: a file can't be written; what stood there before still stands.
    """
    progress = content.progress
    common = {"epoch": progress.epoch, "name": content.name, "evaluation_metrics": progress.evaluation}
    position = {
        "next_shard_per_source": progress.next_shards,
        "samples_seen": progress.samples_seen,
        "step": progress.step,
        "shard_shuffle_seed": content.seed,
    }
    stats = common | {
        "is_final_checkpoint": progress.is_final,
        "percentage_of_data_seen": progress.percentage_seen,
        "train_data_string": progress.shards,
    }
    optimizer_file: dict[str, Any] = common | {"optimizer": dict(content.optimizer)}
    if content.scaler:
        optimizer_file["scaler"] = dict(content.scaler)
    url = storage.join(folder, f"epoch_{progress.epoch if number is None else number}.pt")
    for averager, entries in content.averagers.items():
        save_file(sibling(url, averager), entries)
    save_file(sibling(url, "optimizer"), optimizer_file)
    save_file(sibling(url, "stats"), stats | position)
    save_file(url, common | {"state_dict": dict(content.weights)} | position)
    return url


def delete_checkpoint(folder: str, number: int, averagers: Sequence[str] = ()) -> None:
    """Remove the files of one checkpoint, the weights first; none there is fine."""
    for prefix in ("epoch", "optimizer", "stats", *averagers):
        storage.remove(storage.join(folder, f"{prefix}_{number}.pt"))


def keep_only(folder: str, number: int | None = None) -> None:
    """Remove the files of all checkpoints in a folder but those of one number, weights first; no folder is fine."""
    if not storage.is_dir(folder):
        return
    others = [info.url for info in storage.list_files(folder, (".pt",)) if not info.url.endswith(f"_{number}.pt")]
    for url in sorted(others, key=lambda url: not storage.basename(url).startswith("epoch_")):
        storage.remove(url)


def latest_checkpoint(folder: str) -> str | None:
    """The URL of the `epoch_n.pt` with the highest n, or None."""
    if not storage.is_dir(folder):
        return None
    urls = [info.url for info in storage.list_files(folder, (".pt",))]
    weights = [url for url in urls if _EPOCH_FILE.fullmatch(storage.basename(url))]
    return max(weights, key=checkpoint_number, default=None)


def checkpoint_number(url: str) -> int:
    """The n of an `epoch_n.pt`."""
    return int(storage.basename(url).removeprefix("epoch_").removesuffix(".pt"))


def final_progress(folder: str) -> RunProgress:
    """How far a complete experiment has come, from its last `stats_n.pt`.

    Raises:
        InputError: the experiment is not complete, or a file of its last checkpoint is missing.
    """
    checkpoints = storage.join(folder, CHECKPOINTS)
    url = latest_checkpoint(checkpoints)
    if url is None or not storage.exists(storage.join(folder, PARAMS_NAME)):
        raise InputError(f"{folder} holds no checkpoint with its params.txt; has it been trained?")
    stats = load_file(sibling(url, "stats"))
    if not stats.get("is_final_checkpoint"):
        raise InputError(f"{url} is not the final checkpoint; train on, without --skip-train")
    return RunProgress(
        epoch=int(stats["epoch"]),
        step=int(stats.get("step", 0)),
        is_final=True,
        evaluation=list(stats.get("evaluation_metrics") or []),
    )


def load_progress(url: str, seed: int) -> tuple[RunProgress, dict[str, Tensor]]:
    """Progress and weights of a checkpoint to resume from.

    Raises:
        InputError: it has no position, or its shards were shuffled with another seed.
    """
    loaded = load_file(url)
    missing = [key for key in ("epoch", "step", "next_shard_per_source", "samples_seen") if key not in loaded]
    if missing:
        raise InputError(f"{url} can't be resumed from: it lacks {', '.join(missing)}; use --pretrained for weights")
    stored = loaded.get("shard_shuffle_seed")
    if stored != seed:
        raise InputError(f"{url} was trained with seed {stored}, not {seed}; give --seed {stored} or another --logs")
    stats = load_file(sibling(url, "stats"))
    progress = RunProgress(
        epoch=loaded["epoch"],
        step=loaded["step"],
        samples_seen=loaded["samples_seen"],
        next_shards=list(loaded["next_shard_per_source"]),
        is_final=bool(stats.get("is_final_checkpoint")),
        percentage_seen=float(stats.get("percentage_of_data_seen", 0.0)),
        shards=str(stats.get("train_data_string", "")),
        evaluation=list(loaded.get("evaluation_metrics") or []),
    )
    return progress, strip_prefixes(loaded["state_dict"])


def load_optimizer_state(url: str) -> dict[str, Any]:
    """The content of the `optimizer_n.pt` beside the weights at `url`: `optimizer`, and `scaler` if there was one."""
    return load_file(sibling(url, "optimizer"))


def load_weights(url: str) -> dict[str, Tensor]:
    """The weights of a checkpoint, the averaged ones of an averager's file, or those of a bare state dict."""
    loaded = load_file(url)
    return strip_prefixes(loaded.get("state_dict") or loaded.get("av_model_sd") or loaded)


def load_average(terms: Sequence[tuple[str, float]]) -> dict[str, Tensor]:
    """The weighted sum of the weights of several checkpoints; what is not floating comes from the first.

    Args:
        terms: the URL of each checkpoint and its coefficient.

    Raises:
        InputError: they have different keys or shapes.
    """
    (first_url, coefficient), *others = terms
    total = load_weights(first_url)
    shapes = {key: value.shape for key, value in total.items()}
    for value in total.values():
        if value.is_floating_point():
            value.mul_(coefficient)
    for url, coefficient in others:
        weights = load_weights(url)
        if {key: value.shape for key, value in weights.items()} != shapes:
            raise InputError(f"{url} can't be averaged with {first_url}: keys or shapes differ")
        for key, value in weights.items():
            if value.is_floating_point():
                total[key].add_(value, alpha=coefficient)
    return total


def load_file(url: str) -> dict[str, Any]:
    """Read a `.pt` file; nothing but tensors and plain values is unpickled.

    Raises:
        InputError: no such file, or a file that can't be read so.
    """
    with storage.open_read(url) as file:
        source = file if file.seekable() else io.BytesIO(file.read())
        try:
            loaded = torch.load(source, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{url}: not a checkpoint of weights and plain values ({reason})") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{url}: a checkpoint must hold a dictionary, found {type(loaded).__name__}")
    return loaded


def load_model(
    checkpoint_url: str,
    params_url: str | None = None,
    model_config: str | ModelConfig | None = None,
    device: str | torch.device = "cpu",
) -> Transformer:
    """Load a trained model, ready to evaluate.

    Args:
        checkpoint_url: an `epoch_n.pt`, or a bare state dict.
        params_url: the run's `params.txt`; by default the one of the checkpoint's experiment.
        model_config: overrides what the run says; a path, a built-in name or a config.
        device: where the weights go.

    Returns:
        The model (of the config's architecture) in eval mode; its forward gives (logits (B, T, V) in fp32, hidden
        states, cache or None).

    Raises:
        InputError: a file is missing, or the weights don't fit the config.
    """
    config = model_config if isinstance(model_config, ModelConfig) else None
    config = config or stored_model_config(checkpoint_url, params_url, model_config)
    with torch.device("meta"):
        model = cast(Transformer, build_model(config))
    model.to_empty(device="cpu").tie_weights()  # leaving the meta device unties them
    load_into(model, load_weights(checkpoint_url), checkpoint_url)
    return model.to(device).eval()


def load_into(model: nn.Module, weights: Mapping[str, Tensor], url: str) -> None:
    """Load weights strictly.

    Args:
        model: to load into, in place.
        weights: under the names of the model's state dict.
        url: names their origin in the error.

    Raises:
        InputError: names or shapes differ from the model's.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(f"{url} does not fit the model config: {detail}") from error


def stored_model_config(checkpoint_url: str, params_url: str | None, model_config: object = None) -> ModelConfig:
    """The config of the run that a checkpoint belongs to.

    It is the experiment's own copy where there is one, else the config that `params.txt` names, under its flags.

    Args:
        checkpoint_url: of the weights, two folders below the experiment's.
        params_url: by default the experiment's `params.txt`.
        model_config: path or built-in name of a config that wins over what the run says.

    Raises:
        InputError: nothing says which config it is.
    """
    root = storage.parent(storage.parent(checkpoint_url))
    copy = storage.join(root, MODEL_CONFIG_NAME)
    if model_config is None and storage.exists(copy):
        return model_config_from(storage.read_json(copy), where=copy)
    url = params_url or storage.join(root, PARAMS_NAME)
    params = read_params_text(storage.read_bytes(url).decode(), url) if storage.exists(url) else {}
    if model_config is None and "model" not in params:
        raise InputError(f"{url} does not say which model config {checkpoint_url} has; give params_url or a config")
    flags = {key: params[key] for key in _CONFIG_PARAMS if params.get(key) is not None}
    return load_model_config(str(model_config or params["model"]), **flags)


def write_model_config(folder: str, config: ModelConfig) -> None:
    """Keep the config beside the experiment's `params.txt`."""
    storage.write_json(storage.join(folder, MODEL_CONFIG_NAME), config_to_json(config), indent=4)


def save_file(url: str, content: Mapping[str, Any]) -> None:
    """Write a `.pt` file whole or not at all.

    Raises:
        StorageError: it can't be written, for want of space say.
    """
    try:
        with storage.atomic_write(url) as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:  # torch wraps what the file raises
        cause = error if isinstance(error, OSError) else error.__context__ or error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        raise StorageError(f"{url} could not be written: {reason}; what stood there before is untouched") from error


def sibling(url: str, prefix: str) -> str:
    """The file of the same checkpoint with another prefix."""
    name = storage.basename(url).replace("epoch_", f"{prefix}_", 1)
    return storage.join(storage.parent(url), name)
