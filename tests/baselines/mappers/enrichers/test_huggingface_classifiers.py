"""Any sequence classifier of Hugging Face scores pages, in batches, on actors; tried on a tiny random model."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from baselines.core import get_mapper
from baselines.core.steps import LocalStep, build_steps
from corpusmith.cli import main
from corpusmith.errors import UserError
from corpusmith.io.pages.shards import open_shard_writer, read_shard

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "page", "of", "words", "."]


def save_model(folder: pathlib.Path, labels: int) -> str:
    """A BERT of two tiny random layers with a word-level tokenizer, as `save_pretrained` writes it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=1.0,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def expected_logits(model: str, text: str) -> list[float]:
    """The logits of one text alone, by Transformers as its documentation uses it."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=32)
    with torch.inference_mode():
        logits: list[float] = classifier(**encoded).logits[0].tolist()
    return logits


TEXTS = [
    "good page .",
    "bad bad page of words " * 20,
    "",
    "unknown ünicode",
    "good",
]


def test_a_model_of_one_output_gives_a_score_in_batches_as_alone(tmp_path: pathlib.Path) -> None:
    model = save_model(tmp_path, labels=1)
    step = LocalStep(
        index=0, func="classify_huggingface_enricher", arguments={"model": model, "batch_size": 2, "max_tokens": 32}
    )
    (built,) = build_steps((step,))
    assert built.batch is not None
    pages: list[dict[str, Any]] = [{"text": text} for text in TEXTS]
    built.batch.apply_batch(pages)
    assert [page["huggingface_score"] for page in pages] == pytest.approx(
        [expected_logits(model, text)[0] for text in TEXTS], abs=2e-4
    )
    assert len({page["huggingface_score"] for page in pages}) > 2
    single = {"text": TEXTS[0]}
    assert built.mapper(single) == [single]
    assert single["huggingface_score"] == pytest.approx(pages[0]["huggingface_score"], abs=2e-4)


def test_a_model_of_several_outputs_gives_probabilities_by_label(tmp_path: pathlib.Path) -> None:
    mapper = get_mapper(
        "classify_huggingface_enricher", model=save_model(tmp_path, labels=3), key="topic", max_tokens=32
    )
    page: dict[str, Any] = {"text": "good page"}
    assert mapper(page) == [page]
    assert set(page["topic"]) == {"LABEL_0", "LABEL_1", "LABEL_2"}
    assert sum(page["topic"].values()) == pytest.approx(1, abs=2e-4)
    with pytest.raises(AssertionError, match="topic"):
        mapper(page)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"model": "/no/such/folder"}, UserError, "no such folder"),
        ({"model": ".", "batch_size": 0}, ValueError, "batch_size"),
        ({"model": ".", "max_tokens": 0}, ValueError, "max_tokens"),
    ],
)
def test_what_cannot_be_set_up_says_why(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        get_mapper("classify_huggingface_enricher", **arguments)


def test_a_folder_without_a_model_is_named(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match="cannot be loaded"):
        get_mapper("classify_huggingface_enricher", model=str(tmp_path))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("runner")
def test_process_scores_pages_on_actors_and_sets_bad_ones_aside(tmp_path: pathlib.Path) -> None:
    model = save_model(tmp_path / "model", labels=1)
    for shard in range(3):
        with open_shard_writer(str(tmp_path / "pages" / f"s{shard}.jsonl")) as writer:
            for number in range(7):
                page: dict[str, Any] = {"text": "good page " * (number + 1), "n": number}
                if number == 3:
                    page["score"] = "taken"
                if number == 5:
                    page["text"] = ["a", "list"]
                writer.write(page)
    config = tmp_path / "edu.yaml"
    config.write_text(
        "- source: edu\n  steps:\n"
        f"    - {{func: classify_huggingface_enricher, model: {model}, key: score, batch_size: 4, max_tokens: 32}}\n"
        "    - {func: word_counter_enricher, key: words}\n"
        "    - {func: quality_filter, key: score, threshold: -1000}\n"
    )
    arguments = ["--raw_data_dirpath", str(tmp_path / "pages"), "--config_path", str(config), "--num_cpus", "2"]
    arguments += ["--output_dir", str(tmp_path / "out"), "--readable_name", "edu"]
    assert main(["process", *arguments, "--exp-data-dir", str(tmp_path / "db")]) == 0
    total = json.loads((tmp_path / "out/edu/run/ledger.json").read_text())["total"]
    assert (total["read"], total["kept"], total["errored"]) == (21, 15, {"00-classify_huggingface_enricher": 6})
    for path in sorted((tmp_path / "out/edu/processed_data").rglob("*.jsonl")):
        pages = list(read_shard(str(path)))
        assert [page["n"] for page in pages] == [0, 1, 2, 4, 6]
        assert [page["words"] for page in pages] == [2, 4, 6, 10, 14]
        assert pages[1]["score"] == pytest.approx(expected_logits(model, pages[1]["text"])[0], abs=2e-4)
