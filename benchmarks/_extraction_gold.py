"""Annotated pages and how an extractor's text is scored on them.

`full_text` and `reference_extraction`: 4-word shingles as Scrapinghub's article extraction benchmark counts them
(https://github.com/scrapinghub/article-extraction-benchmark: each page's shingles found, wrong and missed are shares of
their sum, F1 is taken of the means). `segments`: annotated strings found in the text, as trafilatura's evaluation
counts them; white space evened out.
"""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from corpusmith.errors import InputError
from corpusmith.io.pages.shards import read_shard

KINDS = ("full_text", "segments", "reference_extraction")
SHINGLE = 4
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldPage:
    """A page and what an extractor should find in it; `gold` is None where only strings were annotated."""

    host: str
    html: str
    kind: str
    gold: str | None
    must_have: tuple[str, ...]
    must_not_have: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def load_pages(folder: str) -> list[GoldPage]:
    """The pages of all `*.jsonl.zst` in a folder; InputError where there are none."""
    files = sorted(pathlib.Path(folder).glob("*.jsonl.zst"))
    if not files:
        raise InputError(f"{folder}: no annotated pages (*.jsonl.zst)")
    return [
        GoldPage(
            host=urlsplit(row["url"] or "").hostname or "",
            html=row["html"],
            kind=row["gold_kind"],
            gold=row["gold_text"],
            must_have=tuple(row["must_have"] or ()),
            must_not_have=tuple(row["must_not_have"] or ()),
        )
        for file in files
        for row in read_shard(str(file))
    ]


def fold_of(page: GoldPage, folds: int) -> int:
    """A number below `folds`, the same for all pages of a host."""
    return int.from_bytes(hashlib.sha256(f"fold {page.host}".encode()).digest()[:8], "big") % folds


def is_teaching(page: GoldPage) -> bool:
    """Whether a page's host belongs to the half that `best` was tuned on."""
    return hashlib.sha256(page.host.encode()).digest()[0] % 2 == 0


def even(text: str) -> str:
    """The text with white space evened out."""
    return " ".join(text.split())


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text)


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    tokens = words(text)
    if len(tokens) < SHINGLE:
        return Counter([tuple(tokens)]) if tokens else Counter()
    return Counter(tuple(tokens[at : at + SHINGLE]) for at in range(len(tokens) - SHINGLE + 1))


def _counts(page: GoldPage, text: str) -> tuple[float, float, float]:
    """What was found, wrongly found and missed."""
    if page.gold is None:
        evened = even(text)
        found = sum(even(string) in evened for string in page.must_have)
        return found, sum(even(string) in evened for string in page.must_not_have), len(page.must_have) - found
    gold, given = _shingles(page.gold), _shingles(text)
    both = (gold & given).total()
    whole = gold.total() + given.total() - both
    return (both / whole, (given.total() - both) / whole, (gold.total() - both) / whole) if whole else (0.0, 0.0, 0.0)


def score_pages(pages: Sequence[GoldPage], texts: Sequence[str]) -> dict[str, Score]:
    """The score of each kind of annotation."""
    sums = {kind: [0.0, 0.0, 0.0] for kind in KINDS}
    for page, text in zip(pages, texts, strict=True):
        for place, count in enumerate(_counts(page, text)):
            sums[page.kind][place] += count
    return {
        kind: Score(
            precision=found / (found + wrong) if found else 0.0, recall=found / (found + missed) if found else 0.0
        )
        for kind, (found, wrong, missed) in sums.items()
        if found + wrong + missed
    }
