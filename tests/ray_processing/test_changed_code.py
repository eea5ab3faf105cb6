"""A finished run is refused when code that decided its pages was changed since, and told which."""

from __future__ import annotations

import pathlib

import pytest

from baselines import mappers
from baselines.core.steps import LocalStep
from baselines.mappers import enrichers
from corpusmith.errors import ChangedError
from corpusmith.io.pages.shards import list_shards, open_shard_writer, read_shard
from corpusmith.run.ray.execution import Execution
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from ray_processing.pipeline.config import load_pipeline
from ray_processing.pipeline.stages import plan_local, plan_stages
from tests.corpusmith.run.conftest import InProcess

YAML = """
- source: cc
  steps:
    - func: url_removal_modifier
"""
TEXTS = ("see https://example.org/a for more", "no address here")


@pytest.fixture
def pages(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "cfg.yaml").write_text(YAML)
    with open_shard_writer(str(tmp_path / "pages" / "a.jsonl.zst")) as writer:
        for text in TEXTS:
            writer.write({"text": text, "url": "http://example.org/"})
    return tmp_path


def run(folder: pathlib.Path) -> RunResult:
    """`corpusmith process` over the pages, without Ray."""
    stages = plan_stages(load_pipeline(str(folder / "cfg.yaml"), None), seed=1)
    place = RunPlace(root=str(folder / "run"), output=str(folder / "out"), errors=str(folder / "errors"))
    plan = RunPlan(inputs=list_shards(str(folder / "pages")), stages=stages)
    return Run(place, plan, open_runner=InProcess).execute(Execution(), RunOptions())


def test_a_finished_run_is_refused_after_the_version_of_its_kernels_was_raised(
    pages: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not run(pages).was_finished
    (shard,) = list_shards(str(pages / "out"))
    assert [page["text"] for page in read_shard(shard.url)] == ["see for more", "no address here"]
    monkeypatch.setattr(enrichers, "VERSION", enrichers.VERSION + 1)  # which this run has nothing of
    assert run(pages).was_finished
    monkeypatch.setattr(mappers, "VERSION", mappers.VERSION + 1)  # the package of kernels.address_kernels
    with pytest.raises(ChangedError, match=r"code\.baselines\.mappers.* 1 .*2"):
        run(pages)


@pytest.mark.parametrize(
    ("source", "is_used"),
    [
        ("from baselines.mappers.enrichers.enrichers import line_counter", True),
        ("from mappers.enrichers.enrichers import line_counter", True),
        ("import core.constants", False),
        ("from training.hyperparameters import SCALES", False),
        ("from corpusmith.nowhere import nothing", False),
    ],
)
def test_code_of_ours_that_a_users_file_imports_counts(
    source: str, is_used: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(f"def keep(page):\n    return [page]\n\nif True:\n    {source}\n")
    monkeypatch.chdir(tmp_path)
    code = plan_local((LocalStep(index=0, func="own.keep"),), 1).fingerprint["code"]
    assert ("baselines.mappers.enrichers" in code) == is_used
    assert "baselines.core" in code
