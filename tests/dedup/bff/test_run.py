"""The Bloom-filter dedup as the stage of a run equals one sequential pass, however it is cut, split or killed."""

from __future__ import annotations

import os
import pathlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from corpusmith.errors import FieldError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.io.pages.shards import list_shards, open_shard_writer, read_shard
from corpusmith.run.fingerprint import digest
from corpusmith.run.ray.cluster import ClusterNode
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Outcome
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from corpusmith.steps.rewrite import bin_of, histogram
from dedup.bff import blocks as bff_blocks
from dedup.bff import resolve as bff_resolve
from dedup.bff import resolve_split
from dedup.bff import stage as bff_stage
from dedup.bff.bloom.filter import shape_for
from dedup.bff.config import MODES, BffConfig
from dedup.bff.plan import find_origin, plan_filter
from dedup.bff.stage import plan_stage
from tests.oracles.bff_reference import PlainBff

STEP = "00-bff"
WORDS = [f"w{number}" for number in range(6)] + ["ü", "日本"]


class InlineRunner:
    """Stands in for `corpusmith.run.ray.runner.Runner`; errors of a task become its outcome as there."""

    def __init__(self, execution: Execution | None = None, *, seed: int = 0, nodes: int = 1) -> None:
        self._random = random.Random(seed)
        self._nodes = nodes

    def __enter__(self) -> InlineRunner:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def nodes(self) -> list[ClusterNode]:
        return [ClusterNode(id=str(number), cpus=1, memory=1 << 30) for number in range(self._nodes)]

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: Any) -> Iterator[Outcome[Any]]:
        order = list(range(len(tasks)))
        self._random.shuffle(order)
        for index in order:
            try:
                value = function(tasks[index])
            except Exception as error:  # noqa: BLE001 - as the worker does
                yield Outcome(index=index, error=f"{type(error).__name__}: {error}")
            else:
                yield Outcome(index=index, value=value)


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
    draw = random.Random(seed)
    lines: list[str] = []
    texts: list[str] = []
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


# --- what each mode does, by hand -----------------------------------------------------------------------------

LINE = "one two three four five six"
OTHER = "seven eight nine ten eleven twelve"


def run_pages(root: pathlib.Path, pages: list[dict[str, Any]], config: BffConfig) -> list[dict[str, Any]]:
    """What a run leaves of pages in one shard."""
    with open_shard_writer(str(root / "in" / "a.jsonl")) as writer:
        for page in pages:
            writer.write(page)
    execute(root, root / "in", config)
    return list(read_shard(str(root / "processed_data" / "a.jsonl")))


def run_texts(root: pathlib.Path, texts: list[str], config: BffConfig) -> list[str]:
    return [page["text"] for page in run_pages(root, [{"text": text} for text in texts], config)]


@pytest.mark.parametrize(
    ("mode", "inside", "across"),
    [
        # a paragraph that repeats inside its page goes where paragraphs are inserted one by one
        ("paragraph", [f"{LINE}\n{OTHER}"], [LINE, f"\n{OTHER}"]),
        ("old-both", [f"{LINE}\n{OTHER}"], [LINE, f"\n{OTHER}"]),
        ("naive-both", [f"{LINE}\n{OTHER}"], [LINE, f"\n{OTHER}"]),
        # and stays where all of a page is looked up before any of it is inserted
        ("document", [f"{LINE}\n{LINE}\n{OTHER}"], [LINE, f"{LINE}\n{OTHER}"]),
        ("exact", [f"{LINE}\n{LINE}\n{OTHER}"], [LINE, f"{LINE}\n{OTHER}"]),
        ("both", [f"{LINE}\n{LINE}\n{OTHER}"], [LINE, f"\n{OTHER}"]),
        ("substring", [f"{LINE}\n{LINE}\n{OTHER}"], [LINE, OTHER]),
    ],
)
def test_repeats_inside_a_page_and_across_pages_go_as_the_mode_says(
    tmp_path: pathlib.Path, mode: str, inside: list[str], across: list[str]
) -> None:
    config = small_config(mode)
    assert run_texts(tmp_path / "inside", [f"{LINE}\n{LINE}\n{OTHER}"], config) == inside
    assert run_texts(tmp_path / "across", [LINE, f"{LINE}\n{OTHER}"], config) == across


