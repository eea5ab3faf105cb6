"""What counts as a difference between the outputs of two commits, and what doesn't."""

from __future__ import annotations

import json
import pathlib
import zipfile
from typing import Any

import pytest

from tools.compare_outputs import json_difference, main

PAGES_UUID = "14b2f182-ec14-4102-9bd5-d6e5cf52f1cb"
TOKENS_UUID = "604f9809-87ca-48f8-916e-688bd31b4437"
OTHER_PAGES_UUID = "6f7fa5b3-b616-4d59-a964-2e435faccf1e"
OTHER_TOKENS_UUID = "5e5c4317-e4d2-4951-ab4a-05aa072ecb6c"

SHARD = "run1/processed_data/shard_0.jsonl.zst"
MANIFEST = "run1/tokens/manifest.jsonl"
GLOBAL_STATS = "run1/global_stats.jsonl"
PAGES_REFERENCE = "run1/exp_data/datasets/untokenized/pages.json"
TOKENS_REFERENCE = "run1/exp_data/datasets/tokenized/tokens.json"
BUILD_LOG = "run1/run/stages/00-tokenize-{}/log/00-train/shard_0.parquet"
CHECKPOINT = "run1/logs/model/checkpoints/epoch_1.pt"


def write(path: pathlib.Path, content: bytes | list[Any] | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    elif isinstance(content, list):
        content = b"".join(json.dumps(row).encode() + b"\n" for row in content)
    path.write_bytes(content)


def write_checkpoint(path: pathlib.Path, tensor: bytes, rest: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", tensor)
        archive.writestr("archive/data.pkl", rest)


def reference(uuid: str, name: str, sources: list[dict[str, str]], date: str, commit: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "creation_date": date,
        "dataset_url": f"/out/{name}/",
        "sources": sources,
        "num_tokens": 100,
        "dcnlp_commit_hash": commit,
        "dcnlp_diff": "" if commit == "a" else "some diff",
    }


def make_side(folder: pathlib.Path, pages: str, tokens: str, seconds: float, commit: str) -> pathlib.Path:
    write(folder / SHARD, b"\x28\xb5\x2f\xfd pages")
    write(folder / MANIFEST, [{"shard": "00000001", "num_sequences": 512}])
    stage = f"/out/run1/run/stages/00-local-{commit * 8}/shards/"
    write(folder / GLOBAL_STATS, [{"name": "local", "secs": seconds, "pages_in": 10, "working_dir": stage}])
    date = f"2026_01_01-00_00_0{int(seconds)}"
    write(folder / PAGES_REFERENCE, reference(pages, "pages", [], date, commit))
    write(folder / TOKENS_REFERENCE, reference(tokens, "tokens", [{"uuid": pages, "name": "pages"}], date, commit))
    write(folder / BUILD_LOG.format(commit * 8), b"PAR1")
    write(folder / "run1/run/plan.json", {"stages": [commit]})
    write(folder / "run1/report.html", commit.encode())
    write_checkpoint(folder / CHECKPOINT, b"weights", f"{seconds}".encode())
    return folder


@pytest.fixture
def old(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_side(tmp_path / "old", PAGES_UUID, TOKENS_UUID, 1.0, "a")


@pytest.fixture
def new(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_side(tmp_path / "new", OTHER_PAGES_UUID, OTHER_TOKENS_UUID, 2.5, "b")


def compare(old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main([str(old), str(new), "run1"])
    return code, capsys.readouterr().out.splitlines()


def change_line(path: pathlib.Path, **changes: Any) -> None:
    write(path, [{**json.loads(path.read_text()), **changes}])


def change(path: pathlib.Path, **changes: Any) -> None:
    write(path, {**json.loads(path.read_text()), **changes})


def test_what_differs_from_run_to_run_is_equal(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = compare(old, new, capsys)
    assert code == 0
    assert lines == ["run   files  equal  different", "run1      7      7          0"]


def test_a_flipped_byte_of_a_shard_is_found_with_its_place(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(new / SHARD, b"\x28\xb5\x2f\xfd pbges")
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert lines[1].split() == ["run1", "7", "6", "1"]
    assert lines[2:] == ["    processed_data/shard_0.jsonl.zst: byte 6 (10 bytes became 10)"]


def test_a_byte_at_the_end_is_found(old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(new / SHARD, b"\x28\xb5\x2f\xfd pages.")
    assert compare(old, new, capsys)[1][2:] == ["    processed_data/shard_0.jsonl.zst: byte 10 (10 bytes became 11)"]


@pytest.mark.parametrize(
    "file", [SHARD, MANIFEST, GLOBAL_STATS, PAGES_REFERENCE, CHECKPOINT, BUILD_LOG.format("b" * 8)]
)
def test_a_missing_file_is_a_difference(
    file: str, old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (new / file).unlink()
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert any(line.endswith(": missing in the new commit") for line in lines)


def test_a_file_more_is_a_difference(old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(new / "run1/processed_data/shard_1.jsonl.zst", b"more")
    assert compare(old, new, capsys) == (
        1,
        [
            "run   files  equal  different",
            "run1      8      7          1",
            "    processed_data/shard_1.jsonl.zst: only in the new",
        ],
    )


def test_a_changed_value_of_a_reference_is_shown(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(new / TOKENS_REFERENCE, num_tokens=101)
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert lines[2:] == ["    exp_data/datasets/tokenized/tokens.json: num_tokens: 100 became 101"]


def test_a_link_to_another_reference_is_a_difference(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(new / TOKENS_REFERENCE, sources=[{"uuid": OTHER_TOKENS_UUID, "name": "pages"}])
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert "sources[0].uuid" in lines[2]


def test_a_key_that_is_gone_is_a_difference_even_if_its_value_may_change(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = json.loads((new / GLOBAL_STATS).read_text())
    del row["secs"]
    write(new / GLOBAL_STATS, [row])
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert lines[2:] == ["    global_stats.jsonl: [0].secs: gone"]


@pytest.mark.parametrize("changes", [{"pages_in": 11}, {"pages_in": 10.0}, {"secs": None}, {"name": "locals"}])
def test_statistics_differ_by_anything_but_their_times(
    changes: dict[str, Any], old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_line(new / GLOBAL_STATS, **changes)
    assert compare(old, new, capsys)[0] == 1


@pytest.mark.parametrize("key", ["secs/page", "total_secs", "batch_time", "seconds", "samples_per_second_per_gpu"])
def test_times_and_rates_are_left_out(
    key: str, old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_line(old / GLOBAL_STATS, **{key: 0.1})
    change_line(new / GLOBAL_STATS, **{key: 0.2})
    assert compare(old, new, capsys)[0] == 0


@pytest.mark.parametrize("key", ["times_repeated", "runtime", "timely", "secsa"])
def test_keys_that_only_sound_like_times_are_compared(
    key: str, old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_line(old / GLOBAL_STATS, **{key: 0.1})
    change_line(new / GLOBAL_STATS, **{key: 0.2})
    assert compare(old, new, capsys)[0] == 1


def test_a_shard_in_plain_json_is_compared_by_its_bytes(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = "run1/processed_data/plain.jsonl"
    write(old / shard, b'{"text": "a", "time": 1}\n')
    write(new / shard, b'{"text": "a", "time": 2}\n')
    assert compare(old, new, capsys)[0] == 1


def test_messages_of_records_set_aside_differ_by_anything_but_an_address(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = "run1/errors/00-step/shard_0.errors.jsonl"
    write(old / file, [{"index": 1, "error": "TypeError: <fasttext object at 0x7f43>"}])
    write(new / file, [{"index": 1, "error": "TypeError: <fasttext object at 0x7f9d>"}])
    assert compare(old, new, capsys)[0] == 0
    change_line(new / file, error="ValueError: <fasttext object at 0x7f9d>")
    assert compare(old, new, capsys)[0] == 1


def test_a_changed_tensor_of_a_checkpoint_is_found(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(new / CHECKPOINT, b"weightz", b"2.5")
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert lines[2:] == ["    logs/model/checkpoints/epoch_1.pt: tensor archive/data/0 differs"]


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_run_that_failed_is_never_equal(
    side: str, old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"old": old, "new": new}[side] / "run1/FAILED", b"exit code 2\n")
    code, lines = compare(old, new, capsys)
    assert code == 1
    assert lines[2:] == [f"    FAILED: the {side} commit's run: exit code 2"]


def test_a_run_without_files_is_never_equal(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("old", "new"):
        (tmp_path / side / "run1").mkdir(parents=True)
    assert compare(tmp_path / "old", tmp_path / "new", capsys)[0] == 1


def test_a_run_that_only_the_new_commit_has_is_named_and_one_that_is_gone_differs(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (new / "run1").rename(new / "run2")
    assert main([str(old), str(new), "run2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("new, nothing to compare with")
    assert main([str(old), str(new), "run1"]) == 1


def test_only_the_first_differences_are_listed_and_the_others_counted(
    old: pathlib.Path, new: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        write(new / f"run1/processed_data/more_{number}.jsonl", b"more")
    lines = compare(old, new, capsys)[1]
    assert len(lines) == 2 + 5 + 1
    assert lines[-1] == "    and 2 more"


@pytest.mark.parametrize(
    ("old_value", "new_value", "expected"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b: 2 became 3"),
        ([1, 2], [1], "$: 2 entries became 1"),
        (True, 1, "$: true became 1"),
        ({"a": 1}, {"a": 1, "b": 2}, "b: new"),
        ({"a": "x" * 99}, {"a": ""}, f'a: "{"x" * 56}... became ""'),
        ({"a": 1, "b": [None]}, {"b": [None], "a": 1}, None),
    ],
)
def test_the_first_place_at_which_json_differs_is_named(old_value: Any, new_value: Any, expected: str | None) -> None:
    assert json_difference(old_value, new_value) == expected


def test_a_missing_folder_is_a_mistake_in_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "no"), str(tmp_path), "run1"])
    assert error.value.code == 2
    assert "no folder" in capsys.readouterr().err
