"""Tokens, keys and signed URLs are planted where they could leak; all that is written is read and holds none."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.command import run_command
from corpusmith.errors import ChangedError, InputError, RunFailed, ShardError
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef, list_shards, open_shard_writer
from corpusmith.redact import holds_secret, redact, redact_tree
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.execution import Execution
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, StagePlan
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from ray_processing.process import main

OpenRunner = Callable[[Execution], Runner]
# put together here so that no scanner of secrets takes this file for a leak
KEY = "AKIA" + "PLANTED0KEY00000"
SIGNED = (
    "https://bucket.s3.amazonaws.com/words.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=planted-credential%2F20260101&X-Amz-Signature=planted-signature"
)
WITH_USER = "https://planted-user:planted-password@example.org/words.txt?page=2"
WITH_TOKEN = "https://example.org/words.txt?page=2&access_token=planted-token"
SECRETS = {"signed": SIGNED, "user": WITH_USER, "token": WITH_TOKEN, "key": KEY}


def written(folder: pathlib.Path) -> dict[str, str]:
    """Name and content of all files below a folder, the names too."""
    return {
        str(path.relative_to(folder)): path.read_bytes().decode("utf-8", "replace")
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_clean(folder: pathlib.Path, *texts: str) -> None:
    for name, content in [*written(folder).items(), *(("output", text) for text in texts)]:
        for secret in ("planted", KEY):
            assert secret not in name, name
            assert secret not in content, f"{name}: {content[max(0, content.find(secret) - 100) :][:200]}"


# --- the kernel ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (WITH_USER, "https://…@example.org/words.txt?page=2"),
        (WITH_TOKEN, "https://example.org/words.txt?page=2&access_token=…"),
        ("s3://id:secret@bucket/key", "s3://…@bucket/key"),
        ("https://ghp@github.com/a.git", "https://…@github.com/a.git"),
        ("a 'https://x.org/?sig=ab%2Fc&n=1', b", "a 'https://x.org/?sig=…&n=1', b"),
        ("https://x.org/a?X-Goog-Signature=ff&X-Goog-Date=1", "https://x.org/a?X-Goog-Signature=…&X-Goog-Date=1"),
        ("https://x.org/a?AWSAccessKeyId=i&Signature=s&Expires=1", "https://x.org/a?AWSAccessKeyId=…&Signature=…&Expires=1"),
        ("https://x.org/?a=1&amp;token=abc", "https://x.org/?a=1&amp;token=…"),
        ("https://x.org/#access_token=abc", "https://x.org/#access_token=…"),
        (f"key {KEY}.", "key …."),
        ("aws_secret_access_key = abcdefghijkl", "aws_secret_access_key = …"),
        ('{"password": "abcdefghijkl"}', '{"password": "…"}'),
        ("Authorization: Bearer abcdefghijkl", "Authorization: …"),
        ("hf_" + "a" * 34, "…"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n.", "…\n."),
    ],
)  # fmt: skip
def test_secrets_are_hidden_and_what_stands_around_them_is_not(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert holds_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a?page=2&tokens=7&design=x",
        "s3://bucket/pages/a.jsonl.zst",
        "num_tokens: 12345678901",
        "tokenizer = EleutherAI/gpt-neox-20b",
        "steps[3].min_length changed: 5 before, 6 now",
        "mail me@example.org or see https://example.org/@me",
        "0123456789abcdef:1730000000000000000",
        "xxh3_128:0123456789abcdef0123456789abcdef",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert not holds_secret(text)


@given(st.text() | st.from_regex(r"[a-z]{1,5}://[\w:@/]{0,9}\?(token|sig|a)=[^ ]{0,9}"))
def test_hiding_twice_is_hiding_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_a_tree_is_hidden_in_keys_and_values_and_keeps_its_shape() -> None:
    tree = {"a": [1, None, WITH_TOKEN, {WITH_USER: 2.5}], "b": True}
    assert redact_tree(tree) == {"a": [1, None, redact(WITH_TOKEN), {redact(WITH_USER): 2.5}], "b": True}
    assert redact_tree({"a": [1, "x"]}) == {"a": [1, "x"]}


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: pathlib.Path) -> list[ShardRef]:
    for name in ("a.jsonl", "b.jsonl"):
        with open_shard_writer(str(tmp_path / "pages" / name)) as writer:
            writer.write({"text": f"words of {name}"})
    return list_shards(str(tmp_path / "pages"))


def stage_with_secrets(signature: str, fails: bool) -> StagePlan:
    """Its config holds each secret; the task of shard b fails with a message that tells them all."""
    config = {**SECRETS, "signed": SIGNED.replace("planted-signature", signature)}

    def task(work: tuple[StagePlace, ShardRef]) -> None:
        place, shard = work
        if fails and shard.name == "b.jsonl":
            raise ShardError(shard.name, 0, f"cannot fetch {' '.join(config.values())}")
        with open_shard_writer(place.output_url(shard.name)) as writer:
            writer.write({"text": "a word"})
        output = OutputFile(name=shard.name, bytes=writer.bytes, checksum=writer.checksum, records=1)
        details = {"samples": {"00-x": [{"url": WITH_TOKEN, "text": KEY, "reason": f"x(url={SIGNED!r})"}]}}
        record = ShardRecord(
            unit=shard.name, identity=shard.identity, outputs=[output], counts=Counts(read=1, kept=1), details=details
        )
        place.write_record(record)

    def work(stage: Stage, runner: Runner) -> list[str]:
        tasks = {shard.name: (stage.place, shard) for shard in stage.inputs if shard.name in stage.pending()}
        return stage.run_units(runner, task, tasks, label="x")

    return StagePlan(name="x", fingerprint={"steps[0]": config}, work=work)


def run_it(folder: pathlib.Path, inputs: list[ShardRef], open_runner: OpenRunner, stage: StagePlan) -> bool:
    place = RunPlace(root=f"{folder}/out/run", output=f"{folder}/out/data", errors=f"{folder}/out/errors")
    run = Run(place, RunPlan(inputs=inputs, stages=[stage], common={"from": WITH_TOKEN}), open_runner=open_runner)
    return run.execute(Execution(), RunOptions()).was_finished


def test_a_run_stores_no_secret_and_a_url_that_is_signed_anew_is_no_change(
    tmp_path: pathlib.Path, inputs: list[ShardRef], in_process: OpenRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> None:
        run_it(tmp_path, inputs, in_process, stage_with_secrets("planted-signature", fails=True))

    assert run_command(argparse.ArgumentParser(), fail, []) == RunFailed.exit_code
    shown = capsys.readouterr()
    assert "b.jsonl" in shown.err
    assert list((tmp_path / "out/run/stages").glob("*/failures/*")), "what is known of a failure is kept"
    assert_clean(tmp_path / "out", shown.out, shown.err)
    assert run_it(tmp_path, inputs, in_process, stage_with_secrets("planted-anew", fails=False)) is False
    assert run_it(tmp_path, inputs, in_process, stage_with_secrets("planted-once-more", fails=False)) is True
    shown = capsys.readouterr()
    assert_clean(tmp_path / "out", shown.out, shown.err)
    plan = json.loads((tmp_path / "out/run/plan.json").read_text())
    assert plan["stages"][0]["steps[0]"]["token"] == "https://example.org/words.txt?page=2&access_token=…"


def test_a_changed_key_is_named_without_its_secret(
    tmp_path: pathlib.Path, inputs: list[ShardRef], in_process: OpenRunner
) -> None:
    stage = stage_with_secrets("planted-signature", fails=False)
    run_it(tmp_path, inputs, in_process, stage)
    other: dict[str, Any] = {"steps[0]": {**stage.fingerprint["steps[0]"], "user": "https://planted:x@other.org"}}
    with pytest.raises(ChangedError) as caught:
        run_it(tmp_path, inputs, in_process, StagePlan(name="x", fingerprint=other, work=stage.work))
    assert "steps[0].user changed" in str(caught.value)
    assert "https://…@other.org" in str(caught.value)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_an_error_of_any_command_is_one_line_without_secrets(secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: argparse.Namespace) -> None:
        raise InputError(f"{secret}: no such file")

    assert run_command(argparse.ArgumentParser(), fail, []) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.endswith(": no such file\n")
    assert "planted" not in shown
    assert KEY not in shown


def test_a_shard_from_a_signed_url_is_named_without_its_signature() -> None:
    assert storage.basename(SIGNED) == "words.txt"
    assert storage.basename("s3://bucket/a?b.jsonl") == "a?b.jsonl"


# --- references ---------------------------------------------------------------------------------------------------


def test_references_hold_no_secret_and_still_know_their_data(tmp_path: pathlib.Path) -> None:
    url = "ftp://planted-user:planted@example.org/data/"
    reference = expdb.DatasetReference(
        name="x", dataset_url=url, sources=[{"uuid": "1", "name": WITH_TOKEN}], note=KEY, extra={"from": SIGNED}
    )
    path = expdb.reference_path(str(tmp_path / "db"), "untokenized", "x")
    expdb.write_reference(reference, path)
    assert_clean(tmp_path / "db")
    expdb.refuse_foreign_reference(path, url, overwrite=False)
    with pytest.raises(InputError, match="belongs to"):
        expdb.refuse_foreign_reference(path, "ftp://planted-user:planted@example.org/other/", overwrite=False)


def test_a_diff_that_seems_to_hold_a_secret_is_left_out_as_a_whole() -> None:
    clean = "-minimum = 5\n+minimum = 6\n+eos_token = tokenizer.eos_token\n"
    assert expdb.shown_diff(clean) == clean
    assert expdb.shown_diff("") == ""
    for secret in SECRETS.values():
        assert expdb.shown_diff(clean + f"+source = '{secret}'\n") == expdb.DIFF_LEFT_OUT


# --- the whole command --------------------------------------------------------------------------------------------

MAPPER = """
def keep(page, source, key):
    if page["number"] == 1:
        raise ValueError(f"cannot fetch {source} with {key}")
    return [page] if page["number"] else []
