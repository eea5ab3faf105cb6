"""Shard lists and reference JSONs of the drivers (DCLM's module name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corpusmith.errors import InputError
from corpusmith.expdb.references import DatasetReference, find_dataset, git_state, load_dataset, write_reference
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, list_shards


def split_list(values: Sequence[str] | None) -> list[str]:
    """Flag values that may be separated by spaces or commas."""
    return [part for value in values or () for part in value.split(",") if part]


def list_shard_files(
    folder: str,
    num_shards: int | None = None,
    shard_list_file: str | None = None,
    shard_list_filters: Sequence[str] = (),
) -> list[ShardRef]:
    """The input shards: all below `folder` or those that a file lists, the first N, those that hold a substring.

    Raises InputError for a folder, list or choice without shards.
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
class Source:
    """A run's raw input: its folder, and the references that it comes from."""

    url: str
    sources: list[dict[str, str]]


def resolve_source(source_ref_paths: Sequence[str] | None, raw_data_dirpath: str | None, exp_data_dir: str) -> Source:
    """The input folder from a reference JSON or a path; a path's reference is looked up by its URL."""
    paths = split_list(source_ref_paths)
    if len(paths) > 1:
        raise InputError(f"--source_ref_paths: exactly one reference is supported, got {len(paths)}")
    if paths:
        reference = load_dataset(paths[0])
        if reference.dataset_url is None:
            raise InputError(f"{paths[0]}: has no dataset_url; give a reference of page shards")
        return Source(url=reference.dataset_url, sources=[{"uuid": reference.uuid, "name": reference.name}])
    if raw_data_dirpath is None:
        raise InputError("give the input: --raw_data_dirpath FOLDER or --source_ref_paths REFERENCE.json")
    return Source(url=raw_data_dirpath, sources=sources_of(raw_data_dirpath, exp_data_dir))


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
    """The reference JSON of a processed data set; its size is the sum of the bytes of its files."""
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


def publish(reference: DatasetReference, path: str, overwrite: bool) -> None:
    """Write a reference; one of the same data that stands already is left as it is unless `overwrite`."""
    if overwrite or not storage.exists(path):
        write_reference(reference, path, overwrite=True)
