"""On S3 the demo's pipeline gives the same bytes as on local disk, and every path of a command may lie there."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest

from baselines.train_fasttext_classifier import main as train_classifier
from corpusmith.cli import main
from corpusmith.io import storage
from corpusmith.io.backends.s3_requests import forget_connection
from corpusmith.io.pages.shards import list_shards, open_shard_writer, read_shard
from tests.corpusmith.io.swift_server import KEY_ID, SECRET, missing_commands, swift_endpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "baselines" / "baselines_configs" / "demo.yaml"
DEDUPS = """
- source: dedups
  steps:
    - {func: bff, min_ngram_size: 3, max_ngram_size: 5, round_bytes: 1, filter_part_bytes: 4096}
    - {func: minhash_dedup, bands: 20, rows: 4, annotate: true}
    - {func: word_counter_enricher, key: words}
    - {func: quantile_filter, key: words, keep_fraction: 0.5}
"""
BUCKET = "pipeline"


@pytest.fixture(params=["moto", pytest.param("swift", marks=pytest.mark.swift)])
def environment(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """An S3 endpoint with an empty bucket, found through the usual variables by this process and those it starts."""
    with contextlib.ExitStack() as stack:
        if request.param == "moto":
            endpoint, key, secret = request.getfixturevalue("moto_endpoint"), "testing", "testing"
        else:
            if missing := missing_commands():
                pytest.skip(f"not installed: {', '.join(missing)}")
            (tmp_path / "swift").mkdir()
            endpoint, key, secret = stack.enter_context(swift_endpoint(tmp_path / "swift")), KEY_ID, SECRET
        variables = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        for name, value in {**variables, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        boto3.Session().client("s3").create_bucket(Bucket=BUCKET)
        forget_connection()
        yield
        forget_connection()


def write_pages(root: str) -> None:
    words = [
        "the",
        "of",
        "and",
        "a",
        "to",
        "be",
        "in",
        "this",
        "page",
        "about",
        "long",
        "history",
        "that",
        "we",
        "have",
    ]
    for shard in range(3):
        with open_shard_writer(storage.join(root, f"part/s{shard}.jsonl.zst")) as writer:
            for number in range(60):
                same = number % 9 == 0
                text = "\n".join(
                    " ".join([*words, f"line{line}", f"{'same' if same else shard}x{number * line}"])
                    for line in range(6)
                )
                uri = f"http://example.org/{shard}/{number}"
                writer.write({"text": text if number % 7 else "tiny", "metadata": {"WARC-Target-URI": uri}})


def write_repeating_pages(root: str) -> None:
    """Pages of lines of random words, of which every third stood before."""
    draw, lines = random.Random(7), ["Log in or sign up to read the rest of it"]
    for shard in range(3):
        with open_shard_writer(storage.join(root, f"part/s{shard}.jsonl.zst")) as writer:
            for number in range(40):
                new = [" ".join(f"w{draw.randrange(900)}" for _ in range(draw.randrange(3, 12))) for _ in range(4)]
                writer.write({"url": f"{shard}/{number}", "text": "\n".join([*new, *draw.choices(lines, k=2)])})
                lines += new


ON_ONE_RAY = """
import json, sys
from corpusmith.cli import main
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner

with Runner(Execution(cpus=2)) as runner:
    runner.connect()
    for command in json.loads(sys.argv[1]):
        if main(command) != 0:
            sys.exit(f"failed: {command}")
"""


def run_commands(folder: pathlib.Path, *commands: list[str]) -> None:
    """Run `corpusmith` with these arguments, one after the other on one Ray whose workers know the endpoint too."""
    done = subprocess.run(
        [sys.executable, "-c", ON_ONE_RAY, json.dumps(commands)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def process(root: str, config: pathlib.Path) -> list[str]:
    """The command that sends `pages` below `root` to `out`."""
    pages, out = storage.join(root, "pages"), storage.join(root, "out")
    command = ["process", "--raw_data_dirpath", pages, "--output_dir", out, "--config_path", str(config)]
    return [*command, "--readable_name", "s3", "--exp-data-dir", storage.join(out, "db"), "--num_cpus", "2"]


def files(data: str) -> dict[str, bytes]:
    return {storage.relative(info.url, data): storage.read_bytes(info.url) for info in storage.list_files(data)}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("name", ["demo", "dedups"])
def test_the_pipeline_on_s3_gives_the_bytes_of_the_local_one(tmp_path: pathlib.Path, name: str) -> None:
    config = DEMO if name == "demo" else tmp_path / "dedups.yaml"
    if name == "dedups":
        config.write_text(DEDUPS)
    local, remote = str(tmp_path / "local"), f"s3://{BUCKET}/run-{name}"
    for root in (local, remote):
        (write_pages if name == "demo" else write_repeating_pages)(storage.join(root, "pages"))
    run_commands(tmp_path, process(local, config), process(remote, config))
    expected = files(storage.join(local, f"out/{name}/processed_data"))
    assert len(expected) == 3
    assert files(storage.join(remote, f"out/{name}/processed_data")) == expected
    work, books = storage.join(remote, f"out/{name}/run"), f"out/{name}/run/ledger.json"
    ledgers = [storage.read_json(storage.join(root, books))["total"] for root in (local, remote)]
    assert ledgers[0] == ledgers[1]
    assert ledgers[0]["removed"]
    names = [storage.relative(info.url, work) for info in storage.list_files(work)]
    assert not [name for name in names if "/shards/" in name or "/scratch/" in name]
    # the same command again recomputes nothing, on S3 too
    before = {info.url: info.etag for info in storage.list_files(storage.join(remote, "out"))}
    run_commands(tmp_path, process(remote, config))
    assert before == {info.url: info.etag for info in storage.list_files(storage.join(remote, "out"))}


@pytest.mark.usefixtures("environment")
def test_a_bloom_filter_on_s3_is_loaded_and_saved_from_crawl_to_crawl(tmp_path: pathlib.Path) -> None:
    local, remote = str(tmp_path), f"s3://{BUCKET}/crawls"
    for root in (local, remote):
        write_repeating_pages(storage.join(root, "pages"))
    for crawl, roots in (("first", [local, remote]), ("second", [remote])):
        commands = []
        for root in roots:
            with open_shard_writer(storage.join(root, f"pages/part/{crawl}.jsonl.zst")) as writer:
                writer.write({"text": f"only in the {crawl} crawl"})
            command = ["dedup", "bff", "--inputs", storage.join(root, "pages/part"), "--num_cpus", "1"]
            command += ["--output-directory", storage.join(root, crawl), "--expected-ngram-count", "50000"]
            command += ["--min-ngram-size", "1", "--max-ngram-size", "5", "--no-progress-bar"]
            command += ["--bloom-filter-file", storage.join(root, "filter.bin")]
            commands.append(command)
        run_commands(tmp_path, *commands)
    assert files(storage.join(remote, "first")) == files(storage.join(local, "first"))
    texts = [
        [page["text"] for shard in list_shards(storage.join(remote, crawl)) for page in read_shard(shard.url)]
        for crawl in ("first", "second")
    ]
    assert len(texts[0]) == 121
    assert texts[1] == ["only in the second crawl"]


LISTED = """
- source: cc
  steps:
    - {func: substring_filter, banlist_from_fname: baselines/mappers/banlists/ldnoobw.txt, exact_word: true}
    - {func: classify_fasttext_hq_prob_enricher, model_filename: quality.bin, key: quality}
