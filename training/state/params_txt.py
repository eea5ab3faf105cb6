"""`params.txt`: the arguments of a run, as OpenLM writes them (`name: value`, sorted by name). Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corpusmith.errors import ConfigError

_WORDS = {"None": None, "True": True, "False": False}


def params_text(values: Mapping[str, Any]) -> str:
    """The content of `params.txt`: one `name: value` per line, sorted by name."""
    return "".join(f"{name}: {values[name]}\n" for name in sorted(values))


def read_params_text(text: str, where: str) -> dict[str, Any]:
    """Read `params.txt` back: None, booleans, numbers (`3e-05` too) and strings; old names under the new ones.

    Raises:
        ConfigError: a line is not `name: value`; `where` is the file's name.
    """
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, separator, value = line.partition(":")
        if not line.strip():
            continue
        if not separator:
            raise ConfigError(f"{where}:{number}", f"expected 'name: value', got {line!r}")
        values[name.strip()] = _parse_value(value.strip())
    for old, new in (("batch_size", "per_gpu_batch_size"), ("val_batch_size", "per_gpu_val_batch_size")):
        if old in values:
            values.setdefault(new, values.pop(old))
    return values


def _parse_value(text: str) -> Any:
    """A value as `str()` wrote it."""
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
