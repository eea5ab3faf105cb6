"""The tables of the doors: what DCLM's users know, what we have of it, and what is known to be missing.

Each `*_of_dclm.json` says what DCLM has and never changes. `gaps.json` lists what of it we lack; it may only shrink,
and each test holds its part of it exactly: a gap that closes must be taken off the list, and none may open.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "doors"

CLOSED = "a gap of tests/doors/gaps.json is closed (take it off the list) or a new one is open (mend it)"


def table(name: str) -> dict[str, Any]:
    """A table of this folder."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def gaps(kind: str) -> Any:
    """The known gaps of one kind."""
    return table("gaps")[kind]


def write_table(name: str, content: dict[str, dict[str, Any]]) -> None:
    """Write a table of two levels, the inner one a line for each entry, so that a change shows as one line."""
    parts = []
    for outer, inner in content.items():
        lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in inner.items())
        parts.append(f"  {json.dumps(outer)}: {{\n{lines}\n  }}" if lines else f"  {json.dumps(outer)}: {{}}")
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")
