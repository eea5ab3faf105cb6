"""The blocked Bloom filter: its stated rate, its size, its file, and its memory shared between processes."""

from __future__ import annotations

import os
import pathlib
import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import InputError
from dedup.bff.bloom.filter import (
    FilterHeader,
    FilterShape,
    false_positive_rate,
    load_filter_words,
    read_filter_header,
    save_filter,
    shape_for,
    words_checksum,
)
from dedup.bff.bloom.kernels import blocks_of, check_and_insert, count_set_bits, insert_marked, probe, undo
from dedup.bff.bloom.shared_memory import open_shared, remove_shared
from tests.oracles.bff_reference import bits_of

U64 = st.integers(0, 2**64 - 1)


def hashes_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize("rate", [0.3, 0.01, 0.001])
@pytest.mark.parametrize("hashes", [0, 4])
def test_filter_filled_as_sized_has_its_rate(rate: float, hashes: int) -> None:
    shape = shape_for(50_000, rate, hashes)
    words = np.zeros(shape.blocks * 8, dtype=np.uint64)
    kernel_shape = (shape.hashes, np.uint64(shape.blocks), 0)
    insert_marked(words, hashes_of(50_000), np.ones(50_000, dtype=np.uint8), *kernel_shape)
    contained = np.zeros(500_000, dtype=np.uint8)
    probe(words, hashes_of(500_000, seed=1), *kernel_shape, contained)
    assert contained.mean() == pytest.approx(rate, rel=0.15)
    probe(words, hashes_of(50_000), *kernel_shape, contained[:50_000])
    assert contained[:50_000].all()


def test_size_is_the_smallest_that_keeps_the_rate() -> None:
    shape = shape_for(1_000_000, 0.01)
    assert false_positive_rate(shape.blocks, 1_000_000, shape.hashes) <= 0.01
    assert false_positive_rate(shape.blocks - 1, 1_000_000, shape.hashes) > 0.01
    # upstream's filter of independent bits takes 1.199 bytes an n-gram (Bloom's formula); a blocked one 3 % more
    assert 1.199 < shape.bytes / 1_000_000 < 1.25


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="false-positive rate must lie in"):
        shape_for(1000, 0.9)
    with pytest.raises(InputError, match=r"no filter keeps .* 1e-09 .* with 1 hashes"):
        shape_for(10**9, 1e-9, 1)


@given(values=st.lists(U64, max_size=30), blocks=st.integers(1, 5000), hashes=st.integers(1, 32))
def test_bits_equal_the_plain_ones(values: list[int], blocks: int, hashes: int) -> None:
    words = np.zeros(blocks * 8, dtype=np.uint64)
    array = np.array(values, dtype=np.uint64)
    insert_marked(words, array, np.ones(len(values), dtype=np.uint8), hashes, np.uint64(blocks), 0)
    bits = {bit for value in values for bit in bits_of(value, FilterShape(blocks=blocks, hashes=hashes))}
    assert set(np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little")).tolist()) == bits
    assert count_set_bits(words) == len(bits)


@given(value=U64, blocks=st.integers(1, 2**40))
def test_block_is_the_high_part_of_the_product(value: int, blocks: int) -> None:
    assert blocks_of(np.array([value], dtype=np.uint64), np.uint64(blocks)).tolist() == [value * blocks >> 64]


@given(
    units=st.lists(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6), max_size=8),
    hashes=st.integers(1, 32),
)
def test_undo_takes_back_exactly_what_was_inserted(units: list[list[tuple[int, bool]]], hashes: int) -> None:
    flat = [pair for unit in units for pair in unit]
    values = hashes_of(41)[[value for value, _ in flat]] if flat else np.zeros(0, dtype=np.uint64)
    words = np.zeros(2 * 8, dtype=np.uint64)
    insert_marked(words, hashes_of(3, seed=9), np.ones(3, dtype=np.uint8), hashes, np.uint64(2), 0)
    before = words.copy()
    contained, fresh = np.zeros(len(flat), dtype=np.uint8), np.zeros(len(flat), dtype=np.uint32)
    marked = np.array([mark for _, mark in flat], dtype=np.uint8)
    sizes = np.array([len(unit) for unit in units], dtype=np.int64)
    check_and_insert(words, values, sizes, marked, hashes, np.uint64(2), 0, contained, fresh)
    undo(words, values, hashes, np.uint64(2), 0, fresh)
    assert (words == before).all()


