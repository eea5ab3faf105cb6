"""Objects that a string names (`"module:name"`), imported when they are used.

A registry is a table of such strings: importing the package that holds it loads none of what it lists.
"""

from __future__ import annotations

import importlib
from typing import Any


def resolve(reference: str) -> Any:
    """The object that `"module:name"` stands for; its module is imported now."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
