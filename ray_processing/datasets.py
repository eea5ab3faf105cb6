"""The data sets that the drivers read and write: their folders, shards and reference JSONs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError
from corpusmith.expdb.references import DatasetReference, find_dataset, git_state, load_dataset, write_reference
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, list_shards
from corpusmith.run.run import RunPlace


def split_list(values: Sequence[str] | None) -> list[str]:
    """Flag values that may be separated by spaces or commas."""
    return [part for value in values or () for part in value.split(",") if part]


def list_shard_files(
    folder: str,
    num_shards: int | None = None,
    shard_list_file: str | None = None,
    shard_list_filters: Sequence[str] = (),
) -> list[ShardRef]:
    """Return the input shards of a run, sorted by name.

    Args:
        folder: where they lie.
        num_shards: take only so many, the first (of those that are listed).
        shard_list_file: text file with one name a line, relative to the folder (default: all shards below it).
        shard_list_filters: then keep the shards whose name holds any of these.

    Raises:
        InputError: a shard that is listed is not there, or none is left.
    """
    if num_shards is not None and num_shards < 1:
        raise InputError(f"--num_shards must be at least 1, got {num_shards}")
    shards = list_shards(folder)
    if shard_list_file is not None:
        by_name = {shard.name: shard for shard in shards}
        names = [line.strip() for line in storage.read_bytes(shard_list_file).decode().splitlines() if line.strip()]
        missing = [name for name in names if name not in by_name]
        if missing:
            raise InputError(f"{shard_list_file}: {missing[0]!r} does not stand below {folder}")
        shards = sorted((by_name[name] for name in dict.fromkeys(names)), key=lambda shard: shard.name)
    shards = shards[:num_shards]
    if shard_list_filters:
        shards = [shard for shard in shards if any(part in shard.name for part in shard_list_filters)]
    if not shards:
        raise InputError(f"{folder}: no shard is left by the shard list and filters")
    return shards


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """A run's raw input: its folder, and the references that it comes from."""

    url: str
    sources: list[dict[str, str]]


def resolve_source(source_ref_paths: Sequence[str] | None, raw_data_dirpath: str | None, exp_data_dir: str) -> RawInput:
    """Return the input folder and the references that it comes from.

    Args:
        source_ref_paths: reference JSONs, of which there must be one; or None.
        raw_data_dirpath: the folder itself, whose reference is looked up by its URL; or None.
        exp_data_dir: the folder of reference JSONs.

    Raises:
        InputError: neither is given, or more than one reference, or one without a folder.
    """
    paths = split_list(source_ref_paths)
    if len(paths) > 1:
        raise InputError(f"--source_ref_paths: exactly one reference is supported, got {len(paths)}")
    if paths:
        reference = load_dataset(paths[0])
        if reference.dataset_url is None:
            raise InputError(f"{paths[0]}: has no dataset_url; give a reference of page shards")
        return RawInput(url=reference.dataset_url, sources=[{"uuid": reference.uuid, "name": reference.name}])
    if raw_data_dirpath is None:
        raise InputError("give the input: --raw_data_dirpath FOLDER or --source_ref_paths REFERENCE.json")
    return RawInput(url=raw_data_dirpath, sources=sources_of(raw_data_dirpath, exp_data_dir))


def absolute(url: str) -> str:
    """Return a local path from the root, since workers may stand elsewhere; other URLs as they are."""
    return url.rstrip("/") if "://" in url else os.path.abspath(url)


def refuse_nested(output: str, inputs: Iterable[str]) -> None:
    """Raise InputError where the output folder lies in a folder of the input, or one of these in it."""
    for folder in inputs:
        here, there = output.rstrip("/") + "/", folder.rstrip("/") + "/"
        if here.startswith(there) or there.startswith(here):
            raise InputError(f"the output folder {output} and the input {folder} lie in each other; choose another")


def place_beside(output: str) -> RunPlace:
    """Return where a run lives whose output is the folder OUT: `run/OUT/` and `errors/OUT/` beside it."""
    above, name = storage.parent(output), storage.basename(output)
    return RunPlace(root=storage.join(above, "run", name), output=output, errors=storage.join(above, "errors", name))


def sources_of(url: str, exp_data_dir: str) -> list[dict[str, str]]:
    """`{"uuid", "name"}` of the untokenized reference whose data stand at `url` or around it, or an empty list."""
    folder = url.rstrip("/")
    while True:
        for spelling in (folder + "/", folder):
            found = find_dataset(exp_data_dir, "dataset_url", spelling, tokenized=False)
            if found is not None:
                return [{"uuid": found[1]["uuid"], "name": found[1]["name"]}]
        above = storage.parent(folder)
        if above in (folder, ".", "/") or above.endswith(":/"):
            return []
        folder = above


def untokenized_reference(name: str, dataset_url: str, sources: list[dict[str, str]]) -> DatasetReference:
    """Return the reference JSON of a processed data set; its size is the sum of the bytes of its files.

    Args:
        name: of the data set.
        dataset_url: its folder.
        sources: `{"uuid", "name"}` of the data sets that it was made from.
    """
    files = storage.list_files(dataset_url)
    commit_hash, diff = git_state()
    return DatasetReference(
        name=name,
        dataset_url=dataset_url,
        manifest_url=None,
        sources=sources,
        tokenized=False,
        tokenizer=None,
        num_tokens=None,
        size=sum(info.size for info in files),
        dcnlp_commit_hash=commit_hash,
        dcnlp_diff=diff,
        data_key=_data_key(files[0].url),
    )


def _data_key(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def publish_reference(reference: DatasetReference, path: str, overwrite: bool) -> None:
    """Write a reference.

    Args:
        reference: what it says.
        path: where it goes.
        overwrite: replace one that stands there; otherwise it is left as it is.
    """
    if overwrite or not storage.exists(path):
        write_reference(reference, path, overwrite=True)
