"""MDS, the shard format of MosaicML's streaming library: own writer and reader, and the index of many folders.

A dataset is a folder with `index.json` and shards `shard.00000.mds`, …; a raw shard is a table of absolute offsets,
a JSON header and the samples. Bytes of shards and index equal `MDSWriter`'s (streaming 0.13). It departs from the
library in what it refuses: encodings are an allow-list (no pickles, no images), values are checked against their
encoding, and the index appears only when all shards stand. A raw shard that is there is used, even if the index also
names a compressed one (as Ettin's release has it).

Little-endian on every machine. The encodings of single values are in `corpusmith.io.tokens.mds_values`.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from backports import zstd

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.tokens.mds_values import ValueCodec, codec_of
from corpusmith.io.tokens.rows import WrittenFile, write_pieces

INDEX_NAME = "index.json"
SIZE_LIMIT = 1 << 26
MAX_SHARD_BYTES = (1 << 32) - 1
MDS_VERSION = 2

_LEVELS = {"bz2": 9, "gz": 9, "zstd": 3}
_XXHASHES = {"xxh32": xxhash.xxh32, "xxh64": xxhash.xxh64, "xxh3_64": xxhash.xxh3_64, "xxh3_128": xxhash.xxh3_128}
_XXHASHES["xxh128"] = xxhash.xxh128
_U32 = np.dtype("<u4")


@dataclass(frozen=True, kw_only=True)
class MdsLayout:
    """What all shards of a dataset share.

    `columns` maps each column's name to its encoding; `compression` is None or `zstd`, `gz` or `bz2`, maybe with
    `:level`; `hashes` are names of hash functions; `size_limit` bounds a raw shard in bytes (None: no bound).
    """

    columns: Mapping[str, str]
    compression: str | None = None
    hashes: Sequence[str] = ()
    size_limit: int | None = SIZE_LIMIT

    def __post_init__(self) -> None:
        if not self.columns:
            raise InputError("an MDS dataset needs at least one column")
        for name, encoding in self.columns.items():
            codec_of(encoding, f"column {name!r}")
        if self.compression is not None:
            _compression_of(self.compression)
        unknown = [name for name in self.hashes if name not in _XXHASHES and name not in hashlib.algorithms_available]
        if unknown:
            raise InputError(f"unknown hash {unknown[0]!r}")
        if self.size_limit is not None and not 0 < self.size_limit <= MAX_SHARD_BYTES:
            raise InputError(f"the size limit of a shard must lie in (0, 2**32) bytes, got {self.size_limit}")

    def header(self) -> dict[str, Any]:
        """The object that stands in each shard and, with more keys, in the index."""
        names = sorted(self.columns)
        encodings = [self.columns[name] for name in names]
        return {
            "column_encodings": encodings,
            "column_names": names,
            "column_sizes": [codec_of(encoding, "").size for encoding in encodings],
            "compression": self.compression,
            "format": "mds",
            "hashes": sorted(self.hashes),
            "size_limit": self.size_limit,
            "version": MDS_VERSION,
        }


def _dump(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _compression_of(text: str) -> tuple[str, int]:
    name, _, level = text.partition(":")
    if name not in _LEVELS or (level and not level.isdigit()):
        raise InputError(f"unknown MDS compression {text!r}; known: {', '.join(_LEVELS)}, each maybe with :LEVEL")
    return name, int(level) if level else _LEVELS[name]


def compress(data: bytes, compression: str) -> bytes:
    """A shard's raw bytes as one compressed image, without times."""
    name, level = _compression_of(compression)
    if name == "zstd":
        return zstd.compress(data, level)
    return bz2.compress(data, level) if name == "bz2" else gzip.compress(data, level, mtime=0)


def _decompress(url: str, data: bytes, compression: str, size: int) -> bytes:
    name, _ = _compression_of(compression)
    try:
        if name == "zstd":
            raw = zstd.ZstdDecompressor().decompress(data, size + 1)
        elif name == "bz2":
            raw = bz2.BZ2Decompressor().decompress(data, size + 1)
        else:
            raw = zlib.decompressobj(wbits=31).decompress(data, size + 1)
    except (zstd.ZstdError, zlib.error, OSError, EOFError, ValueError) as error:
        raise ShardError(url, 0, f"cannot be decompressed as {name}: {error}") from error
    if len(raw) != size:
        raise ShardError(url, 0, f"decompresses to another size than the index's {size} bytes")
    return raw


def hash_of(name: str, data: bytes | memoryview) -> str:
    """The hexadecimal hash of a file's bytes."""
    return _XXHASHES[name](data).hexdigest() if name in _XXHASHES else hashlib.new(name, data).hexdigest()


# --- writing -----------------------------------------------------------------------------------------------------