def test_page_of_known_paragraphs_goes_as_a_whole_in_old_both_and_its_new_ones_were_inserted(
    tmp_path: pathlib.Path,
) -> None:
    config = small_config("old-both")
    texts = [f"{LINE}\n{OTHER}", f"{LINE}\n{OTHER}\nx y z", "x y z"]
    assert run_texts(tmp_path, texts, config) == [f"{LINE}\n{OTHER}"]
    assert run_texts(tmp_path / "p", texts, small_config("paragraph")) == [f"{LINE}\n{OTHER}", "\nx y z"]


def test_old_both_counts_what_was_known_on_every_page(tmp_path: pathlib.Path) -> None:
    pages = run_pages(tmp_path, [{"text": LINE}, {"text": f"{LINE}\n{OTHER}"}, {"text": "x"}], small_config("old-both"))
    # six tokens make four 3-grams
    assert [page["bff_contained_ngram_count_before_dedupe"] for page in pages] == [0, 4, 0]


def test_annotation_marks_bytes_and_removes_nothing(tmp_path: pathlib.Path) -> None:
    euro = "über €"
    texts = [LINE, f"{euro}\n{LINE}\n{OTHER}", LINE, "", f"{LINE}\n{LINE}"]
    pages = [{"text": text, "url": "u", "metadata": {"a": 1}} for text in texts]
    found = run_pages(tmp_path, pages, small_config("old-both", annotate=True))
    assert [page["text"] for page in found] == texts
    assert all(page["url"] == "u" and page["metadata"] == {"a": 1} for page in found)
    assert [page["bff_duplicate_spans"] for page in found] == [[], [[9, 37]], [[0, 27]], [], [[0, 27], [27, 55]]]
    assert euro.encode() + b"\n" + LINE.encode() == found[1]["text"].encode()[:37]
    assert [page["bff_contained_ngram_count"] for page in found] == [0, 4, 4, 0, 8]
    assert [page["bff_duplicate_document"] for page in found] == [False, False, True, False, True]


def test_annotation_of_exact_mode_is_one_key(tmp_path: pathlib.Path) -> None:
    found = run_pages(tmp_path, [{"text": "a"}, {"text": "b"}, {"text": "a"}], small_config("exact", annotate=True))
    assert [page["bff_exact_duplicate"] for page in found] == [False, False, True]


def test_empty_short_and_one_word_texts_stay_unless_they_are_blank(tmp_path: pathlib.Path) -> None:
    texts = ["", " \n\t", "word", "word", "two words", "two words", "..."]
    config = small_config("paragraph", min_ngram_size=3)
    assert run_texts(tmp_path, texts, config) == texts[2:]
    # with one-token n-grams the second of each goes
    config = small_config("paragraph", min_ngram_size=1, max_ngram_size=1)
    assert run_texts(tmp_path / "1", texts, config) == ["word", "two words", "..."]


def test_pages_without_a_text_are_set_aside_and_the_books_balance(tmp_path: pathlib.Path) -> None:
    (tmp_path / "in").mkdir()
    lines = ['{"text": "a b c"}', '{"no": 1}', '{"text": null}', '{"text": ["a"]}', "not JSON", '{"text": "a b c"}']
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines) + "\n")
    counts = execute(tmp_path, tmp_path / "in", small_config("paragraph")).stages[0].counts()
    assert (counts.read, counts.kept, counts.removed) == (6, 1, {STEP: 1})
    assert counts.errored == {STEP: 3, "read": 1}


