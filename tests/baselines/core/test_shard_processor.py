"""The shard processor does what a pipeline means (`run_in_order`), whatever its steps do to pages."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core.shard_processor import LocalTask, ShardProcessor, StepResult, run_in_order
from baselines.core.steps import BuiltStep, LocalStep, build_steps
from corpusmith.io.pages.shards import Page, Record, ShardRef, dump_page
from corpusmith.run.stage import StagePlace

SEED = 3


def keep(page: Page) -> list[Page]:
    page["seen"] = page.get("seen", 0) + 1
    return [page]


def remove_odd(page: Page) -> list[Page]:
    return [page] if page["n"] % 2 == 0 else []


def split(page: Page) -> list[Page]:
    return [{**page, "n": page["n"] // 2}, {**page, "n": page["n"] // 3}]


def divide(page: Page) -> list[Page]:
    return [{**page, "n": 12 // page["n"]}]


def draw(page: Page) -> list[Page]:
    return [page] if random.random() < 0.5 else []


def misreturn(page: Page) -> Any:
    return None if page["n"] == 1 else [page]


class Doubler:
    """Doubles in batches; nothing of a batch that holds a four."""

    batch_size = 3

    def __call__(self, page: Page) -> list[Page]:
        self.apply_batch([page])
        return [page]

    def apply_batch(self, pages: list[Page]) -> None:
        if any(page["n"] == 4 for page in pages):
            raise ValueError("four")
        for page in pages:
            page["n"] *= 2


MAPPERS: dict[str, Any] = {each.__name__: each for each in (keep, remove_odd, split, divide, draw, misreturn)} | {
    "double": Doubler()
}


def steps_of(names: list[str]) -> tuple[BuiltStep, ...]:
    """The mappers above as steps, and filters of ours by their names."""
    built = []
    for position, name in enumerate(names):
        step = LocalStep(index=position, func=name if name.endswith("_filter") else f"mine.{name}")
        if name.endswith("_filter"):
            (own,) = build_steps((step,))
            mapper, batch = own.mapper, None
        else:
            mapper = MAPPERS[name]
            batch = mapper if isinstance(mapper, Doubler) else None
        built.append(
            BuiltStep(key=step.key, step=step, position=position, mapper=mapper, seeded=name == "draw", batch=batch)
        )
    return tuple(built)


class Sink:
    """What is written, and what is quarantined."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.quarantined: list[tuple[str, int, int, str]] = []
        self.examples: dict[str, list[dict[str, Any]]] = {}

    def write_line(self, line: bytes) -> None:
        self.written.append(line)

    def add(self, step: str, record: Record, reason: str, *, piece: int = 0) -> None:
        self.quarantined.append((step, record.index, piece, reason))


def records_of(numbers: list[int]) -> list[Record]:
    texts = ("the words of a page with of and the", "* a\n* b", "1 2 3", "")
    return [
        Record(index=index, offset=0, raw=b"", page={"text": texts[number % 4], "n": number}, error=None)
        for index, number in enumerate(numbers)
    ]


def processed(steps: tuple[BuiltStep, ...], numbers: list[int]) -> tuple[Sink, ShardProcessor]:
    place = StagePlace(name="00-local", folder="", output="", errors="")
    shard = ShardRef(name="s", url="s", identity="", bytes=0)
    local = tuple(built.step for built in steps)
    task = LocalTask(place=place, shard=shard, identity="", output="", steps=local, seed=SEED)
    sink = Sink()
    processor = ShardProcessor(task, steps, sink, sink)  # type: ignore[arg-type]
    for record in records_of(numbers):
        processor.process(record)
    processor.finish()
    return sink, processor


FILTERS = ("stop_word_filter", "bullet_count_filter", "alphabetic_word_ratio_filter")


@given(
    st.lists(st.sampled_from([*MAPPERS, *FILTERS, *FILTERS]), min_size=1, max_size=7),
    st.lists(st.integers(0, 12), max_size=12),
)
@settings(deadline=None, max_examples=150)
def test_pages_errors_and_counts_are_those_of_the_meaning(names: list[str], numbers: list[int]) -> None:
    steps = steps_of(names)
    expected = Sink()
    tallies = [dict.fromkeys(("pages_in", "pages_out", "removed", "errors", "split"), 0) for _ in steps]
    for record in records_of(numbers):

        def report(result: StepResult, record: Record = record) -> None:
            tally = tallies[result.built.position]
            tally["pages_in"] += 1
            tally["pages_out"] += len(result.pages)
            tally["split"] += len(result.pages) > 1
            tally["errors"] += result.problem is not None
            tally["removed"] += result.problem is None and not result.pages
            if result.problem is not None:
                expected.add(result.built.key, record, result.problem, piece=result.piece)

        assert record.page is not None
        pages = run_in_order(steps, [record.page], (SEED, "s", record.index), report)
        expected.written += [dump_page(page) for page in pages]
    found, processor = processed(steps, numbers)
    # records that wait for a batch are written behind those that do not
    order = sorted if "double" in names else list
    assert order(found.written) == order(expected.written)
    assert sorted(found.quarantined) == sorted(expected.quarantined)
    rows = processor.details()["steps"]
    assert [{key: row[key] for key in tally} for row, tally in zip(rows, tallies, strict=True)] == tallies
    processor.counts.check_balance("the shard")


def test_a_step_that_cannot_be_set_up_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from corpusmith.errors import UserError

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="step 04-substring_filter: cannot be set up: ValueError: location"):
        build_steps((LocalStep(index=4, func="substring_filter", arguments={"banlist": "a", "location": "middle"}),))
