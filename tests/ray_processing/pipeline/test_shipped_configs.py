"""Every shipped config runs over real pages with the sample lists; a classifier trained on some separates others."""

from __future__ import annotations

import json
import pathlib

import pytest

from baselines.train_fasttext_classifier import main as train
from corpusmith.cli import main
from corpusmith.io.pages.shards import read_shard
from ray_processing.pipeline.config import load_pipeline

ROOT = pathlib.Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "baselines" / "baselines_configs"
# its model is on the Hub; tests/baselines/mappers/enrichers/test_huggingface_classifiers.py runs such a step
NEED_NETWORK = {"fineweb_edu"}
NEED_SAMPLES = {"c4", "dclm_baseline_full", "dclm_baseline_refinedweb", "fasttext_filter", "refinedweb"}
QUALITY_YAML = """
- source: cc
  steps:
    - {func: classify_fasttext_hq_prob_enricher, model_filename: MODEL, key: quality}
"""


def process(tmp_path: pathlib.Path, pages: pathlib.Path, config: pathlib.Path, *extra: str) -> pathlib.Path:
    arguments = ["--raw_data_dirpath", str(pages), "--config_path", str(config), "--num_cpus", "2"]
    arguments += [
        "--output_dir",
        str(tmp_path / "out"),
        "--readable_name",
        "real",
        "--exp-data-dir",
        str(tmp_path / "db"),
    ]
    assert main(["process", *arguments, *extra]) == 0
    return tmp_path / "out" / config.stem


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("runner")
@pytest.mark.parametrize("name", sorted({path.stem for path in CONFIGS.glob("*.yaml")} - NEED_NETWORK))
def test_every_shipped_config_runs_with_balanced_books_and_names_its_samples(
    name: str, tmp_path: pathlib.Path, shared_data: pathlib.Path
) -> None:
    for package in ("fasttext", "langdetect", "nltk"):
        pytest.importorskip(package)
    pages = shared_data / "data" / "pages"
    filters = ["--shard_list_filters", "shard_00000000", "shard_00000003", "bad/"]
    base = process(tmp_path, pages, CONFIGS / f"{name}.yaml", "--assets", "sample", *filters)
    total = json.loads((base / "run" / "ledger.json").read_text())["total"]
    gone = sum(total["removed"].values()) + sum(total["errored"].values())
    assert total["read"] + total["added"] == total["kept"] + gone
    assert total["kept"] > 0
    assert ("sample_" in (base / "report.html").read_text()) == (name in NEED_SAMPLES)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_a_classifier_trained_on_labelled_pages_separates_held_out_ones(
    tmp_path: pathlib.Path, shared_data: pathlib.Path
) -> None:
    pytest.importorskip("fasttext")
    pages = shared_data / "data" / "pages"
    good, bad = "math", "gov"
    lines, held_out = [], tmp_path / "held_out"
    held_out.mkdir()
    for number, path in enumerate(sorted(pages.glob("shard_*.jsonl.zst"))):
        if number % 2:
            (held_out / path.name).symlink_to(path)
            continue
        for page in read_shard(str(path)):
            if page["source_domain"] in (good, bad):
                label = "hq" if page["source_domain"] == good else "cc"
                lines.append(f"__label__{label} {' '.join(page['text'].split())}")
    labelled = tmp_path / "labelled.txt"
    labelled.write_text("\n".join(lines) + "\n")
    command = ["--input", str(labelled), "--output_dir", str(tmp_path), "--name", "quality", "--thread", "1"]
    assert train([*command, "--wordNgrams", "2", "--lr", "0.5", "--epoch", "25", "--dim", "20"]) == 0
    config = tmp_path / "quality.yaml"
    config.write_text(QUALITY_YAML.replace("MODEL", str(tmp_path / "quality.bin")))
    base = process(tmp_path, held_out, config)
    right = wrong = 0
    for path in sorted((base / "processed_data").rglob("*.jsonl.zst")):
        for page in read_shard(str(path)):
            if page["source_domain"] in (good, bad):
                is_right = (page["quality"] >= 0.5) == (page["source_domain"] == good)
                right, wrong = right + is_right, wrong + (not is_right)
    assert right + wrong > 500
    assert right / (right + wrong) > 0.95, f"{right} of {right + wrong} held-out pages are told right"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: pathlib.Path) -> None:
    assert load_pipeline(str(path)).steps
