"""Splitting and joining: the specification's vectors, and word counts equal to the number of words."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.mappers.core_utils import (
    DEDUP_NORMALIZERS,
    WordModel,
    count_words,
    do_once,
    join_paragraphs,
    join_sentences,
    split_paragraphs,
    split_sentences,
    split_words,
)
from corpusmith.text import normalize

SAMPLE = 'Hello, "world" 3.14 - a_b\n$5 ok'
needs_blingfire = pytest.mark.skipif(
    importlib.util.find_spec("blingfire") is None, reason="the package blingfire is not installed"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\n\nb", ["a", "</s>", "</s>", "b"]), ("\n", ["</s>"]), ("a\r\nb", ["a", "</s>", "b"]), ("", [])],
)
def test_fasttext_words_have_a_token_for_each_line_feed(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


@pytest.mark.parametrize("character", ["\u00a0", "\u2003", "\u2028", "\x85", "\x1c", "\x1f"])
def test_fasttext_does_not_separate_at_other_white_space(character: str) -> None:
    assert split_words(f"a{character}b") == [f"a{character}b"]


@pytest.mark.parametrize("character", [" ", "\t", "\v", "\f", "\x00", "\r"])
def test_fasttext_separates_at_these_bytes(character: str) -> None:
    assert split_words(f"a{character}b") == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 8),
        ({"ignore_punctuation": True}, ["Hello,", "3.14", "a_b", "ok"]),
        ({"model": "uniseg", "ignore_punctuation": True}, ["Hello", "world", "3.14", "a_b", "5", "ok"]),
        ({"model": "split", "ignore_punctuation": True}, ["Hello,", "3.14", "a_b", "ok"]),
    ],
)
def test_words_are_kept_by_their_first_character(arguments: dict[str, object], expected: int | list[str]) -> None:
    words = split_words(SAMPLE, **arguments)  # type: ignore[arg-type]
    assert (len(words) if isinstance(expected, int) else words) == expected


def test_white_space_words_are_kept_where_asked() -> None:
    assert split_words("a -b", "uniseg", False, False) == ["a", " ", "-", "b"]
    assert split_words("a -b", "uniseg", False, True) == ["a", "-", "b"]
    assert split_words("a -b", "uniseg", True, False) == ["a", " ", "b"]


def test_unknown_word_model_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown word tokenizer: nltk"):
        split_words("a", model="nltk")  # type: ignore[arg-type]  # no such model
    with pytest.raises(ValueError, match="Unknown word tokenizer: nltk"):
        count_words("a", model="nltk")  # type: ignore[arg-type]  # no such model


@given(
    st.text(st.sampled_from("aB1_ '-.\t\n\r\x1c\x85\u00a0\u0301\u200d日א\ud800\U0001f1e6"), max_size=40),
    st.sampled_from(["fasttext", "uniseg", "split"]),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_counting_words_equals_making_them(text: str, model: WordModel, punctuation: bool, whitespace: bool) -> None:
    assert count_words(text, model, punctuation, whitespace) == len(split_words(text, model, punctuation, whitespace))


@pytest.mark.parametrize(
    ("text", "end", "remove_empty", "expected"),
    [
        ("a\n\n\nb", "\n\n", False, ["a", "\nb"]),
        ("a\n\n\nb", "\n\n", True, ["a", "b"]),
        (" a \n \n", "\n", True, ["a"]),
        (" a \n", "\n", 1, [" a ", ""]),
        ("", "\n", False, [""]),
        ("", "\n", True, []),
        ("axb", ".", False, ["", "", "", ""]),
        ("ab", "b|a", False, ["", "", ""]),
    ],
)
def test_paragraphs_end_at_a_regular_expression(text: str, end: str, remove_empty: bool, expected: list[str]) -> None:
    assert split_paragraphs(text, end, remove_empty) == expected


def test_sentences_of_an_empty_text_need_no_tokenizer() -> None:
    assert split_sentences("", tokenizer="unheard of") == []  # type: ignore[arg-type]  # no such tokenizer
    with pytest.raises(ValueError, match="Unknown sentence tokenizer: unheard of"):
        split_sentences("a", tokenizer="unheard of")  # type: ignore[arg-type]  # no such tokenizer


@needs_blingfire
def test_blingfire_sentences_are_spans_of_the_text() -> None:
    text = "Hello world. This is Mr. Smith!  Ok?\n\nNew para without end\nmore. e.g. this"
    assert split_sentences(text) == [
        "Hello world.",
        "This is Mr. Smith!",
        "Ok?",
        "New para without end\nmore. e.g. this",
    ]
    assert split_sentences("   \n ") == []
    with pytest.raises(NotImplementedError):
        split_sentences("a.", remove_empty=False)


@pytest.mark.skipif(importlib.util.find_spec("blingfire") is not None, reason="the package blingfire is installed")
def test_missing_blingfire_is_named() -> None:
    with pytest.raises(AssertionError, match="pip install blingfire"):
        split_sentences("a.")


def test_do_once_compares_arguments_as_text() -> None:
    calls: list[object] = []

    @do_once
    def note(value: object, key: int = 0) -> int:
        calls.append(value)
        return len(calls)

    assert [note(1), note("1"), note(1, key=1), note(2)] == [1, None, 2, 3]


def test_joins_put_the_separator_between() -> None:
    assert join_sentences(["a", "b"]) == "a b"
    assert join_paragraphs(["a", "b"]) == "a\nb"


def test_normalizers_are_the_one_table() -> None:
    assert DEDUP_NORMALIZERS is normalize.DEDUP_NORMALIZERS