"""


@pytest.mark.usefixtures("environment")
def test_configs_lists_models_and_shard_lists_may_lie_on_s3(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fasttext")
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path / "cache"))
    root = f"s3://{BUCKET}/paths"
    assets = storage.join(root, "assets")
    labelled = "\n".join(["__label__hq a page about the long history", "__label__cc tiny"] * 50)
    storage.write_bytes(storage.join(root, "source/en"), b"line2\n")
    storage.write_bytes(storage.join(root, "labelled.txt"), labelled.encode())
    storage.write_bytes(storage.join(root, "config.yaml"), LISTED.encode())
    storage.write_bytes(storage.join(root, "shards.txt"), b"part/s1.jsonl.zst\n")
    write_pages(storage.join(root, "pages"))

    assert main(["assets", "fetch", "ldnoobw.txt", "--from", storage.join(root, "source"), "--folder", assets]) == 0
    assert main(["assets", "verify", "ldnoobw.txt", "--folder", assets]) == 0
    models = storage.join(assets, "enrichers/quality_prediction_enrichment_models")
    settings = ["--dim", "4", "--thread", "1", "--valid_frac", "0.1"]
    training = ["--input", storage.join(root, "labelled.txt"), "--output_dir", models, "--name", "quality", *settings]
    assert train_classifier(training) == 0

    places = ["--config_path", storage.join(root, "config.yaml"), "--assets", assets]
    command = ["--output_dir", storage.join(root, "out"), "--readable_name", "s3", "--num_cpus", "1"]
    command += ["--raw_data_dirpath", storage.join(root, "pages"), "--exp-data-dir", storage.join(root, "db")]
    run_commands(tmp_path, ["process", *command, *places, "--shard_list_file", storage.join(root, "shards.txt")])
    written = storage.join(root, "out/config/processed_data/part/s1_processed.jsonl.zst")
    pages = list(read_shard(written))
    assert [info.url for info in storage.list_files(storage.parent(written))] == [written]
    # every page but the tiny ones has the banned word
    assert [page["text"] for page in pages] == ["tiny"] * 9
    assert all(0 <= page["quality"] <= 1 for page in pages)

    capsys.readouterr()
    shard = storage.join(root, "pages/part/s1.jsonl.zst")
    assert main(["explain", shard, "--config", places[1], "--assets", assets, "--page", "7", "--page", "8"]) == 0
    assert "+quality=" in capsys.readouterr().out
    report = storage.join(root, "again.html")
    assert main(["report", storage.join(root, "out/config"), "--output", report]) == 0
    assert storage.read_bytes(report).startswith(b"<!DOCTYPE html>")


@pytest.mark.all
@pytest.mark.usefixtures("environment")
def test_the_whole_demo_runs_on_s3_to_the_same_data(tmp_path: pathlib.Path) -> None:
    roots = str(tmp_path / "demo"), f"s3://{BUCKET}/demo"
    for root in roots:
        path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
        subprocess.run(
            ["bash", str(ROOT / "tools" / "demo.sh"), root],
            env={**os.environ, "PATH": path},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def content(root: str) -> dict[str, bytes]:
        folders = ("crawl", "pages/processed_data", "filtered/demo/processed_data", "filtered/demo/tokenized")
        found = [info.url for folder in folders for info in storage.list_files(storage.join(root, folder))]
        return {storage.relative(url, root): storage.read_bytes(url) for url in found if url.endswith((".zst", ".tar"))}

    local, remote = map(content, roots)
    assert len(local) > 10
    assert remote == local
    checkpoints = [info.url for info in storage.list_files(storage.join(roots[1], "logs")) if "/epoch_" in info.url]
    assert checkpoints, "the checkpoints lie on S3 too"
    assert storage.list_files(storage.join(roots[1], "exp_data/evals"))
