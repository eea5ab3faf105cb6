"""How a run begins: fresh, from other weights, or where an earlier attempt stopped.

Follows OpenLM: `params.txt` is rewritten at each start, `--resume latest` takes the newest checkpoint, `--pretrained`
the weights only. Departs from it in rolling checkpoints between epochs, and in refusing to go on where the data or
their order changed, naming what.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from corpusmith.errors import ChangedError, InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.seeds import stable_hash
from training.loop.loader import Loader
from training.optimization.averagers import Averager, make_averagers
from training.optimization.step import TrainingState, make_training_state
from training.plan.config import TrainConfig
from training.state.checkpoint import (
    RunProgress,
    latest_checkpoint,
    load_average,
    load_file,
    load_optimizer_state,
    load_progress,
    load_weights,
    sibling,
    write_model_config,
)
from training.state.params_txt import params_text
from training.state.ranks import Ranks, check_equal, wait_for_all
from training.state.run_folder import CHECKPOINTS, DATA_ORDER_NAME, PARAMS_NAME, ROLLING_CHECKPOINTS
from training.state.sharding import load_whole_optimizer_state

LATEST = "latest"


def begin(config: TrainConfig, ranks: Ranks, loader: Loader) -> tuple[TrainingState, list[Averager], RunProgress]:
    """Build what a step changes and put it where the run starts.

    Rank 0 writes `params.txt` before any weights are loaded.

    Returns:
        Model and optimizer, the averages of the weights, and how far the run has come.

    Raises:
        InputError: weights that are missing or don't fit.
        ChangedError: the run to go on with read other data, or in another order.
    """
    resumed = _checkpoint_to_resume(config)
    check_equal(stable_hash(resumed or ""), "the checkpoints to resume from", ranks)
    _check_data_order(config, ranks, loader, resumed)
    if ranks.leads:
        _write_params(config, ranks, resumed)
    source = resumed or config.pretrained
    continued = resumed is not None or (source is not None and config.load_pretrained_state)
    if source is not None and continued:
        return _continue(config, ranks, source)
    seed_all(config.seed)
    weights = None if source is None else load_weights(source)
    if weights is None and config.average:
        source, weights = config.average[0][0], load_average(config.average)
    state = make_training_state(config.model, config.step, ranks, weights, source or "")
    return state, make_averagers(config.averagers, state.model), RunProgress()


def _checkpoint_to_resume(config: TrainConfig) -> str | None:
    """The URL of the weights to go on from; of a checkpoint and a rolling one the one with more steps."""
    if config.resume is None:
        return None
    if config.resume != LATEST:
        return config.resume
    found = [
        url
        for folder in (CHECKPOINTS, ROLLING_CHECKPOINTS)
        if (url := latest_checkpoint(storage.join(config.folder, folder))) is not None
    ]
    if len(found) < 2:
        return found[0] if found else None
    return max(found, key=lambda url: int(load_file(sibling(url, "stats"))["step"]))


def _continue(config: TrainConfig, ranks: Ranks, url: str) -> tuple[TrainingState, list[Averager], RunProgress]:
    """Weights, optimizer, averagers and progress of a checkpoint."""
    progress, weights = load_progress(url, config.seed)
    seed_all(config.seed)
    state = make_training_state(config.model, config.step, ranks, weights, url)
    stored = load_optimizer_state(url)
    try:
        load_whole_optimizer_state(state.model, state.optimizer, stored["optimizer"])
    except (ValueError, KeyError) as error:
        raise InputError(f"{sibling(url, 'optimizer')} does not fit the model: {error}") from error
    if "scaler" in stored:
        state.scaler.load_state_dict(stored["scaler"])
    averagers = make_averagers(config.averagers, state.model)
    for averager in averagers:
        averager.load(load_file(sibling(url, averager.name)))
    if ranks.leads:
        say(f"continuing {config.name} at step {progress.step} from {url}")
    return state, averagers, progress


def _check_data_order(config: TrainConfig, ranks: Ranks, loader: Loader, resumed: str | None) -> None:
    """Hold what decides the order of the data against what an earlier attempt noted; note it for later ones."""
    url = storage.join(config.folder, DATA_ORDER_NAME)
    identity: dict[str, Any] = loader.identity()
    if resumed is not None and config.resume == LATEST and storage.exists(url):
        before = storage.read_json(url)
        for key, value in identity.items():
            if key in before and before[key] != value:
                raise ChangedError(
                    f"{config.folder}: {key} is {value!r}, but the run to go on with had {before[key]!r}; "
                    "give the earlier value, or another --logs or --name-suffix to begin anew"
                )
    wait_for_all(ranks)
    if ranks.leads:
        storage.write_json(url, identity, indent=4)


def _write_params(config: TrainConfig, ranks: Ranks, resumed: str | None) -> None:
    """`params.txt` and the model's config, rewritten at each start."""
    phase = config.plan.phases[0]
    filled = {
        "name": config.name,
        "resume": resumed,
        "vocab_size": config.model.vocab_size,
        "seq_len": config.model.seq_len,
        "per_gpu_batch_size": phase.global_batch_size // ranks.world_size,
        "world_size": ranks.world_size,
        "rank": ranks.rank,
        "device": str(ranks.device),
        "distributed": ranks.world_size > 1,
        "checkpoint_path": storage.join(config.folder, CHECKPOINTS),
    }
    storage.write_bytes(storage.join(config.folder, PARAMS_NAME), params_text(config.params | filled).encode())
    write_model_config(config.folder, config.model)


def seed_all(seed: int) -> None:
    """Torch, numpy and Python all get the seed, so that every rank draws the same initial weights."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
