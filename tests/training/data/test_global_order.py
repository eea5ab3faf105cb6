"""The global order: every position one sequence, whatever the processes, readers, windows and restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.io.tokens import wds
from training.data.batch import BatchSpec
from training.data.global_order import MIX_BLOCK, GlobalReader, Interleaving, SourceOrder
from training.data.token_shards import TokenShard, find_token_dataset
from training.loop.loader import ReadAhead, make_loader
from training.plan.config import TrainConfig
from training.state.ranks import Ranks


def shards(*counts: int) -> list[TokenShard]:
    return [TokenShard(url=f"d/{number}.tar", num_sequences=count) for number, count in enumerate(counts)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=7).filter(any), st.integers(1, 4), st.integers(0, 2))
def test_each_pass_reads_each_sequence_once(counts: Any, window_shards: Any, number: Any) -> None:
    order = SourceOrder(shards(*counts), (1,), window_shards)
    seen = []
    position = number * order.total
    while position < (number + 1) * order.total:
        window = order.window(position)
        assert window.first == position
        rows = order.rows(window)
        assert sorted(rows) == list(range(window.last - window.first))
        places = [(shard.url, row) for shard in window.shards for row in range(shard.num_sequences)]
        seen += [places[row] for row in rows]
        position = window.last
    assert sorted(seen) == [(shard.url, row) for shard in shards(*counts) for row in range(shard.num_sequences)]


def test_another_pass_and_another_seed_give_another_order() -> None:
    def first_rows(key: tuple[int | str, ...], position: int) -> list[tuple[str, int]]:
        order = SourceOrder(shards(*[50] * 4), key, 2)
        window = order.window(position)
        names = [shard.url for shard in window.shards for _ in range(shard.num_sequences)]
        return [(names[row], int(row)) for row in order.rows(window)[:10]]

    assert first_rows((1,), 0) == first_rows((1,), 0)
    assert first_rows((1,), 0) != first_rows((1,), 200)
    assert first_rows((1,), 0) != first_rows((2,), 0)


def test_shards_that_are_used_up_are_counted_over_passes() -> None:
    order = SourceOrder(shards(*[10] * 5), (1,), 2)
    assert [order.shards_before(position) for position in (0, 19, 20, 40, 50, 70)] == [0, 0, 2, 4, 5, 7]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=5),
    st.integers(0, 4000),
    st.integers(1, 2000),
    st.integers(0, 10),
)
def test_a_mixture_keeps_its_shares_and_knows_its_positions(weights: Any, first: Any, count: Any, seed: Any) -> None:
    interleaving = Interleaving(weights, (seed,))
    labels = interleaving.sources(first, first + count)
    before, after = interleaving.before(first), interleaving.before(first + count)
    assert before.sum() == first
    assert (np.bincount(labels, minlength=len(weights)) == after - before).all()
    shares = np.array(weights) / sum(weights)
    blocks = 3 * MIX_BLOCK
    assert np.abs(interleaving.before(blocks) - shares * blocks).max() < len(weights)
    for source in range(len(weights)):
        places = interleaving.positions(source, int(before[source]), int(after[source]))
        assert (places == np.flatnonzero(labels == source) + first).all()


def read(
    url: str, *, world_size: int = 1, workers: int = 2, first: int = 0, last: int = 6
) -> list[list[tuple[list[int], list[int], str]]]:
    """Batches of all ranks, put together: for each step the first tokens and origins in order of rank."""
    order = SourceOrder(find_token_dataset(url).shards, (7,), 3)
    steps: list[list[tuple[list[int], list[int], str]]] = [[] for _ in range(last - first)]
    for rank in range(world_size):
        spec = BatchSpec(
            seq_len=16, vocab_size=32, batch_size=8 // world_size, rank=rank, world_size=world_size, workers=workers
        )
        reader = GlobalReader([order], Interleaving([1.0], (7,)), [""], spec, 6 * 8)
        for step, batch in enumerate(reader.batches(first, last)):
            steps[step] += [
                (x.tolist(), y.tolist(), str(o)) for x, y, o in zip(batch.x_BT, batch.y_BT, batch.origins, strict=True)
            ]
    return steps


def test_any_number_of_processes_and_readers_gives_the_same_batches(manifest: str) -> None:
    alone = read(manifest)
    assert len({origin for step in alone for _, _, origin in step}) == 48
    assert read(manifest, world_size=2, workers=1) == alone
    assert read(manifest, world_size=4, workers=3) == alone


@pytest.mark.parametrize("first", [1, 3, 5])
def test_reading_goes_on_at_any_step(manifest: str, first: int) -> None:
    assert read(manifest, first=first) == read(manifest)[first:]


def test_batches_are_the_sequences_of_their_origins(manifest: str) -> None:
    stored = {
        f"{shard.url}#{row}": tokens
        for shard in find_token_dataset(manifest).shards
        for row, tokens in enumerate(wds.read_wds_shard(shard.url))
    }
    for x, y, origin in [row for step in read(manifest) for row in step]:
        assert (x, y) == (stored[origin][:-1], stored[origin][1:])


def one_batch(tmp_path: Path, rows: Sequence[Sequence[int | str]], **spec: Any) -> Any:
    import io
    import json
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, row in enumerate(rows):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    found = find_token_dataset(str(tmp_path / "a.tar"), "json")
    made = BatchSpec(**({"seq_len": 3, "vocab_size": 100, "batch_size": len(rows)} | spec))
    reader = GlobalReader([SourceOrder(found.shards, (1,), 1)], Interleaving([1.0], (1,)), ["web"], made, len(rows))
    (batch,) = reader.batches(0, 1)
    return {
        origin.row: (x.tolist(), y.tolist()) for x, y, origin in zip(batch.x_BT, batch.y_BT, batch.origins, strict=True)
    }, batch


def test_short_sequences_are_padded_and_long_ones_cut(tmp_path: Path) -> None:
    rows, batch = one_batch(tmp_path, [[5, 6], [7, 8, 9, 10], [1, 2, 3, 4, 5, 6, 7, 8]])
    assert rows[0] == ([5, 6, 0], [6, -100, -100])
    assert rows[1] == ([7, 8, 9], [8, 9, 10])
    start = next(origin.start for origin in batch.origins if origin.row == 2)
    assert rows[2] == ([start + 1, start + 2, start + 3], [start + 2, start + 3, start + 4])
    assert {origin.domain for origin in batch.origins} == {"web"}


def test_ids_are_fixed_up_and_an_id_beyond_the_vocabulary_is_named(tmp_path: Path) -> None:
    assert one_batch(tmp_path, [[-1, "x", 3, 4]])[0][0] == ([99, 0, 3], [0, 3, 4])
    with pytest.raises(InputError, match=r"a\.tar: sequence 1: token id 100"):
        one_batch(tmp_path, [[1, 2, 3, 4], [1, 2, 100, 4]])


def test_a_shard_with_fewer_sequences_than_promised_is_named(
    manifest: str, make_config: Callable[..., TrainConfig]
) -> None:
    entries = wds.read_manifest(manifest)
    wds.write_manifest(manifest, [wds.ManifestEntry(shard=entry.shard, num_sequences=9) for entry in entries])
    loader = make_loader(make_config(), Ranks())
    with pytest.raises(InputError, match=r"fewer than the 9 sequences"):
        list(loader.epoch(0, 0, []).batches)


def test_epochs_end_at_the_checkpoints_of_the_plan(make_config: Callable[..., TrainConfig]) -> None:
    loader = make_loader(make_config(), Ranks())
    assert [loader.epoch(step, 0, []).steps for step in (0, 3, 4, 9)] == [4, 1, 4, 3]
    assert loader.epoch(4, 1, []).next_shards == [8]


def test_reading_ahead_hands_errors_over_in_their_place_and_stops_early() -> None:
    def batches() -> Iterator[Any]:
        yield from "ab"
        raise InputError("the third shard is damaged")

    with ReadAhead(batches(), 1) as ahead:
        taken = [ahead._queue.get(), ahead._queue.get()]
        assert taken == ["a", "b"]
        with pytest.raises(InputError, match="third shard"):
            ahead.next()
    closed = []

    def endless() -> Iterator[Any]:
        try:
            while True:
                yield "x"
        finally:
            closed.append(True)

    with ReadAhead(endless(), 2):
        pass
    assert closed == [True]