# --- the file -------------------------------------------------------------------------------------------------


def save(tmp_path: pathlib.Path) -> tuple[pathlib.Path, np.ndarray, FilterHeader]:
    words = hashes_of(24, seed=3)
    parts = [tmp_path / "0.bin", tmp_path / "1.bin"]
    for path, part in zip(parts, np.split(words, [16]), strict=True):
        path.write_bytes(part.tobytes())
    urls = [str(path) for path in parts]
    header = FilterHeader(
        unit="ngram",
        ngram=13,
        hashing={"family": "f"},
        blocks=3,
        hashes=6,
        ngrams=100,
        rate=0.01,
        inserted=7,
        before=0,
        made_from="x",
        parent=None,
        checksum=words_checksum(urls),
    )
    path = tmp_path / "filter.bloom"
    save_filter(str(path), header, urls)
    return path, words, header


def test_saved_filter_is_loaded_whole_and_in_parts(tmp_path: pathlib.Path) -> None:
    path, words, header = save(tmp_path)
    assert read_filter_header(str(path)) == header
    loaded = np.zeros(24, dtype=np.uint64)
    load_filter_words(str(path), loaded, 0)
    assert (loaded == words).all()
    part = np.zeros(8, dtype=np.uint64)
    load_filter_words(str(path), part, 2)
    assert (part == words[16:]).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:-100], "truncated"),
        (lambda data: data[:30], "header is damaged"),
        (lambda data: data[:5], "not a filter file"),
        (lambda data: b"", "not a filter file"),
        (lambda data: data + b"x", "damaged: "),
        (lambda data: data.replace(b'"blocks":3', b'"blocks":0'), "header is damaged"),
        (lambda data: data.replace(b'"blocks":3', b'"blocks":true'), "header is damaged|filter file is"),
        (lambda data: data.replace(b'"ngram":13,', b""), "header is damaged"),
        (lambda data: b"\x17\xf1\xf0\x81" + data[4:], "upstream BFF's cannot be used"),
    ],
)
def test_damaged_filter_file_is_refused_with_what_is_wrong(
    tmp_path: pathlib.Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path, _, _ = save(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=message):
        read_filter_header(str(path))


def test_flipped_bit_in_the_words_is_found_when_they_are_loaded(tmp_path: pathlib.Path) -> None:
    path, _, _ = save(tmp_path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="another checksum"):
        load_filter_words(str(path), np.zeros(24, dtype=np.uint64), 0)


# --- shared memory --------------------------------------------------------------------------------------------


@pytest.fixture
def name() -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    yield name
    remove_shared(name)


def test_memory_outlives_its_holder_and_knows_its_rounds(name: str) -> None:
    with open_shared(name, "identity", 16) as shared:
        assert shared.rounds == -1
        assert shared.is_new
        shared.begin()
        shared.words[3] = 5
        shared.commit(2)
    with open_shared(name, "identity", 16) as shared:
        assert (shared.rounds, int(shared.words[3]), shared.is_new) == (2, 5, False)
        shared.begin()
    with open_shared(name, "identity", 16) as shared:
        assert shared.rounds == -1  # somebody died in the middle


@pytest.mark.parametrize(("identity", "words"), [("another", 16), ("identity", 24)])
def test_memory_of_something_else_counts_as_unknown(name: str, identity: str, words: int) -> None:
    with open_shared(name, "identity", 16) as shared:
        shared.commit(2)
    with open_shared(name, identity, words) as shared:
        assert shared.rounds == -1
        assert len(shared.words) == words


def test_two_processes_share_one_memory(name: str) -> None:
    with open_shared(name, "identity", 16) as shared:
        shared.commit(0)
    child = os.fork()
    if child == 0:
        with open_shared(name, "identity", 16) as shared:
            shared.words[5] = 77
            shared.commit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with open_shared(name, "identity", 16) as shared:
        assert (shared.rounds, int(shared.words[5])) == (1, 77)


def test_filter_without_room_is_refused_before_anything_is_written(name: str) -> None:
    with pytest.raises(InputError, match="fits neither into"), open_shared(name, "identity", 1 << 50):
        pass