@pytest.mark.parametrize("mode", sorted(MODES))
def test_units_kept_and_removed_add_up(tmp_path: pathlib.Path, mode: str) -> None:
    texts = write_corpus(tmp_path / "in", seed=5)
    result = execute(tmp_path, tmp_path / "in", small_config(mode))
    rows = [record.details["steps"][0] for record in result.records]
    units = {key: sum(row[key] for row in rows) for key in rows[0] if key.startswith("units_")}
    by_line = mode in ("paragraph", "old-both", "naive-both", "both")
    assert units["units_in"] == (sum(text.count("\n") + 1 for text in texts) if by_line else len(texts))
    assert units["units_in"] == units["units_kept"] + units["units_removed"] + units["units_removed_with_pages"]
    left = sum(page["text"].count("\n") + 1 for page in pages_of(tmp_path).values())
    if mode in ("paragraph", "old-both"):  # a removed first paragraph leaves its line feed
        assert left >= units["units_kept"]
    came, left = (sum(record.details[f"tokens_{way}"] for record in result.records) for way in ("in", "out"))
    assert came == left + sum(row["tokens_removed"] for row in rows) == sum(len(text.split()) for text in texts)
    seen, removed = (sum(row[f"bytes_{what}"] for row in rows) for what in ("seen", "removed"))
    assert seen - removed == sum(len(page["text"].encode()) for page in pages_of(tmp_path).values())


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("parts", [{}, {"round_bytes": 1, "filter_part_bytes": 1024}], ids=["whole", "split"])
def test_the_report_is_told_how_much_was_known_and_what_went_most_often(
    tmp_path: pathlib.Path, mode: str, parts: dict[str, int]
) -> None:
    texts = write_corpus(tmp_path / "in", seed=6)
    config = small_config(mode, **parts)
    result = execute(tmp_path, tmp_path / "in", config)
    plain = PlainBff(config, shape_for(2000, config.fp_rate, 0))
    known, lost = histogram(), Counter[str]()
    for text in texts:
        found = plain.process(text)
        if found.spans or found.document:
            known[bin_of(found.contained / found.ngrams)] += 1
            lost.update(text[first:last].strip() for first, last in found.spans or [(0, len(text))])
    lost.pop("", None)
    told = [record.details["duplicates"][STEP] for record in result.records]
    assert [sum(counts) for counts in zip(*(shard["known"] for shard in told), strict=True)] == known
    counted = Counter[str]()
    for shard in told:
        counted.update({row["text"]: row["copies"] for row in shard["repeated"]})
    assert sum(known) > 5
    assert counted == lost
    removed = sum(pages for shard in told for _, pages, _ in shard["domains"].values())
    assert removed <= result.stages[0].counts().removed[STEP]  # blank pages are removed too


def test_filter_filled_beyond_its_rate_stops_the_run_with_the_figures(tmp_path: pathlib.Path) -> None:
    write_corpus(tmp_path / "in", seed=1)
    config = small_config("paragraph", expected_ngram_count=20)
    for _ in range(2):  # the second time the round is committed already
        with pytest.raises(InputError, match=r"made for 20 n-grams .* 0\.01 .* and \d+ are in it .* means 0\.\d+"):
            execute(tmp_path, tmp_path / "in", config)
    assert contents(tmp_path) == {}


# --- filter files ---------------------------------------------------------------------------------------------


def test_incremental_run_against_a_saved_filter_equals_one_run_over_all(tmp_path: pathlib.Path) -> None:
    texts = write_corpus(tmp_path / "all", seed=3, shards=6)
    for shard in range(6):
        target = tmp_path / ("first" if shard < 3 else "second") / f"part/{shard}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((tmp_path / f"all/part/{shard}.jsonl").read_bytes())
    config = small_config("old-both", fp_rate=0.3, expected_ngram_count=700)
    execute(tmp_path / "whole", tmp_path / "all", config)
    filter_file = tmp_path / "filter.bloom"
    saving = small_config("old-both", fp_rate=0.3, expected_ngram_count=700, bloom_filter_file=str(filter_file))
    execute(tmp_path / "1", tmp_path / "first", saving)
    assert execute(tmp_path / "1", tmp_path / "first", saving).was_finished
    first = filter_file.read_bytes()
    execute(tmp_path / "2", tmp_path / "second", saving)
    assert contents(tmp_path / "1") | contents(tmp_path / "2") == contents(tmp_path / "whole")
    assert filter_file.read_bytes() != first
    assert execute(tmp_path / "2", tmp_path / "second", saving).was_finished
    assert len(texts) == 54


def test_interrupted_incremental_run_saves_the_same_filter(tmp_path: pathlib.Path) -> None:
    write_corpus(tmp_path / "in", seed=4)
    filter_file = tmp_path / "filter.bloom"
    config = small_config("paragraph", bloom_filter_file=str(filter_file))
    execute(tmp_path, tmp_path / "in", config)
    saved = filter_file.read_bytes()
    for record in (tmp_path / "run").rglob("records/part/*.json"):
        record.unlink()
    before = contents(tmp_path)
    execute(tmp_path, tmp_path / "in", config)
    assert filter_file.read_bytes() == saved
    assert contents(tmp_path) == before


