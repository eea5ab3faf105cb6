"""Quality enrichers: what a fastText classifier is shown and how its answer is read; CCNet's normalisation."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from baselines.core import get_mapper
from baselines.mappers.enrichers import quality_prediction_enrichers_calc_fasttext as quality
from baselines.mappers.enrichers.fasttext_models import local_copy
from baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model import KenlmModel
from baselines.train_fasttext_classifier import main
from corpusmith.errors import InputError

GOOD = ["careful reasoning about the measured evidence", "a clear and thorough explanation of the method"]
BAD = ["click here to win big prizes now", "cheap deals buy now limited offer"]


class FakeModel:
    def __init__(self, label: str) -> None:
        self.label = label
        self.asked: list[str] = []

    def predict(self, lines: list[str], k: int) -> tuple[list[list[str]], list[list[float]]]:
        self.asked.extend(lines)
        return [[self.label]], [[0.75]]


def test_the_score_is_that_of_high_quality() -> None:
    model = FakeModel("__label__hq")
    assert quality.classify_fasttext_hq_prob(model, "  one\r\ntwo\u2028three\n ") == 0.75
    assert model.asked == ["one two three"]
    assert quality.classify_fasttext_hq_prob(FakeModel("__label__cc"), "") == 0.25
    assert quality.classify_fasttext_hq_prob(FakeModel("__label__other"), "a") == 0.75


def test_a_missing_model_is_told_with_its_path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path))
    with pytest.raises(AssertionError, match=r"quality_prediction_enrichment_models/model\.bin does not exist"):
        get_mapper("classify_fasttext_hq_prob_enricher")


def write_labelled(path: pathlib.Path) -> pathlib.Path:
    lines = [f"__label__{label} {text}" for label, texts in (("hq", GOOD), ("cc", BAD)) for text in texts]
    path.write_text("\n".join(lines * 50) + "\n")
    return path


def trained(tmp_path: pathlib.Path, name: str, *flags: str) -> pathlib.Path:
    source = write_labelled(tmp_path / "labelled.txt")
    settings = ("--dim", "4", "--epoch", "10", "--lr", "0.5", "--thread", "1", *flags)
    assert main(["--input", str(source), "--output_dir", str(tmp_path / "models"), "--name", name, *settings]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labelled.txt", "models"], "no temporary file is left"
    return tmp_path / "models" / "quality.bin"


def test_a_trained_classifier_separates_and_repeats(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fasttext")
    model = trained(tmp_path, "quality", "--valid_frac", "0.25")
    shown = capsys.readouterr().out
    assert "Training results\nNum samples\t150\nPrecision@1\t1.000\nRecall@1\t1.000\n" in shown
    assert "Validation results\nNum samples\t50\n" in shown
    mapper = get_mapper("classify_fasttext_hq_prob_enricher", model_filename=str(model), key="q")
    good, bad = (mapper({"text": text})[0]["q"] for text in (GOOD[0] + "\n" + GOOD[1], BAD[0]))
    assert good > 0.9
    assert bad < 0.1
    first = model.read_bytes()
    assert trained(tmp_path, "quality.bin", "--valid_frac", "0.25").read_bytes() == first


def test_training_refuses_what_it_cannot_use(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--output_dir", str(tmp_path), "--name", "m"]
    assert main(["--input", str(tmp_path / "none.txt"), *command]) == 2
    assert "none.txt: no such file" in capsys.readouterr().err
    (tmp_path / "plain.txt").write_text("no label here\n")
    assert main(["--input", str(tmp_path / "plain.txt"), *command]) == 2
    assert "no line with a label" in capsys.readouterr().err
    source = str(write_labelled(tmp_path / "l.txt"))
    assert main(["--input", source, "--valid_frac", "1", *command]) == 2
    assert "valid_frac" in capsys.readouterr().err


def bare_model() -> Any:
    return KenlmModel.__new__(KenlmModel)


def test_ccnet_normalisation() -> None:
    model = bare_model()
    assert model.normalize(" Ab 1２３…“x”\nline\t—é \x7f", accent=False, case=False) == 'Ab 000..."x"line - é '
    assert model.normalize("ÀB１") == "ab0"
    assert model.normalize("a“b” 1", accent=False, case=False, numbers=False, punct=2) == "ab 1"
    assert model.normalize("  ") == ""


def test_perplexity_is_per_piece_and_line_end() -> None:
    class Scores:
        def score(self, line: str) -> float:
            return {"a b": -3.0, "c": -2.0}[line]

    class Pieces:
        def do(self, text: str) -> str:
            assert text == "ab c"
            return "a b\nc"

    model = bare_model()
    model.model, model.tokenizer = Scores(), Pieces()
    model.accent = model.lower_case = False
    model.numbers, model.punct = True, 1
    # five log10 units over 2 + 1 and 1 + 1 pieces
    assert model.get_perplexity("ab c") == 10.0
    assert model.pp(-2.0, 1) == 100.0


ARPA = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-2.0\t<unk>\t0
-99\t<s>\t0
-0.5\t</s>\t0
-0.5\t\u2581\t0
-1.0\ta\t0
-1.5\tb\t0

\\2-grams:
-0.25\ta b

\\end\\
"""


def test_perplexity_under_a_real_model_is_what_its_table_says(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("kenlm")
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "lines.txt").write_text("ab ab\nba ab aab\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "lines.txt"),
        model_prefix=str(tmp_path / "en.sp"),
        model_type="char",
        vocab_size=6,
        minloglevel=2,
    )
    (tmp_path / "en.arpa.bin").write_text(ARPA, encoding="utf-8")
    mapper = get_mapper("ken_lm_perplexity_enricher", model_folder=str(tmp_path))
    # \u2581ab\u2581ab and the end of the sentence: 2 x (0.5 + 1.0 + 0.25) + 0.5 log10 units over 6 pieces + 1
    assert mapper({"text": "ab ab"})[0]["kenlm_perplexity"] == round(10 ** (4.0 / 7), 1) == 3.7
    # \u2581z: 0.5 for the mark, 2 for the unknown, 0.5 for the end, over 3
    assert mapper({"text": "z"})[0]["kenlm_perplexity"] == 10.0
    with pytest.raises(AssertionError, match="kenlm_perplexity"):
        mapper({"text": "a", "kenlm_perplexity": 1.0})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "en.arpa.bin").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"en\.arpa\.bin: not a KenLM model"):
        get_mapper("ken_lm_perplexity_enricher", model_folder=str(tmp_path / "broken"))


def test_a_model_behind_a_url_is_copied_once_and_again_when_it_changed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORPUSMITH_ASSETS", str(tmp_path / "cache"))
    source = tmp_path / "model.bin"
    source.write_bytes(b"first")
    first = pathlib.Path(local_copy(source.as_uri()))
    assert first.read_bytes() == b"first"
    assert local_copy(source.as_uri()) == str(first)
    source.write_bytes(b"another")
    assert pathlib.Path(local_copy(source.as_uri())).read_bytes() == b"another"
    with pytest.raises(InputError, match="SHA-256"):
        local_copy(source.as_uri(), "00" * 32)
