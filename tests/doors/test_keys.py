"""Keys and places: what users write into YAML, and what their scripts read out of files that a run leaves behind.

`keys_of_dclm.json`: for each kind of object DCLM's keys, in its order where it has one, and ours (those of params.txt
are not held). The objects come from one small run down the whole line.
"""

from __future__ import annotations

import csv
import inspect
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from baselines import mappers
from baselines.mappers import enrichers
from corpusmith.cli import main
from tests.doors.making import Line
from tests.doors.tables import CLOSED, ROOT, gaps, table
from tests.doors.test_imports import parameters

YAML_KEYS = table("yaml_keys_of_dclm")
KEYS = table("keys_of_dclm")
PARAMS = "params.txt"

PIPELINES = (
    "c4",
    "cc_v3_refinedweb_75b",
    "content_to_text",
    "dclm_baseline_refinedweb",
    "fasttext_filter",
    "refinedweb",
)
SUITES = (
    *("cot_fix_plus_gpq", "cot_fix_plus_gpq_triviaqa", "heavy", "heavy_ppl", "light", "medium", "mmlu_and_lowvar"),
    "special",
)
SCALES = {
    "411m_1x": "d=1024_l=24_h=8",
    "1b_1x_fast": "open_lm_1b_swiglutorch",
    "3b_1x_fast_3e-3_lr_1e-4_zloss": "open_lm_3b_swiglutorch",
    "7b_1x_fast_2e-3_lr_5e-6_zloss": "open_lm_7b_swiglutorch",
    "7b_2x_fast_2e-3_lr_5e-6_zloss": "open_lm_7b_swiglutorch",
}
SCALE_KEYS = [
    *("model", "tokens", "warmup", "lr", "wd", "cd", "global_bs", "acc", "qk_norm", "z_loss", "grad_checkpointing"),
    *("params", "params_no_embed", "fsdp_flags", "chinchilla_multiplier"),
]
MODEL_KEYS = ["hidden_dim", "n_layers", "n_heads", "seq_len", "vocab_size", "post_embed_norm", "weight_tying"]
SUITE_KEYS = {
    *("epoch", "dataset", "num_params", "max_seq_len", "seed", "precision", "tokenizer", "model", "load_path"),
    *("device_eval_batch_size", "icl_tasks"),
}
TASK_KEYS = {
    *("label", "dataset_uri", "num_fewshot", "icl_task_type", "continuation_delimiter", "has_categories"),
    *("question_prelimiter", "cot_delimiter", "early_stopping_criteria"),
}
META_COLUMNS = [
    *("Eval Task", "Task Category", "Task Type", "#shots", "#datapoints", "Random baseline", "Centered Metric?"),
    "Description",
]
FILES = [
    "exp_data/datasets/raw_sources/sampled.json",
    "exp_data/datasets/untokenized/filtered.json",
    "exp_data/datasets/tokenized/tokens.json",
    "exp_data/models/NAME.json",
    "exp_data/evals/evaluation_NAME_sample.json",
    "out/cfg/processed_data/a_processed.jsonl",
    "out/cfg/stats/a_stats.jsonl",
    "out/cfg/global_stats.jsonl",
    "tokens/00000001.tar",
    "tokens/manifest.jsonl",
    "tokens/tokens.json",
    "logs/NAME/params.txt",
    "logs/NAME/out.log",
    "logs/NAME/checkpoints/epoch_1.pt",
    "logs/NAME/checkpoints/optimizer_1.pt",
    "logs/NAME/checkpoints/stats_1.pt",
    "logs/NAME/checkpoints/results.jsonl",
]