"""


@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_process_shows_and_stores_no_secret_of_its_yaml(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-key")
    (tmp_path / "mine.py").write_text(MAPPER)
    steps = "".join(
        f"    - {{func: mine.keep, source: '{url}', key: {KEY}}}\n" for url in (SIGNED, WITH_USER, WITH_TOKEN)
    )
    (tmp_path / "cfg.yaml").write_text(f"- source: cc\n  steps:\n{steps}")
    with open_shard_writer(str(tmp_path / "pages" / "a.jsonl.zst")) as writer:
        for number in range(5):
            writer.write({"text": f"page {number}", "number": number, "url": "https://example.org/"})
    arguments = [
        *("--raw_data_dirpath", "pages", "--config_path", "cfg.yaml", "--output_dir", "out", "--num_cpus", "1"),
        *("--readable_name", "x", "--exp-data-dir", "out/db"),
    ]
    assert main(arguments) == 0
    shown = capfd.readouterr()
    assert_clean(tmp_path / "out", shown.out, shown.err)
    report = (tmp_path / "out/cfg/report.html").read_text()
    assert "access_token=…" in report
    rows = (tmp_path / "out/cfg/errors/00-keep/a.jsonl.zst.errors.jsonl").read_text()
    assert "cannot fetch https://bucket.s3.amazonaws.com/words.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" in rows
