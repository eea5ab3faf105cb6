"""Content filters: every row of the specification's table, with its boundary cases."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from baselines.core import get_mapper
from baselines.core.factories import load_mapper_function
from baselines.mappers import (
    alphabetic_word_ratio_filter,
    alphanumeric_char_ratio_filter,
    bullet_count_filter,
    ellipsis_count_filter,
    line_length_filter,
    page_length_filter,
    stop_word_filter,
    substring_filter,
    symbol_ratio_filter,
    word_length_filter,
    word_removal_ratio_filter,
)
from corpusmith.errors import InputError

Mapper = Callable[..., list[dict[str, Any]]]


def keeps(mapper: Mapper, text: object, **arguments: Any) -> bool:
    """Whether the mapper keeps a page of this text; a kept page is the same object, unchanged."""
    page = {"text": text}
    result = mapper(page, **arguments)
    assert page == {"text": text}
    if not result:
        assert result == []
        return False
    assert len(result) == 1
    assert result[0] is page
    return True


@pytest.mark.parametrize(
    "mapper",
    [
        line_length_filter,
        alphanumeric_char_ratio_filter,
        bullet_count_filter,
        ellipsis_count_filter,
        stop_word_filter,
        word_length_filter,
        symbol_ratio_filter,
        alphabetic_word_ratio_filter,
    ],
)
def test_missing_text_is_a_key_error(mapper: Mapper) -> None:
    with pytest.raises(KeyError, match="text"):
        mapper({})


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("", {}, False),
        ("", {"length_type": "median"}, False),
        ("x" * 1000, {}, True),
        ("x" * 1001, {}, False),
        ("aaaa\nb", {"max_length": 3}, False),
        ("aaaa\nb", {"max_length": 2.5, "length_type": "avg"}, True),
        ("aaaa\nb", {"max_length": 2.4, "length_type": "avg"}, False),
        ("aaa\u2028bbb\x0bccc\x85ddd", {"max_length": 3}, True),
    ],
)
def test_line_length(text: str, arguments: dict[str, Any], expected: bool) -> None:
    assert keeps(line_length_filter, text, **arguments) is expected


def test_unknown_line_length_type_is_refused() -> None:
    with pytest.raises(ValueError, match="median"):
        line_length_filter({"text": "a"}, length_type="median")


@pytest.mark.parametrize(
    ("text", "ratio", "expected"),
    [("", 0.0, False), ("a...", 0.25, True), ("a....", 0.25, False), ("½²٣é", 1.0, True), ("....", 0.0, True)],
)
def test_alphanumeric_ratio_is_a_minimum(text: str, ratio: float, expected: bool) -> None:
    assert keeps(alphanumeric_char_ratio_filter, text, max_alnum_ratio=ratio) is expected


@pytest.mark.parametrize(
    ("text", "length_type", "arguments", "length"),
    [
        ("a\n\nb", "word", {}, 4),
        ("a\n\nb", "word", {"ignore_punctuation": True}, 2),
        ("can't stop", "word", {"model": "uniseg"}, 2),
        ("a - b", "word", {"model": "split"}, 3),
        ("a - b", "word", {"model": "split", "ignore_punctuation": True}, 2),
        ("a\n \nb\n", "line", {}, 2),
        ("a\n \nb\n", "line", {"remove_empty": False}, 4),
        ("a\nb\n\n\n\nc", "paragraph", {}, 2),
        ("a\nb\n\n\n\nc", "paragraph", {"remove_empty": False}, 3),
        ("aé\n", "char", {"anything": "ignored"}, 3),
        (["a", "b"], "char", {}, 2),
    ],
)
def test_page_length_bounds_are_inclusive(
    text: object, length_type: str, arguments: dict[str, Any], length: int
) -> None:
    def kept(low: int, high: int) -> bool:
        return keeps(page_length_filter, text, length_type=length_type, min_length=low, max_length=high, **arguments)

    assert kept(length, length)
    assert not kept(length + 1, length + 1)
    assert not kept(0, length - 1)


def test_page_length_needs_one_by_default() -> None:
    assert not keeps(page_length_filter, "", length_type="word")
    assert keeps(page_length_filter, "a", length_type="word")


def test_page_length_refuses_unknown_units_and_arguments() -> None:
    with pytest.raises(ValueError, match="token"):
        page_length_filter({"text": "a"}, length_type="token")
    with pytest.raises(TypeError, match="modle"):
        page_length_filter({"text": "a"}, length_type="word", modle="split")
    with pytest.raises(TypeError, match="model"):
        page_length_filter({"text": "a"}, length_type="line", model="split")
    with pytest.raises(ValueError, match="Unknown word tokenizer"):
        page_length_filter({"text": "a"}, length_type="word", model="spacy")


@pytest.mark.parametrize(("bullets", "lines"), [(9, 10), (18, 20), (27, 30), (90, 100)])
def test_bullets_exactly_at_the_ratio_are_kept(bullets: int, lines: int) -> None:
    def text(starting: int) -> str:
        return "\n".join(["  • x"] * starting + ["x"] * (lines - starting))

    assert keeps(bullet_count_filter, text(bullets))
    assert not keeps(bullet_count_filter, text(bullets + 1))


@pytest.mark.parametrize("bullet", ["●", "•", "*", "-"])
def test_bullets_are_these_four(bullet: str) -> None:
    assert not keeps(bullet_count_filter, f"{bullet}a")
    assert keeps(bullet_count_filter, f"a{bullet}")


def test_other_dashes_are_no_bullets() -> None:
    assert keeps(bullet_count_filter, "–a\n+b\n·c")


@pytest.mark.parametrize("mapper", [bullet_count_filter, ellipsis_count_filter])
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_pages_without_lines_are_kept_by_line_ratios(mapper: Mapper, text: str) -> None:
    assert keeps(mapper, text)


@pytest.mark.parametrize(("ellipses", "lines"), [(3, 10), (6, 20), (9, 30), (30, 100)])
@pytest.mark.parametrize("end", ["...", ". . .", "\u2026 "])
def test_ellipses_exactly_at_the_ratio_are_kept(ellipses: int, lines: int, end: str) -> None:
    def text(ending: int) -> str:
        return "\n".join([f"x{end}"] * ending + ["x"] * (lines - ending))

    assert keeps(ellipsis_count_filter, text(ellipses))
    assert not keeps(ellipsis_count_filter, text(ellipses + 1))


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("The cat sat WITH me", {}, True),
        ("the, of. (and", {}, False),
        ("the the", {}, True),
        ("the the", {"count_unique": True}, False),
        ("the Of", {"count_unique": True}, True),
        ("the", {}, False),
        ("the", {"min_stop_word": 1}, True),
        ("the", {"min_stop_word": 0}, True),
        ("cat", {"min_stop_word": 0}, False),
        ("", {}, False),
    ],
)
def test_stop_words_are_whole_words_in_any_case(text: str, arguments: dict[str, Any], expected: bool) -> None:
    assert keeps(stop_word_filter, text, **arguments) is expected


@pytest.mark.parametrize(
    ("text", "low", "high", "expected"),
    [
        ("", 0, 9, False),
        (" \n", 0, 9, False),
        ("aa bbbb", 3, 3, True),
        ("aa bbbb", 3.01, 9, False),
        ("aa bbbb", 0, 2.99, False),
        ("é\u2003日本", 1.5, 1.5, True),
    ],
)
def test_mean_word_length_bounds_are_inclusive(text: str, low: float, high: float, expected: bool) -> None:
    assert keeps(word_length_filter, text, min_length=low, max_length=high) is expected


@pytest.mark.parametrize(
    ("text", "ratio", "expected"),
    [
        ("", 1.0, False),
        ("a b c d e f g h i #", 0.1, True),
        ("a b c d e f g h #", 0.1, False),
        ("x....", 1.0, True),
        ("x......", 1.0, False),
        ("x......", 2.0, True),
        ("a . . . b", 0.2, True),
        ("#a\u2026", 1.0, False),
    ],
)
def test_symbols_per_word(text: str, ratio: float, expected: bool) -> None:
    assert keeps(symbol_ratio_filter, text, max_symbol_to_word_ratio=ratio) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", False), ("a b c d 1", True), ("a b c 1", False), ("1a é2 日3 x -", True), ("½ ² _", False)],
)
def test_words_without_letters_may_be_a_fifth(text: str, expected: bool) -> None:
    assert keeps(alphabetic_word_ratio_filter, text) is expected


def test_removed_words_are_counted_against_the_earlier_count() -> None:
    text = " ".join(["word"] * 95)
    assert word_removal_ratio_filter({"text": text, "n": 100}, "n")
    assert not word_removal_ratio_filter({"text": text, "n": 101}, "n")
    assert word_removal_ratio_filter({"text": text, "n": 10}, "n")
    assert not word_removal_ratio_filter({"text": text, "n": 0}, "n")
    assert word_removal_ratio_filter({"n": 100, "m": 95}, "n", new_word_count_key="m")
    assert word_removal_ratio_filter({"text": text, "n": 95}, "n", new_word_count_key="m")
    assert word_removal_ratio_filter({"text": "- -", "n": 2}, "n", ignore_punctuation=False)
    with pytest.raises(AssertionError, match="does not have a n field"):
        word_removal_ratio_filter({"text": text}, "n")


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("Lorem Ipsum", {"banlist": ["lorem ipsum"]}, False),
        ("Lorem Ipsum", {"banlist": "lorem ipsum", "case_sensitive": True}, True),
        ("lorem xipsum", {"banlist": ["lorem .ipsum"]}, False),
        ("a { b", {"banlist": ["{"]}, False),
        ("a b", {"banlist": []}, False),
        ("a b", {"banlist": ["zz", ""]}, False),
        ("scunthorpe", {"banlist": ["thor"], "exact_word": True}, True),
        ("a thor b", {"banlist": ["x", "thor"], "exact_word": True}, False),
        ("a + b", {"banlist": [r"\+"], "exact_word": True}, True),
        ("a+b", {"banlist": [r"\+"], "exact_word": True}, False),
        ("b a", {"banlist": "a", "location": "prefix"}, True),
        ("a b", {"banlist": "a", "location": "prefix"}, False),
        ("a b\n", {"banlist": "b", "location": "suffix"}, False),
        ("b\na", {"banlist": "b", "location": "suffix"}, True),
        ("a", {"banlist": r"\W"}, False),
        ("a", {"banlist": r"\W", "case_sensitive": True}, True),
    ],
)
def test_banned_expressions_are_searched(text: str, arguments: dict[str, Any], expected: bool) -> None:
    assert keeps(substring_filter(**arguments), text) is expected


def test_banned_expressions_are_read_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("foo\nbar\n", encoding="utf-8")
    mapper = get_mapper("substring_filter", banlist="other", banlist_from_fname=str(path))
    assert not keeps(mapper, "a BAR b")
    assert keeps(mapper, "other")


def test_substring_filter_checks_its_arguments_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="middle"):
        substring_filter(location="middle")
    with pytest.raises(TypeError, match="banlist"):
        substring_filter()
    with pytest.raises(re.error):
        substring_filter(banlist="(")


@pytest.fixture
def letters(tmp_path: pathlib.Path) -> str:
    """A tokenizer with a token for each of a, b, 1 and one for `ab`; it knows nothing else."""
    vocabulary = {"</s>": 0, "a": 1, "b": 2, "1": 3, "ab": 4}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]]}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}), encoding="utf-8")
    return str(path)


def test_alphabetic_characters_for_each_token(letters: str) -> None:
    mapper = get_mapper("alphabetic_characters_to_tokens_filter", tokenizer_name=letters)
    for text, kept in (
        ("abab", True),  # 4 characters, 2 tokens
        ("abab1", False),  # 4 / 3
        ("abb", True),  # 3 / 2: the bound itself is kept
        ("ba", False),
        ("", False),
        ("日本", False),  # no token at all
    ):
        assert mapper({"text": text}) == ([{"text": text}] if kept else [])
    plain = load_mapper_function("alphabetic_characters_to_tokens_filter")(letters)
    assert plain({"text": "abab1"}, max_ratio=1.3) == [{"text": "abab1"}]


def test_ratio_of_tokens_cannot_be_set_and_tokenizer_must_exist(letters: str) -> None:
    with pytest.raises(TypeError, match="max_ratio"):
        get_mapper("alphabetic_characters_to_tokens_filter", tokenizer_name=letters, max_ratio=1)
    with pytest.raises(InputError, match="nobody"):
        get_mapper("alphabetic_characters_to_tokens_filter", tokenizer_name="nobody/nothing")
