"""`corpusmith process` end to end on Ray: books, resuming, refusals (killed processes: test_kills.py)."""

from __future__ import annotations

import json
import pathlib

import pytest

from corpusmith.io.pages.shards import open_shard_writer, read_shard
from ray_processing.process import main

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("runner")]

SHARDS = 6
PAGES = 40
YAML = """
- source: cc
  steps:
    - func: page_length_filter
      length_type: word
      min_length: 5
    - func: random_sampling_filter
      keep_probability: 0.8
    - func: exact_dedup
      content_key: text
    - func: word_counter_enricher
      key: words
"""
CUSTOM = """
def troubled(page):
    number = page["number"]
    if number == 13:
        raise ValueError("thirteen")
    if number == 17:
        return None
    if number == 20:
        return [dict(page), dict(page, text="a second piece of text")]
    return [page]
"""


def write_pages(folder: pathlib.Path) -> pathlib.Path:
    for shard in range(SHARDS):
        with open_shard_writer(str(folder / f"part{shard % 2}" / f"s{shard}.jsonl.zst")) as writer:
            for number in range(PAGES):
                repeated = number % 10 == 0
                text = (
                    f"the same text in many shards {number}" if repeated else f"words of page {number} in shard {shard}"
                )
                text = "short" if number % 7 == 3 else text
                writer.write({"text": text, "number": number, "url": f"http://example.org/{shard}/{number}"})
    return folder


def command(tmp_path: pathlib.Path, pages: pathlib.Path, out: str, *extra: str, yaml: str = YAML) -> list[str]:
    config = tmp_path / "cfg.yaml"
    config.write_text(yaml)
    return [
        *("--raw_data_dirpath", str(pages), "--config_path", str(config)),
        *("--output_dir", str(tmp_path / out), "--readable_name", out, "--exp-data-dir", str(tmp_path / f"db_{out}")),
        *("--num_cpus", "2", *extra),
    ]


def shards_of(tmp_path: pathlib.Path, out: str) -> dict[str, bytes]:
    root = tmp_path / out / "cfg" / "processed_data"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def ledger_of(tmp_path: pathlib.Path, out: str) -> dict[str, object]:
    total: dict[str, object] = json.loads((tmp_path / out / "cfg" / "run" / "ledger.json").read_text())["total"]
    return total


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    pages = write_pages(folder / "pages")
    assert main(command(folder, pages, "out")) == 0
    return folder


def test_the_books_balance_and_the_output_is_complete(undisturbed: pathlib.Path) -> None:
    total = ledger_of(undisturbed, "out")
    removed: dict[str, int] = total["removed"]  # type: ignore[assignment]
    assert total["read"] == SHARDS * PAGES == total["kept"] + sum(removed.values())  # type: ignore[operator]
    # numbers 3, 10, 17, 24, 31, 38 are short in each shard
    assert removed["00-page_length_filter"] == SHARDS * 6
    assert removed["01-random_sampling_filter"] > 0
    assert removed["02-exact_dedup"] > 0
    names = list(shards_of(undisturbed, "out"))
    assert names == sorted(f"part{shard % 2}/s{shard}_processed.jsonl.zst" for shard in range(SHARDS))
    texts = [page["text"] for name in names for page in read_shard(str(undisturbed / "out/cfg/processed_data" / name))]
    assert len(texts) == len(set(texts)) == total["kept"]
    reference = json.loads((undisturbed / "db_out" / "datasets" / "untokenized" / "out.json").read_text())
    assert reference["dataset_url"] == str(undisturbed / "out" / "cfg" / "processed_data") + "/"
    assert (undisturbed / "out" / "cfg" / "report.html").exists()


def test_the_output_folder_holds_shards_and_nothing_else(undisturbed: pathlib.Path) -> None:
    base = undisturbed / "out" / "cfg"
    assert all(path.name.endswith(".jsonl.zst") for path in (base / "processed_data").rglob("*") if path.is_file())
    assert not list((base / "run" / "stages").rglob("shards")), "shards between stages are deleted"
    assert not list(base.rglob(".partial-*"))


def test_the_same_command_again_reports_and_recomputes_nothing(
    undisturbed: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (undisturbed / "out").rglob("*") if path.is_file()}
    assert main(command(undisturbed, undisturbed / "pages", "out")) == 0
    assert "nothing was recomputed" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (undisturbed / "out").rglob("*") if path.is_file()}


