"""The doors that users come in by: import paths, script paths, flags, keys. A change edits these lists on purpose."""

from __future__ import annotations

import importlib
import inspect
import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from baselines.core.factories import load_mapper_function
from corpusmith.cli import VERBS, main
from ray_processing.pipeline_config import load_pipeline

ROOT = pathlib.Path(__file__).resolve().parents[1]

IMPORTS = {
    "baselines.core": [
        *("get_aggregator", "get_mapper", "get_transform", "process_single_file", "read_jsonl", "write_jsonl"),
    ],
    "baselines.core.constants": ["CHUNK", "COMMIT_KEY_NAME", "CONTENT", "GLOBAL_FUNCTIONS", "URL"],
    "baselines.core.factories": ["ProfilingData", "_load_function", "get_mapper"],
    "baselines.core.file_utils": [
        *("delete_file", "is_compressed", "is_exists", "is_s3", "list_dir", "makedirs_if_missing", "read_jsonl"),
        "write_jsonl",
    ],
    "baselines.core.processor": [
        *("COMMIT_COMMAND", "ERRORS_INDEX", "KEPT_INDEX", "REMOVED_INDEX", "SPLIT_INDEX", "_get_output_paths"),
        *("_is_step_stats", "_parse_func_results", "_worker", "apply_partial_func_parallel"),
        *("apply_partial_func_sequential", "commit", "logger", "process_single_file"),
    ],
    "baselines.core.factory_utils": ["factory_function", "initialize_mapper", "is_factory"],
    "baselines.aggregators": ["histogram", "percentiles", "threshold_transform"],
    "baselines.mappers": ["massive_web_repetition_filters", "move_url_modifier", "page_length_filter"],
    "baselines.mappers.core_utils": ["DEDUP_NORMALIZERS", "split_paragraphs", "split_sentences", "split_words"],
    "baselines.mappers.enrichers": [
        *("classify_fasttext_hq_prob_enricher", "detect_lang_paragraph_enricher", "detect_lang_whole_page_enricher"),
        *("ken_lm_perplexity_enricher", "line_counter_enricher"),
    ],
    "baselines.mappers.enrichers.language_id_enrichers": [
        *("FASTTEXT", "FASTTEXT_MODEL_FILENAME", "LANGDETECT", "MODEL_DIRECTORY", "MODEL_SUBDIRECTORY"),
        *("PROJECT_ROOT", "detect_lang_paragraph_helper", "detect_lang_whole_page_fasttext"),
        *("detect_lang_whole_page_langdetect", "detect_langdetect", "get_fasttext_lang_prob"),
        *("get_langdetect_lang_prob", "is_space_or_punct", "load_fasttext_model", "reduce_language_probabilities"),
    ],
    "baselines.mappers.enrichers.quality_prediction_enrichers_calc_fasttext": [
        *("MODEL_SUBDIRECTORY", "RPJ_MODEL_FILENAME", "classify_fasttext_hq_prob", "load_fasttext_model"),
    ],
    "baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model": ["KenlmModel", "SentencePiece"],
    "baselines.mappers.filters": ["quality_filter", "repetition_filter"],
    "baselines.mappers.filters.content_filters": ["repetition_filter", "stop_word_filter"],
    "baselines.mappers.filters.metadata_filters": ["random_sampling_filter", "url_substring_filter"],
    "baselines.mappers.modifiers": ["newline_removal_modifier", "within_page_dedup"],
    "ray_processing": ["GLOBAL_FUNCTIONS", "dedup_jsonl"],
}
SCRIPTS = [
    "baselines/process_single_file.py",
    "baselines/train_fasttext_classifier.py",
    "dedup/bff.py",
    "dedup/exact.py",
    "dedup/minhash.py",
    "ray_processing/dedup_jsonl.py",
    "raw_sources/process_common_crawl.py",
    "ray_processing/process.py",
    "ray_processing/tokenize_shuffle.py",
    "eval/eval_openlm_ckpt.py",
    "eval/aggregated_metrics.py",
    "finetuning/download_data.py",
    "finetuning/preprocess_data.py",
    "tools/eval_expdb.py",
    "tools/expdb.py",
    "tools/import_hf_model.py",
    "tools/make_wds_manifest.py",
    "tools/push_openlm_model_to_hf.py",
]
EXECUTION = {"--memory_per_task", "--num_cpus", "--ray_address", "--ray_num_cpus", "--ray_use_working_dir"}
DEDUP = {"--content_key", "--exp-data-dir", "--input", "--output_dir", "--overwrite", "--plan", "--readable_name"} | {
    *("--selection_key", "--selection_normalize", "--selection_reverse"),
}
FLAGS = {
    "sample-crawl": {"--output", "--overwrite", "--pages", "--seed"},
    "ingest": EXECUTION
    | {"--exp-data-dir", "--ignore_failures", "--input", "--output_dir", "--overwrite", "--readable_name"}
    | {"--base", "--config", "--extractor", "--kinds", "--page_seconds", "--paths_file", "--records"},
    "common-crawl": set(),
    "process": EXECUTION
    | {"--config_path", "--exp-data-dir", "--ignore_failures", "--keep-stages", "--num_shards", "--output_dir"}
    | {"--assets", "--plan", "--plan-fraction", "--profile"}
    | {"--overwrite", "--raw_data_dirpath", "--readable_name", "--seed", "--shard_list_file", "--shard_list_filters"}
    | {"--source_name", "--source_ref_paths", "--workers"},
    "dedup bff": EXECUTION
    | {"--annotate", "--bloom-filter-file", "--content-key", "--expected-ngram-count", "--filtering-threshold", "-t"}
    | {"--fp-rate", "--inputs", "--max-ngram-size", "--min-ngram-size", "--no-progress-bar", "--no-save-bloom-filter"}
    | {"--no-update-bloom-filter", "--num-hashers", "--output-directory", "--overwrite", "--plan", "--remove-type"}
    | {"--shard-num", "--substr-seqlen", "--threads", "--total-shards"},
    "dedup exact": EXECUTION | DEDUP | {"--normalize", "--unit"},
    "dedup minhash": EXECUTION
    | DEDUP
    | {"--annotate", "--bands", "--cluster_size_key", "--hash_family", "--ngram", "--ngram_size", "--num_hashes"}
    | {"--preset", "--rows", "--seed", "--threshold"},
    "mappers": set(),
    "explain": {"--assets", "--config", "--page", "--raw_data_dirpath", "--seed", "--source_name"},
    "assets": {"--folder", "--from"},
    "train-tokenizer": {
        "--content_key",
        "--input",
        "--output",
        "--overwrite",
        "--sample_rate",
        "--seed",
        "--special_tokens",
        "--vocab_size",
    },
    "tokenize": EXECUTION
    | {"--content_key", "--exp-data-dir", "--input", "--keep-stages", "--no_shuffle", "--output", "--overwrite"}
    | {"--ray_spill_location", "--readable_name", "--seed", "--seqlen", "--source_ref_paths", "--subset", "--suffixes"}
    | {"--tokenizer", "--wds_chunk_size", "--default_dataset_yaml", "--do_sample", "--dtype", "--force_parallelism"}
    | {"--format", "--mirror", "--mixture", "--num_writers_per_node", "--pack", "--pack_by", "--plan"}
    | {"--prefix_replacement", "--with_source"},
    "detokenize": EXECUTION | {"--data-key", "--dtype", "--exp-data-dir", "--overwrite", "--seqlen", "--tokenizer"},
    "trace": {"--experiment", "--page", "--row", "--shard"},
    "train": {"--acc", "--attn-name", "--averagers", "--cd", "--chinchilla-multiplier", "--clean-exp"}
    | {"--data-config", "--data-order", "--data-tolerate-error-p", "--data-tolerate-num-ckpts"}
    | {"--do-eval", "--document-separator", "--domain-weights", "--downstream-eval", "--git-db"}
    | {"--global-bs", "--load-pretrained-state", "--log-avg-model-training-loss", "--log-every", "--logs"}
    | {"--lr", "--lr-decay", "--lr-decay-steps", "--lr-scheduler", "--manifest-prefix-override"}
    | {"--mirror", "--multiple-data-passes", "--name-suffix", "--num-checkpoints", "--partial-model-dir"}
    | {"--phase-plan", "--precision", "--prefix-replacement", "--pretrained", "--re-evaluate"}
    | {"--backend", "--remote-sync", "--remote-sync-override", "--report-to", "--report-to-wandb", "--save-every"}
    | {"--scale", "--seed"}
    | {"--skip-train", "--tokmult-eval", "--torchcompile", "--val-data", "--val-data-key"}
    | {"--val-frequency", "--val-sets-dir", "--warmup", "--wd", "--workers"},
    "eval": {"--checkpoint_replacement", "--database_path", "--end_idx", "--eval_data", "--eval_dir", "--eval_yaml"}
    | {"--filters", "--hf_cache_dir", "--hf_model", "--max_batch_tokens", "--no_skip", "--num_gpus", "--output_dir"}
    | {"--prefix_replacement", "--seed", "--skip_perplexity", "--start_idx", "--table", "--tokenizer", "-f"},
    "compare-evals": {"--confidence", "--json", "--resamples", "--seed"},
    "mix bench": {"--ablations", "--budget", "--families", "--json", "--methods", "--modules", "--seeds", "--tables"},
    "mix suggest": {"--better", "--config", "--metric", "--output", "--prior", "--runs", "-n"},
    "mix show": {"--module-folder"},
    "expdb": {"--columns", "--database_path", "--filter", "--leading_columns", "--max_colwidth", "--max_rows"}
    | {"--output_csv", "--output_html", "--output_md", "--plot", "--plot_column", "--sort_by", "--table"}
    | {"-c", "-f", "-l"},
    "report": {"--exp-data-dir", "--output"},
}


