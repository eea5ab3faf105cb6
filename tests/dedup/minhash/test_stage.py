"""MinHash dedup: its phases against a plain twin in memory, edge cases, annotation, arguments; without Ray."""

from __future__ import annotations

import pathlib
import re
import tempfile
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpusmith.config import build
from corpusmith.errors import ConfigError
from corpusmith.io.pages.shards import Page, dump_page, list_shards, read_shard
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import ShardRecord, Stage, StagePlace
from corpusmith.steps.rewrite import HISTOGRAM_BINS
from dedup.groups.layout import GroupsLayout
from dedup.groups.selection import SELECTION_NORMALIZERS
from dedup.minhash.config import PRESETS, MinhashConfig, collision_probability
from dedup.minhash.sign import sign_text
from dedup.minhash.stage import plan_stage

Pages = list[dict[str, Any]]
STEP = "02-minhash_dedup"
WORDS = re.findall(r"\w+", "the cat sat on a mat and then it ran to see who was there before noon")


def deduplicate(
    root: pathlib.Path, dataset: dict[str, list[bytes]], config: MinhashConfig, runner: Runner, sizes: tuple[int, ...]
) -> StagePlace:
    """Run the stage with so many band cells, parts and cells; the output lies in `root/output`."""
    for name, lines in dataset.items():
        path = root / "input" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    place = StagePlace(
        name="00-minhash", folder=str(root / "stage"), output=str(root / "output"), errors=str(root / "errors")
    )
    inputs = list_shards(str(root / "input"))
    stage = Stage(place=place, inputs=inputs, units={shard.name: "x" for shard in inputs})
    GroupsLayout.of_stage(stage, lambda: dict(zip(("band_cells", "parts", "cells"), sizes, strict=True)))
    assert plan_stage(config, STEP).work(stage, runner) == []
    return place


def outputs(place: StagePlace, names: list[str]) -> dict[str, Pages]:
    return {name: list(read_shard(place.output_url(name))) for name in names}


def record_of(place: StagePlace, name: str) -> ShardRecord:
    return ShardRecord.from_json(orjson.loads(pathlib.Path(place.record_url(name)).read_bytes()))


