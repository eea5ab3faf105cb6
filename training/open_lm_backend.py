"""The original trainer, package `open_lm`, on our shards: `--backend open_lm`.

The package is on no index and has not changed since 2024, so it is imported only here and only when asked for. It
gets DCLM's argument list and reads webdataset shards by itself; it finds its ranks in the environment that torchrun
sets. Follows DCLM's `training.train` in what it expects of the finished run; departs from it in raising what failed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import CorpusmithError, InputError, RunFailed
from corpusmith.io import storage, wds
from training.checkpoint import CHECKPOINTS, PARAMS_NAME, load_file
from training.model_config import find_model_config

PACKAGE = "open_lm"
_STATS_FILE = re.compile(r"stats_(\d+)\.pt")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLMRun:
    """What a finished run left: weights, arguments, and the objects of its last evaluation."""

    checkpoint_url: str
    params_url: str
    evaluation: list[dict[str, Any]]


def is_importable() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def train_with_open_lm(arguments: Sequence[str]) -> None:
    """Run the package's trainer in this process with OpenLM's command line; every rank calls it.

    Raises:
        InputError: the package is not there, or the data is not what it reads.
        RunFailed: it raised or exited; the reason is in the message, its traceback is chained.
    """
    if not is_importable():
        raise InputError(
            f"--backend {PACKAGE}: the package {PACKAGE!r} can't be imported; it is on no index: install a checkout of "
            "it (pip install --no-deps -e open_lm, and xformers), or leave --backend out"
        )
    prepared = prepare_arguments(arguments)
    try:
        main = importlib.import_module(f"{PACKAGE}.main").main
        main(prepared)
    except CorpusmithError:
        raise
    except SystemExit as error:
        if error.code:
            raise RunFailed(f"{PACKAGE} ended with exit code {error.code}") from error
    except Exception as error:  # a foreign trainer's boundary: whatever it raises is told in one line
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise RunFailed(f"{PACKAGE} failed ({reason})") from error


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """DCLM's argument list with the model config's true path; only webdataset manifests pass.

    Raises:
        InputError: another kind of data, or an unknown model config.
    """
    prepared = list(arguments)
    for index, flag in enumerate(arguments[:-1]):
        value = arguments[index + 1]
        if flag == "--model":
            found = find_model_config(value)
            prepared[index + 1] = found if "://" in found else os.path.abspath(found)
        if flag == "--dataset-manifest" and storage.basename(value) != wds.MANIFEST_NAME:
            raise InputError(
                f"--backend {PACKAGE} reads webdataset shards with a {wds.MANIFEST_NAME} only, got {value}"
            )
    return prepared


def collect_run(folder: str) -> OpenLMRun:
    """What the package left in an experiment's folder.

    Raises:
        RunFailed: the run is not complete, or a file of it is missing.
    """
    checkpoints = storage.join(folder, CHECKPOINTS)
    numbers = [
        int(match[1])
        for info in (storage.list_files(checkpoints, (".pt",)) if storage.is_dir(checkpoints) else [])
        if (match := _STATS_FILE.fullmatch(storage.basename(info.url)))
    ]
    if not numbers:
        raise RunFailed(f"{PACKAGE} left no stats_*.pt in {checkpoints}")
    stats = load_file(storage.join(checkpoints, f"stats_{max(numbers)}.pt"))
    if stats.get("is_final_checkpoint") is not True:
        raise RunFailed(f"{PACKAGE} stopped before the end: checkpoint {max(numbers)} in {checkpoints} is not final")
    run = OpenLMRun(
        checkpoint_url=storage.join(checkpoints, f"epoch_{max(numbers)}.pt"),
        params_url=storage.join(folder, PARAMS_NAME),
        evaluation=list(stats.get("evaluation_metrics") or []),
    )
    for url in (run.checkpoint_url, run.params_url):
        if not storage.exists(url):
            raise RunFailed(f"{PACKAGE} left no {url}")
    return run
