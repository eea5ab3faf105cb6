"""Exact dedup: the three phases against a plain twin in memory, called without Ray."""

from __future__ import annotations

import pathlib
import tempfile
from collections import Counter
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpusmith.config import build
from corpusmith.errors import ConfigError, InputError
from corpusmith.io.pages.shards import dump_page, list_shards, read_shard
from corpusmith.io.spill import spill_rows
from corpusmith.run.stage import ShardRecord, Stage, StagePlace
from corpusmith.steps.rewrite import rewrite_tasks
from corpusmith.text.normalize import DEDUP_NORMALIZERS
from dedup.exact.config import ExactConfig
from dedup.exact.drop import ExactDropTask, drop_from_shard
from dedup.exact.hash import ExactHashTask, hash_shard
from dedup.exact.stage import plan_stage
from dedup.groups.examples import biggest_groups
from dedup.groups.groups import GroupCellTask, resolve_cell
from dedup.groups.layout import GroupsLayout

Pages = list[dict[str, Any]]
Dataset = dict[str, list[bytes]]
STEP = "04-exact_dedup"


def lines_of(pages: Pages) -> list[bytes]:
    return [dump_page(page) for page in pages]


def deduplicate(root: pathlib.Path, dataset: Dataset, config: ExactConfig, cells: int = 1) -> StagePlace:
    """Run the three phases in this process; the output lies in `root/output`, the groups in `root/stage/groups`."""
    for name, lines in dataset.items():
        path = root / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    place = StagePlace(
        name="00-exact_dedup", folder=str(root / "stage"), output=str(root / "output"), errors=str(root / "errors")
    )
    inputs = list_shards(str(root / "input"))
    stage = Stage(place=place, inputs=inputs, units={shard.name: "x" for shard in inputs})
    layout = GroupsLayout.of_stage(stage, lambda: {"cells": cells})
    for number, shard in enumerate(inputs):
        hash_shard(ExactHashTask(layout=layout, config=config, shard=shard, number=number))
    for cell in range(cells):
        resolve_cell(GroupCellTask(layout=layout, cell=cell, reverse=config.selection_reverse))
    found = biggest_groups(layout)
    for task in rewrite_tasks(stage, STEP, set(dataset)).values():
        examples = found.get(task.number, ())
        drop_from_shard(ExactDropTask(config=config, layout=layout, examples=examples, rewrite=task))
    return place


def outputs(place: StagePlace, names: list[str]) -> dict[str, Pages]:
    return {name: list(read_shard(place.output_url(name))) for name in names}


def record_of(place: StagePlace, name: str) -> ShardRecord:
    return ShardRecord.from_json(orjson.loads(pathlib.Path(place.record_url(name)).read_bytes()))


def groups_of(place: StagePlace) -> list[dict[str, Any]]:
    return [group for shard in list_shards(f"{place.folder}/groups") for group in read_shard(shard.url)]


