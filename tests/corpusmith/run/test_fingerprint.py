"""A fingerprint names what changed."""

from __future__ import annotations

import pathlib

import pytest

from corpusmith.run.fingerprint import asset_hashes, digest, first_difference


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1, "b": 2}, {"b": 3, "a": 1}, ("b", 2, 3)),
        ({"steps[3]": {"min": 1}}, {"steps[3]": {"min": 2}}, ("steps[3].min", 1, 2)),
        ({"steps[3]": {"min": 1}}, {"steps[3]": {}}, ("steps[3].min", 1, None)),
        ({"x": [1, 2]}, {"x": [1, 2, 3]}, ("x[2]", None, 3)),
        ({"x": None}, {"x": {"y": 1}}, ("x", None, {"y": 1})),
        ({}, {"new": 0}, ("new", None, 0)),
    ],
)
def test_the_first_difference_is_named_by_its_path(old: object, new: object, found: object) -> None:
    assert first_difference(old, new) == found


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_files_that_arguments_name_count_by_their_content(tmp_path: pathlib.Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one")
    arguments = {"list": str(words), "other": "no file", "deep": [{"x": str(words)}], "number": 3}
    before = asset_hashes(arguments)
    assert list(before) == [str(words)]
    words.write_text("two")
    assert asset_hashes(arguments) != before
