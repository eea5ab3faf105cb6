"""The folder of fetched files, and how they are told apart."""

from __future__ import annotations

import hashlib
import os

from corpusmith.io import storage

CACHE_VARIABLE = "CORPUSMITH_ASSETS"


def cache_folder() -> str:
    """The folder of fetched files: `CORPUSMITH_ASSETS`, by default `~/.cache/corpusmith/assets`."""
    return os.environ.get(CACHE_VARIABLE) or os.path.expanduser("~/.cache/corpusmith/assets")


def file_sha256(url: str) -> str:
    """The hex digest of a file's content."""
    digest = hashlib.sha256()
    with storage.open_read(url) as file:
        while piece := file.read(storage.COPY_BYTES):
            digest.update(piece)
    return digest.hexdigest()
