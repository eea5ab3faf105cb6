"""What the tests of modifiers share."""

from __future__ import annotations

from typing import Any

from baselines.core import get_mapper


def change(text: Any, func: str, **arguments: Any) -> Any:
    """The text after the modifier, or None for a removed page, whose text must be as it was."""
    page = {"text": text}
    result = get_mapper(func, **arguments)(page)
    if result == []:
        assert page == {"text": text}
        return None
    assert result == [page]
    assert result[0] is page
    return page["text"]
