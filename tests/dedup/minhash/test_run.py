"""MinHash dedup over the sample pages: recall and precision against their truth, and the S-curve of real pairs."""

from __future__ import annotations

import functools
import itertools
import math
import pathlib
import re
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from corpusmith.cli import main
from corpusmith.io.pages.shards import list_shards, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan
from dedup.minhash.config import MinhashConfig, Preset, collision_probability
from dedup.minhash.sign import sign_text
from dedup.minhash.stage import plan_stage

STEP = "00-minhash_dedup"
WORD = re.compile(r"\w+")

Place = tuple[str, int]


@pytest.fixture(scope="module")
def texts(sample: pathlib.Path) -> dict[Place, str]:
    """The text of each page by (shard, line)."""
    return {
        (shard.name, line): page["text"]
        for shard in list_shards(str(sample))
        for line, page in enumerate(read_shard(shard.url))
    }


def truth(shared_data: pathlib.Path, *kinds: str) -> list[dict[str, Any]]:
    lines = (shared_data / "data" / "pages" / "truth.jsonl").read_bytes().splitlines()
    return [row for row in map(orjson.loads, lines) if row["kind"] in kinds]


def place_of(page: dict[str, Any]) -> Place:
    return page["shard"], page["line"]


@functools.lru_cache(maxsize=4096)
def word_shingles(text: str) -> frozenset[int]:
    """The lower-cased 5-word shingles of a text, as the truth counts them, each as Python's hash of it."""
    words = WORD.findall(text.lower())
    return frozenset(hash(tuple(words[at : at + 5])) for at in range(len(words) - 4))


def word_jaccard(one: str, other: str) -> float:
    """Jaccard similarity of the sets of shingles."""
    left, right = word_shingles(one), word_shingles(other)
    return len(left & right) / len(left | right) if left | right else 1.0


def similar_pairs(shared_data: pathlib.Path, texts: dict[Place, str], least: float) -> set[tuple[Place, Place]]:
    """All pairs that the truth tells of with at least this similarity."""
    groups = [row["pages"] for row in truth(shared_data, "exact_dup", "near_dup_cluster", "other_near_dup")]
    groups += [[row["original"], row["copy"]] for row in truth(shared_data, "near_dup", "normalised_dup")]
    pairs = {
        tuple(sorted((place_of(one), place_of(other))))
        for group in groups
        for one, other in itertools.combinations(group, 2)
    }
    return {pair for pair in pairs if word_jaccard(texts[pair[0]], texts[pair[1]]) >= least}  # type: ignore[misc]


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_near_duplicates_of_the_sample_are_found_and_little_else_is_removed(
    tmp_path: pathlib.Path, sample: pathlib.Path, shared_data: pathlib.Path, texts: dict[Place, str]
) -> None:
    plan = RunPlan(inputs=list_shards(str(sample)), stages=[plan_stage(MinhashConfig(preset="fineweb"), STEP)])
    place = RunPlace(root=str(tmp_path / "run"), output=str(tmp_path / "out"), errors=str(tmp_path / "errors"))
    result = Run(place, plan).execute(Execution(cpus=2), RunOptions())
    groups: dict[str, list[Place]] = {}
    group_of: dict[Place, str] = {}
    removed: list[Place] = []
    for shard in plan.inputs:
        for row in pq.read_table(f"{result.stages[0].place.folder}/members/{shard.name}.parquet").to_pylist():
            member = (shard.name, row["page"])
            groups.setdefault(row["group"], []).append(member)
            group_of[member] = row["group"]
            removed += [] if row["kept"] else [member]
    pairs = similar_pairs(shared_data, texts, 0.85)
    found = [pair for pair in pairs if group_of.get(pair[0], pair[0]) == group_of.get(pair[1], pair[1])]
    assert len(pairs) > 1000
    assert len(found) >= 0.97 * len(pairs)
    right = [
        page
        for page in removed
        if any(word_jaccard(texts[page], texts[other]) >= 0.5 for other in groups[group_of[page]] if other != page)
    ]
    assert len(right) >= 0.98 * len(removed)
    counts = result.stages[0].counts()
    assert (counts.read, counts.removed) == (len(texts), {STEP: len(removed)})
    for shard in plan.inputs:
        left = [page["text"] for page in read_shard(str(tmp_path / "out" / shard.name))]
        gone = set(removed)
        lines = [text for (name, line), text in texts.items() if name == shard.name and (name, line) not in gone]
        assert left == lines


