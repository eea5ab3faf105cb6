"""The demo's pipeline with input and output on S3 gives the same bytes as on local disk."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest

from corpusmith.io import storage
from corpusmith.io.s3 import forget_connection
from corpusmith.io.shards import open_shard_writer
from tests.io.swift_server import KEY_ID, SECRET, missing_commands, swift_endpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "baselines" / "baselines_configs" / "demo.yaml"
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


def process(pages: str, out: str, folder: pathlib.Path, *extra: str) -> None:
    command = [sys.executable, "-m", "corpusmith", "process", "--raw_data_dirpath", pages, "--output_dir", out]
    command += ["--config_path", str(CONFIG), "--readable_name", "s3", "--exp-data-dir", storage.join(out, "db")]
    done = subprocess.run(
        [*command, "--num_cpus", "2", *extra],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files(root: str) -> dict[str, bytes]:
    data = storage.join(root, "demo/processed_data")
    return {storage.relative(info.url, data): storage.read_bytes(info.url) for info in storage.list_files(data)}


@pytest.mark.usefixtures("environment")
def test_the_pipeline_on_s3_gives_the_bytes_of_the_local_one(tmp_path: pathlib.Path) -> None:
    local, remote = str(tmp_path / "local"), f"s3://{BUCKET}/run"
    for root in (local, remote):
        write_pages(storage.join(root, "pages"))
        process(storage.join(root, "pages"), storage.join(root, "out"), tmp_path)
    expected = files(storage.join(local, "out"))
    assert len(expected) == 3
    assert files(storage.join(remote, "out")) == expected
    ledgers = [storage.read_json(storage.join(root, "out/demo/run/ledger.json"))["total"] for root in (local, remote)]
    assert ledgers[0] == ledgers[1]
    names = [storage.relative(info.url, remote) for info in storage.list_files(storage.join(remote, "out/demo/run"))]
    assert not [name for name in names if "/shards/" in name or "/scratch/" in name]
    # the same command again recomputes nothing, on S3 too
    before = {info.url: info.etag for info in storage.list_files(storage.join(remote, "out"))}
    process(storage.join(remote, "pages"), storage.join(remote, "out"), tmp_path)
    assert before == {info.url: info.etag for info in storage.list_files(storage.join(remote, "out"))}
