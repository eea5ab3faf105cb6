"""The original trainer, package `open_lm`, on our shards: `--backend open_lm`.

The package is on no index and has not changed since 2024, so it is imported only here and only when asked for. It
gets DCLM's argument list and reads webdataset shards by itself; it finds its ranks in the environment that torchrun
sets. Follows DCLM's `training.train` in what it expects of the finished run; departs from it in raising what failed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence

from corpusmith.errors import CorpusmithError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.tokens import wds
from training.arguments.openlm import OWN_ARGUMENTS
from training.models.config import find_model_config
from training.observers.observer import Observer

PACKAGE = "open_lm"


def is_importable() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def train_with_open_lm(arguments: Sequence[str], observers: Sequence[Observer] = ()) -> None:
    """Run the package's trainer in this process with OpenLM's command line; every rank calls it.

    It joins the other ranks by itself, so no process group may be open; nobody can look on.

    Raises:
        InputError: the package is not there, or the data is not what it reads.
        RunFailed: it raised or exited; the reason is in the message, its traceback is chained.
    """
    if not is_importable():
        raise InputError(
            f"--backend {PACKAGE}: the package {PACKAGE!r} can't be imported; it is on no index: install a checkout of "
            "it (pip install --no-deps -e open_lm, and xformers), or leave --backend out"
        )
    if observers:
        raise InputError(f"--backend {PACKAGE} writes no partial references; leave --partial-model-dir out")
    prepared = prepare_arguments(arguments)
    try:
        main = importlib.import_module(f"{PACKAGE}.main").main
        main(prepared)
    except CorpusmithError:
        raise
    except SystemExit as error:
        if error.code:
            raise RunFailed(f"{PACKAGE} ended with exit code {error.code}") from error
    except Exception as error:  # a foreign trainer's boundary: whatever it raises is reported in one line
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise RunFailed(f"{PACKAGE} failed ({reason})") from error


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """DCLM's argument list with the model config's true path.

    Raises:
        InputError: other data than webdataset with a manifest, an unknown model config, or an argument of ours.
    """
    prepared = list(arguments)
    ours = [flag for flag in arguments if flag.startswith("--") and flag[2:].replace("-", "_") in OWN_ARGUMENTS]
    if ours:
        raise InputError(f"--backend {PACKAGE} does not know {', '.join(ours)}")
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
