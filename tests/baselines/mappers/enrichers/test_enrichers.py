"""Counting enrichers add one key and never replace one unasked."""

from __future__ import annotations

from typing import Any

import pytest

from baselines.core import get_mapper
from baselines.mappers.enrichers import line_counter_enricher
from baselines.mappers.enrichers.enrichers import line_counter, word_counter_enricher


def test_words_are_counted() -> None:
    page: dict[str, Any] = {"text": 'a, b\n\n"c" -'}
    assert word_counter_enricher(page) == [page]
    assert page["word_count"] == 2
    assert get_mapper("word_counter_enricher", key="all", ignore_punctuation=False)(page) == [page]
    assert page["all"] == 6
    word_counter_enricher(page, key="uax", model="uniseg")
    assert page["uax"] == 3


def test_lines_are_counted() -> None:
    assert line_counter("a\n\nb\n") == 2
    assert line_counter("a\n\nb\n", remove_empty=False) == 4
    assert line_counter("a. b.", paragraph_end=r"\.") == 2
    page: dict[str, Any] = {"text": "a\n\nb"}
    assert line_counter_enricher(page, key="n") == [page]
    assert page["n"] == 2


@pytest.mark.parametrize(
    ("func", "key"), [("word_counter_enricher", "word_count"), ("line_counter_enricher", "num_lines")]
)
def test_an_existing_key_is_not_replaced_unasked(func: str, key: str) -> None:
    page = {"text": "a", key: None}
    with pytest.raises(AssertionError, match=f"cannot overwrite an existing key {key}"):
        get_mapper(func)(page)
    assert get_mapper(func, overwrite=True)(page) == [{"text": "a", key: 1}]
