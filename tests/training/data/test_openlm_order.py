"""OpenLM's order: the measured fixtures of section 6, and batches over real tars."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpusmith.errors import InputError
from corpusmith.io.tokens import wds
from training.data.batch import BatchSpec, fix_id, make_batch
from training.data.openlm_order import (
    DataExhausted,
    ShardSelection,
    epoch_batches,
    nominal_steps,
    possible_steps,
    select_shards,
    shard_expression,
)
from training.data.token_shards import TokenShard

FIXTURE = [TokenShard(url=f"d/{n:08d}.tar", num_sequences=40 if n == 19 else 100) for n in range(20)]
ORDER_124 = [3, 16, 10, 14, 9, 7, 5, 8, 18, 2, 1, 0, 11, 17, 6, 13, 4, 19, 12, 15]
ORDER_125 = [9, 3, 5, 18, 6, 0, 12, 1, 19, 15, 7, 8, 11, 10, 17, 14, 4, 13, 2, 16]


def numbers(selection: ShardSelection) -> list[int]:
    return [int(name) for name in selection.shards[0]]


@pytest.mark.parametrize(("seed", "order"), [(124, ORDER_124), (125, ORDER_125), (None, list(range(20)))])
def test_order_of_shards(seed: int | None, order: list[int]) -> None:
    chosen = select_shards([FIXTURE], 1940, [0], workers=1, world_size=1, seed=seed)
    assert numbers(chosen) == order


def test_epochs_over_two_passes() -> None:
    start, epochs = [0], []
    for _ in range(5):
        chosen = select_shards([FIXTURE], 450, start, workers=2, world_size=2, seed=124, multiple_passes=True)
        start = chosen.next_shards
        epochs.append((numbers(chosen), chosen.num_sequences[0], start[0]))
    assert epochs == [
        ([3, 16, 10, 14], 400, 4),
        ([9, 7, 5, 8], 400, 8),
        ([18, 2, 1, 0], 400, 12),
        ([11, 17, 6, 13], 400, 16),
        ([9, 3, 5, 18], 400, 24),
    ]


def test_epochs_without_shuffle() -> None:
    first = select_shards([FIXTURE], 300, [0], workers=1, world_size=2, seed=None)
    second = select_shards([FIXTURE], 300, first.next_shards, workers=1, world_size=2, seed=None)
    assert (numbers(first), first.num_sequences) == ([0, 1], [200])
    assert (numbers(second), second.num_sequences) == ([2, 3], [200])


def test_running_out_of_shards_says_what_to_do() -> None:
    with pytest.raises(DataExhausted, match="--multiple-data-passes"):
        select_shards([FIXTURE], 450, [16], workers=2, world_size=2, seed=124)
    with pytest.raises(DataExhausted, match="20 shards with 1940 sequences"):
        select_shards([FIXTURE], 1941, [0], workers=1, world_size=1, seed=124, multiple_passes=True)


def test_no_workers_count_as_one() -> None:
    assert numbers(select_shards([FIXTURE], 100, [0], workers=0, world_size=1, seed=None)) == [0]


def test_a_shard_is_taken_from_every_source_at_once() -> None:
    chosen = select_shards([FIXTURE, FIXTURE[:10]], 400, [0, 2], workers=1, world_size=1, seed=None, weights=[3.0, 1.0])
    assert chosen.next_shards == [3, 5]
    with pytest.raises(InputError, match="different passes"):
        select_shards([FIXTURE, FIXTURE], 1, [0, 20], workers=1, world_size=1, seed=None, multiple_passes=True)


def write_shards(folder: Path, shards: list[list[list[int]]]) -> ShardSelection:
    entries = []
    for number, rows in enumerate(shards):
        name = f"{number:08d}"
        wds.write_wds_shard(f"{folder}/{name}.tar", np.array(rows, dtype=np.uint32))
        entries.append(TokenShard(url=f"{folder}/{name}.tar", num_sequences=len(rows)))
    return ShardSelection(entries=[entries], next_shards=[len(entries)])


def firsts(folder: Path, selection: ShardSelection, **spec: Any) -> list[list[int]]:
    values: dict[str, Any] = {"seq_len": 2, "vocab_size": 100}
    made = BatchSpec(**(values | spec))
    return [batch.x_BT[:, 0].tolist() for batch in epoch_batches(selection, made, seed=1, epoch=0)]


def test_shards_go_to_ranks_then_to_workers_and_each_worker_makes_its_own_batches(tmp_path: Path) -> None:
    # shard n holds the sequences [10n + i, 0, 0]
    selection = write_shards(tmp_path, [[[10 * n + i, 0, 0] for i in range(4)] for n in range(4)])
    one = firsts(tmp_path, selection, batch_size=2)
    assert one == [[0, 1], [2, 3], [10, 11], [12, 13], [20, 21], [22, 23], [30, 31], [32, 33]]
    # rank 0 has shards 0 and 2, one for each worker, which take turns
    spread = {"batch_size": 2, "world_size": 2, "workers": 2}
    assert firsts(tmp_path, selection, rank=0, **spread) == [[0, 1], [20, 21], [2, 3], [22, 23]]
    assert firsts(tmp_path, selection, rank=1, **spread) == [[10, 11], [30, 31], [12, 13], [32, 33]]


def test_incomplete_batches_are_dropped_and_no_worker_exceeds_its_share(tmp_path: Path) -> None:
    selection = write_shards(tmp_path, [[[n, 0, 0] for n in range(7)], [[90, 0, 0]]])
    # 8 sequences, 2 workers, batches of 2: 2 per worker at most, and the second worker has none
    assert firsts(tmp_path, selection, batch_size=2, workers=2) == [[0, 1], [2, 3]]
    spec = BatchSpec(seq_len=2, vocab_size=100, batch_size=2, world_size=1, workers=2)
    assert (nominal_steps(selection, spec), possible_steps(selection, spec)) == (4, 2)
    with pytest.raises(InputError, match="equally long shards"):
        possible_steps(selection, BatchSpec(seq_len=2, vocab_size=100, batch_size=2, world_size=2))
    with pytest.raises(InputError, match="no full batch of 5"):
        nominal_steps(selection, BatchSpec(seq_len=2, vocab_size=100, batch_size=5, world_size=2))


def test_targets_are_the_inputs_shifted_by_one(tmp_path: Path) -> None:
    selection = write_shards(tmp_path, [[[5, 6, 7], [8, 9, 10]]])
    spec = BatchSpec(seq_len=2, vocab_size=100, batch_size=2)
    (batch,) = epoch_batches(selection, spec, seed=1, epoch=0)
    assert batch.x_BT.tolist() == [[5, 6], [8, 9]]
    assert batch.y_BT.tolist() == [[6, 7], [9, 10]]
    assert [str(origin) for origin in batch.origins] == [f"{tmp_path}/00000000.tar#0", f"{tmp_path}/00000000.tar#1"]


def test_short_sequences_are_skipped_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    selection = write_shards(tmp_path, [[[1, 2]] * 3])
    assert firsts(tmp_path, selection, batch_size=1) == []
    assert "skipped 3 sequences of at most 2 tokens" in capsys.readouterr().out


def test_one_start_is_drawn_per_batch_of_longer_sequences() -> None:
    spec = BatchSpec(seq_len=2, vocab_size=100, batch_size=2)
    rows = [list(range(10)), list(range(20, 30))]
    starts = set()
    for seed in range(200):
        batch = make_batch(rows, spec, random.Random(seed))
        x, y = batch.x_BT, batch.y_BT
        assert (x[1] - x[0]).tolist() == [20, 20]
        assert (y - x == 1).all()
        starts.add(int(x[0, 0]))
    assert starts == set(range(8))  # 0 to length - seq_len - 1
    assert make_batch(rows, spec).x_BT[0].tolist() == [0, 1]


def test_tokens_are_fixed_up_as_openlm_does() -> None:
    assert [fix_id(token, 50432) for token in (-1, -2, 7, "x", None, 1.5)] == [50431, 50430, 7, 0, 0, 0]
    spec = BatchSpec(seq_len=2, vocab_size=50432, batch_size=2)
    rows: Any = [[1, -1, 2], [3, "<|endoftext|>", 4]]  # as other writers' JSON may hold
    assert make_batch(rows, spec).x_BT.tolist() == [[1, 50431], [3, 0]]
    assert make_batch([[-1, -2, 2]], spec).x_BT.tolist() == [[50431, 50430]]


def test_ids_beyond_the_vocabulary_and_ragged_batches_are_refused() -> None:
    spec = BatchSpec(seq_len=2, vocab_size=10, batch_size=2)
    with pytest.raises(InputError, match="vocabulary of 10"):
        make_batch([[1, 10, 2]], spec)
    with pytest.raises(InputError, match=r"\[3, 4\]"):
        make_batch([[1, 2, 3], [1, 2, 3, 4]], spec)


def test_several_sources_are_mixed_until_all_are_exhausted(tmp_path: Path) -> None:
    a = write_shards(tmp_path / "a", [[[n, 0, 0] for n in range(6)]])
    b = write_shards(tmp_path / "b", [[[50 + n, 0, 0] for n in range(3)]])
    both = ShardSelection(entries=a.entries + b.entries, next_shards=[1, 1])
    spec = BatchSpec(seq_len=2, vocab_size=100, batch_size=1)
    runs = [[int(batch.x_BT[0, 0]) for batch in epoch_batches(both, spec, seed=3, epoch=1)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert sorted(runs[0]) == [0, 1, 2, 3, 4, 5, 50, 51, 52]
    assert [n for n in runs[0] if n < 50] == [0, 1, 2, 3, 4, 5]


def test_shards_of_an_epoch_are_noted_as_openlm_does() -> None:
    shards = [TokenShard(url=f"s3://b/d/{name}.tar", num_sequences=1) for name in "ab"]
    assert shard_expression(shards) == "s3://b/d/{a,b}.tar"
    assert shard_expression(shards[:1]) == "s3://b/d/a.tar"
