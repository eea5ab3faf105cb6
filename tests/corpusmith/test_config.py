"""YAML to dataclass: errors name file, line and key."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from corpusmith.config import build, check_type, fits, load_yaml
from corpusmith.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Bloom:
    ngram: int
    rate: float = 0.01
    mode: Literal["page", "line"] = "page"
    names: list[str] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must lie in (0, 1], got {self.rate}")


def where(*keys: str) -> str:
    return ".".join(("f:1", *keys))


def test_a_mapping_becomes_the_dataclass() -> None:
    assert build(Bloom, {"ngram": 13, "rate": 1, "names": ["a"]}, where) == Bloom(ngram=13, rate=1, names=["a"])


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"ngram": 13, "rates": 1}, "f:1.rates: unknown key; did you mean 'rate'?"),
        ({}, "f:1: the key 'ngram' is missing"),
        ({"ngram": "13"}, "f:1.ngram: must be an integer, got '13'"),
        ({"ngram": True}, "must be an integer, got True"),
        ({"ngram": 1, "mode": "word"}, "must be one of 'page', 'line', got 'word'"),
        ({"ngram": 1, "names": [1]}, "must be a list of a string or null"),
        ({"ngram": 1, "rate": 2}, "f:1: rate must lie in (0, 1], got 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_key(mapping: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Bloom, mapping, where)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, float, True),
        (True, float, False),
        (1.5, int, False),
        (None, int | None, True),
        ({}, dict[str, Any], True),
        ([], tuple, True),
    ],
)
def test_integers_are_numbers_and_booleans_are_not(value: object, annotation: object, expected: bool) -> None:
    assert fits(value, annotation) == expected
    if not expected:
        with pytest.raises(ConfigError, match=r"^here: must be"):
            check_type(value, annotation, "here")


def test_lines_are_those_of_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("- source: x\n  steps:\n    - func: a\n      n: 1\n    - commit\n")
    document = load_yaml(str(path))
    assert document.data == [{"source": "x", "steps": [{"func": "a", "n": 1}, "commit"]}]
    assert document.where(0, "steps", 0, "n") == f"{path}:4: [0].steps[0].n"
    assert document.where(0, "steps", 1) == f"{path}:5: [0].steps[1]"
    assert document.where(0, "steps", 0, "missing") == f"{path}:3: [0].steps[0].missing"


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: !!python/name:os.system", "a: [", "\xff\xfe".encode("latin-1")])
def test_bad_documents_are_refused_with_their_line(tmp_path: pathlib.Path, text: str | bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=r"a\.yaml:\d+: "):
        load_yaml(str(path))
