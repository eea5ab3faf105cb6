"""The size of a blocked Bloom filter, the file that keeps one, and its memory shared between processes.

Sizing follows Putze, Sanders and Singler (2007): a block's load is Poisson, so the rate is the mean over loads of the
rate of a filter of `BLOCK_BITS` bits. Departs from upstream's BFF, whose bits lie anywhere in the filter: at a rate of
0.01 ours takes 1.237 bytes for an n-gram instead of 1.199, and one cache miss instead of seven.

File: the line `corpusmith bloom 1`, a line of JSON (`FilterHeader`), the words (little-endian, 64 bits each).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np
import orjson
import xxhash

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.text.kernels import U64Array
from dedup.bff.bloom.kernels import BLOCK_BITS, BLOCK_WORDS, MAX_HASHES

BLOCK_BYTES = BLOCK_WORDS * 8
MAGIC = b"corpusmith bloom 1\n"
COPY_BYTES = 8 << 20
MAX_BLOCKS = 1 << 40
RATE_BOUNDS = (1e-9, 0.5)


def false_positive_rate(blocks: int, ngrams: int, hashes: int) -> float:
    """The expected rate at which n-grams that were never inserted are found after `ngrams` distinct ones were."""
    if ngrams <= 0:
        return 0.0
    load = ngrams / blocks
    reach = 12.0 * math.sqrt(load) + 30.0
    loads = np.arange(max(0, math.floor(load - reach)), math.ceil(load + reach) + 1, dtype=np.float64)
    log_factorials = np.array([math.lgamma(value + 1.0) for value in loads.tolist()])
    weights = np.exp(loads * math.log(load) - load - log_factorials)
    rates = (1.0 - (1.0 - 1.0 / BLOCK_BITS) ** (hashes * loads)) ** hashes
    return float(min(1.0, (weights * rates).sum()))


def _blocks_for(ngrams: int, rate: float, hashes: int) -> int:
    """The fewest blocks that keep the rate with so many hashes."""
    low, high = 0, max(1, ngrams // (2 * BLOCK_BITS))
    while false_positive_rate(high, ngrams, hashes) > rate:
        low, high = high, 2 * high
        if high > MAX_BLOCKS:
            return MAX_BLOCKS
    while high - low > max(1, high >> 20):
        middle = (low + high) // 2
        low, high = (low, middle) if false_positive_rate(middle, ngrams, hashes) <= rate else (middle, high)
    return high


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterShape:
    """A filter's size in blocks of `BLOCK_BYTES` bytes and its bits per n-gram."""

    blocks: int
    hashes: int

    @property
    def bytes(self) -> int:
        """Bytes of the words."""
        return self.blocks * BLOCK_BYTES

    def rate(self, ngrams: int) -> float:
        """The expected false-positive rate with so many distinct n-grams."""
        return false_positive_rate(self.blocks, ngrams, self.hashes)


@functools.lru_cache(maxsize=64)
def shape_for(ngrams: int, rate: float, hashes: int = 0) -> FilterShape:
    """The smallest filter that keeps `rate` up to `ngrams` distinct n-grams; `hashes` 0 takes the best number.

    Raises InputError where no filter of a sane size does.
    """
    if not RATE_BOUNDS[0] <= rate <= RATE_BOUNDS[1] or not 0 <= hashes <= MAX_HASHES:
        raise InputError(
            f"a false-positive rate must lie in [{RATE_BOUNDS[0]:g}, {RATE_BOUNDS[1]:g}] and the number of hashes in "
            f"[0, {MAX_HASHES}], got {rate} and {hashes}"
        )
    ngrams = max(1, ngrams)
    best: FilterShape | None = None
    for count in (hashes,) if hashes else range(1, MAX_HASHES + 1):
        shape = FilterShape(blocks=_blocks_for(ngrams, rate, count), hashes=count)
        if best is None or shape.blocks < best.blocks:
            best = shape
        elif not hashes and shape.blocks > 1.1 * best.blocks:
            break
    if best is None or best.blocks >= MAX_BLOCKS:
        raise InputError(
            f"no filter keeps a false-positive rate of {rate:g} for {ngrams:,} n-grams"
            + (f" with {hashes} hashes" if hashes else "")
        )
    return best


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterHeader:
    """What a saved filter is and what it was made with.

    `unit`: what was inserted (`ngram`, or `text` in exact mode); `ngram`: tokens of a full n-gram; `hashing`: versions
    of what turns a text into hashes; `ngrams`, `rate`: what it was sized for; `inserted`: distinct n-grams in it,
    `before`: those of the filter that it was made from; `made_from`: digest of the input, config and filter that it
    came from; `parent`: `checksum` of that filter.
    """

    unit: str
    ngram: int
    hashing: dict[str, str]
    blocks: int
    hashes: int
    ngrams: int
    rate: float
    inserted: int
    before: int
    made_from: str
    parent: str | None
    checksum: str

    @property
    def shape(self) -> FilterShape:
        """The filter's size."""
        return FilterShape(blocks=self.blocks, hashes=self.hashes)