def test_check_only_run_changes_neither_filter_nor_what_it_knows(tmp_path: pathlib.Path) -> None:
    filter_file = str(tmp_path / "filter.bloom")
    run_texts(tmp_path / "1", [LINE], small_config("paragraph", bloom_filter_file=filter_file))
    saved = pathlib.Path(filter_file).read_bytes()
    config = small_config("paragraph", bloom_filter_file=filter_file, no_update_bloom_filter=True)
    assert run_texts(tmp_path / "2", [OTHER, LINE, OTHER], config) == [OTHER, OTHER]
    assert run_texts(tmp_path / "3", [OTHER, LINE, OTHER], replace(config, filter_part_bytes=64)) == [OTHER, OTHER]
    assert pathlib.Path(filter_file).read_bytes() == saved


def test_unsaved_run_leaves_no_filter(tmp_path: pathlib.Path) -> None:
    config = small_config("paragraph", bloom_filter_file=str(tmp_path / "f"), no_save_bloom_filter=True)
    run_texts(tmp_path, [LINE], config)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_ngram_size": 4}, "max_ngram_size: 3 there, 4 asked for"),
        ({"fp_rate": 0.1}, r"fp_rate: 0\.01 there, 0\.1 asked for"),
        ({"expected_ngram_count": 5}, "expected_ngram_count: 2000 there, 5 asked for"),
        ({"num_hashers": 2}, "num_hashers: 6 there, 2 asked for"),
        ({"remove_type": "exact"}, "what was inserted: ngram there, text asked for"),
    ],
)
def test_filter_of_other_parameters_is_refused(tmp_path: pathlib.Path, changes: dict[str, Any], message: str) -> None:
    filter_file = str(tmp_path / "filter.bloom")
    run_texts(tmp_path / "1", [LINE], small_config("paragraph", bloom_filter_file=filter_file))
    config = small_config(**{"mode": "paragraph", "bloom_filter_file": filter_file, **_as_mode(changes)})
    with pytest.raises(InputError, match=message):
        run_texts(tmp_path / "2", [LINE], config)


def _as_mode(changes: dict[str, Any]) -> dict[str, Any]:
    return {("mode" if key == "remove_type" else key): value for key, value in changes.items()}


def test_missing_filter_of_a_check_only_run_is_named(tmp_path: pathlib.Path) -> None:
    config = small_config("paragraph", bloom_filter_file=str(tmp_path / "none"), no_update_bloom_filter=True)
    with pytest.raises(InputError, match="none: no such filter file"):
        run_texts(tmp_path, [LINE], config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"remove_type": "paragraphs"}, "remove_type: unknown mode 'paragraphs'; did you mean 'paragraph'"),
        ({"min_ngram_size": 0}, "1 <= min <= max, got 0 and 20"),
        ({"min_ngram_size": 21}, "1 <= min <= max, got 21 and 20"),
        ({"filtering_threshold": 1.5}, r"filtering_threshold: must lie in \[0, 1\]"),
        ({"filtering_threshold": float("nan")}, r"filtering_threshold: must lie in \[0, 1\]"),
        ({"fp_rate": 0.0}, "fp_rate: must lie in"),
        ({"num_hashers": 99}, "num_hashers: must lie in"),
        ({"expected_ngram_count": 0}, "expected_ngram_count: must be at least 1"),
        ({"no_update_bloom_filter": True}, "give bloom_filter_file"),
    ],
)
def test_nonsense_is_refused_when_the_config_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        BffConfig(**arguments)


# --- deaths ---------------------------------------------------------------------------------------------------


class Death(BaseException):
    """Stands in for a process that ends in the middle; nothing catches it."""


