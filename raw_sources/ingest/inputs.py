"""What an ingest reads: archives, tables and documents found below folders, cut into units of work.

A unit is one archive or one table; documents (a file each) are taken together, up to some thousand of one folder, and
so are single records of archives that a list names. Each unit becomes one shard, or several where it is large.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.pages.shards import SHARD_SUFFIXES, ShardRef
from corpusmith.io.storage import FileInfo
from corpusmith.run.fingerprint import digest
from raw_sources.archives.open_archive import ARCHIVE_SUFFIXES

Kind = Literal["archive", "table", "csv", "documents", "records"]
KINDS: tuple[Kind, ...] = ("archive", "table", "csv", "documents")

_PACKED = ("", ".gz", ".zst")
SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "archive": (*ARCHIVE_SUFFIXES, ".warc.txt", ".warc.gz.bad"),
    "table": (*SHARD_SUFFIXES, ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "csv": tuple(f"{kind}{packing}" for kind in (".csv", ".tsv") for packing in _PACKED),
    "documents": (".txt", ".md", ".markdown", ".html", ".htm", ".xhtml"),
}
GROUP_FILES = 5000
GROUP_BYTES = 64 << 20
_PART = re.compile(r"\.part\d+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestMember:
    """A file of a unit: its URL and its name relative to the input; of a record in an archive also where it stands."""

    url: str
    name: str
    start: int = 0
    length: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestUnit:
    """A piece of an ingest's input: its name, what is to be read, and what changes when that does."""

    name: str
    kind: Kind
    members: tuple[IngestMember, ...]
    identity: str
    bytes: int

    @property
    def ref(self) -> ShardRef:
        """As a stage's input."""
        return ShardRef(name=self.name, url=self.members[0].url, identity=self.identity, bytes=self.bytes)


def kind_of(name: str) -> Kind | None:
    """What a file is by its name; None for what is no input."""
    for kind in KINDS:
        if name.lower().endswith(SUFFIXES[kind]):
            return kind
    return None


def list_units(
    inputs: Sequence[str], kinds: Sequence[Kind] = (), say: Callable[[str], None] | None = None
) -> list[IngestUnit]:
    """The units of the files named, and of all below the folders named, sorted by name.

    A name is the path relative to the folder given. Without `kinds`, a folder that holds archives gives these alone,
    else its tables, else its documents; `say` is told of what was left out. A file that was named is an archive where
    its ending says nothing. InputError where an input does not exist or gives nothing, or where two share a name.
    """
    found: dict[str, tuple[Kind, FileInfo]] = {}
    for url in inputs:
        if storage.is_dir(url):
            files = _chosen(url, kinds, say)
        else:
            info = storage.stat(url)
            files = [(storage.basename(url), kind_of(storage.basename(url)) or "archive", info)]
        for name, kind, info in files:
            if name in found:
                raise InputError(f"{info.url} and {found[name][1].url} are both called {name}; rename one of them")
            found[name] = (kind, info)
    return _units(found)


def listed_units(paths: Sequence[str], base: str) -> list[IngestUnit]:
    """The units of files that a list names, each once, sorted by name: their path below `base`, or their last part.

    Such files are taken as they are listed and not asked for their size: Common Crawl's never change, and a pool has
    a hundred thousand. InputError where two share a name.
    """
    found: dict[str, str] = {}
    prefix = base.rstrip("/") + "/"
    for url in dict.fromkeys(paths):
        name = url[len(prefix) :] if url.startswith(prefix) else storage.basename(url)
        if name in found:
            raise InputError(f"{url} and {found[name]} are both called {name}; ingest them into different folders")
        found[name] = url
    return [
        IngestUnit(
            name=name,
            kind=kind_of(name) or "archive",
            members=(IngestMember(url=found[name], name=name),),
            identity="listed",
            bytes=0,
        )
        for name in sorted(found)
    ]


def _chosen(url: str, kinds: Sequence[Kind], say: Callable[[str], None] | None) -> list[tuple[str, Kind, FileInfo]]:
    """The files of a folder that are taken."""
    known = [(storage.relative(info.url, url), kind_of(info.url), info) for info in storage.list_files(url)]
    present = Counter(kind for _, kind, _ in known if kind)
    if not kinds:
        groups: tuple[tuple[Kind, ...], ...] = (("archive",), ("table", "csv"), ("documents",))
        kinds = next((group for group in groups if any(present[kind] for kind in group)), ())
    chosen = [(name, kind, info) for name, kind, info in known if kind in kinds and kind is not None]
    if not chosen:
        endings = ", ".join(suffix for kind in kinds or KINDS for suffix in SUFFIXES[kind])
        raise InputError(f"{url}: nothing to ingest; names end in {endings}")
    left = {kind: number for kind, number in present.items() if kind not in kinds}
    if left and say is not None:
        shown = ", ".join(f"{number} of kind {kind}" for kind, number in sorted(left.items()))
        say(f"{url}: left out {shown}; --kinds takes them")
    return chosen


def _units(found: dict[str, tuple[Kind, FileInfo]]) -> list[IngestUnit]:
    units: list[IngestUnit] = []
    documents: dict[str, list[tuple[str, FileInfo]]] = {}
    for name in sorted(found):
        kind, info = found[name]
        if kind == "documents":
            documents.setdefault(name.rpartition("/")[0], []).append((name, info))
            continue
        identity = f"{info.size}:{info.etag}"
        units.append(
            IngestUnit(
                name=name,
                kind=kind,
                members=(IngestMember(url=info.url, name=name),),
                identity=identity,
                bytes=info.size,
            )
        )
    for folder, files in documents.items():
        units += _grouped(folder, files)
    return sorted(units, key=lambda unit: unit.name)


def _grouped(folder: str, files: list[tuple[str, FileInfo]]) -> list[IngestUnit]:
    """Units of a folder's documents, in the order of their names."""
    groups: list[list[tuple[str, FileInfo]]] = []
    held = 0
    for name, info in files:
        if not groups or held + info.size > GROUP_BYTES or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            held = 0
        groups[-1].append((name, info))
        held += info.size
    return [
        IngestUnit(
            name=f"{folder}/documents-{number:05d}".lstrip("/"),
            kind="documents",
            members=tuple(IngestMember(url=info.url, name=name) for name, info in group),
            identity=digest([[name, info.size, info.etag] for name, info in group]),
            bytes=sum(info.size for _, info in group),
        )
        for number, group in enumerate(groups)
    ]


def shard_stems(units: Sequence[IngestUnit]) -> dict[str, str]:
    """The name of each unit's shard without the ending of its format: the unit's path without its own ending.

    Units that differ in their ending only keep it (`a.warc.gz`), and so does one that might be another's further part.
    """
    stems = {unit.name: _stem(unit.name) for unit in units}
    shared = Counter(stems.values())
    names = {name: stem if shared[stem] == 1 and not _PART.search(stem) else name for name, stem in stems.items()}
    clashes = [stem for stem, number in Counter(names.values()).items() if number > 1]
    if clashes:
        raise InputError(f"several inputs would become {clashes[0]}; ingest them into different folders")
    return names


def _stem(name: str) -> str:
    endings = [suffix for kind in KINDS for suffix in SUFFIXES[kind] if name.lower().endswith(suffix)]
    return name[: -len(max(endings, key=len))] if endings else name
