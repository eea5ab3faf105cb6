"""DCLM's `dedup_jsonl`: folders, shapes, stats rows, errors, and a call that is killed while it replaces shards."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import orjson
import pytest

import ray_processing
from corpusmith.errors import InputError
from corpusmith.io.pages.shards import open_shard_writer, read_shard
from ray_processing import GLOBAL_FUNCTIONS, dedup_jsonl

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("runner")]
MODULE = sys.modules["ray_processing.dedup_jsonl"]


def write(folder: pathlib.Path, shards: dict[str, list[dict[str, Any]]]) -> str:
    for name, pages in shards.items():
        with open_shard_writer(str(folder / name)) as writer:
            for page in pages:
                writer.write(page)
    return str(folder)


def read(folder: str) -> dict[str, list[dict[str, Any]]]:
    paths = sorted(path for path in pathlib.Path(folder).rglob("*.jsonl*") if "stats" not in path.parts)
    return {str(path.relative_to(folder)): list(read_shard(str(path))) for path in paths}


def rows_of(folder: pathlib.Path, shard: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "stats" / f"{shard}_stats.jsonl").read_text().splitlines()]


TWO = {
    "a.jsonl.zst": [{"text": "x", "url": "b"}, {"text": "own", "url": "d"}],
    "sub/b.jsonl.gz": [{"text": "x", "url": "a"}, {"text": "y", "url": "c"}],
}


def test_only_changed_shards_are_replaced_and_the_input_folder_is_returned(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "data", TWO)
    untouched = (tmp_path / "data" / "a.jsonl.zst").stat().st_mtime_ns
    assert dedup_jsonl(folder, base_output_path=str(tmp_path / "base")) == folder
    assert read(folder) == {**TWO, "sub/b.jsonl.gz": TWO["sub/b.jsonl.gz"][1:]}
    assert (tmp_path / "data" / "a.jsonl.zst").stat().st_mtime_ns == untouched
    row = {"name": "exact_dedup", "content_key": "text"}
    assert rows_of(tmp_path / "base", "a") == [{**row, "pages_in": "no_op", "pages_out": "no_op"}]
    assert rows_of(tmp_path / "base", "sub/b") == [{**row, "pages_in": 2, "pages_out": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "data"]


def test_where_every_shard_changes_the_working_folder_is_returned(tmp_path: pathlib.Path) -> None:
    shards = {"a.jsonl": [{"text": "x"}, {"text": "x"}], "b.jsonl": [{"text": "x"}, {"text": "z"}]}
    folder = write(tmp_path / "data", shards)
    result = dedup_jsonl(folder + "/")
    assert result == str(tmp_path / "data_working")
    assert read(result) == {"a.jsonl": [{"text": "x"}], "b.jsonl": [{"text": "z"}]}
    assert read(folder) == shards
    assert dedup_jsonl(folder, working_dir=str(tmp_path / "w"), sync_to_input=True) == folder
    assert read(folder) == read(result)


def test_selection_and_listed_shards(tmp_path: pathlib.Path) -> None:
    more = {"c.jsonl": [{"text": "x", "url": "0"}]}
    folder = write(tmp_path / "data", {**TWO, **more})
    function = GLOBAL_FUNCTIONS["exact_dedup"]
    assert function is dedup_jsonl is ray_processing.dedup_jsonl
    assert function(folder, list(TWO), str(tmp_path / "base"), content_key="text", selection_key="url") == folder
    assert read(folder) == {"a.jsonl.zst": TWO["a.jsonl.zst"][1:], "sub/b.jsonl.gz": TWO["sub/b.jsonl.gz"], **more}
    with pytest.raises(InputError, match=r"no shard 'd\.jsonl'"):
        dedup_jsonl(folder, ["d.jsonl"])


def test_an_unknown_normalizer_warns_and_counts_as_none(tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "data", {"a.jsonl": [{"text": "x"}, {"text": "X"}]})
    with pytest.warns(UserWarning, match="unknown normalizer 'lower' counts as none"):
        dedup_jsonl(folder, normalize="lower")
    assert len(read(folder)["a.jsonl"]) == 2


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (b'{"url": "u"}', KeyError, "record 1 .*has no key 'text'"),
        (b'{"text": "b"}', KeyError, "has no key 'url' to select by"),
        (b"not JSON", ValueError, "record 1 .read.: not JSON"),
    ],
)
def test_a_page_that_cannot_be_compared_fails_the_step_and_changes_nothing(
    tmp_path: pathlib.Path, line: bytes, kind: type[Exception], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    content = b'{"text": "a", "url": "u"}\n' + line + b'\n{"text": "a", "url": "v"}\n'
    (tmp_path / "data" / "a.jsonl").write_bytes(content)
    with pytest.raises(kind, match=says):
        dedup_jsonl(str(tmp_path / "data"), selection_key="url")
    assert (tmp_path / "data" / "a.jsonl").read_bytes() == content
    assert MODULE.main(["--input", str(tmp_path / "data"), "--selection_key", "url"]) == 2
    assert capsys.readouterr().err.endswith("; nothing was changed\n")


def test_a_call_killed_while_it_replaces_shards_is_finished_by_the_same_call(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = {name: [{"text": name}, {"text": "x"}, {"text": "x"}] for name in ("a.jsonl", "b.jsonl", "c.jsonl")}
    whole = write(tmp_path / "whole", shards)
    dedup_jsonl(whole, sync_to_input=True)
    folder = write(tmp_path / "killed", shards)
    written = MODULE._stats_url

    def die(stats: str, name: str) -> str:
        if name == "b.jsonl" and (tmp_path / "killed_working_run" / "decided.json").exists():
            raise KeyboardInterrupt
        url: str = written(stats, name)
        return url

    monkeypatch.setattr(MODULE, "_stats_url", die)
    with pytest.raises(KeyboardInterrupt):
        dedup_jsonl(folder, sync_to_input=True)
    monkeypatch.undo()
    assert len(read(folder)["c.jsonl"]) == 3
    with pytest.raises(InputError, match="with other arguments was interrupted"):
        dedup_jsonl(folder, content_key="url")
    dedup_jsonl(folder, sync_to_input=True)
    assert read(folder) == read(whole)
    for name in ("a", "b", "c"):
        assert rows_of(tmp_path / "killed", name) == rows_of(tmp_path / "whole", name)
    assert orjson.loads((tmp_path / "killed" / "stats" / "a_stats.jsonl").read_bytes())["pages_out"] == 2
