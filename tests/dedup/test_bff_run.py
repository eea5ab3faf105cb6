"""The Bloom-filter dedup as the stage of a run equals one sequential pass, however it is cut, split or killed."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from corpusmith.io.shards import list_shards, open_shard_writer, read_shard
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from corpusmith.run.runner import Execution, Node, Outcome
from dedup.bff_config import MODES, BffConfig
from dedup.bff_plain import PlainBff
from dedup.bff_plan import find_origin, plan_filter
from dedup.bff_stage import plan_stage

STEP = "00-bff"
WORDS = [f"w{number}" for number in range(6)] + ["ü", "日本"]


class InlineRunner:
    """Stands in for `corpusmith.run.runner.Runner`; errors of a task become its outcome as there."""

    def __init__(self, execution: Execution | None = None, *, seed: int = 0, nodes: int = 1) -> None:
        self._random = random.Random(seed)
        self._nodes = nodes

    def __enter__(self) -> InlineRunner:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def nodes(self) -> list[Node]:
        return [Node(id=str(number), cpus=1, memory=1 << 30) for number in range(self._nodes)]

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], *, name: Callable[[Any], str] = str, **_: Any
    ) -> Iterator[Outcome[Any]]:
        order = list(range(len(tasks)))
        self._random.shuffle(order)
        for index in order:
            try:
                value = function(tasks[index])
            except Exception as error:  # noqa: BLE001 - as the worker does
                yield Outcome(name=name(tasks[index]), index=index, error=f"{type(error).__name__}: {error}")
            else:
                yield Outcome(name=name(tasks[index]), index=index, value=value)


def make_text(draw: random.Random, lines: list[str]) -> str:
    """Some lines, half of them taken from what stood before."""
    chosen = []
    for _ in range(draw.randrange(6)):
        if lines and draw.random() < 0.5:
            chosen.append(draw.choice(lines))
        else:
            chosen.append(" ".join(draw.choice(WORDS) for _ in range(draw.randrange(12))))
            lines.append(chosen[-1])
    return draw.choice(["\n", "\n\n", " "]).join(chosen)


def write_corpus(folder: pathlib.Path, seed: int, shards: int = 5, pages: int = 9) -> list[str]:
    """Shards of small pages that repeat each other; returns all texts in input order."""
    draw, lines, texts = random.Random(seed), [], []
    for shard in range(shards):
        with open_shard_writer(str(folder / f"part/{shard}.jsonl")) as writer:
            for number in range(pages):
                texts.append(make_text(draw, lines))
                writer.write({"url": f"{shard}/{number}", "text": texts[-1]})
    return texts


def make_run(root: pathlib.Path, source: pathlib.Path, config: BffConfig, **runner: Any) -> Run:
    plan = RunPlan(inputs=list_shards(str(source)), stages=[plan_stage(config, STEP)])
    place = RunPlace(root=str(root / "run"), output=str(root / "processed_data"), errors=str(root / "errors"))
    return Run(place, plan, lambda execution: InlineRunner(execution, **runner))  # type: ignore[arg-type,return-value]


def execute(root: pathlib.Path, source: pathlib.Path, config: BffConfig, **runner: Any) -> RunResult:
    return make_run(root, source, config, **runner).execute(Execution(), RunOptions())


def contents(root: pathlib.Path) -> dict[str, bytes]:
    paths = (root / "processed_data").rglob("*")
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


def pages_of(root: pathlib.Path) -> dict[str, dict[str, Any]]:
    return {page["url"]: page for shard in list_shards(str(root / "processed_data")) for page in read_shard(shard.url)}


def expected_pages(texts: list[str], source: pathlib.Path, config: BffConfig) -> dict[str, str]:
    """What one sequential pass leaves, by URL."""
    inputs = list_shards(str(source))
    plain = PlainBff(config, plan_filter(config, inputs, find_origin(config, inputs)).shape)
    urls = [page["url"] for shard in inputs for page in read_shard(shard.url)]
    left = {url: plain.process(text).text for url, text in zip(urls, texts, strict=True)}
    return {url: text for url, text in left.items() if text.strip()}


def small_config(mode: str, **changes: Any) -> BffConfig:
    sizes = {"min_ngram_size": 2, "max_ngram_size": 3, "substr_seqlen": 4, "filtering_threshold": 0.5}
    return BffConfig(**{"remove_type": mode, "expected_ngram_count": 2000, **sizes, **changes})


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize(("rate", "count"), [(0.01, 2000), (0.3, 900)])
def test_any_rounds_and_parts_equal_one_sequential_pass(
    tmp_path: pathlib.Path, mode: str, rate: float, count: int
) -> None:
    texts = write_corpus(tmp_path / "in", seed=len(mode))
    config = small_config(mode, fp_rate=rate, expected_ngram_count=count)
    expected = expected_pages(texts, tmp_path / "in", config)
    outputs = []
    for number, (round_bytes, part_bytes) in enumerate([(1, None), (900, None), (1 << 30, None), (900, 64), (1, 200)]):
        root = tmp_path / str(number)
        cut = small_config(
            mode, fp_rate=rate, expected_ngram_count=count, round_bytes=round_bytes, filter_part_bytes=part_bytes
        )
        counts = execute(root, tmp_path / "in", cut, seed=number).stages[0].counts()
        assert counts.read == len(texts) == counts.kept + sum(counts.removed.values())
        outputs.append(contents(root))
    assert {url: page["text"] for url, page in pages_of(tmp_path / "0").items()} == expected
    assert len(expected) < len(texts)
    assert all(output == outputs[0] for output in outputs[1:])
