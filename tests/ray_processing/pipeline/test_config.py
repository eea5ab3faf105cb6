"""A bad YAML is refused before any task starts, with file, line, step and key."""

from __future__ import annotations

import pathlib
import textwrap

import pytest

from baselines.core.steps import LocalStep
from corpusmith.errors import ConfigError
from ray_processing.pipeline.config import Commit, GlobalCall, load_pipeline

HEADER = "- source: cc\n  steps:\n"


def write(tmp_path: pathlib.Path, steps: str) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(HEADER + textwrap.indent(textwrap.dedent(steps).strip("\n"), "    ") + "\n")
    return str(path)


def refusal(path: str, source: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path, source)
    return str(caught.value)


def test_steps_keep_their_index_arguments_and_kind(tmp_path: pathlib.Path) -> None:
    path = write(
        tmp_path,
        """
        - func: page_length_filter
          length_type: word
          min_length: 50
          ignore_punctuation: true
        - commit
        - func: exact_dedup
          content_key: text
        - func: word_counter_enricher
          _aggregate: {word_count: percentiles}
        """,
    )
    first, commit, dedup, last = load_pipeline(path).steps
    assert isinstance(first, LocalStep)
    assert first.key == "00-page_length_filter"
    assert first.arguments == {"length_type": "word", "min_length": 50, "ignore_punctuation": True}
    assert commit == Commit(index=1)
    assert isinstance(dedup, GlobalCall)
    assert (dedup.key, dedup.config.content_key) == ("02-exact_dedup", "text")
    assert isinstance(last, LocalStep)
    assert last.aggregate == {"word_count": "percentiles"}


@pytest.mark.parametrize(
    ("steps", "line", "says"),
    [
        ("- func: word_lenght_filter", 3, "unknown function 'word_lenght_filter'; did you mean 'word_length_filter'?"),
        ("- func: exact_dedupe", 3, "did you mean 'exact_dedup'?"),
        (
            "- func: word_length_filter\n  min_lenght: 3",
            4,
            "steps[0].min_lenght: unknown argument; did you mean 'min_length'?",
        ),
        (
            "- commit\n- func: word_length_filter\n  min_length: three",
            5,
            "steps[1].min_length: must be a number, got 'three'",
        ),
        ("- func: page_length_filter", 3, "page_length_filter needs the argument 'length_type'"),
        (
            "- func: page_length_filter\n  length_type: word\n  ignore_punct: true",
            5,
            "did you mean 'ignore_punctuation'?",
        ),
        ("- func: page_length_filter\n  length_type: words", 4, "must be one of 'word'"),
        ("- func: stop_word_filter\n  count_unique: 1", 4, "must be true or false, got 1"),
        ("- func: language_filter\n  keep_languages: en", 4, "must be a list"),
        ("- func: exact_dedup\n  content_kye: url", 4, "unknown key; did you mean 'content_key'?"),
        ("- func: exact_dedup\n  normalize: normalise_url", 3, "did you mean 'normalize_url'?"),
        ("- func: exact_dedup\n  _aggregate: {a: histogram}", 4, "only local steps can aggregate"),
        ("- func: word_counter_enricher\n  _aggregate: {word_count: percentile}", 4, "did you mean 'percentiles'?"),
        ("- func: word_counter_enricher\n  _aggregate:\n    word_count: {transform: x}", 5, "the key 'type'"),
        ("- func: word_counter_enricher\n  _profile: true", 4, "not allowed"),
        ("- function: word_length_filter", 3, "the key 'func' is missing"),
        ("- flush", 3, "must be `commit` or a mapping"),
        ("- func: no.such.file.fn", 3, "cannot be loaded"),
        ("- func: [a]", 3, "must be a string"),
        ("- func: word_length_filter\n  min_length: 1\n  min_length: 2", 5, "stands twice"),
        ("- commit", 2, "at least one step"),
    ],
)
def test_mistakes_name_file_line_step_and_key(tmp_path: pathlib.Path, steps: str, line: int, says: str) -> None:
    path = write(tmp_path, steps)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: ")
    assert says in message


def test_a_threshold_transform_is_checked_like_a_mapper(tmp_path: pathlib.Path) -> None:
    good = "{type: histogram, transform: threshold_transform, threshold: 0.99, default: unknown}"
    load_pipeline(write(tmp_path, f"- func: word_counter_enricher\n  _aggregate: {{word_count: {good}}}"))
    bad = good.replace("threshold: ", "treshold: ")
    message = refusal(write(tmp_path, f"- func: word_counter_enricher\n  _aggregate: {{word_count: {bad}}}"))
    assert "did you mean 'threshold'?" in message


def test_sources_are_chosen_by_name_and_may_not_stand_twice(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "p.yaml"
    entry = "- source: {}\n  steps:\n    - func: stop_word_filter\n"
    path.write_text(entry.format("one") + entry.format("two"))
    assert load_pipeline(str(path), "two").source == "two"
    assert "did you mean 'two'?" in refusal(str(path), "twoo")
    assert "choose one with --source_name: one, two" in refusal(str(path))
    path.write_text(entry.format("one") + entry.format("one"))
    assert refusal(str(path)) == f"{path}:4: [1].source: the source 'one' stands twice"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a list of sources"),
        ("a: 1", "must be a list of sources"),
        ("- steps: []", "the key 'source' is missing"),
        ("- source: x", "the key 'steps' is missing"),
        ("- source: x\n  steps: []", "at least one step"),
        ("- source: [", "not YAML"),
        ("- !!python/object/apply:os.system ['true']", "not YAML"),
        ("- &a [*a]", "contains itself"),
    ],
)
def test_files_that_are_no_pipeline_are_refused(tmp_path: pathlib.Path, text: str, says: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert says in refusal(str(path))


def test_a_custom_function_is_loaded_and_its_arguments_are_checked(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def keep(page, least: int = 3):\n    return [page]\n")
    monkeypatch.chdir(tmp_path)
    load_pipeline(write(tmp_path, "- func: mine.keep\n  least: 4"))
    assert "did you mean 'least'?" in refusal(write(tmp_path, "- func: mine.keep\n  leest: 4"))
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    assert "No module named 'nothing_of_that_name'" in refusal(write(tmp_path, "- func: broken.keep"))


def test_every_shipped_config_is_a_valid_pipeline() -> None:
    folder = pathlib.Path(__file__).resolve().parents[3] / "baselines" / "baselines_configs"
    for path in sorted(folder.glob("*.yaml")):
        load_pipeline(str(path))
