"""What the modifiers of lines share: putting the changed text into the page, or removing a page that would be empty."""

from __future__ import annotations

from baselines.core.constants import CONTENT, Page

__all__ = ["join_kept", "replace_text"]

# A run records the VERSION of line_modifiers and modifiers: raise it there too.
VERSION = 1


def replace_text(page: Page, text: str) -> list[Page]:
    """Set the page's text; remove the page, its text untouched, where nothing is left."""
    if text == "":
        return []
    page[CONTENT] = text
    return [page]


def join_kept(text: str, lines: list[str], kept: list[str]) -> str:
    """Return the text of the lines kept; the text itself, whose view is known, if all of its lines are."""
    return text if len(kept) == len(lines) else "\n".join(kept)