def members_of(place: StagePlace, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(f"{place.folder}/members/{name}.parquet").to_pylist()
    return rows


Position = tuple[str, int]


def twin(dataset: dict[str, Pages], config: MinhashConfig) -> list[tuple[Position, list[Position]]]:
    """The clusters in memory by the plainest means: the kept page and the others of each."""
    positions = [(name, index) for name in sorted(dataset) for index in range(len(dataset[name]))]
    pages = {position: dataset[position[0]][position[1]] for position in positions}
    cluster = {position: position for position in positions}
    by_key: dict[int, list[Position]] = {}
    for position in positions:
        signed = sign_text(pages[position]["text"], config)
        for key in signed[0].tolist() if signed is not None else ():
            by_key.setdefault(key, []).append(position)
    for _ in positions:
        for sharing in by_key.values():
            first = min(cluster[position] for position in sharing)
            cluster.update(dict.fromkeys(sharing, first))
    select = SELECTION_NORMALIZERS.get(str(config.selection_normalize), lambda value: value)
    found = []
    for root in sorted(set(cluster.values())):
        members = [position for position in positions if cluster[position] == root]
        values = {p: select(pages[p][config.selection_key]) if config.selection_key else 0 for p in members}
        best = (max if config.selection_reverse else min)(values.values())
        kept = min(position for position in members if values[position] == best)
        if len(members) > 1:
            found.append((kept, [position for position in members if position != kept]))
    return found


@st.composite
def near_texts(draw: st.DrawFn) -> str:
    """A few words of one sentence, now and then another: many near duplicates and chains of them."""
    words = list(WORDS[: draw(st.integers(0, len(WORDS)))])
    for place in draw(st.lists(st.integers(0, max(len(words) - 1, 0)), max_size=2)):
        if words:
            words[place] = draw(st.sampled_from(["dog", "Sat", "noon", ","]))
    return " ".join(words)


PAGES = st.fixed_dictionaries(
    {"text": near_texts(), "url": st.sampled_from(["u", "v", "w"]), "score": st.integers(0, 3)}
)
DATASETS = st.dictionaries(
    st.sampled_from(["a.jsonl", "b.jsonl", "sub/c.jsonl", "sub-d.jsonl"]), st.lists(PAGES, max_size=6), min_size=1
)
CONFIGS = st.builds(
    MinhashConfig,
    bands=st.sampled_from([3, 8]),
    rows=st.sampled_from([1, 2]),
    ngram=st.sampled_from(["word", "character"]),
    ngram_size=st.integers(1, 3),
    hash_family=st.sampled_from(["affine32", "mersenne61"]),
    seed=st.integers(0, 3),
    selection_key=st.sampled_from([None, "score"]),
    selection_reverse=st.booleans(),
) | st.builds(MinhashConfig, selection_key=st.just("text"), selection_normalize=st.just("length"))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(DATASETS, CONFIGS, st.tuples(st.integers(1, 3), st.sampled_from([1, 1, 2, 3]), st.integers(1, 3)))
def test_phases_equal_the_plain_twin(
    in_process: Runner, dataset: dict[str, Pages], config: MinhashConfig, sizes: tuple[int, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = {name: [dump_page(page) for page in pages] for name, pages in dataset.items()}
        place = deduplicate(pathlib.Path(folder), raw, config, in_process, sizes)
        clusters = twin(dataset, config)
        lost = {position for _, others in clusters for position in others}
        for name, pages in dataset.items():
            left = [page for index, page in enumerate(pages) if (name, index) not in lost]
            assert list(read_shard(place.output_url(name))) == left
            counts = record_of(place, name).counts
            assert (counts.read, counts.kept, sum(counts.removed.values())) == (
                len(pages),
                len(left),
                len(pages) - len(left),
            )
        found: dict[str, tuple[list[Position], list[Position]]] = {}
        for name in sorted(dataset):
            for row in members_of(place, name):
                cluster = found.setdefault(row["group"], ([], []))
                cluster[not row["kept"]].append((name, row["page"]))
        assert sorted((kept, others) for (kept,), others in found.values()) == sorted(clusters)
        lines = [line for shard in list_shards(f"{place.folder}/groups") for line in read_shard(shard.url)]
        assert {line["group"]: line["size"] for line in lines} == {
            group: 1 + len(others) for group, (_, others) in found.items()
        }


LONG = " ".join(f"word{number}" for number in range(200))
NEAR = LONG.replace("word100", "other")


def test_the_kept_page_names_the_cluster_and_similarities_are_told(tmp_path: pathlib.Path, in_process: Runner) -> None:
    pages = [{"text": NEAR, "s": 1}, {"text": LONG, "s": 3}, {"text": "quite another text of its own", "s": 9}]
    dataset = {"a.jsonl": [dump_page(page) for page in pages], "b.jsonl": [dump_page({"text": LONG, "s": 2})]}
    config = MinhashConfig(selection_key="s", selection_reverse=True)
    place = deduplicate(tmp_path, dataset, config, in_process, (1, 1, 1))
    assert outputs(place, ["a.jsonl", "b.jsonl"]) == {"a.jsonl": pages[1:], "b.jsonl": []}
    rows = [*members_of(place, "a.jsonl"), *members_of(place, "b.jsonl")]
    assert [(row["page"], row["kept"], row["group"], row["size"]) for row in rows] == [
        (0, False, "a.jsonl#1", 3),
        (1, True, "a.jsonl#1", 3),
        (0, False, "a.jsonl#1", 3),
    ]
    near, kept, same = (row["similarity"] for row in rows)
    assert kept == same == 1.0
    assert abs(near - 191 / 201) < 0.08  # of 196 shingles each, 191 are shared
    details = record_of(place, "a.jsonl").details
    assert sum(details["duplicates"][STEP]["similarity"][HISTOGRAM_BINS - 4 :]) == 1
    assert details["samples"][STEP][0]["reason"].startswith("near duplicate of a.jsonl#1, similarity about 0.9")


def test_what_has_no_text_is_no_duplicate_and_what_cannot_be_compared_is_set_aside(
    tmp_path: pathlib.Path, in_process: Runner
) -> None:
    kept: list[Page] = [
        {"text": ""},
        {"text": ""},
        {"text": "..."},
        {"text": "word"},
        {"text": "a few words"},
        {"text": []},
    ]
    gone: list[Page] = [{"text": "Word!"}, {"text": ["a few", "words"]}]
    bad = [b'{"url": "u"}', b'{"text": 3}', b'{"text": ["a", 1]}', b"not JSON"]
    lines = [*(dump_page(page) for page in (*kept, *gone)), *bad]
    place = deduplicate(tmp_path, {"a.jsonl": lines}, MinhashConfig(), in_process, (2, 1, 2))
    assert outputs(place, ["a.jsonl"]) == {"a.jsonl": kept}
    counts = record_of(place, "a.jsonl").counts
    assert (counts.read, counts.kept, counts.removed) == (12, 6, {STEP: 2})
    assert counts.errored == {STEP: 3, "read": 1}
    rows = list(read_shard(place.error_url(STEP, "a.jsonl")))
    assert [row["error"] for row in rows] == [
        "the page has no key 'text'",
        "'text' must hold a string or a list of strings, holds int",
        "'text' must hold a string or a list of strings, holds list",
    ]


def test_an_empty_shard_and_a_shard_without_words_pass_through(tmp_path: pathlib.Path, in_process: Runner) -> None:
    place = deduplicate(tmp_path, {"a.jsonl": [], "b.jsonl": [b'{"text": ""}']}, MinhashConfig(), in_process, (1, 2, 1))
    assert outputs(place, ["a.jsonl", "b.jsonl"]) == {"a.jsonl": [], "b.jsonl": [{"text": ""}]}
    assert members_of(place, "a.jsonl") == []


def test_annotation_keeps_all_pages_and_tells_their_clusters(tmp_path: pathlib.Path, in_process: Runner) -> None:
    dataset = {"a.jsonl": [dump_page({"text": text}) for text in (LONG, "another", LONG)]}
    place = deduplicate(tmp_path, dataset, MinhashConfig(annotate=True), in_process, (1, 1, 1))
    told = {"cluster": "a.jsonl#0", "size": 2, "similarity": 1.0}
    assert [page.get("minhash") for page in read_shard(place.output_url("a.jsonl"))] == [
        {**told, "kept": True},
        None,
        {**told, "kept": False},
    ]
    assert record_of(place, "a.jsonl").counts.removed == {}


def test_kept_pages_can_carry_the_size_of_their_cluster(tmp_path: pathlib.Path, in_process: Runner) -> None:
    dataset = {"a.jsonl": [dump_page({"text": text}) for text in (LONG, "another", LONG, NEAR)]}
    place = deduplicate(tmp_path, dataset, MinhashConfig(cluster_size_key="copies"), in_process, (1, 1, 1))
    assert [page["copies"] for page in read_shard(place.output_url("a.jsonl"))] == [3, 1]


def test_many_pages_are_spilled_in_several_batches(
    tmp_path: pathlib.Path, in_process: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dedup.minhash.sign.ROWS_HELD", 30)
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.integers(0, 9999, 20).astype(str)) for _ in range(25)]
    dataset = {"a.jsonl": [dump_page({"text": text}) for text in texts + texts[::-1]]}
    place = deduplicate(tmp_path, dataset, MinhashConfig(), in_process, (3, 2, 2))
    assert [page["text"] for page in read_shard(place.output_url("a.jsonl"))] == texts


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bands": 3}, "give `bands` and `rows` together"),
        ({"preset": "fineweb", "threshold": 0.8}, "give one of them"),
        ({"num_hashes": 64}, "only together with `threshold`"),
        ({"threshold": 1.5}, "must lie between 0 and 1"),
        ({"bands": 0, "rows": 5}, "hash functions are possible"),
        ({"bands": 5000, "rows": 500}, "hash functions are possible"),
        ({"ngram_size": 0}, "at least 1 word"),
        ({"annotate": True, "cluster_size_key": "n"}, "give one of them"),
        ({"selection_normalize": "lenght"}, "did you mean 'length'"),
        ({"preset": "finewb"}, "must be one of 'fineweb'"),
        ({"seed": -1}, "seed: must lie"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(MinhashConfig, arguments, lambda *_: "dedup.yaml:3")


def test_presets_and_thresholds_give_bands() -> None:
    assert MinhashConfig().bands_and_rows == PRESETS["fineweb"] == (14, 8)
    assert MinhashConfig(preset="refinedweb").signer.hashes == 9000
    bands, rows = MinhashConfig(threshold=0.8, num_hashes=256).bands_and_rows
    assert collision_probability(0.9, bands, rows) > 0.95
    assert collision_probability(0.6, bands, rows) < 0.1
    spelled = MinhashConfig(bands=14, rows=8)
    assert spelled.deciding()["bands"] == MinhashConfig().deciding()["bands"]
