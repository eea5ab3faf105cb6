"""Common Crawl: where it lies, its path lists, DCLM's pools, and seeded samples of their files.

Follows DCLM's `gen_common_crawl_paths.py` and `sample_source_keys.py` (same draw for the same seed and list). Reads
`s3://commoncrawl/` where the credentials at hand allow it and `https://data.commoncrawl.org/` where they don't: the
bucket answers no anonymous request. Both are asked politely: requests are repeated after growing pauses with jitter,
and after as long as the server says.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from corpusmith.errors import InputError, StorageError, did_you_mean
from corpusmith.expdb import references as expdb
from corpusmith.io import storage

BASE = "s3://commoncrawl/"
HTTPS_BASE = "https://data.commoncrawl.org/"
COLLINFO = "https://index.commoncrawl.org/collinfo.json"
LIST_KINDS = ("warc", "wet", "wat", "cc-index-table")
POOL_KINDS = ("raw_warcs", "preextracted")
APPROXIMATE_TOKENS_PER_WARC = 90_000_000

MAX_LIST_BYTES = 1 << 30
_CRAWL = re.compile(r"CC-MAIN-\d{4}(?:-\d{2,4}){1,2}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A pool of DCLM's competition: nominal tokens of raw text in it."""

    tokens: float


POOLS = {
    "400m-1x": Pool(tokens=137e9),
    "1b-1x": Pool(tokens=1.64e12),
    "1b-5x": Pool(tokens=1.64e12),
    "3b-1x": Pool(tokens=3.18e12),
    "7b-1x": Pool(tokens=7.85e12),
    "7b-2x": Pool(tokens=15.7e12),
}


def reachable(base: str = BASE, fallback: str = HTTPS_BASE) -> str:
    """`base`, or `fallback` where it is Common Crawl's bucket and refuses this machine's requests."""
    if base.rstrip("/") != BASE.rstrip("/"):
        return base
    try:
        storage.exists(storage.join(base, "crawl-data/index.html"))
    except (StorageError, InputError):
        return fallback
    return base


def read_list(url: str) -> bytes:
    """The content of a list, unpacked where it is gzip; InputError where it is damaged or more than 1 GiB."""
    content = storage.read_bytes(url)
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_LIST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{url}: damaged gzip: {error}") from error
    if len(unpacked) > MAX_LIST_BYTES:
        raise InputError(f"{url}: more than {MAX_LIST_BYTES} bytes of paths")
    return unpacked


def read_paths(url: str, base: str) -> list[str]:
    """The URLs in a list, in its order: text with one a line, or DCLM's JSON with `dataset_urls` or `json_path`.

    What is relative, or stands in Common Crawl's bucket, is looked for below `base`. InputError for an empty list.
    """
    content = read_list(url)
    if content.lstrip()[:1] == b"{":
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{url}: not a JSON document: {error}") from error
        if isinstance(document.get("json_path"), str):
            return read_paths(document["json_path"], base)
        lines = document.get("dataset_urls")
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise InputError(f"{url}: a list of paths in JSON has `dataset_urls`, a list of URLs, or `json_path`")
    else:
        lines = content.decode("utf-8", "replace").splitlines()
    paths = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not paths:
        raise InputError(f"{url}: no paths in it")
    return [absolute(path, base) for path in paths]


def absolute(path: str, base: str) -> str:
    """The URL of a path of Common Crawl's below `base`; other URLs and paths from the root stay as they are."""
    for known in (BASE, HTTPS_BASE):
        if path.startswith(known):
            return storage.join(base, path[len(known) :])
    return path if "://" in path or path.startswith("/") else storage.join(base, path)


def crawl_ids(collinfo: str = COLLINFO) -> list[str]:
    """The names of all crawls, oldest first, from Common Crawl's own list."""
    try:
        rows = orjson.loads(storage.read_bytes(collinfo))
        found = {str(row["id"]) for row in rows}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{collinfo}: not Common Crawl's list of crawls: {error}") from error
    return sorted(found)


def crawl_paths(crawls: Sequence[str], kind: str, base: str) -> Iterator[str]:
    """The URLs of all files of a kind (`LIST_KINDS`) in some crawls, in the order of their lists."""
    for crawl in crawls:
        if not _CRAWL.fullmatch(crawl):
            raise InputError(f"{crawl!r} is no name of a crawl; they read CC-MAIN-2024-10")
        yield from read_paths(storage.join(base, f"crawl-data/{crawl}/{kind}.paths.gz"), base)


def pool_paths(scale: str, kind: str, pools_dir: str, base: str) -> list[str]:
    """The files of one of DCLM's pools, from its path file `<pools_dir>/<kind>/<scale>.txt`."""
    if scale not in POOLS:
        raise InputError(f"no pool {scale!r}{did_you_mean(scale, POOLS)} (there are {', '.join(POOLS)})")
    if kind not in POOL_KINDS:
        raise InputError(f"no pools of kind {kind!r} (there are {', '.join(POOL_KINDS)})")
    path = storage.join(pools_dir, f"{kind}/{scale}.txt")
    if not storage.exists(path):
        raise InputError(
            f"{path}: no such path file; DCLM's repository has them in data/competition_pools, give it as --pools_dir"
        )
    return read_paths(path, base)


def sample_paths(paths: Sequence[str], size: int, seed: int, pattern: str | None = None) -> list[str]:
    """`size` of the paths that match the pattern (all if there are fewer), drawn as DCLM draws them."""
    if pattern is not None:
        try:
            matcher = re.compile(pattern)
        except re.error as error:
            raise InputError(f"{pattern!r} is no regular expression: {error}") from error
        paths = [path for path in paths if matcher.match(path)]
    if size < 1:
        raise InputError(f"the size of a sample must be at least 1, got {size}")
    return random.Random(seed).sample(list(paths), min(size, len(paths)))


def write_sample(paths: Sequence[str], *, name: str, source: str, seed: int, exp_data_dir: str, overwrite: bool) -> str:
    """Write a sample's reference JSON (DCLM's schema of path lists); returns where. It is an input of `ingest`."""
    url = expdb.reference_path(exp_data_dir, "raw_sources", name)
    commit, diff = expdb.git_state()
    document = {
        "uuid": expdb.new_uuid(),
        "name": name,
        "creation_date": expdb.now(),
        "sources": source,
        "tokenized": False,
        "tokenizer": None,
        "size": sum(map(len, paths)),
        "seed": seed,
        "dataset_urls": list(paths),
        "dcnlp_commit_hash": commit,
        "dcnlp_diff": diff,
    }
    expdb.write_reference(document, url, overwrite=overwrite)
    return url
