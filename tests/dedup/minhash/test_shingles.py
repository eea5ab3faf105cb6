"""Shingles equal their plain twins on any text; what copying changes most does not change them."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpusmith.text import hashing
from corpusmith.text.segmentation.view import TextView
from dedup.minhash.shingles import Shingler, fold_table

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)


def folded(text: str) -> str:
    """The text as it is compared, by the plainest means."""
    text = unicodedata.normalize("NFC", text)
    return "".join("'" if c == "’" else (c.lower() if len(c.lower()) == 1 else chr(fold_table()[ord(c)])) for c in text)


def plain_words(text: str) -> list[str]:
    """The words of the text, folded; they are found before folding, which may turn a letter into another class."""
    text = unicodedata.normalize("NFC", text)
    spans = zip(*(part.tolist() for part in TextView(text).words), strict=True)
    return [folded(text)[start:end] for start, end in spans]


def hashes_of(units: list[str], n: int) -> list[int]:
    """The n-gram hashes of units, by hashing each unit as a text of its own."""
    each = [_hash(unit) for unit in units]
    hashes: list[int] = hashing.ngram_hashes(np.array(each, dtype=np.uint64), min(n, max(len(each), 1))).tolist()
    return hashes


def _hash(unit: str) -> int:
    points = np.frombuffer(unit.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ends = np.array([len(points)], dtype=np.int32)
    return int(hashing.word_hashes(points, np.zeros(1, dtype=np.int32), ends)[0])


@given(ANY_TEXT, st.integers(1, 6))
@settings(deadline=None)
def test_word_shingles_equal_their_plain_twin(text: str, n: int) -> None:
    assert Shingler(size=n).hashes(text).tolist() == hashes_of(plain_words(text), n)


@given(ANY_TEXT, st.integers(1, 6))
@settings(deadline=None)
def test_character_shingles_depend_on_the_folded_characters_alone(text: str, n: int) -> None:
    shingler = Shingler(size=n, kind="character")
    squeezed = " ".join(folded(text).split())
    length = len(squeezed)
    found = shingler.hashes(text).tolist()
    assert len(found) == (max(length - n + 1, 1) if length else 0)
    assert found == shingler.hashes(squeezed).tolist()
    windows = [squeezed[start : start + n] for start in range(len(found))]
    assert len(set(windows)) == len(set(found))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The QUICK brown fox jumps over", "the quick\n\nBrown fox; jumps -- over!"),
        ("don’t stop me now, please", "Don't stop me now please"),
        ("un café très serré ici", unicodedata.normalize("NFD", "Un café très serré ici")),
    ],
)
def test_case_punctuation_quotes_and_unicode_form_do_not_matter(one: str, other: str) -> None:
    assert Shingler().hashes(one).tolist() == Shingler().hashes(other).tolist()


def test_a_short_text_has_one_shingle_and_one_without_words_none() -> None:
    assert len(Shingler().hashes("one two three")) == 1
    assert len(Shingler().hashes("word")) == 1
    assert Shingler().hashes("one two three").tolist() != Shingler().hashes("one two").tolist()
    for text in ("", " \n", "?! ..."):
        assert len(Shingler().hashes(text)) == 0
    assert len(Shingler(kind="character").hashes(" ab ")) == 1


def test_a_shingle_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 word"):
        Shingler(size=0)