def test_one_cpu_gives_the_same_bytes_as_two(undisturbed: pathlib.Path) -> None:
    arguments = command(undisturbed, undisturbed / "pages", "single")
    arguments[arguments.index("--num_cpus") + 1] = "1"
    assert main(arguments) == 0
    assert shards_of(undisturbed, "single") == shards_of(undisturbed, "out")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("min_length: 5", "min_length: 6", "steps[0].min_length"),
        ("content_key: text", "content_key: url", "steps[2].content_key"),
        ("key: words", "key: count", "steps[3].key"),
    ],
)
def test_another_config_is_refused_with_the_key_that_changed(
    undisturbed: pathlib.Path, capsys: pytest.CaptureFixture[str], old: str, new: str, key: str
) -> None:
    before = shards_of(undisturbed, "out")
    assert main(command(undisturbed, undisturbed / "pages", "out", yaml=YAML.replace(old, new))) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {key} changed")
    assert message.count("\n") == 1
    assert shards_of(undisturbed, "out") == before


def test_another_seed_or_input_is_refused_by_name(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = write_pages(tmp_path / "pages")
    assert main(command(tmp_path, pages, "out")) == 0
    assert main(command(tmp_path, pages, "out", "--seed", "1")) == 2
    assert capsys.readouterr().err.startswith("error: seed changed")
    with open_shard_writer(str(pages / "part1" / "s5.jsonl.zst")) as writer:
        writer.write({"text": "another text of enough words here", "number": 1})
    assert main(command(tmp_path, pages, "out")) == 2
    assert "input.part1/s5.jsonl.zst changed" in capsys.readouterr().err


def test_overwrite_redoes_from_the_first_stage_that_differs(tmp_path: pathlib.Path) -> None:
    pages = write_pages(tmp_path / "pages")
    assert main(command(tmp_path, pages, "out", "--keep-stages")) == 0
    first = next((tmp_path / "out" / "cfg" / "run" / "stages").glob("00-*"))
    marked = {path: path.stat().st_mtime_ns for path in (first / "records").rglob("*.json")}
    changed = YAML.replace("key: words", "key: count")
    assert main(command(tmp_path, pages, "out", "--keep-stages", "--overwrite", yaml=changed)) == 0
    assert marked == {path: path.stat().st_mtime_ns for path in (first / "records").rglob("*.json")}
    page = next(read_shard(str(tmp_path / "out/cfg/processed_data/part0/s0_processed.jsonl.zst")))
    assert "count" in page
    assert "words" not in page
    # a finished run that does not differ is redone as a whole
    assert main(command(tmp_path, pages, "out", "--keep-stages", "--overwrite", yaml=changed)) == 0
    assert marked != {path: path.stat().st_mtime_ns for path in (first / "records").rglob("*.json")}


def test_a_page_that_raises_is_set_aside_with_step_and_reason_and_the_shard_goes_on(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CUSTOM)
    pages = write_pages(tmp_path / "pages")
    yaml = "- source: cc\n  steps:\n    - func: mine.troubled\n    - func: word_counter_enricher\n"
    assert main(command(tmp_path, pages, "out", yaml=yaml)) == 0
    total = ledger_of(tmp_path, "out")
    assert total["errored"] == {"00-troubled": 2 * SHARDS}
    assert total["added"] == SHARDS
    assert total["kept"] == SHARDS * (PAGES - 2 + 1)
    file = tmp_path / "out/cfg/errors/00-troubled/part0/s0.jsonl.zst.errors.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["error"] for row in rows] == [
        "ValueError: thirteen (mine.py:5)",
        "returned NoneType instead of a list of pages",
    ]
    assert json.loads(rows[0]["raw"])["number"] == 13
    assert (rows[0]["step"], rows[0]["index"], rows[0]["piece"]) == ("00-troubled", 13, 0)


BESIDE = """
def mark(page, word):
    page["mark"] = word
    return [page]

def factory(least):
    def mapper(page):
        return [page] if page["number"] >= least else []
    return mapper
factory._is_factory = True

def most(values):
    return {"most": max(values)}
"""


