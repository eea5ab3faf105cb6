"""Token shards as webdataset tars, and their manifest.

Follows open_lm's layout: one member per sequence, `<key>.json.gz`, a JSON list of token ids; beside the tars a
`manifest.jsonl` with `{"shard": "00000001", "num_sequences": 8192}` per tar, in order of name. It departs from
open_lm in the keys, which are indexes within the shard (equal sequences had equal keys, which readers reject), and in
that nothing but the tokens decides the bytes: no times, users or process ids.

Tars are read and written here without the package `webdataset`. Legend: S sequences, L tokens in a sequence.
"""

from __future__ import annotations

import ast
import json
import struct
import tarfile
import zlib
from collections.abc import Container, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.tokens.rows import ShardEntry, TokenRow, TokenRows, WrittenFile, entry_of, widen, write_pieces

#: a line of the manifest: the tar's name without `.tar`, and how many sequences it holds
ManifestEntry = ShardEntry
U32Array = npt.NDArray[np.uint32]


DATA_KEYS = ("json.gz", "json", "txt")
MANIFEST_NAME = "manifest.jsonl"
SHARD_DIGITS = 8
MAX_MEMBER_BYTES = 256 << 20

_KEY_DIGITS = 8
_META_SUFFIX = ".meta.json"
_DEFLATE_LEVEL = 1
_MOST_ROWS = 1 << 62
_BLOCK = 512
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_WITHOUT_CONTENT = (*_LINKS, *_DEVICES, tarfile.DIRTYPE)
_TAR_RECORD = 20 * _BLOCK
_WRITE_BYTES = 1 << 20
# magic, deflate, no flags, no time, no extra flags, unknown system: the same bytes on every machine
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def shard_name(number: int) -> str:
    """The name, without `.tar`, of the tar with this number (tars are counted from 1)."""
    return f"{number:0{SHARD_DIGITS}d}"


def write_wds_shard(url: str, rows: TokenRows | U32Array) -> WrittenFile:
    """Write one tar atomically, a member per row; equal rows give equal bytes.

    A row's meta, where there is one, follows it as `<key>.meta.json`. An array of shape (S, L) is S rows.
    """
    if not isinstance(rows, TokenRows):
        rows = TokenRows.of(rows)
    return write_pieces(url, _pieces(_tar_blocks(rows)))


