"""Aggregators: the specification's vectors, and nothing that JSON cannot write."""

from __future__ import annotations

import json

import numpy as np
import pytest

from baselines.aggregators import histogram, percentiles, threshold_transform


def test_percentiles_are_members_of_the_list() -> None:
    found = percentiles(list(range(10, 0, -1)))
    assert found == {
        "min": 1, "max": 10, "median": 5, "p25": 3, "p75": 8, "p90": 9, "p95": 10, "p99": 10, "mean": 5.5,
    }  # fmt: skip
    assert list(found) == ["min", "max", "median", "p25", "p75", "p90", "p95", "p99", "mean"]


def test_median_of_n_values_rounds_half_to_even() -> None:
    assert [percentiles(list(range(n)))["median"] for n in range(1, 12)] == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]


def test_percentiles_refuse_what_is_no_list() -> None:
    with pytest.raises(TypeError, match=r"Values must be a list\."):
        percentiles((1, 2))  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        percentiles([])


def test_histogram_counts_strings() -> None:
    assert histogram(["a", "b", "a"]) == {"a": 2, "b": 1}


def test_histogram_of_numbers_has_ten_equal_bins() -> None:
    found = histogram([1, 2, 3])
    assert [round(edge, 9) for edge in found] == [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8]
    assert list(found.values()) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert next(iter(histogram([4, 4]))) == 3.5
    assert sum(histogram([True, False, True]).values()) == 3
    with pytest.raises(IndexError):
        histogram([])


def test_rows_can_be_written_as_json() -> None:
    values = [np.int64(3), np.float32(0.5), 2]
    json.dumps([percentiles(values), histogram(values), percentiles([1, 2]), histogram([1, 2])])


def test_threshold_takes_the_heaviest_key_that_reaches_it() -> None:
    assert threshold_transform({"en": 0.7, "de": 0.8, "fr": 0.8}, 0.5) == "de"
    assert threshold_transform({"en": 0.5}, 0.5) == "en"
    assert threshold_transform({"en": 0.4}, 0.5) == "unknown"
    assert threshold_transform({}, 0.5, default="none") == "none"