def die_at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Let the next resolving die: after its insertions, after its commit, or in the middle of a shard."""
    real_json, real_resolve = storage.write_json, bff_blocks.resolve_in_order
    seen = {"blocks": 0}

    def write_json(url: str, document: Any, indent: int | None = None) -> None:
        if "/rounds/" in url and moment == "between insert and commit":
            raise Death
        real_json(url, document, indent)
        if "/rounds/" in url and moment == "after the commit":
            raise Death

    def resolve(*arguments: Any) -> Any:
        found = real_resolve(*arguments)
        seen["blocks"] += 1
        if moment == "in the middle" and seen["blocks"] == 3:
            raise Death
        return found

    monkeypatch.setattr(storage, "write_json", write_json)
    monkeypatch.setattr(bff_resolve, "resolve_in_order", resolve)
    monkeypatch.setattr(bff_stage, "remove_shared", lambda name: None)  # a killed driver removes nothing


@pytest.mark.parametrize("moment", ["between insert and commit", "after the commit", "in the middle"])
@pytest.mark.parametrize("mode", ["old-both", "both", "substring"])
@pytest.mark.parametrize("loses_memory", [False, True])
def test_killed_resolving_is_continued_to_the_same_bytes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, moment: str, mode: str, loses_memory: bool
) -> None:
    write_corpus(tmp_path / "in", seed=8)
    config = small_config(mode, round_bytes=700, fp_rate=0.3, expected_ngram_count=700)
    execute(tmp_path / "whole", tmp_path / "in", config)
    deaths = 0
    for attempt in range(10):
        with monkeypatch.context() as patch:
            if attempt < 4:
                die_at(patch, moment)
            try:
                execute(tmp_path / "killed", tmp_path / "in", config, seed=attempt)
            except Death:
                deaths += 1
            else:
                break
        if loses_memory:
            for path in pathlib.Path("/dev/shm").glob(f"corpusmith-bloom-{os.getuid()}-*"):
                if is_of(path, tmp_path / "killed"):
                    path.unlink()
    assert deaths >= 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    for path in pathlib.Path("/dev/shm").glob(f"corpusmith-bloom-{os.getuid()}-*"):
        if is_of(path, tmp_path / "killed"):  # the last run may have been under the patch that removes nothing
            path.unlink()


def is_of(path: pathlib.Path, root: pathlib.Path) -> bool:
    """Whether a file in memory is that of the run below `root`."""
    (stage,) = (root / "run" / "stages").iterdir()
    return path.name.removesuffix("-0").endswith(digest([str(stage / "scratch")])[:16])


@pytest.mark.parametrize("parts", [1, 3])
def test_resolving_twice_finds_nothing_of_its_own(tmp_path: pathlib.Path, parts: int) -> None:
    """Each task of a run is performed twice in a row, as a lost node would have it."""
    write_corpus(tmp_path / "in", seed=9)
    config = small_config("paragraph", round_bytes=900)
    execute(tmp_path / "once", tmp_path / "in", config)

    class Twice(InlineRunner):
        def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **keywords: Any) -> Iterator[Outcome[Any]]:
            if function is not bff_stage.perform:
                return super().map(function, tasks, **keywords)
            return super().map(lambda task: (function(task), function(task))[0], tasks, **keywords)

    split = replace(config, filter_part_bytes=None if parts == 1 else 800)
    plan = RunPlan(inputs=list_shards(str(tmp_path / "in")), stages=[plan_stage(split, STEP)])
    root = tmp_path / "twice"
    place = RunPlace(root=str(root / "run"), output=str(root / "processed_data"), errors=str(root / "errors"))
    Run(place, plan, Twice).execute(Execution(), RunOptions())  # type: ignore[arg-type]
    assert contents(root) == contents(tmp_path / "once")


def test_no_memory_is_left_when_a_run_has_ended(tmp_path: pathlib.Path) -> None:
    before = set(pathlib.Path("/dev/shm").glob("corpusmith-bloom-*"))
    write_corpus(tmp_path / "in", seed=1)
    execute(tmp_path / "1", tmp_path / "in", small_config("paragraph"))
    with pytest.raises(InputError):
        execute(tmp_path / "2", tmp_path / "in", small_config("paragraph", expected_ngram_count=20))
    ours = {path for path in pathlib.Path("/dev/shm").glob("corpusmith-bloom-*") if path not in before}
    assert not [path for path in ours if any(is_of(path, tmp_path / name) for name in ("1", "2"))]


def test_readers_are_closed_when_a_split_round_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "in", seed=1)
    opened, real_open = [], storage.open_read

    def open_read(url: str) -> Any:
        opened.append(real_open(url))
        return opened[-1]

    def refuse(*_: object) -> None:
        raise InputError("no decision today")

    monkeypatch.setattr(storage, "open_read", open_read)
    monkeypatch.setattr(resolve_split, "resolve_contained", refuse)
    with pytest.raises(RunFailed, match="no decision today"):
        execute(tmp_path, tmp_path / "in", small_config("paragraph", filter_part_bytes=800))
    assert len(opened) > 3
    assert all(file.closed for file in opened)