def test_functions_of_a_module_beside_the_yaml_are_found_from_anywhere(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "steps.py").write_text(BESIDE)
    pages = write_pages(tmp_path / "pages")
    yaml = (
        "- source: cc\n  steps:\n    - {func: own.steps.factory, least: 30}\n"
        "    - {func: own.steps.mark, word: x, _aggregate: {number: own.steps.most}}\n"
    )
    assert main(command(tmp_path, pages, "out", yaml=yaml)) == 0
    kept = [
        page
        for path in shards_of(tmp_path, "out")
        for page in read_shard(str(tmp_path / "out/cfg/processed_data" / path))
    ]
    assert [(page["number"], page["mark"]) for page in kept] == [(number, "x") for number in range(30, PAGES)] * SHARDS
    rows = [json.loads(line) for line in (tmp_path / "out/cfg/stats/part0/s0_stats.jsonl").read_text().splitlines()]
    assert next(row for row in rows if row["name"] == "own.steps.mark")["number"]["most"] == PAGES - 1
    (tmp_path / "own" / "steps.py").write_text(BESIDE.replace("= word", "= word * 2"))
    assert main(command(tmp_path, pages, "out", yaml=yaml)) == 2, "the user's file decides the result"
    (tmp_path / "own" / "steps.py").write_text("\n\nraise KeyError('at import')\n")
    capsys.readouterr()
    assert main(command(tmp_path, pages, "other", yaml=yaml)) == 2
    shown = capsys.readouterr().err
    assert "own/steps.py" in shown
    assert "KeyError: 'at import' (steps.py:3)" in shown


def test_unreadable_lines_are_set_aside_as_bytes_and_counted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.jsonl").write_bytes(b'{"text": "one two three"}\nnot json\n{"text": "\xff"}\n')
    yaml = "- source: cc\n  steps:\n    - func: word_counter_enricher\n"
    assert main(command(tmp_path, tmp_path / "pages", "out", yaml=yaml)) == 0
    assert ledger_of(tmp_path, "out")["errored"] == {"read": 2}
    rows = [json.loads(x) for x in (tmp_path / "out/cfg/errors/read/a.jsonl.errors.jsonl").read_text().splitlines()]
    assert rows[0]["raw"] == "not json"
    assert rows[1]["raw_base64"]
    assert rows[1]["offset"] == 35


def test_a_shard_that_fails_ends_with_one_and_only_it_is_taken_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "def fatal(page):\n"
        "    if '/3/' in page['url'] and not os.path.exists('mended'):\n"
        "        os._exit(1)\n"
        "    return [page]\n"
    )
    pages = write_pages(tmp_path / "pages")
    yaml = "- source: cc\n  steps:\n    - func: mine.fatal\n    - func: exact_dedup\n"
    assert main(command(tmp_path, pages, "out", yaml=yaml)) == 1
    message = capsys.readouterr().err
    assert "part1/s3.jsonl.zst" in message
    assert "1 of 6 shards failed" in message
    records = tmp_path / "out/cfg/run/stages"
    before = {path: path.stat().st_mtime_ns for path in records.glob("00-*/records/**/*.json")}
    assert len(before) == SHARDS - 1
    (tmp_path / "mended").touch()
    assert main(command(tmp_path, pages, "out", yaml=yaml)) == 0
    after = {path: path.stat().st_mtime_ns for path in records.glob("00-*/records/**/*.json")}
    assert before.items() <= after.items()
    assert len(after) == SHARDS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--raw_data_dirpath": "none"}, "no such folder"),
        ({"--config_path": "none.yaml"}, "no such file"),
        ({"--num_cpus": "0"}, "--num_cpus must be at least 1"),
        ({"--num_shards": "0"}, "--num_shards must be at least 1"),
        ({"--output_dir": "/proc/nowhere"}, "cannot write to"),
        ({"--shard_list_filters": "zzz"}, "no shard is left"),
    ],
)
def test_wrong_arguments_are_one_clear_line_and_exit_two(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str
) -> None:
    pages = write_pages(tmp_path / "pages")
    arguments = command(tmp_path, pages, "out")
    for flag, value in change.items():
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_going_on_under_other_libraries_warns(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = write_pages(tmp_path / "pages")
    assert main(command(tmp_path, pages, "out")) == 0
    versions = tmp_path / "out" / "cfg" / "run" / "versions.json"
    versions.write_text(versions.read_text().replace('"orjson": "', '"orjson": "0.0.'))
    (tmp_path / "out" / "cfg" / "processed_data" / "part0" / "s0_processed.jsonl.zst").unlink()
    before = shards_of(tmp_path, "out")
    assert main(command(tmp_path, pages, "out")) == 0
    assert "warning: this run was begun with orjson 0.0." in capsys.readouterr().out
    assert before.items() <= shards_of(tmp_path, "out").items()
    assert len(shards_of(tmp_path, "out")) == SHARDS


def test_an_output_folder_with_other_files_is_left_alone(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = write_pages(tmp_path / "pages")
    mine = tmp_path / "out" / "cfg" / "processed_data" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert main(command(tmp_path, pages, "out")) == 2
    assert "holds 1 file of something else" in capsys.readouterr().err
    assert mine.read_text() == "precious"
