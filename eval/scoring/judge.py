"""From model output to right or wrong: perplexities of choices, and cleaned generations.

Follows llm-foundry v0.9.0 as DCLM uses it. Choices are compared by the exponential of the mean cross entropy of their
tokens in single precision (so that ties fall as they do upstream); a generation is right if it starts with any label
after cleaning. Upstream's oddities are kept on purpose: `72` is right for the label `7`, signs are lost, and a label
that is cleaned to nothing is always right.
"""

import re
from collections.abc import Sequence

import numpy as np

_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" + "‘’´`")
_TO_SPACE = re.compile(f"[{_PUNCTUATION}]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def choice_perplexity(mean_cross_entropy: float) -> np.float32:
    """Perplexity of a choice from its mean cross entropy in nats; single precision, overflow is infinity."""
    with np.errstate(over="ignore"):
        return np.float32(np.exp(np.float32(mean_cross_entropy)))


def predicted_choice(mean_cross_entropies: Sequence[float]) -> int:
    """Index of the choice of least perplexity, the lowest index on ties."""
    perplexities = np.array([choice_perplexity(value) for value in mean_cross_entropies], dtype=np.float32)
    return int(perplexities.argmin())


def clean_generation(
    text: str, stops: Sequence[str] = (), cot_delimiter: str = "", do_normalization: bool = True
) -> str:
    """The part of a generation that is compared with the labels.

    What follows the first stop string goes (stop strings are regular expressions), then all but what follows the last
    delimiter of the chain of thought; then the text is normalised.
    """
    if stops:
        text = re.split("|".join(stops), text, maxsplit=1)[0]
    if cot_delimiter:
        text = text.split(cot_delimiter)[-1]
    return normalize_answer(text) if do_normalization else text.strip()


def normalize_answer(text: str) -> str:
    """Lower case, punctuation to spaces, no articles, single spaces."""
    text = _TO_SPACE.sub(" ", text.replace("_", " ").lower())
    return " ".join(_ARTICLES.sub(" ", text).split())


def generation_is_right(cleaned: str, labels: Sequence[str], do_normalization: bool = True) -> bool:
    """Whether a cleaned generation starts with any of the labels, cleaned alike."""
    prefixes = (normalize_answer(label) if do_normalization else label.strip() for label in labels)
    return any(cleaned.startswith(prefix) for prefix in prefixes)