class SampleEncoder:
    """Turns samples of one layout into their bytes."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._codecs: list[tuple[str, ValueCodec]] = [
            (name, codec_of(columns[name], f"column {name!r}")) for name in sorted(columns)
        ]

    def encode(self, sample: Mapping[str, Any]) -> bytes:
        """Lengths of the variable columns, then all columns.

        Raises:
            InputError: a value is missing or does not fit its column.
        """
        sizes, parts = [], []
        for name, codec in self._codecs:
            if name not in sample:
                raise InputError(f"a sample lacks the column {name!r}")
            data = codec.encode(sample[name])
            if codec.size is None:
                sizes.append(len(data))
            parts.append(data)
        return np.array(sizes, dtype=_U32).tobytes() + b"".join(parts)


def shard_image(layout: MdsLayout, samples: Sequence[bytes]) -> list[bytes]:
    """The parts of a raw shard in order: count and offsets, header, encoded samples."""
    header = _dump(layout.header())
    start = 4 * (2 + len(samples)) + len(header)
    offsets = np.cumsum([start, *map(len, samples)], dtype=np.int64)
    if offsets[-1] > MAX_SHARD_BYTES:
        raise InputError(f"an MDS shard of {offsets[-1]} bytes is too large; put fewer samples into one")
    head = np.concatenate([[len(samples)], offsets]).astype(_U32).tobytes()
    return [head, header, *samples]


def write_shard(
    folder: str, number: int, layout: MdsLayout, samples: Sequence[bytes]
) -> tuple[dict[str, Any], WrittenFile]:
    """Write one shard from encoded samples atomically; returns its object of the index, and the file."""
    raw_name = f"shard.{number:05}.mds"
    parts = shard_image(layout, samples)
    if layout.compression is None and not layout.hashes:
        written = write_pieces(storage.join(folder, raw_name), parts)
        raw = {"basename": raw_name, "bytes": written.bytes, "hashes": {}}
        return {**layout.header(), "samples": len(samples), "raw_data": raw, "zip_data": None}, written
    image = b"".join(parts)
    raw = _file_entry(raw_name, image, layout.hashes)
    zipped = None
    if layout.compression is not None:
        image = compress(image, layout.compression)
        zipped = _file_entry(f"{raw_name}.{_compression_of(layout.compression)[0]}", image, layout.hashes)
    name = raw_name if zipped is None else str(zipped["basename"])
    written = write_pieces(storage.join(folder, name), [image])
    return {**layout.header(), "samples": len(samples), "raw_data": raw, "zip_data": zipped}, written


def _file_entry(name: str, data: bytes, hashes: Sequence[str]) -> dict[str, Any]:
    return {"basename": name, "bytes": len(data), "hashes": {name: hash_of(name, data) for name in sorted(hashes)}}


def write_index(folder: str, shards: Iterable[Mapping[str, Any]]) -> None:
    """Write `index.json` from the objects of the shards, atomically."""
    storage.write_bytes(storage.join(folder, INDEX_NAME), _dump({"shards": list(shards), "version": MDS_VERSION}))


def write_dataset(folder: str, layout: MdsLayout, samples: Iterable[Mapping[str, Any]]) -> int:
    """Write samples as `MDSWriter` does, shard by shard within the size limit; returns their number.

    The index is written last, so a dataset whose writing failed cannot be opened.
    """
    encoder = SampleEncoder(layout.columns)
    least = 8 + len(_dump(layout.header()))
    shards: list[dict[str, Any]] = []
    held: list[bytes] = []
    size, count = least, 0
    for sample in samples:
        data = encoder.encode(sample)
        if held and layout.size_limit is not None and size + len(data) + 4 > layout.size_limit:
            shards.append(write_shard(folder, len(shards), layout, held)[0])
            held, size = [], least
        held.append(data)
        size += len(data) + 4
        count += 1
    if held:
        shards.append(write_shard(folder, len(shards), layout, held)[0])
    write_index(folder, shards)
    return count


# --- reading -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MdsShard:
    """A shard as the index tells of it; `url` is of the raw file, `zip_url` of the compressed one."""

    name: str
    url: str
    zip_url: str | None
    samples: int
    raw_bytes: int
    compression: str | None
    columns: dict[str, str]
    hashes: dict[str, str]


def read_index(folder: str) -> list[MdsShard]:
    """The shards of a dataset in the order of its index.

    Raises:
        InputError: there is no index, or it is none.
    """
    url = storage.join(folder, INDEX_NAME)
    document = storage.read_json(url)
    if not isinstance(document, dict) or not isinstance(document.get("shards"), list):
        raise InputError(f"{url}: not an MDS index, it has no list 'shards'")
    shards = []
    for number, entry in enumerate(document["shards"]):
        try:
            shards.append(_shard_of(folder, entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{url}: shards[{number}]: not an MDS shard: {error!r}") from error
    return shards


def _shard_of(folder: str, entry: Mapping[str, Any]) -> MdsShard:
    if entry["format"] != "mds" or entry["version"] != MDS_VERSION:
        raise ValueError(f"format {entry['format']!r} version {entry['version']!r} instead of mds {MDS_VERSION}")
    columns = dict(zip(entry["column_names"], entry["column_encodings"], strict=True))
    raw, zipped = entry["raw_data"], entry["zip_data"]
    for name, encoding in columns.items():
        codec_of(encoding, f"column {name!r}")
    return MdsShard(
        name=str(raw["basename"]),
        url=storage.join(folder, raw["basename"]),
        zip_url=None if zipped is None else storage.join(folder, zipped["basename"]),
        samples=int(entry["samples"]),
        raw_bytes=int(raw["bytes"]),
        compression=entry["compression"],
        columns=columns,
        hashes=dict(raw.get("hashes") or {}),
    )


class MdsReader:
    """The samples of one shard, at random; a local raw shard is mapped, not read."""

    def __init__(self, shard: MdsShard) -> None:
        """Open and check a shard.

        Raises:
            ShardError: the shard is not what the index says.
            InputError: its file is missing.
        """
        self.shard = shard
        self._data = _raw_image(shard)
        self._codecs = [(name, codec_of(shard.columns[name], f"column {name!r}")) for name in sorted(shard.columns)]
        self._offsets = self._read_offsets()

    def _read_offsets(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        data, shard = self._data, self.shard
        if len(data) != shard.raw_bytes:
            raise ShardError(shard.url, 0, f"has {len(data)} bytes instead of the index's {shard.raw_bytes}")
        end = 4 * (2 + shard.samples)
        if len(data) < end or int.from_bytes(data[:4], "little") != shard.samples:
            raise ShardError(shard.url, 0, f"does not hold the {shard.samples} samples that the index tells of")
        offsets = np.frombuffer(data[4:end], dtype=_U32)
        if offsets[0] < end or offsets[-1] != len(data) or (np.diff(offsets.astype(np.int64)) < 0).any():
            raise ShardError(shard.url, 4, "its offsets are not in order or leave the file")
        try:
            header = json.loads(bytes(data[end : int(offsets[0])]))
            columns = dict(zip(header["column_names"], header["column_encodings"], strict=True))
            same = (columns, header["format"], header["version"]) == (shard.columns, "mds", MDS_VERSION)
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(shard.url, end, f"its header is none: {error!r}") from error
        if not same:
            raise ShardError(shard.url, end, "its header tells of other columns than the index")
        return offsets

    def __len__(self) -> int:
        return self.shard.samples

    def sample(self, row: int) -> dict[str, Any]:
        """Sample `row` as values by column name; arrays are views of the shard where they can be."""
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        data = self._data[start:end]
        variable = sum(codec.size is None for _, codec in self._codecs)
        try:
            sizes = iter(np.frombuffer(data[: 4 * variable], dtype=_U32).tolist())
            position = 4 * variable
            sample: dict[str, Any] = {}
            for name, codec in self._codecs:
                size = next(sizes) if codec.size is None else codec.size
                if position + size > len(data):
                    raise ValueError(f"column {name!r} leaves the sample")
                sample[name] = codec.decode(data[position : position + size])
                position += size
        except (ValueError, StopIteration) as error:
            raise ShardError(self.shard.url, start, f"sample {row}: {error}") from error
        return sample

    def samples(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """The samples in order, from row `start` on."""
        return (self.sample(row) for row in range(start, len(self)))


def _raw_image(shard: MdsShard) -> memoryview:
    if shard.zip_url is None or storage.exists(shard.url):
        return storage.map_bytes(shard.url)
    return memoryview(
        _decompress(shard.zip_url, storage.read_bytes(shard.zip_url), str(shard.compression), shard.raw_bytes)
    )


def verify(folder: str) -> int:
    """Read every sample of a dataset and check what hashes the index holds; returns the number of samples.

    Raises:
        ShardError: the first shard that does not hold.
        InputError: a shard is missing.
    """
    count = 0
    for shard in read_index(folder):
        reader = MdsReader(shard)
        for name, expected in shard.hashes.items():
            if hash_of(name, _raw_image(shard)) != expected:
                raise ShardError(shard.url, 0, f"its {name} is not the index's")
        count += sum(1 for _ in reader.samples())
    return count


def merge_index(root: str) -> int:
    """Write one `index.json` at `root` over all those below it, in order of folder; returns the number of shards.

    An index that stands at the root already is replaced and not counted in. Basenames become relative to the root, so
    any depth works; files of other names are not looked at.
    """
    top = storage.join(root, INDEX_NAME)
    shards = []
    for info in storage.list_files(root, (f"/{INDEX_NAME}",)):
        if info.url == top:
            continue
        read_index(storage.parent(info.url))  # says what is wrong with it
        prefix = storage.relative(storage.parent(info.url), root)
        for entry in storage.read_json(info.url)["shards"]:
            for key in ("raw_data", "zip_data"):
                if entry[key] is not None:
                    entry[key]["basename"] = f"{prefix}/{entry[key]['basename']}"
            shards.append(entry)
    if not shards:
        raise InputError(f"{root}: no {INDEX_NAME} in any folder below it")
    write_index(root, shards)
    return len(shards)