def _read_header(file: BinaryIO, path: str) -> tuple[FilterHeader, int]:
    """The header, and the byte at which the words begin."""
    if file.read(len(MAGIC)) != MAGIC:
        raise InputError(
            f"{path}: not a filter file of Corpusmith (upstream BFF's cannot be used: it hashes otherwise)"
        )
    line = b""
    while not line.endswith(b"\n") and len(line) < 1 << 16:
        if not (piece := file.read(1)):
            break
        line += piece
    try:
        document = orjson.loads(line)
        header = FilterHeader(**document)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its header is damaged: {error}") from error
    sound = all(isinstance(value, int) and value > 0 for value in (header.blocks, header.hashes, header.ngram))
    if not sound or header.blocks > MAX_BLOCKS or header.hashes > MAX_HASHES:
        raise InputError(f"{path}: its header is damaged: {header.blocks!r} blocks, {header.hashes!r} hashes")
    return header, len(MAGIC) + len(line)


def read_filter_header(path: str) -> FilterHeader:
    """The header of a filter file; InputError where it is none, or where the file is shorter or longer than it says."""
    with storage.open_read(path) as file:
        header, start = _read_header(file, path)
    wanted, there = start + header.shape.bytes, storage.stat(path).size
    if there != wanted:
        what = "truncated" if there < wanted else "damaged"
        raise InputError(f"{path}: the filter file is {what}: {there} bytes instead of {wanted}")
    return header


def _pieces(url: str) -> Iterator[bytes]:
    with storage.open_read(url) as file:
        while piece := file.read(COPY_BYTES):
            yield piece


def words_checksum(urls: Iterable[str]) -> str:
    """The checksum of a filter's words, which stand in these files one after the other."""
    hasher = xxhash.xxh3_128()
    for url in urls:
        for piece in _pieces(url):
            hasher.update(piece)
    return f"xxh3_128:{hasher.hexdigest()}"


def save_filter(path: str, header: FilterHeader, urls: Iterable[str]) -> None:
    """Write a filter file, whole or not at all; its words stand in the files `urls` one after the other."""
    with storage.atomic_write(path) as file:
        file.write(MAGIC + orjson.dumps(asdict(header)) + b"\n")
        for url in urls:
            for piece in _pieces(url):
                file.write(piece)


def write_words(file: BinaryIO, words: U64Array) -> None:
    """Write words to a file, a few MiB at a time."""
    for start in range(0, len(words), COPY_BYTES // 8):
        file.write(words[start : start + COPY_BYTES // 8].data)


def read_words(file: BinaryIO, words: U64Array, path: str) -> None:
    """Fill `words` from a file; InputError where it ends before."""
    data = words.view(np.uint8)
    at = 0
    while at < len(data):
        piece = file.read(min(COPY_BYTES, len(data) - at))
        if not piece:
            raise InputError(f"{path}: the file is truncated: {at} bytes of words instead of {len(data)}")
        data[at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        at += len(piece)


def load_filter_words(path: str, words: U64Array, first_block: int) -> None:
    """Fill `words` with the blocks of a filter file from `first_block` on.

    The checksum is verified where these are all blocks.
    """
    with storage.open_read(path) as file:
        header, start = _read_header(file, path)
        if first_block:
            file.seek(start + first_block * BLOCK_BYTES)
        read_words(file, words, path)
    if len(words) == header.blocks * BLOCK_WORDS:
        found = f"xxh3_128:{xxhash.xxh3_128_hexdigest(words.data)}"
        if found != header.checksum:
            raise InputError(f"{path}: the filter file is damaged: its words have another checksum than it says")
