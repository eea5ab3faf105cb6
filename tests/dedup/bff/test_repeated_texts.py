"""The texts lost most often are counted in bounded memory."""

from __future__ import annotations

import pytest

from dedup.bff import repeated_texts
from dedup.bff.repeated_texts import ROWS_PER_SHARD, RepeatedTexts


def test_white_space_at_the_ends_and_blank_texts_do_not_count() -> None:
    found = RepeatedTexts()
    for index, text in enumerate(["\n Log in", "Log in\n", " \n", "", "Share"]):
        found.add([text], index, {"url": f"http://{index}.org"})
    assert [(row["text"], row["copies"], row["index"], row["url"]) for row in found.rows()] == [
        ("Log in", 2, 0, "http://0.org"),
        ("Share", 1, 4, "http://4.org"),
    ]


def test_what_is_frequent_survives_a_flood_of_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_texts, "MOST_HELD", 100)
    found = RepeatedTexts()
    for number in range(5000):
        found.add([f"only once {number}"], number, {})
        if number % 10 == 0:
            found.add(["often"], number, {})
        assert len(found.held) <= 100
    first, *others = found.rows()
    assert (first["text"], first["index"], first["url"]) == ("often", 0, None)
    assert 400 <= first["copies"] <= 500
    assert len(others) == ROWS_PER_SHARD - 1


def test_a_long_text_is_held_by_its_beginning() -> None:
    found = RepeatedTexts()
    found.add(["x" * 100_000 + "\ud800"], 0, {})
    found.add(["x" * 100_000 + "y"], 1, {})
    assert [(row["copies"], len(row["text"])) for row in found.rows()] == [(1, 300), (1, 300)]