@pytest.mark.parametrize("module", IMPORTS)
def test_names_of_dclm_are_where_its_users_look_for_them(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in IMPORTS[module] if not hasattr(found, name)] == []


def test_the_short_names_lead_to_the_same_modules() -> None:
    code = (
        "import baselines.core, core.constants, mappers.modifiers, aggregators, baselines.mappers.modifiers as long; "
        "assert core.constants is baselines.core.constants; assert mappers.modifiers is long"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_by_path_from_anywhere(script: str, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")


def parser_of(verb: str):  # type: ignore[no-untyped-def]  # argparse.ArgumentParser, made by modules of many rooms
    return importlib.import_module(VERBS[verb].main.partition(":")[0]).build_parser()


@pytest.mark.parametrize("verb", VERBS)
def test_flags_are(verb: str) -> None:
    found = {option for action in parser_of(verb)._actions for option in action.option_strings}
    assert found - {"-h", "--help"} == FLAGS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_each_help_ends_with_an_example_that_its_parser_takes(verb: str) -> None:
    parser = parser_of(verb)
    lines = parser.format_help().rstrip().splitlines()
    start = max(index for index, line in enumerate(lines) if line.strip() == "example:")
    words = shlex.split(" ".join(line.strip().rstrip("\\") for line in lines[start + 1 :]))
    if words[0] == "torchrun":
        words = ["corpusmith", "train", *words[words.index("--") + 1 :]]
    own = ["corpusmith", *verb.split()]
    assert words[: len(own)] == own
    parser.parse_args(words[len(own) :])


def test_the_command_lists_its_verbs_and_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)
    assert main(["proces"]) == 2
    assert (
        capsys.readouterr().err == "error: no verb 'proces'; did you mean 'process'? (corpusmith --help lists them)\n"
    )
    assert main([]) == 2


def test_a_verb_of_two_words_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dedup"]) == 2
    assert "'dedup' needs one of: " in capsys.readouterr().err
    assert main(["dedup", "minhsh"]) == 2
    assert "no 'dedup' called 'minhsh'; did you mean 'minhash'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["dedup", "exact", "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: corpusmith dedup exact")


def test_wrong_flags_end_with_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["process", "--no-such-flag"])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_global_functions_resolve_when_read_and_importing_them_loads_no_ray() -> None:
    code = (
        "import sys; from ray_processing import GLOBAL_FUNCTIONS; "
        "assert list(GLOBAL_FUNCTIONS) == ['bff', 'exact_dedup', 'minhash_dedup', 'quantile_filter']; "
        "assert not {'ray', 'torch'} & set(sys.modules); assert callable(GLOBAL_FUNCTIONS['exact_dedup'])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


YAML_KEYS = json.loads(pathlib.Path(__file__).with_name("yaml_keys_of_dclm.json").read_text())


@pytest.mark.parametrize("mapper", YAML_KEYS)
def test_the_arguments_of_a_mapper_in_a_yaml_are_those_of_dclm_and_ours_come_last(mapper: str) -> None:
    parameters = inspect.signature(inspect.unwrap(load_mapper_function(mapper))).parameters.values()
    found = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in parameters
        if each.name != "page" and each.kind is not each.VAR_KEYWORD
    ]
    assert found[: len(YAML_KEYS[mapper])] == YAML_KEYS[mapper]


def test_the_keys_of_a_pipeline_are_those_of_dclm(tmp_path: pathlib.Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "- source: cc\n  steps:\n    - func: word_counter_enricher\n      _aggregate:\n"
        "        word_count: {type: histogram}\n    - commit\n"
        "    - {func: exact_dedup, content_key: text, normalize: normalize_url, selection_key: warcinfo,"
        " selection_normalize: normalize_timestamps, selection_reverse: true, sync_to_input: false, working_dir: w}\n"
    )
    assert len(load_pipeline(str(tmp_path / "c.yaml"), "cc").steps) == 3


def test_keys_of_the_scales_are_those_of_dclm() -> None:
    scale = json.loads((ROOT / "training" / "configs" / "411m_1x.json").read_text())
    assert {"model", "tokens", "warmup", "lr", "wd", "cd", "global_bs", "acc", "qk_norm", "z_loss"} <= set(scale)
