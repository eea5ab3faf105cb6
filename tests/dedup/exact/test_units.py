"""Units, their ids, and the order of selection values."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpusmith.text.normalize import hash_text, normalize_whitespace_and_lowercase
from dedup.exact.units import PageUnits, UnitReader, content_list, unit_id
from dedup.groups.selection import NUMBER_TAG, CopySelection, order_key

NUMBERS = st.one_of(
    st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0, -0.0, 0.0])
)


def test_a_string_is_one_unit_and_a_list_one_per_element() -> None:
    assert content_list("a\nb") == ["a\nb"]
    assert content_list(["a", "", "b"]) == ["a", "", "b"]
    assert content_list([]) == []


@pytest.mark.parametrize("content", [None, 3, {"a": "b"}, ["a", 3], ["a", None]])
def test_other_content_has_no_units(content: Any) -> None:
    assert content_list(content) is None


def test_id_is_the_md5_of_the_normalized_text() -> None:
    assert unit_id("").hex() == "d41d8cd98f00b204e9800998ecf8427e"
    assert unit_id("hello").hex() == "5d41402abc4b2a76b9719d911017c592"
    assert unit_id(" Hello ", normalize_whitespace_and_lowercase) == unit_id("hello")
    assert unit_id("x", lambda _: -1.0) == hashlib.md5(b"-1.0").digest()


def test_lone_surrogates_have_ids_of_their_own() -> None:
    assert len({unit_id("\ud800"), unit_id("\udfff"), unit_id("?"), unit_id("\ufffd")}) == 4


@given(NUMBERS, NUMBERS)
def test_keys_of_numbers_compare_as_the_numbers_do(one: float, other: float) -> None:
    left, right = order_key(one), order_key(other)
    assert left is not None
    assert right is not None
    assert (left < right, left == right) == (one < other, one == other)


@given(st.text(st.characters()), st.text(st.characters()))
def test_keys_of_strings_compare_as_the_strings_do(one: str, other: str) -> None:
    left, right = order_key(one), order_key(other)
    assert left is not None
    assert right is not None
    assert (left < right, left == right) == (one < other, one == other)


def test_neighbouring_integers_of_one_float_differ() -> None:
    keys = [order_key(value) for value in ((1 << 53), (1 << 53) + 1, float((1 << 53) + 2))]
    assert keys == sorted(set(keys), key=lambda key: key or b"")


@pytest.mark.parametrize("value", [None, [], {}, float("nan"), float("inf"), 1 << 2000, (1 << 200) + (1 << 100)])
def test_what_has_no_order_has_no_key(value: Any) -> None:
    assert order_key(value) is None


def test_booleans_are_numbers() -> None:
    assert order_key(True) == order_key(1)
    assert (order_key(False) or b"").startswith(NUMBER_TAG)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ({}, "no key 'text'"),
        ({"text": 3}, "'text' must hold a string or a list of strings, holds int"),
        ({"text": "\ud800", "score": 1}, "'text' cannot be normalized: UnicodeEncodeError"),
        ({"text": "a"}, "no key 'score' to select by"),
        ({"text": "a", "score": None}, "'score' must hold a number or a string"),
    ],
)
def test_a_page_without_units_says_why(page: dict[str, Any], reason: str) -> None:
    found = UnitReader(keys=("text",), normalize=hash_text, selection=CopySelection(key="score")).read(page)
    assert isinstance(found, str)
    assert reason in found


def test_selection_value_that_its_normalizer_refuses_is_a_reason() -> None:
    reader = UnitReader(keys=("text",), selection=CopySelection(key="score", normalize="hash_text"))
    assert "'score' cannot be normalized" in str(reader.read({"text": "a", "score": 3}))


def test_units_carry_ids_and_selection() -> None:
    reader = UnitReader(keys=("lines",), selection=CopySelection(key="url"))
    expected = PageUnits(ids=[unit_id("a"), unit_id("b")], selection=b"shttp://x")
    assert reader.read({"lines": ["a", "b"], "url": "http://x"}) == expected


def test_a_selection_key_may_be_a_path_and_a_literal_key_wins() -> None:
    nested = {"metadata": {"WARC-Date": "2020"}}
    selection = CopySelection(key="metadata.WARC-Date")
    assert selection.read(nested) == b"s2020"
    assert selection.read({**nested, "metadata.WARC-Date": "1999"}) == b"s1999"
    assert "no key" in str(selection.read({"metadata": "WARC-Date"}))


def test_length_counts_the_characters_of_a_string_and_of_a_list() -> None:
    selection = CopySelection(key="text", normalize="length")
    assert selection.read({"text": "abc"}) == selection.read({"text": ["ab", "c"]}) == order_key(3)
    assert "cannot be normalized" in str(selection.read({"text": 7}))


def test_paragraphs_and_lines_are_units_unless_they_are_blank() -> None:
    page = {"text": "a\n\n \n\nb\nc\n\na"}
    paragraphs, lines = UnitReader(keys=("text",), unit="paragraph"), UnitReader(keys=("text",), unit="line")
    assert paragraphs.texts(page) == ["a", "b\nc", "a"]
    assert lines.texts(page) == ["a", "b", "c", "a"]
    assert paragraphs.without(page, {0, 2}) == " \n\nb\nc"
    assert lines.without(page, {1}) == "a\n\n \n\nc\n\na"
    assert "'text' must hold a string, holds list" in str(lines.read({"text": ["a"]}))


def test_several_keys_are_one_unit_and_their_limits_count() -> None:
    reader = UnitReader(keys=("a", "b"))
    found = [reader.read({"a": one, "b": other}) for one, other in (("x", "yz"), ("xy", "z"), ("x", "yz"))]
    ids = [units.ids for units in found if isinstance(units, PageUnits)]
    assert ids[0] == ids[2] != ids[1]
    assert "no key 'b'" in str(reader.read({"a": "x"}))