def _tar_blocks(rows: TokenRows) -> Iterator[bytes]:
    """The parts of the tar in order: header, content and padding per member, then the end marks."""
    total = 0
    for index, tokens in enumerate(rows.rows()):
        key = f"{index:0{_KEY_DIGITS}d}"
        members = [(f"{key}.json.gz", _gzip(orjson.dumps(tokens, option=orjson.OPT_SERIALIZE_NUMPY)))]
        if rows.metas is not None:
            members.append((f"{key}{_META_SUFFIX}", orjson.dumps(rows.metas[index], option=orjson.OPT_SORT_KEYS)))
        for name, content in members:
            padded = content + bytes(-len(content) % _BLOCK)
            yield _tar_header(name, len(content))
            yield padded
            total += _BLOCK + len(padded)
    end = 2 * _BLOCK
    yield bytes(end + -(total + end) % _TAR_RECORD)


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Join small parts to pieces of about a MiB."""
    held: list[bytes] = []
    length = 0
    for part in parts:
        held.append(part)
        length += len(part)
        if length >= _WRITE_BYTES:
            yield b"".join(held)
            held, length = [], 0
    yield b"".join(held)


def _gzip(data: bytes) -> bytes:
    """A gzip member without a time."""
    # not isal, three times faster: its output depends on what its hash table's memory held before
    body = zlib.compress(data, level=_DEFLATE_LEVEL, wbits=-15)
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def _tar_header(name: str, size: int) -> bytes:
    """A ustar header of a plain file: mode 0644, owner 0, time 0."""
    mode, owner, time, device = b"0000644\0", b"0000000\0", b"00000000000\0", b"0000000\0"
    head = struct.pack(
        "100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s167x",
        *(name.encode("ascii"), mode, owner, owner, b"%011o\0" % size, time),
        *(b" " * 8, b"0", b"", b"ustar\0", b"00", b"", b"", device, device),
    )
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]


def read_wds_shard(url: str, data_key: str = "json.gz") -> Iterator[list[int]]:
    """The sequences of a tar in order, read as a stream; ids are given as they stand.

    Args:
        url: the tar.
        data_key: which members hold sequences, others are passed over: `json.gz` or `json` (a JSON list), or `txt` (a
            Python list literal).

    Raises:
        InputError: another data key, or a missing file.
        ShardError: the tar or a member is damaged.
    """
    return (sequence for _, sequence, _ in read_wds_rows(url, data_key))


def read_wds_rows(
    url: str, data_key: str = "json.gz", rows: Container[int] | None = None
) -> Iterator[tuple[int, list[int], dict[str, Any]]]:
    """The number of each row of a tar, its sequence as it stands, and its meta (empty where none follows it).

    Args:
        url: the tar.
        data_key: as for `read_wds_shard`.
        rows: the numbers of the rows to decode and give; None: all.

    Raises:
        InputError: another data key, or a missing file.
        ShardError: the tar or a member is damaged.
    """
    if data_key not in DATA_KEYS:
        raise InputError(f"unknown data key {data_key!r}; it must be one of {', '.join(DATA_KEYS)}")
    number = -1
    held: tuple[str, list[int]] | None = None
    for offset, name, content in read_members(url):
        key, _, extension = storage.basename(name).partition(".")
        if extension == data_key:
            if held is not None:
                yield number, held[1], {}
            number += 1
            wanted = rows is None or number in rows
            held = (key, _sequence(url, offset, name, content, data_key)) if wanted else None
        elif held is not None and held[0] == key and f".{extension}" == _META_SUFFIX:
            yield number, held[1], _meta(url, offset, name, content)
            held = None
    if held is not None:
        yield number, held[1], {}


def _sequence(url: str, offset: int, name: str, content: bytes, data_key: str) -> list[int]:
    try:
        sequence = _decode(content, data_key)
    except (ValueError, SyntaxError, zlib.error, RecursionError, MemoryError) as error:
        raise ShardError(url, offset, f"member {name}: {error}") from error
    if not isinstance(sequence, list):
        raise ShardError(url, offset, f"member {name}: expected a list of token ids")
    return sequence


def _meta(url: str, offset: int, name: str, content: bytes) -> dict[str, Any]:
    try:
        meta = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ShardError(url, offset, f"member {name}: {error}") from error
    if not isinstance(meta, dict):
        raise ShardError(url, offset, f"member {name}: expected a JSON object")
    return meta


def read_members(url: str) -> Iterator[tuple[int, str, bytes]]:
    """(byte offset, name, content) of each plain file of a tar; ShardError unless the tar has its end mark.

    `tarfile` is not asked to walk the archive: reading a stream, it takes a cut header for the end.
    """
    offset = 0
    long_name: str | None = None
    with storage.open_read(url) as file:
        while (header := file.read(_BLOCK)) != bytes(_BLOCK):
            try:
                member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
                content = _content(file, member)
            except tarfile.TarError as error:
                raise ShardError(url, offset, f"damaged tar: {error}") from error
            if member.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                long_name = _long_name(member.type, content) or long_name
            else:
                if member.isreg():
                    yield offset, long_name or member.name, content
                long_name = None
            offset += _BLOCK + len(content) + -len(content) % _BLOCK


def _content(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    """The bytes that follow a header, read past their padding; none for links, folders and devices."""
    if member.type in _WITHOUT_CONTENT:
        return b""
    if member.size > MAX_MEMBER_BYTES:
        raise tarfile.ReadError(f"member {member.name} of {member.size} bytes is too large")
    content = file.read(member.size)
    padding = -member.size % _BLOCK
    if len(content) != member.size or len(file.read(padding)) != padding:
        raise tarfile.ReadError(f"member {member.name} ends early")
    return content


def _long_name(kind: bytes, content: bytes) -> str | None:
    """The name that a GNU long-name member or a pax header gives to the member after it."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    # pax: records `LENGTH KEY=VALUE\n`
    for record in content.split(b"\n"):
        _, _, pair = record.partition(b" ")
        if pair.startswith(b"path="):
            return pair[len(b"path=") :].decode("utf-8", "surrogateescape")
    return None