@pytest.mark.parametrize("preset", ["fineweb", "refinedweb", "dclm"])
def test_planted_pairs_share_a_band_as_often_as_the_s_curve_says(
    preset: Preset, shared_data: pathlib.Path, texts: dict[Place, str]
) -> None:
    config = MinhashConfig(preset=preset)
    bands, rows = config.bands_and_rows
    found, probabilities = 0, []
    for row in truth(shared_data, "near_dup"):
        pair = [texts[place_of(row[which])] for which in ("original", "copy")]
        left, right = (set(config.shingler.hashes(text).tolist()) for text in pair)
        probabilities.append(collision_probability(len(left & right) / len(left | right), bands, rows))
        one, other = (sign_text(text, config) for text in pair)
        assert one is not None
        assert other is not None
        found += bool((one[0] == other[0]).any())
    expected, variance = sum(probabilities), sum(p * (1 - p) for p in probabilities)
    assert len(probabilities) == 360
    assert abs(found - expected) < 3.5 * math.sqrt(variance)


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_minhash_dedup_is_a_step_of_a_yaml(tmp_path: pathlib.Path) -> None:
    long = " ".join(f"word{number}" for number in range(100))
    pages = [{"text": long, "score": 1}, {"text": f"{long} more", "score": 2}, {"text": "another page", "score": 3}]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, pages)))
    step = "{func: minhash_dedup, bands: 20, rows: 5, selection_key: score, selection_reverse: true, content_key: text}"
    (tmp_path / "near.yaml").write_text(f"- source: cc\n  steps:\n    - {step}\n")
    flags = ["--raw_data_dirpath", str(tmp_path / "in"), "--config_path", str(tmp_path / "near.yaml")]
    flags += ["--output_dir", str(tmp_path / "out"), "--readable_name", "near", "--exp-data-dir", str(tmp_path / "db")]
    assert main(["process", *flags]) == 0
    base = tmp_path / "out" / "near"
    assert list(read_shard(str(base / "processed_data" / "a.jsonl"))) == pages[1:]
    assert 'id="duplicates"' in (base / "report.html").read_text()
    (row,) = map(orjson.loads, (base / "stats" / "a_stats.jsonl").read_bytes().splitlines())
    assert row == {"name": "minhash_dedup", "content_key": "text", "pages_in": 3, "pages_out": 2}


def test_the_plan_is_printed_and_nothing_is_run(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"".join(orjson.dumps({"text": f"page {n}"}) + b"\n" for n in range(700)))
    flags = ["--input", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--readable_name", "x", "--plan"]
    assert main(["dedup", "minhash", *flags, "--num_cpus", "3"]) == 0
    said = capsys.readouterr().out
    assert "about 700 pages with 9,800 bands in 1 shards" in said
    assert " for 3\n" in said
    assert main(["dedup", "exact", *flags]) == 0
    assert "about 700 pages with 700 units" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_arguments_that_do_not_fit_end_with_exit_code_two(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b'{"text": "x"}\n')
    flags = ["--input", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--readable_name", "x"]
    assert main(["dedup", "minhash", *flags, "--bands", "3"]) == 2
    assert capsys.readouterr().err == "error: --bands: give `bands` and `rows` together\n"
    inside = [*flags[:3], str(tmp_path / "in" / "out"), *flags[4:]]
    assert main(["dedup", "exact", *inside]) == 2
    assert "lie in each other" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["dedup", "exact", "--input", str(tmp_path / "empty"), *flags[2:]]) == 2
    assert "no page shards" in capsys.readouterr().err
