"""Finding, loading and asking fastText models; what the language and the quality enrichers share.

Models are loaded once per process. Only the list form of `predict` is called, which every variant of the package
answers alike (with numpy 2 some refuse the form for one string).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

from corpusmith.errors import InputError, missing_package
from corpusmith.io import storage
from corpusmith.io.cache import cache_folder, file_sha256

PROJECT_ROOT = Path(__file__).resolve().parents[3]
LABEL_PREFIX = "__label__"


def model_directory(subdirectory: str) -> str:
    """A folder of models: that below the working directory where it exists, else that of the project."""
    return subdirectory if os.path.isdir(subdirectory) else str(PROJECT_ROOT / subdirectory)


def find_model(subdirectory: str, filename: str) -> str | None:
    """The path of a model: in its folder (`model_directory`), else in the cache; None where it is in neither.

    A URL, or an absolute path, is the model itself; what lies behind a URL is copied to the cache.
    """
    if "://" in filename:
        return local_copy(filename)
    in_cache = os.path.join(cache_folder(), subdirectory.removeprefix("baselines/mappers/"), filename)
    for path in (os.path.join(model_directory(subdirectory), filename), in_cache):
        if os.path.isfile(path):
            return path
    return None


def local_copy(path_or_url: str, sha256: str | None = None) -> str:
    """The local path of a model; one behind a URL is copied to the cache once, and again where it changed.

    With `sha256` a copy in the cache serves without a look at the URL.

    Args:
        path_or_url: local path, or URL of a scheme that storage can read.
        sha256: hex digest that the content must have; the cached copy is held to it too.

    Raises:
        InputError: no such file, or another content.
    """
    if "://" not in path_or_url:
        if not os.path.isfile(path_or_url):
            raise InputError(f"{path_or_url}: no such model file")
        target = path_or_url
    else:
        content = sha256 or _state(path_or_url)
        name = hashlib.sha256(f"{path_or_url}\n{content}".encode()).hexdigest()[:16]
        target = os.path.join(cache_folder(), "by_url", f"{name}-{storage.basename(path_or_url.partition('?')[0])}")
        if not os.path.isfile(target):
            storage.copy_file(path_or_url, target)
    if sha256 is not None and file_sha256(target) != sha256:
        if target != path_or_url:
            storage.remove(target)
        raise InputError(f"{path_or_url}: its content has another SHA-256 than {sha256}")
    return target


def _state(url: str) -> str:
    """What changes with the content of a file."""
    info = storage.stat(url)
    return f"{info.size}:{info.etag}"


@functools.cache
def _load(path: str, changed_ns: int) -> Any:
    del changed_ns
    try:
        fasttext = importlib.import_module("fasttext.FastText")
    except ModuleNotFoundError as error:
        raise missing_package("fasttext-numpy2", "mappers") from error
    try:
        return fasttext.load_model(path)
    except ValueError as error:
        raise InputError(f"{path}: not a fastText model: {error}") from error


def load_model(path: str) -> Any:
    """The model in a local file, loaded once per process and content.

    Raises:
        UserError: fastText is not installed.
        InputError: no such file, or no model in it.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such model file")
    return _load(path, os.stat(path).st_mtime_ns)


def top_label(model: Any, line: str) -> tuple[str, float] | None:
    """The most probable label, prefix included, with its probability; None where the model has none for the line.

    Raises:
        ValueError: the line holds a line feed.
    """
    labels, probabilities = model.predict([line], k=1)
    return (labels[0][0], float(probabilities[0][0])) if len(labels[0]) else None
