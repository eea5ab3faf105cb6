"""Numbers, sizes and times are written as people read them, and read as people write them."""

from __future__ import annotations

import pytest

from corpusmith.errors import InputError
from corpusmith.units import byte_size, duration, parse_bytes, share, short_number


def test_numbers_are_written_as_people_read_them() -> None:
    assert [short_number(value) for value in (None, 0, 9_999_999, 23_100_000, 1.44e9)] == [
        "–", "0", "9,999,999", "23.1 M", "1.44 B",
    ]  # fmt: skip
    assert [share(*pair) for pair in ((1, 3), (0, 5), (1, 100_000), (99_999, 100_000), (5, 5), (1, 0))] == [
        "33.3%", "0.0%", "< 0.1%", "> 99.9%", "100.0%", "–",
    ]  # fmt: skip
    assert [byte_size(value) for value in (0, 999, 1000, 22_700_000)] == ["0 B", "999 B", "1 kB", "22.7 MB"]
    assert [duration(value) for value in (1.234, 59.96, 252, 7500)] == ["1.23 s", "60.0 s", "4 min 12 s", "2 h 05 min"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("512MB", 512 * 10**6), ("4GiB", 4 << 30), ("1.5 kib", 1536), ("2G", 2 * 10**9), ("7B", 7)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text, "--memory_per_task") == size


@pytest.mark.parametrize("text", ["", "much", "-1", "4 GiBB", "0", "iB", "1 EB"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match="--memory_per_task must be"):
        parse_bytes(text, "--memory_per_task")
