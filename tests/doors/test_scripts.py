"""Scripts by their paths, the command and its verbs, and the command lines that DCLM's pages show."""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys

import pytest

from corpusmith.cli import VERBS, main
from tests.doors.parsers import parse
from tests.doors.tables import CLOSED, ROOT, gaps

SCRIPTS = (
    "baselines/process_single_file.py",
    "baselines/train_fasttext_classifier.py",
    "dedup/bff",
    "dedup/exact",
    "dedup/minhash",
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
)
SCRIPTS_OF_DCLM = (
    "ray_processing/process.py",
    "ray_processing/tokenize_shuffle.py",
    "ray_processing/dedup_jsonl.py",
    "baselines/process_single_file.py",
    "baselines/train_fasttext_classifier.py",
    "eval/eval_openlm_ckpt.py",
    "eval/aggregated_metrics.py",
    "tools/eval_expdb.py",
    "tools/expdb.py",
    "tools/push_openlm_model_to_hf.py",
    "tools/commoncrawl/process_common_crawl_w_ray.py",
    "tools/commoncrawl/gen_common_crawl_paths.py",
    "tools/commoncrawl/sample_source_keys.py",
    "tools/add_params_txt.py",
    "tools/plot_decontamination.py",
    "requirements.txt",
)
# What follows a script, in the forms that DCLM's pages show; names and folders are ours.
COMMANDS = (
    (
        "ray_processing/process.py",
        "--source_ref_paths raw/pool.json --readable_name mine --output_dir s3://b/out "
        "--config_path baselines/baselines_configs/c4.yaml --source_name cc_april_2019",
    ),
    ("ray_processing/process.py", "--raw_data_dirpath pages --readable_name mine --output_dir out --config_path c.yaml "
     "--source_name cc --workers 4 --overwrite --ray_address localhost:6379 --num_shards 3 --ignore_failures "
     "--ray_use_working_dir --ray_num_cpus 2"),
    (
        "ray_processing/tokenize_shuffle.py",
        "--source_ref_paths a.json b.json --readable_name mine --output s3://b/tokens --content_key text --do_sample "
        "--default_dataset_yaml mix.yaml --suffixes .jsonl .jsonl.zst --overwrite",
    ),
    (
        "ray_processing/tokenize_shuffle.py",
        "--input s3://b/pages --readable_name mine --output s3://b/tokens --no_shuffle --subset 5 --seqlen 2048 "
        "--wds_chunk_size 8192 --num_writers_per_node 2 --ray_address localhost:6379 --force_parallelism 8",
    ),
    ("ray_processing/dedup_jsonl.py", "--input pages --content_key url --selection_key url --normalize normalize_url"),
    (
        "baselines/process_single_file.py",
        "--yaml c4.yaml --raw_data_dirpath pages --jsonl a.jsonl --source_name cc --output_dir out --workers 2",
    ),
    ("baselines/train_fasttext_classifier.py", "--input examples.txt --name quality --wordNgrams 2 --valid_frac 0.1"),
    (
        "-m training.train",
        "-- --scale 411m_1x --data-config exp_data/datasets/tokenized/mine.json --logs logs --attn-name torch_attn "
        "--multiple-data-passes --report-to-wandb --remote-sync s3://b/logs --clean-exp --torchcompile",
    ),
    (
        "eval/eval_openlm_ckpt.py",
        "--checkpoint epoch_6.pt --config params.txt --eval-yaml eval/heavy.yaml --tokenizer EleutherAI/gpt-neox-20b "
        "--output-file metrics.json --use-temp-working-dir",
    ),
    (
        "eval/eval_openlm_ckpt.py",
        "--hf-model some/model --tokenizer some/model --eval-yaml eval/light.yaml --output-file m.json "
        "--donot-compute-perplexity",
    ),
    ("eval/aggregated_metrics.py", "--eval_results exp_data/evals/evaluation_m_heavy.json --version v1"),
    ("eval/aggregated_metrics.py", "--eval_results e.json --eval_meta_data m.csv --additional_aggregation a.json"),
    ("tools/eval_expdb.py", "--database_path exp_data --table models --num_gpus 8 --output_dir exp_data/evals "
     "--eval_yaml eval/heavy.yaml -f name=mine -f hyperparameters.tokens>1B --skip_perplexity --no_skip"),
    ("tools/eval_expdb.py", "--hf_model some/model --tokenizer some/model --eval_yaml eval/medium.yaml --start_idx 0 "
     "--end_idx 10 --prefix_replacement s3://a=s3://b"),
    ("tools/expdb.py", "--table models -f name=mine -c name -c uuid -l name --output_html t.html --output_csv t.csv"),
    ("tools/push_openlm_model_to_hf.py", "--checkpoint e.pt --config params.txt --repo_id me/mine --private"),
    ("tools/make_wds_manifest.py", "--data-dir tokens --num-workers 16 --tmp-dir tmp"),
    (
        "raw_sources/process_common_crawl.py",
        "--json_file_path pool.json --output_path s3://b/pages --documents_per_jsonl 1000 --subset_frac 0.5 --wet",
    ),
    (
        "dedup bff",
        "--inputs pages --output-directory out --expected-ngram-count 1000000 --fp-rate 0.01 --min-ngram-size 13 "
        "--max-ngram-size 13 --filtering-threshold 0.8 --remove-type old-both --annotate",
    ),
    ("dedup/bff", "bff --inputs a b --output-directory out --expected-ngram-count 9 --fp-rate 0.01 -t 4"),
    ("dedup/bff", "sysreq --expected-ngram-count 1000000 --fp-rate 0.01"),
)  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_by_path_from_anywhere(script: str, tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")


def test_the_trainer_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")


def test_scripts_of_dclm_stand_at_their_paths() -> None:
    missing = [script for script in SCRIPTS_OF_DCLM if not (ROOT / script).is_file()]
    assert missing == gaps("scripts"), CLOSED


@pytest.mark.parametrize(("door", "words"), COMMANDS)
def test_command_lines_in_the_forms_of_dclms_pages_are_taken(door: str, words: str) -> None:
    parse(door, shlex.split(words))


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
