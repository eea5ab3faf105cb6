"""Third-party lists and models: found, fetched, verified, and told when they are missing."""

from __future__ import annotations

import pathlib

import pytest

from baselines.asset_table import ASSETS
from baselines.assets import SAMPLE, find_asset, resolve_step
from baselines.core import get_mapper
from baselines.mapper_reference import document, mapper_names, summary
from baselines.mapper_reference import main as mappers_main
from corpusmith.assets import main
from corpusmith.errors import InputError

WORDS = ASSETS["ldnoobw.txt"]
STEP = {"banlist_from_fname": WORDS.path, "exact_word": True}


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_every_asset_says_whose_it_is() -> None:
    for asset in ASSETS.values():
        assert asset.about, asset.name
        assert asset.source, asset.name
        assert asset.licence, asset.name


def test_a_missing_list_is_told_with_the_command_that_fetches_it(cache: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"s: .*ldnoobw\.txt is missing .* run: corpusmith assets fetch ldnoobw\.txt"):
        resolve_step("substring_filter", STEP, None, "s")
    with pytest.raises(InputError, match=r"no such file: mine\.txt"):
        resolve_step("substring_filter", {"banlist_from_fname": "mine.txt"}, None, "s")
    with pytest.raises(InputError, match=r"fasttext_oh_eli5\.bin is missing"):
        resolve_step("classify_fasttext_hq_prob_enricher", {"model_filename": "fasttext_oh_eli5.bin"}, None, "s")
    with pytest.raises(InputError, match=r"en\.arpa\.bin is missing"):
        resolve_step("ken_lm_perplexity_enricher", {}, None, "s")


def test_lists_are_looked_for_in_the_folder_then_at_their_path_then_in_the_cache(
    cache: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    places = [cache / "banlists" / WORDS.name, tmp_path / WORDS.path, tmp_path / "mine" / WORDS.name]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_text(f"{place.parent.name}\n")
        found = find_asset(WORDS, str(tmp_path / "mine"))
        assert found is not None
        assert pathlib.Path(found).resolve() == place
    step = resolve_step("substring_filter", STEP, str(tmp_path / "mine"), "s")
    assert step.arguments == {"banlist_from_fname": str(places[2]), "exact_word": True}
    assert step.files == {WORDS.path: str(places[2])}
    assert resolve_step("substring_filter", STEP, None, "s").arguments == STEP


def test_samples_stand_in_only_when_asked_for(cache: pathlib.Path) -> None:
    step = resolve_step("substring_filter", STEP, SAMPLE, "s")
    mapper = get_mapper("substring_filter", **step.arguments)
    assert mapper({"text": "a snargle here"}) == []
    assert mapper({"text": "nothing of that kind"}) != []
    for asset in ASSETS.values():
        if asset.sample is not None:
            assert "sample" in pathlib.Path(asset.sample).name
    sentences = resolve_step("page_length_filter", {"tokenizer": "nltk", "tokenizer_lang": "english"}, SAMPLE, "s")
    assert sentences.arguments["tokenizer_lang"] == SAMPLE


def test_the_sample_classifier_separates_and_is_the_same_each_time(cache: pathlib.Path) -> None:
    pytest.importorskip("fasttext")
    arguments = {"model_filename": "fasttext_oh_eli5.bin", "key": "q"}
    func = "classify_fasttext_hq_prob_enricher"
    first = resolve_step(func, arguments, SAMPLE, "s").arguments
    content = pathlib.Path(first["model_filename"]).read_bytes()
    mapper = get_mapper(func, **first)
    good, bad = "The result of the measurement shows why the two differ.", "Click here to buy now, free shipping!"
    assert mapper({"text": good})[0]["q"] > 0.5 > mapper({"text": bad})[0]["q"]
    pathlib.Path(first["model_filename"]).unlink()
    again = resolve_step(func, arguments, SAMPLE, "s").arguments
    assert pathlib.Path(again["model_filename"]).read_bytes() == content


def test_fetching_keeps_what_is_there_and_records_checksums(
    cache: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "en").write_text("word\n")
    command = ["fetch", WORDS.name, "--from", str(tmp_path / "local")]
    assert main(command) == 0
    target = cache / "banlists" / WORDS.name
    assert target.read_text() == "word\n"
    assert main(command) == 0
    assert "there already" in capsys.readouterr().out
    assert main(["verify", WORDS.name]) == 0
    assert "as expected" in capsys.readouterr().out
    target.write_text("other\n")
    assert main(["verify"]) == 1
    assert "ldnoobw.txt: CHANGED" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "CC BY 4.0" in capsys.readouterr().out


def test_a_wrong_content_is_not_kept(
    cache: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lid.176.ftz").write_bytes(b"not the model")
    assert main(["fetch", "lid.176.ftz", "--from", str(tmp_path)]) == 1
    assert "another SHA-256" in capsys.readouterr().err
    assert not list(cache.rglob("lid*"))


def test_the_command_refuses_what_it_does_not_know(cache: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "ldnoob.txt"]) == 2
    assert "did you mean 'ldnoobw.txt'?" in capsys.readouterr().err
    assert main(["fetch"]) == 2
    assert "name what to fetch" in capsys.readouterr().err
    assert main(["fetch", "model.bin"]) == 1
    assert "--from" in capsys.readouterr().err


def test_every_mapper_is_documented_with_a_step_for_a_yaml() -> None:
    from baselines.core.factories import load_mapper_function

    names = mapper_names()
    assert {"page_length_filter", "detect_lang_whole_page_enricher", "url_removal_modifier"} <= set(names)
    assert not {"split_words", "line_counter"} & set(names)
    for name in names:
        assert summary(load_mapper_function(name)), f"{name} has no docstring"
        assert f"- func: {name}" in document(name)


def test_one_mapper_is_shown_with_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert mappers_main(["random_sampling_filter"]) == 0
    shown = capsys.readouterr().out
    assert "draws random numbers" in shown
    assert "    keep_probability:  # default 0.1: float" in shown
    assert mappers_main(["page_lenght_filter"]) == 2
    assert "did you mean 'page_length_filter'?" in capsys.readouterr().err
    assert mappers_main([]) == 0
    assert "page_length_filter" in capsys.readouterr().out
