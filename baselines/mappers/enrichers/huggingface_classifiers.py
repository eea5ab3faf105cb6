"""Scores by any sequence classifier of Hugging Face, for several pages at a time, on CPU or GPU.

Follows FineWeb-Edu (Penedo et al. 2024): a model with one output gives a score, one with several gives probabilities.
The model is loaded once per worker; `corpusmith process` runs such steps on Ray actors, which keep it from shard to
shard. Batches are cut from the pages of one shard in their order, so scores don't depend on the number of workers.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Literal

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function, runs_on_actors
from corpusmith.errors import UserError, missing_package

Device = Literal["auto", "cpu", "cuda"]
# beyond this the sum's order, which batches and devices decide, shows
DECIMALS = 4


class HuggingFaceClassifier:
    """A mapper that adds what a sequence classifier says of each page's text."""

    def __init__(self, model: str, key: str, batch_size: int, max_tokens: int, device: Device, overwrite: bool) -> None:
        self.batch_size = batch_size
        self._key = key
        self._max_tokens = max_tokens
        self._overwrite = overwrite
        self._torch, self._tokenizer, self._model = _load(model)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
            self._model.config.pad_token_id = self._tokenizer.pad_token_id
        has_gpu = self._torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise UserError(f"{model}: device is cuda, but this worker sees no GPU; give device: auto or cpu")
        self._device = "cuda" if has_gpu and device != "cpu" else "cpu"
        self._model = self._model.to(self._device).eval()

    def __call__(self, page: Page) -> list[Page]:
        """Add the score to one page."""
        self.apply_batch([page])
        return [page]

    def apply_batch(self, pages: list[Page]) -> None:
        """Add the scores to several pages; nothing is changed where one of them cannot take it.

        Raises:
            AssertionError: a page has the key already.
            KeyError: a page has no text.
            TypeError: a text is no string.
        """
        texts = []
        for page in pages:
            if self._key in page and not self._overwrite:
                raise AssertionError(f"cannot overwrite an existing key {self._key}")
            if not isinstance(page[CONTENT], str):
                raise TypeError(f"text must be a string, got {type(page[CONTENT]).__name__}")
            texts.append(page[CONTENT])
        for page, score in zip(pages, self.scores(texts), strict=True):
            page[self._key] = score

    def scores(self, texts: list[str]) -> list[Any]:
        """A number for each text, or its probabilities by label."""
        results: list[Any] = []
        for start in range(0, len(texts), self.batch_size):
            results += self._score(texts[start : start + self.batch_size])
        return results

    def _score(self, texts: list[str]) -> list[Any]:
        encoded = self._tokenizer(
            texts, return_tensors="pt", padding=True, truncation=True, max_length=self._max_tokens
        ).to(self._device)
        with self._torch.inference_mode():
            logits = self._model(**encoded).logits.float()
        if logits.shape[-1] == 1:
            return [round(score, DECIMALS) for score in logits[:, 0].tolist()]
        labels = self._model.config.id2label
        rows = self._torch.softmax(logits, dim=-1).tolist()
        return [{labels[index]: round(share, DECIMALS) for index, share in enumerate(row)} for row in rows]


def _load(model: str) -> tuple[Any, Any, Any]:
    """PyTorch, the tokenizer and the model; a folder, or a name of the Hugging Face Hub."""
    try:
        torch = importlib.import_module("torch")
        transformers = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        raise missing_package("transformers", "train") from error
    if os.sep in model and not os.path.isdir(model) and (os.path.isabs(model) or model.startswith(".")):
        raise UserError(f"{model}: no such folder; give the folder of a saved model, or a name of the Hugging Face Hub")
    transformers.logging.set_verbosity_error()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the classifier {model} cannot be loaded ({reason}); give the folder of a saved model, or fetch it on a "
            f"machine with network: huggingface-cli download {model}"
        ) from error
    return torch, tokenizer, loaded


@runs_on_actors
@factory_function
def classify_huggingface_enricher(
    model: str,
    key: str = "huggingface_score",
    batch_size: int = 32,
    max_tokens: int = 512,
    device: Device = "auto",
    overwrite: bool = False,
) -> HuggingFaceClassifier:
    """Return a mapper that adds what a sequence classifier says of the text.

    A model with one output gives a number, one with several a dict of label to probability (which `language_filter`
    can read); both are rounded to four decimals.

    Args:
        model: folder of a saved model with its tokenizer, or a name of the Hugging Face Hub.
        key: where the result goes.
        batch_size: pages that the model reads at a time.
        max_tokens: longer texts are cut.
        device: "auto" takes a GPU where the worker has one.
        overwrite: replace a value under the key; otherwise such a page raises AssertionError.

    Raises:
        ValueError: a batch size or a length below 1.
        UserError: the model cannot be loaded, or there is no GPU where one is asked for.
    """
    for name, value in (("batch_size", batch_size), ("max_tokens", max_tokens)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return HuggingFaceClassifier(model, key, batch_size, max_tokens, device, overwrite)
