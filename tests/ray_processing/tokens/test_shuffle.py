"""The two phases of the shuffle without Ray: every sequence once, order by key alone, books that balance."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import ShardRef, list_shards, open_shard_writer
from corpusmith.io.tokens import wds
from corpusmith.run.ray.runner import Outcome, Runner
from corpusmith.run.stage import Stage, StagePlace
from corpusmith.seeds import stable_hash
from corpusmith.text.packing import pack
from corpusmith.text.tokenizers.load import load_tokenizer
from ray_processing.tokens.config import PartitionPlan, TokenConfig, plan_partitions
from ray_processing.tokens.shuffle import regroup, shuffle_stage
from ray_processing.tokens.spilled_rows import partition_of
from ray_processing.tokens.tokenize import tokenize_stage
from ray_processing.tokens.train_tokenizer import TokenizerTraining, train_tokenizer

LENGTH = 9


class InlineRunner:
    """The seam of the runner, in this process."""

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        for index, task in reversed(list(enumerate(tasks))):
            yield Outcome(index=index, value=function(task))


def words(shard: int, page: int) -> str:
    """Between none and 59 words, different on each page."""
    return " ".join(f"w{shard}x{page}y{number % 7}" for number in range((shard * 31 + page * 17) % 60))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pages")
    for shard, name in enumerate(("a.jsonl", "a.jsonl.zst", "b/a.jsonl.gz", "b/c d.jsonl")):
        with open_shard_writer(str(folder / name)) as writer:
            for page in range(40):
                writer.write({"text": words(shard, page)})
    return folder


@pytest.fixture(scope="module")
def config(pages: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> TokenConfig:
    content, _, _ = train_tokenizer(str(pages), TokenizerTraining(vocab_size=300))
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(content)
    return TokenConfig(
        tokenizer_url=str(path),
        tokenizer_hash=load_tokenizer(str(path)).content_hash,
        sequence_length=LENGTH,
        shard_sequences=50,
    )


def shuffled(root: pathlib.Path, shards: list[ShardRef], config: TokenConfig, partitions: PartitionPlan) -> Stage:
    """Both phases; returns the second stage."""
    runner = cast(Runner, InlineRunner())
    first_place = StagePlace(
        name="00-tokenize", folder=str(root / "0"), output=str(root / "0" / "shards"), errors=str(root / "errors")
    )
    first = Stage(place=first_place, inputs=shards, units={shard.name: shard.identity for shard in shards})
    assert tokenize_stage(config, partitions, None, first, runner) == []
    spills = first.outputs()
    place = StagePlace(
        name="01-shuffle", folder=str(root / "1"), output=str(root / "tokens"), errors=str(root / "errors")
    )
    second = Stage(place=place, inputs=spills, units=partitions.units(spills))
    assert shuffle_stage(config, partitions, second, runner) == []
    assert first.counts().kept == second.counts().read == second.counts().kept
    first.counts().check_balance("phase 1")
    return second


def tars(root: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "tokens").iterdir())}


def sequences_of(stage: Stage) -> list[list[int]]:
    return [sequence for ref in stage.outputs() for sequence in wds.read_wds_shard(ref.url)]


def packed_sources(pages: pathlib.Path, config: TokenConfig) -> list[tuple[str, int, list[int]]]:
    """(source, position, tokens) of every sequence, straight from tokenizer and packing."""
    tokenizer = load_tokenizer(config.tokenizer_url)
    found = []
    for shard, ref in enumerate(list_shards(str(pages))):
        documents = [tokenizer.encode(words(shard, page)) for page in range(40)]
        sequences = pack(documents, sequence_length=LENGTH, eot_id=tokenizer.eot_id, pad_id=tokenizer.pad_id)
        found += [(ref.name, position, sequence.tolist()) for position, sequence in enumerate(sequences)]
    return found


def test_the_order_is_that_of_the_keys(tmp_path: pathlib.Path, pages: pathlib.Path, config: TokenConfig) -> None:
    stage = shuffled(tmp_path, list_shards(str(pages)), config, PartitionPlan(count=1))
    rows = packed_sources(pages, config)
    expected = sorted(rows, key=lambda row: stable_hash(config.seed, row[0], row[1], 0))
    assert sequences_of(stage) == [row[2] for row in expected]


def test_partitions_hold_every_sequence_once_in_tars_of_one_size(
    tmp_path: pathlib.Path, pages: pathlib.Path, config: TokenConfig
) -> None:
    stage = shuffled(tmp_path, list_shards(str(pages)), config, PartitionPlan(count=5))
    assert sorted(sequences_of(stage)) == sorted(row[2] for row in packed_sources(pages, config))
    names = []
    for record in stage.records().values():
        sizes = list(record.details["sequences"].values())
        assert all(size == config.shard_sequences for size in sizes[:-1])
        assert 0 < sizes[-1] <= config.shard_sequences
        names += [file.name for file in record.outputs]
    assert names == [f"{number:08d}.tar" for number in range(1, len(names) + 1)]
    assert sum(ref.bytes for ref in stage.outputs()) == sum(len(content) for content in tars(tmp_path).values())


def test_spills_and_passes_do_not_change_a_byte(
    tmp_path: pathlib.Path, pages: pathlib.Path, config: TokenConfig
) -> None:
    shards = list_shards(str(pages))
    shuffled(tmp_path / "plain", shards, config, PartitionPlan(count=2))
    shuffled(tmp_path / "spills", shards, replace(config, spill_bytes=1000), PartitionPlan(count=2))
    shuffled(tmp_path / "passes", shards, replace(config, partition_bytes=3000), PartitionPlan(count=2))
    assert len(list((tmp_path / "spills" / "0" / "shards").rglob("*.arrow"))) > len(shards)
    assert tars(tmp_path / "plain") == tars(tmp_path / "spills") == tars(tmp_path / "passes")


def test_without_shuffle_the_order_is_that_of_the_source(
    tmp_path: pathlib.Path, pages: pathlib.Path, config: TokenConfig
) -> None:
    kept = replace(config, shuffle=False, partition_bytes=5000, spill_bytes=1000)
    shards = list_shards(str(pages))
    partitions = plan_partitions(shards, kept)
    assert partitions.count > 1
    stage = shuffled(tmp_path, shards, kept, partitions)
    assert sequences_of(stage) == [row[2] for row in packed_sources(pages, config)]


def test_each_seed_has_its_order(tmp_path: pathlib.Path, pages: pathlib.Path, config: TokenConfig) -> None:
    orders = []
    for seed in (0, 1, 42):
        stage = shuffled(
            tmp_path / str(seed), list_shards(str(pages)), replace(config, seed=seed), PartitionPlan(count=1)
        )
        orders.append(sequences_of(stage))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])


def test_records_without_a_text_are_set_aside_and_counted(tmp_path: pathlib.Path, config: TokenConfig) -> None:
    (tmp_path / "in").mkdir()
    lines = [b'{"text": "good"}', b"{broken", b'{"url": "no text"}', b'{"text": null}', b'{"text": ""}', b"\xff\xfe"]
    (tmp_path / "in" / "x.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    stage = shuffled(tmp_path, list_shards(str(tmp_path / "in")), config, PartitionPlan(count=1))
    assert stage.counts().kept == 2
    rows = {}
    for step in ("read", "tokenize"):
        path = tmp_path / "errors" / step / "x.jsonl.errors.jsonl"
        rows[step] = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [row["index"] for row in rows["read"]] == [1, 5]
    assert [row["error"] for row in rows["tokenize"]] == [
        "the page has no key 'text'",
        "the value of 'text' is NoneType, not a string (nor a list of token ids)",
    ]
    assert [row["raw"] for row in rows["tokenize"]] == [lines[2].decode(), lines[3].decode()]


def test_no_document_at_all_is_the_users_mistake(tmp_path: pathlib.Path, config: TokenConfig) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_bytes(b'{"content": "other key"}\n')
    with pytest.raises(InputError, match="'text'"):
        shuffled(tmp_path, list_shards(str(tmp_path / "in")), config, PartitionPlan(count=3))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(1, 10_000))
def test_partitions_are_ranges_of_keys_in_order(one: int, other: int, partitions: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= partition_of(low, partitions) <= partition_of(high, partitions) < partitions


@given(st.integers(1, 9), st.lists(st.integers(0, 30), max_size=8))
def test_regrouping_keeps_rows_and_order(size: int, lengths: list[int]) -> None:
    ends = [sum(lengths[:number]) for number in range(len(lengths) + 1)]
    batches = [
        (pa.table({"n": pa.array(range(start, end), pa.int64())}), [str(n) for n in range(start, end)])
        for start, end in itertools.pairwise(ends)
    ]
    pieces = list(regroup(iter(batches), size))
    assert [row for table, _ in pieces for row in table.column("n").to_pylist()] == list(range(sum(lengths)))
    assert [name for _, names in pieces for name in names] == [str(n) for n in range(sum(lengths))]
    assert all(table.num_rows == len(names) == size for table, names in pieces[:-1])
    assert all(0 < table.num_rows == len(names) <= size for table, names in pieces)


def ref(name: str, size: int) -> ShardRef:
    return ShardRef(name=name, url=name, identity="", bytes=size)


def test_the_number_of_partitions_comes_from_the_bytes(config: TokenConfig) -> None:
    small = replace(config, partition_bytes=1000)
    assert plan_partitions([ref("a.jsonl", 0)], small).count == 1
    assert plan_partitions([ref("a.jsonl", 1000), ref("b.jsonl", 1000)], small).count == 3
    assert plan_partitions([ref("a.jsonl.zst", 1000)], small).count == 4
    kept = plan_partitions(
        [ref("a.jsonl", 500), ref("b.jsonl", 900), ref("c.jsonl", 10)], replace(small, shuffle=False)
    )
    assert kept == PartitionPlan(count=3, of_source={"a.jsonl": 0, "b.jsonl": 1, "c.jsonl": 2})


@pytest.mark.parametrize(
    ("bad", "flag"),
    [({"sequence_length": 1}, "--seqlen"), ({"shard_sequences": 0}, "--wds_chunk_size"), ({"content_key": ""}, "key")],
)
def test_nonsense_is_refused_by_its_flag(config: TokenConfig, bad: dict[str, Any], flag: str) -> None:
    with pytest.raises(InputError, match=flag):
        replace(config, **bad)
