"""What `corpusmith tokenize` is asked for, and the input shards that this means."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb.references import load_dataset
from corpusmith.io import storage
from corpusmith.io.pages.shards import SHARD_SUFFIXES, ShardRef, list_shards
from ray_processing.datasets import absolute, sources_of
from ray_processing.tokens.tar_documents import SUFFIX as TAR_SUFFIX
from ray_processing.tokens.tar_documents import split_content_key


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRequest:
    """What the flags of `corpusmith tokenize` say; `seqlen` is training's, `inputs` are folders."""

    inputs: tuple[str, ...]
    references: tuple[str, ...]
    output: str
    name: str
    exp_data_dir: str
    tokenizer: str
    content_key: str = "text"
    seqlen: int = 2048
    shard_sequences: int = 8192
    seed: int = 42
    subset: int | None = None
    shuffle: bool = True
    suffixes: tuple[str, ...] = SHARD_SUFFIXES
    overwrite: bool = False
    pack: str = "concat"
    pack_by: str | None = None
    format_name: str = "wds"
    dtype: str = "auto"
    with_source: bool = False
    sampling_yaml: str | None = None
    mixture_yaml: str | None = None
    mirror: str | None = None
    prefix_replacement: tuple[str, str] | None = None


def resolve_input(request: TokenRequest) -> tuple[list[str], list[dict[str, str]]]:
    """Return the input folders, and `{"uuid", "name"}` of the data sets that they are.

    Raises:
        InputError: no input is given, or a reference names no folder.
    """
    if request.references:
        references = [load_dataset(path) for path in request.references]
        folders = [
            reference.dataset_url or "" if request.mirror is None else _mirror(reference.mirrors, request.mirror, path)
            for reference, path in zip(references, request.references, strict=True)
        ]
        sources = [{"uuid": reference.uuid, "name": reference.name} for reference in references]
    else:
        folders = list(request.inputs)
        sources = [source for folder in folders for source in sources_of(folder, request.exp_data_dir)]
    if not folders:
        raise InputError("give the input: --input FOLDER[,FOLDER] or --source_ref_paths REFERENCE.json")
    if "" in folders:
        raise InputError(f"{request.references[folders.index('')]}: the reference has no dataset_url to tokenize")
    if request.prefix_replacement is not None:
        old, new = request.prefix_replacement
        folders = [new + folder.removeprefix(old) if folder.startswith(old) else folder for folder in folders]
    return list(dict.fromkeys(absolute(folder) for folder in folders)), sources


def _mirror(mirrors: Mapping[str, Any] | None, name: str, path: str) -> str:
    found = (mirrors or {}).get(name)
    if not isinstance(found, dict) or not isinstance(found.get("dataset_url"), str):
        known = ", ".join(mirrors or {}) or "none"
        raise InputError(f"{path}: the reference has no mirror {name!r} with a dataset_url (mirrors: {known})")
    return str(found["dataset_url"])


def choose_shards(folders: list[str], suffixes: tuple[str, ...], subset: int | None, seed: int) -> list[ShardRef]:
    """Return the page shards below the folders, sorted by name; of several folders, names begin with the folder's.

    Args:
        folders: the input folders.
        suffixes: endings of the names that count.
        subset: keep only so many, drawn by the seed.
        seed: of that draw.

    Raises:
        InputError: a suffix is no kind of input, or no shard is left.
    """
    known = (*SHARD_SUFFIXES, TAR_SUFFIX)
    unknown = [suffix for suffix in suffixes if suffix not in known]
    if unknown:
        raise InputError(f"--suffixes: {unknown[0]!r} is no kind of input shard; known: {' '.join(known)}")
    shards: list[ShardRef] = []
    for index, folder in enumerate(folders):
        prefix = f"{index:02d}-{storage.basename(folder)}/" if len(folders) > 1 else ""
        shards += [
            dataclasses.replace(shard, name=prefix + shard.name)
            for shard in (*_list_tars(folder, suffixes), *_list_pages(folder, suffixes))
        ]
    if not shards:
        raise InputError(f"no input shard's name ends in {' or '.join(suffixes)}")
    if subset is not None:
        if subset < 1:
            raise InputError(f"--subset must be at least 1, got {subset}")
        random.Random(seed).shuffle(shards)
        shards = shards[:subset]
    return sorted(shards, key=lambda shard: shard.name)


def check_content_key(shards: list[ShardRef], content_key: str) -> None:
    """Raise InputError where tars are read by another content key than theirs, or beside page shards."""
    tars = [shard for shard in shards if shard.name.endswith(TAR_SUFFIX)]
    if tars:
        split_content_key(content_key)
        if len(tars) < len(shards):
            raise InputError("tars and page shards need different content keys: tokenize them apart (--suffixes)")


def _list_tars(folder: str, suffixes: tuple[str, ...]) -> list[ShardRef]:
    if TAR_SUFFIX not in suffixes or not storage.is_dir(folder):
        return []
    return [
        ShardRef(
            name=storage.relative(info.url, folder), url=info.url, identity=f"{info.size}:{info.etag}", bytes=info.size
        )
        for info in storage.list_files(folder, (TAR_SUFFIX,))
    ]


def _list_pages(folder: str, suffixes: tuple[str, ...]) -> list[ShardRef]:
    pages = tuple(suffix for suffix in suffixes if suffix != TAR_SUFFIX)
    return [shard for shard in list_shards(folder) if shard.name.endswith(pages)] if pages else []