def members_of(place: StagePlace, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(f"{place.folder}/members/{name}.parquet").to_pylist()
    return rows


Position = tuple[str, int, int]


def twin(dataset: dict[str, Pages], config: ExactConfig) -> tuple[dict[str, Pages], dict[Position, list[Position]]]:
    """The same result in memory by the plainest means: output by shard, and groups (kept: removed)."""
    normalize = DEDUP_NORMALIZERS[config.normalize] if config.normalize else str
    select = DEDUP_NORMALIZERS.get(str(config.selection_normalize))
    groups: dict[str, list[tuple[Any, Position]]] = {}
    for name in sorted(dataset):
        for index, page in enumerate(dataset[name]):
            units = [page["text"]] if isinstance(page["text"], str) else page["text"]
            value = page[config.selection_key] if config.selection_key else 0
            value = select(value) if config.selection_key and select else value
            for number, unit in enumerate(units):
                groups.setdefault(str(normalize(unit)), []).append((value, (name, index, number)))
    lost: set[Position] = set()
    shown: dict[Position, list[Position]] = {}
    for members in groups.values():
        best = (max if config.selection_reverse else min)(value for value, _ in members)
        kept = min(position for value, position in members if value == best)
        removed = sorted(position for _, position in members if position != kept)
        lost.update(removed)
        if removed:
            shown[kept] = removed
    return {name: _rewrite(name, pages, lost) for name, pages in dataset.items()}, shown


def _rewrite(name: str, pages: Pages, lost: set[Position]) -> Pages:
    if not any(shard == name for shard, _, _ in lost):
        return pages
    left = []
    for index, page in enumerate(pages):
        units = [page["text"]] if isinstance(page["text"], str) else page["text"]
        units = [unit for number, unit in enumerate(units) if (name, index, number) not in lost]
        if units:
            left.append({**page, "text": units})
    if all(len(page["text"]) == 1 for page in left):
        return [{**page, "text": page["text"][0]} for page in left]
    return left


UNITS = st.sampled_from(["a", "A", " a", "b", "B ", "", "c", "é", "É", "https://www.a/", "a/", "漢"])
PAGES = st.fixed_dictionaries(
    {
        "text": UNITS | st.lists(UNITS, max_size=4),
        "url": st.sampled_from(["u", "v", "w/", "https://u", "z"]),
        "score": st.sampled_from([0, 1, -1, 0.5, True, 1 << 60, (1 << 60) + 1]),
    }
)
DATASETS = st.dictionaries(
    st.sampled_from(["a.jsonl", "b.jsonl", "sub/c.jsonl", "sub-d.jsonl"]), st.lists(PAGES, max_size=5), min_size=1
)
CONFIGS = st.builds(
    ExactConfig,
    normalize=st.sampled_from([None, "normalize_whitespace_and_lowercase", "hash_text", "normalize_url"]),
    selection_key=st.sampled_from([None, "url"]),
    selection_normalize=st.sampled_from([None, "hash_text", "normalize_url"]),
    selection_reverse=st.booleans(),
) | st.builds(ExactConfig, selection_key=st.just("score"), selection_reverse=st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DATASETS, CONFIGS, st.integers(1, 5))
def test_phases_equal_the_plain_twin(dataset: dict[str, Pages], config: ExactConfig, cells: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = {name: lines_of(pages) for name, pages in dataset.items()}
        place = deduplicate(pathlib.Path(folder), raw, config, cells)
        expected, expected_groups = twin(dataset, config)
        assert outputs(place, list(dataset)) == expected
        _check_groups(place, list(dataset), expected_groups)
        for name, pages in dataset.items():
            counts = record_of(place, name).counts
            removed = {STEP: len(pages) - len(expected[name])} if len(pages) > len(expected[name]) else {}
            assert (counts.read, counts.kept, counts.removed, counts.errored) == (
                len(pages),
                len(expected[name]),
                removed,
                {},
            )


def _check_groups(place: StagePlace, names: list[str], expected: dict[Position, list[Position]]) -> None:
    """Both what stands in groups/ and what stands in members/ tell of exactly these groups."""
    kept: dict[str, Position] = {}
    removed: dict[str, list[Position]] = {}
    sizes: dict[str, int] = {}
    for name in sorted(names):
        for row in members_of(place, name):
            position = (name, row["page"], row["unit"])
            sizes[row["group"]] = row["size"]
            if row["kept"]:
                kept[row["group"]] = position
            else:
                removed.setdefault(row["group"], []).append(position)
    assert {kept[group]: removed[group] for group in kept} == expected
    assert sizes == {group: 1 + len(removed[group]) for group in kept}
    lines = {line["group"]: line for line in groups_of(place)}
    assert {group: line["size"] for group, line in lines.items()} == sizes
    for group, line in lines.items():
        assert tuple(line["kept"].values()) == kept[group]
        assert line["shards"] == Counter(shard for shard, _, _ in (kept[group], *removed[group]))


def test_first_copy_by_shard_page_and_unit_is_kept(tmp_path: pathlib.Path) -> None:
    dataset = {
        "b.jsonl": lines_of([{"text": "same", "n": 1}]),
        "a.jsonl": lines_of([{"text": "x", "n": 2}, {"text": "same", "n": 3}, {"text": "same", "n": 4}]),
    }
    place = deduplicate(tmp_path, dataset, ExactConfig(), cells=3)
    expected = {"a.jsonl": [{"text": "x", "n": 2}, {"text": "same", "n": 3}], "b.jsonl": []}
    assert outputs(place, ["a.jsonl", "b.jsonl"]) == expected
    kept = {"shard": "a.jsonl", "page": 1, "unit": 0}
    assert groups_of(place) == [{"group": "a.jsonl#1", "size": 3, "kept": kept, "shards": {"a.jsonl": 2, "b.jsonl": 1}}]
    details = record_of(place, "b.jsonl").details
    assert details["samples"] == {STEP: [{"index": 0, "url": None, "text": "same", "reason": "duplicate of a.jsonl#1"}]}
    assert details["steps"][0] | {"seconds": 0, "arguments": {}} == {
        "step": STEP,
        "func": "exact_dedup",
        "arguments": {},
        "pages_in": 1,
        "pages_out": 0,
        "removed": 1,
        "errors": 0,
        "units_removed": 1,
        "tokens_removed": 1,
        "seconds": 0,
    }


# The two vectors of pipeline.md 5.1.5: the other copy stands in a shard that sorts before.
def test_content_becomes_strings_where_every_page_has_one_unit(tmp_path: pathlib.Path) -> None:
    dataset = {"0.jsonl": lines_of([{"text": ["a"]}]), "1.jsonl": lines_of([{"text": ["a", "e"]}, {"text": ["f"]}])}
    place = deduplicate(tmp_path, dataset, ExactConfig())
    found = outputs(place, ["0.jsonl", "1.jsonl"])
    assert found == {"0.jsonl": [{"text": ["a"]}], "1.jsonl": [{"text": "e"}, {"text": "f"}]}


def test_content_becomes_lists_where_any_page_has_more(tmp_path: pathlib.Path) -> None:
    dataset = {"1.jsonl": lines_of([{"text": ["A", "b"]}, {"text": ["c"]}, {"text": ["d", "d "]}])}
    place = deduplicate(tmp_path, dataset, ExactConfig(normalize="normalize_whitespace_and_lowercase"))
    assert outputs(place, ["1.jsonl"]) == {"1.jsonl": [{"text": ["A", "b"]}, {"text": ["c"]}, {"text": ["d"]}]}


def test_string_pages_become_lists_beside_longer_ones(tmp_path: pathlib.Path) -> None:
    dataset = {"1.jsonl": lines_of([{"text": "s"}, {"text": ["b", "c"]}, {"text": "s"}, {"text": []}])}
    place = deduplicate(tmp_path, dataset, ExactConfig())
    assert outputs(place, ["1.jsonl"]) == {"1.jsonl": [{"text": ["s"]}, {"text": ["b", "c"]}]}
    assert record_of(place, "1.jsonl").counts.removed == {STEP: 2}


def test_shard_without_drops_keeps_its_lines(tmp_path: pathlib.Path) -> None:
    lines = [b'{ "text" : "\\u00e9", "n": 1.0 }', b'{"text": ["a", "b"]}', b'{"text": []}']
    place = deduplicate(tmp_path, {"1.jsonl": lines}, ExactConfig())
    assert pathlib.Path(place.output_url("1.jsonl")).read_bytes() == b"\n".join(lines) + b"\n"


def test_selection_keeps_the_smallest_or_the_largest_value(tmp_path: pathlib.Path) -> None:
    pages = [
        {"text": "x", "score": 2},
        {"text": "x", "score": 1.5},
        {"text": "x", "score": 7},
        {"text": "x", "score": 7},
    ]
    small = deduplicate(tmp_path / "small", {"1.jsonl": lines_of(pages)}, ExactConfig(selection_key="score"))
    assert outputs(small, ["1.jsonl"])["1.jsonl"] == [pages[1]]
    config = ExactConfig(selection_key="score", selection_reverse=True)
    large = deduplicate(tmp_path / "large", {"1.jsonl": lines_of(pages)}, config)
    assert groups_of(large)[0]["kept"] == {"shard": "1.jsonl", "page": 2, "unit": 0}


def test_numbers_and_strings_in_one_group_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    dataset = {
        "a.jsonl": lines_of([{"text": "x", "score": "high"}]),
        "b.jsonl": lines_of([{"text": "y", "score": 3}, {"text": "x", "score": 3}]),
    }
    with pytest.raises(InputError, match=r"number in b\.jsonl \(page 1\) and a string in a\.jsonl \(page 0\)"):
        deduplicate(tmp_path, dataset, ExactConfig(selection_key="score"))


def test_pages_that_cannot_be_compared_are_set_aside(tmp_path: pathlib.Path) -> None:
    bad = [b'{"url": "u"}', b"not json \xff", b'{"text": 3}', b'{"text": ["a", 1]}']
    dataset = {"1.jsonl": [b'{"text": "a"}', *bad, b'{"text": "a"}']}
    place = deduplicate(tmp_path, dataset, ExactConfig(), cells=2)
    assert outputs(place, ["1.jsonl"]) == {"1.jsonl": [{"text": "a"}]}
    counts = record_of(place, "1.jsonl").counts
    assert (counts.read, counts.kept, counts.removed) == (6, 1, {STEP: 1})
    assert counts.errored == {"read": 1, STEP: 3}
    rows = list(read_shard(place.error_url(STEP, "1.jsonl")))
    assert [(row["index"], row["raw"]) for row in rows] == [
        (1, bad[0].decode()),
        (3, '{"text": 3}'),
        (4, bad[3].decode()),
    ]
    assert rows[0]["error"] == "the page has no key 'text'"
    assert "raw_base64" in next(iter(read_shard(place.error_url("read", "1.jsonl"))))


def test_another_key_removes_whole_pages(tmp_path: pathlib.Path) -> None:
    pages = [{"text": "a", "url": "http://x/"}, {"text": "b", "url": "https://x"}, {"text": "c", "url": "y"}]
    config = ExactConfig(content_key="url", normalize="normalize_url")
    place = deduplicate(tmp_path, {"1.jsonl": lines_of(pages)}, config)
    assert outputs(place, ["1.jsonl"]) == {"1.jsonl": [pages[0], pages[2]]}


@pytest.mark.parametrize("cells", [2, 7])
def test_number_of_cells_does_not_change_the_output(tmp_path: pathlib.Path, cells: int) -> None:
    pages = [{"text": [str(number % 7), str(number % 5 + 10)]} for number in range(40)]
    dataset = {"1.jsonl": lines_of(pages[:17]), "2.jsonl": lines_of(pages[17:])}
    one = deduplicate(tmp_path / "one", dataset, ExactConfig(), 1)
    many = deduplicate(tmp_path / "many", dataset, ExactConfig(), cells)
    for name in dataset:
        assert pathlib.Path(one.output_url(name)).read_bytes() == pathlib.Path(many.output_url(name)).read_bytes()
    assert sum(group["size"] - 1 for group in groups_of(many)) == 80 - 12


def test_other_input_never_meets_the_files_of_this_one(tmp_path: pathlib.Path) -> None:
    place = deduplicate(tmp_path, {"1.jsonl": lines_of([{"text": "a"}, {"text": "a"}])}, ExactConfig(), cells=3)
    (tmp_path / "input" / "1.jsonl").write_bytes(b'{"text": "b"}\n')
    stage = Stage(place=place, inputs=list_shards(str(tmp_path / "input")), units={"1.jsonl": "y"})
    other = GroupsLayout.of_stage(stage, lambda: {"cells": 1})
    left = sorted(
        str(path.relative_to(place.folder)) for path in pathlib.Path(place.folder).rglob("*") if path.is_file()
    )
    expected = ["members/1.jsonl.parquet", "records/1.jsonl.json", other.names_url.removeprefix(f"{place.folder}/")]
    assert left == expected


def test_members_of_a_shard_that_is_gone_go_too(tmp_path: pathlib.Path) -> None:
    place = deduplicate(tmp_path, {"1.jsonl": lines_of([{"text": "a"}])}, ExactConfig())
    (tmp_path / "input" / "1.jsonl").rename(tmp_path / "input" / "2.jsonl")
    GroupsLayout.of_stage(
        Stage(place=place, inputs=list_shards(str(tmp_path / "input")), units={"2.jsonl": "y"}), lambda: {"cells": 1}
    )
    assert not pathlib.Path(place.folder, "members", "1.jsonl.parquet").exists()


def test_a_unit_repeated_in_one_shard_is_one_row_of_its_cell(tmp_path: pathlib.Path) -> None:
    dataset = {name: lines_of([{"text": ["same"] * 500}]) for name in ("1.jsonl", "2.jsonl")}
    place = deduplicate(tmp_path, dataset, ExactConfig())
    (url,) = pathlib.Path(place.scratch).glob("*/units/00000001.arrow")
    assert spill_rows(str(url)) == [1]
    assert groups_of(place)[0]["shards"] == {"1.jsonl": 500, "2.jsonl": 500}
    assert outputs(place, list(dataset)) == {"1.jsonl": [{"text": "same"}], "2.jsonl": []}


def test_lines_and_paragraphs_are_removed_from_their_texts(tmp_path: pathlib.Path) -> None:
    pages = [{"text": "menu\n\nfirst\nmenu"}, {"text": ""}, {"text": "Menu \nsecond\n"}, {"text": "menu"}]
    lower = "normalize_whitespace_and_lowercase"
    place = deduplicate(tmp_path / "lines", {"a.jsonl": lines_of(pages)}, ExactConfig(unit="line", normalize=lower))
    assert [page["text"] for page in read_shard(place.output_url("a.jsonl"))] == ["menu\n\nfirst", "", "second\n"]
    assert record_of(place, "a.jsonl").counts.removed == {STEP: 1}
    place = deduplicate(tmp_path / "paragraphs", {"a.jsonl": lines_of(pages)}, ExactConfig(unit="paragraph"))
    found = [page["text"] for page in read_shard(place.output_url("a.jsonl"))]
    assert found == ["menu\n\nfirst\nmenu", "", "Menu \nsecond\n"]


def test_pages_can_be_compared_by_several_keys_together(tmp_path: pathlib.Path) -> None:
    pages = [{"a": "x", "b": "y"}, {"a": "x", "b": "z"}, {"a": "X", "b": "y"}]
    config = ExactConfig(content_key=["a", "b"], normalize="normalize_whitespace_and_lowercase")
    place = deduplicate(tmp_path, {"1.jsonl": lines_of(pages)}, config)
    assert outputs(place, ["1.jsonl"]) == {"1.jsonl": pages[:2]}
    for wrong, says in (
        ({"content_key": []}, "different keys"),
        ({"content_key": ["a", "b"], "unit": "line"}, "one key"),
    ):
        with pytest.raises(ValueError, match=says):
            ExactConfig(**wrong)


def test_the_longest_and_the_newest_copy_can_be_kept(tmp_path: pathlib.Path) -> None:
    pages = [
        {"text": "same", "body": "bb", "metadata": {"WARC-Date": "2020-01-01T00:00:00Z"}},
        {"text": "same", "body": "b", "metadata": {"WARC-Date": "2024-01-01T00:00:00Z"}},
    ]
    dataset = {"1.jsonl": lines_of(pages)}
    length = ExactConfig(selection_key="body", selection_normalize="length", selection_reverse=True)
    longest = deduplicate(tmp_path / "longest", dataset, length)
    assert outputs(longest, ["1.jsonl"])["1.jsonl"] == [pages[0]]
    newest = ExactConfig(selection_key="metadata.WARC-Date", selection_reverse=True)
    assert outputs(deduplicate(tmp_path / "newest", dataset, newest), ["1.jsonl"])["1.jsonl"] == [pages[1]]


def test_the_report_is_told_of_domains_and_of_the_biggest_groups(tmp_path: pathlib.Path) -> None:
    pages = [
        {"text": text, "url": f"https://{host}/"} for text, host in (("a", "x.org"), ("b", "y.org"), ("a", "y.org"))
    ]
    place = deduplicate(tmp_path, {"1.jsonl": lines_of(pages[:2]), "2.jsonl": lines_of([pages[2]] * 5)}, ExactConfig())
    first, second = (record_of(place, name).details["duplicates"][STEP] for name in ("1.jsonl", "2.jsonl"))
    shown = {"group": "1.jsonl#0", "size": 6}
    assert first == {
        "domains": {},
        "groups": [{**shown, "kept": True, "index": 0, "url": "https://x.org/", "text": "a"}],
    }
    assert second["domains"] == {"y.org": [5, 5, 5]}
    assert [(row["kept"], row["index"]) for row in second["groups"]] == [(False, 0), (False, 1), (False, 2)]


def test_unknown_normalizer_is_refused_with_the_near_miss() -> None:
    with pytest.raises(ConfigError, match=r"c4.yaml:3: steps\[1\]: normalize: .*did you mean 'normalize_url'"):
        build(ExactConfig, {"normalize": "normalise_url"}, lambda *_: "c4.yaml:3: steps[1]")
    with pytest.raises(ValueError, match="selection_normalize: unknown normalizer 'md5'"):
        ExactConfig(selection_normalize="md5")


def test_arguments_without_effect_are_no_part_of_the_fingerprint() -> None:
    plain = plan_stage(ExactConfig(), STEP).fingerprint
    assert plan_stage(ExactConfig(sync_to_input=True, working_dir="w"), STEP).fingerprint == plain
    assert plan_stage(ExactConfig(selection_reverse=True), STEP).fingerprint != plain
    assert "corpusmith.text" in plan_stage(ExactConfig(), STEP).fingerprint["code"]
