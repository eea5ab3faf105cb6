"""What defines a result, recorded beside it so that a changed key can be named.

A fingerprint is a plain JSON tree of what decides the result: config, seed, raw inputs, the VERSION of each package of
ours whose code decides (`corpusmith.run.deciding_code`), the content of each module and asset of the user's. Never
workers, hosts or output paths (marin's first executor hashed those, and any edit re-addressed everything).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import orjson
import xxhash

from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, file_checksum

Tree = dict[str, Any]

# A folder that holds this file is a saved model of Hugging Face.
SAVED_MODEL = "config.json"


def digest(tree: Any) -> str:
    """A stable hash of a JSON tree, 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(orjson.dumps(tree, option=orjson.OPT_SORT_KEYS))


def asset_hashes(arguments: Any) -> dict[str, str]:
    """What changes with the files of the user's that a step's arguments name: any string that is a path or on S3.

    A local file's content hash, that of all files of a saved model's folder; size and etag of an object.
    """
    found: dict[str, str] = {}
    pending = [arguments]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
        elif isinstance(value, str) and len(value) < 4096 and "\0" not in value and os.path.isfile(value):
            found[value] = file_checksum(value)
        elif isinstance(value, str) and "\0" not in value and os.path.isfile(os.path.join(value, SAVED_MODEL)):
            files = [info.url for info in storage.list_files(value)]
            found[value] = digest([[storage.relative(url, value), file_checksum(url)] for url in files])
        elif isinstance(value, str) and value.startswith("s3://") and storage.exists(value):
            info = storage.stat(value)
            found[value] = f"{info.size}:{info.etag}"
    return found


def inputs_identity(shards: Iterable[ShardRef]) -> str:
    """One value that changes when any shard of an input does."""
    return digest([[shard.name, shard.identity] for shard in shards])


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key, in the order of `new`, at which two trees differ: (key, old value, new value), or None.

    Keys read like the YAML: `steps[3].min_length`. A missing value is shown as None.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            inner = f"{key}.{name}" if key else str(name)
            found = first_difference(old.get(name), new.get(name), inner)
            if found is not None:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            pair = (old[index] if index < len(old) else None, new[index] if index < len(new) else None)
            found = first_difference(*pair, f"{key}[{index}]")
            if found is not None:
                return found
        return None
    return None if old == new else (key, old, new)