def _decode(content: bytes, data_key: str) -> Any:
    if data_key == "json.gz":
        decompressor = zlib.decompressobj(wbits=31)
        content = decompressor.decompress(content, MAX_MEMBER_BYTES)
        if not decompressor.eof:
            raise ValueError(f"its gzip stream ends early or holds more than {MAX_MEMBER_BYTES} bytes")
    if data_key == "txt":
        return ast.literal_eval(content.decode("utf-8"))
    return orjson.loads(content)


def count_members(url: str) -> int:
    """The number of sequences in a tar: of files, those that share a key counted as one."""
    count, last = 0, None
    for _, name, _ in read_members(url):
        key = name.rpartition("/")[0], storage.basename(name).partition(".")[0]
        count += key != last
        last = key
    return count


def write_manifest(url: str, entries: Iterable[ManifestEntry]) -> None:
    """Write a manifest atomically, a line per tar, the last one ended too."""
    rows = ({"shard": entry.shard, "num_sequences": entry.num_sequences} for entry in entries)
    storage.write_bytes(url, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_manifest(url: str) -> list[ManifestEntry]:
    """The entries of a manifest; `num_chunks` is read as `num_sequences`, a missing final line end is fine.

    Raises:
        InputError: the file is missing, or a line of it (which is named) is no entry.
    """
    entries = []
    for number, line in enumerate(storage.read_bytes(url).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{url}:{number}: not JSON: {error}") from error
        fields = row if isinstance(row, dict) else {}
        shard, count = fields.get("shard"), fields.get("num_sequences", fields.get("num_chunks"))
        if not isinstance(shard, str) or not shard or not isinstance(count, int) or count < 0:
            raise InputError(f'{url}:{number}: expected {{"shard": name, "num_sequences": n}}, got {line[:200]!r}')
        entries.append(ManifestEntry(shard=shard, num_sequences=count))
    return entries


def count_tokens(manifest_url: str, sequence_length: int) -> int:
    """Sequences of a manifest times the tokens in a sequence (training's sequence length + 1)."""
    return sequence_length * sum(entry.num_sequences for entry in read_manifest(manifest_url))


def make_manifest(data_dir: str, manifest_name: str = MANIFEST_NAME) -> list[ManifestEntry]:
    """Count the sequences of every `*.tar` directly in a folder and write the manifest there.

    Raises:
        InputError: the folder holds no tar.
        ShardError: a tar is damaged.
    """
    found = [info.url for info in storage.list_files(data_dir, (".tar",))]
    urls = [url for url in found if "/" not in storage.relative(url, data_dir)]
    if not urls:
        raise InputError(f"{data_dir}: no *.tar; give the folder that holds the token shards")
    entries = [
        ManifestEntry(shard=storage.basename(url).partition(".")[0], num_sequences=count_members(url)) for url in urls
    ]
    write_manifest(storage.join(data_dir, manifest_name), entries)
    return entries


class WdsTokens:
    """A folder of tars with its manifest, as token shards of any format are read."""

    format = "wds"

    def __init__(self, folder: str, data_key: str = "json.gz") -> None:
        """Read the manifest of a folder.

        Raises:
            InputError: there is none (`corpusmith` writes one; `tools/make_wds_manifest.py` too).
        """
        self.folder = folder
        self.data_key = data_key
        self.entries = read_manifest(storage.join(folder, MANIFEST_NAME))

    def read(self, shard: str, start: int = 0) -> Iterator[TokenRow]:
        """The sequences of a tar in order, from `start` on; a tar is a stream, so those before are read too."""
        entry_of(self.entries, shard, self.folder)
        url = storage.join(self.folder, f"{shard}.tar")
        rows = range(start, _MOST_ROWS) if start > 0 else None
        for _, sequence, meta in read_wds_rows(url, self.data_key, rows):
            yield TokenRow(tokens=_as_ids(sequence, url), meta=meta)


def _as_ids(sequence: list[Any], url: str) -> npt.NDArray[Any]:
    """A sequence as array; with negative ids, which OpenLM takes modulo the vocabulary, it stays one of int64."""
    try:
        ids = np.asarray(sequence) if sequence else np.empty(0, dtype=np.uint32)
    except ValueError as error:
        raise ShardError(url, 0, f"a sequence is no list of ids: {error}") from error
    return ids if ids.dtype.kind == "i" and ids.min() < 0 else widen(ids, url)