@pytest.fixture(scope="module")
def line(runner: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The run, made once; its verbs join the Ray of the session."""
    torch = pytest.importorskip("torch")
    runner.connect()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = Line(tmp_path_factory.mktemp("line"))
    made.make()
    yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def objects(line: Line) -> dict[str, list[str]]:
    return line.objects()


def test_each_kind_of_object_has_its_keys_listed(objects: dict[str, list[str]]) -> None:
    assert set(objects) == set(KEYS) - {PARAMS}


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind != PARAMS])
def test_the_keys_of_an_object_are_those_of_dclm_and_ours(objects: dict[str, list[str]], kind: str) -> None:
    theirs, ours = KEYS[kind]["dclm"], KEYS[kind]["ours"]
    assert [key for key in objects[kind] if key not in ours] == theirs
    assert [key for key in objects[kind] if key in ours] == ours


def test_params_txt_has_the_names_of_open_lm_in_order(line: Line) -> None:
    found = line.params()
    assert found == sorted(found)
    assert [name for name in KEYS[PARAMS]["dclm"] if name not in found] == []


def test_files_are_where_users_look_for_them(line: Line) -> None:
    found = line.files()
    assert [name for name in FILES if name not in found] == gaps("files"), CLOSED


def test_the_members_of_a_token_shard_are_gzipped_json(line: Line) -> None:
    assert all(name.endswith(".json.gz") for name in line.members())


@pytest.mark.parametrize("mapper", YAML_KEYS)
def test_the_arguments_of_a_mapper_in_a_yaml_are_those_of_dclm_and_ours_come_last(mapper: str) -> None:
    found = parameters(inspect.unwrap(getattr(enrichers if hasattr(enrichers, mapper) else mappers, mapper)))
    found = [each for each in found if each != "page" and not each.startswith("**")]
    assert found[: len(YAML_KEYS[mapper])] == YAML_KEYS[mapper]


PIPELINE = """
- source: other
  steps: [{func: page_length_filter, length_type: word, min_length: 1}]
- source: cc
  remark: keys of an entry that are not known are passed over
  steps:
    - func: word_counter_enricher
      module: passed over
      _remark: passed over
      _aggregate:
        word_count: percentiles
        languages: {type: histogram, transform: threshold_transform, threshold: 0.99, default: none}
    - commit
    - {func: exact_dedup, content_key: text, normalize: normalize_url, selection_key: warcinfo,
       selection_normalize: normalize_timestamps, selection_reverse: true, sync_to_input: false, working_dir: w}
"""


def plan(folder: pathlib.Path, pipeline: str) -> int:
    """The exit code of `corpusmith process --plan` for a pipeline; nothing is started."""
    (folder / "pages").mkdir(exist_ok=True)
    page = {"text": "some words", "warcinfo": "2024-03-01T00:00:00Z", "languages": {"en": 1.0}}
    (folder / "pages" / "a.jsonl").write_text(f"{json.dumps(page)}\n")
    (folder / "cfg.yaml").write_text(pipeline)
    words = ["--raw_data_dirpath", folder / "pages", "--config_path", folder / "cfg.yaml", "--source_name", "cc"]
    words += ["--output_dir", folder / "out", "--readable_name", "mine", "--exp-data-dir", folder / "db", "--plan"]
    words += ["--plan-fraction", "1"]
    return main(["process", *map(str, words)])


def test_the_keys_of_a_pipeline_are_those_of_dclm(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path, PIPELINE) == 0
    assert plan(tmp_path, PIPELINE.replace("selection_key", "selected_key")) == 2
    assert "selected_key" in capsys.readouterr().err


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_of_dclm_stand_at_their_paths(name: str) -> None:
    entries = yaml.safe_load((ROOT / "baselines" / "baselines_configs" / f"{name}.yaml").read_text())
    known = {"c4": "cc_april_2019", "cc_v3_refinedweb_75b": "cc_v3"}
    assert [entry["source"] for entry in entries] == [known.get(name, "cc")]


@pytest.mark.parametrize("name", SUITES)
def test_suites_of_dclm_stand_at_their_paths_with_its_keys(name: str) -> None:
    suite = yaml.safe_load((ROOT / "eval" / f"{name}.yaml").read_text())
    assert set(suite) == ({"icl_tasks"} if name == "heavy_ppl" else SUITE_KEYS)
    assert {key for task in suite["icl_tasks"] for key in task} <= TASK_KEYS


@pytest.mark.parametrize("scale", SCALES)
def test_scales_and_models_of_dclm_stand_at_their_paths_with_its_keys(scale: str) -> None:
    found = json.loads((ROOT / "training" / "configs" / f"{scale}.json").read_text())
    assert list(found) == SCALE_KEYS
    assert pathlib.PurePath(found["model"]) == pathlib.PurePath(f"training/open_lm_configs/{SCALES[scale]}.json")
    model = json.loads((ROOT / found["model"]).read_text())
    assert list(model) == MODEL_KEYS + ["ffn_type"] * ("swiglutorch" in SCALES[scale])


def test_the_tables_of_evaluation_have_the_columns_and_lists_of_dclm() -> None:
    with (ROOT / "eval" / "eval_meta_data.csv").open() as lines:
        columns = next(csv.reader(lines))
    assert [name for name in META_COLUMNS if name not in columns] == gaps("columns of eval_meta_data.csv"), CLOSED
    lists = json.loads((ROOT / "eval" / "additional_aggregation.json").read_text())
    assert set(lists) == {"rw_small", "95%_CI_above", "99%_CI_above", "low_variance_datasets"}


def test_the_mixture_of_the_tokenizer_has_the_keys_of_dclm() -> None:
    mixture = yaml.safe_load((ROOT / "ray_processing" / "tokenization_configs" / "rpj_lm_data.yaml").read_text())
    assert set(mixture) == {"sources", "sampling_frequencies"}
    assert {key for source in mixture["sources"] for key in source} == {"source", "markers"}
    assert {source["source"] for source in mixture["sources"]} == set(mixture["sampling_frequencies"])
