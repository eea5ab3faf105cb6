"""What the modifiers of lines share: putting the changed text into the page, or removing a page that would be empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from baselines.core.constants import CONTENT, Page

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from corpusmith.text.segmentation.view import LineTable


def replace_text(page: Page, text: str) -> list[Page]:
    """Set the page's text; remove the page, its text untouched, where nothing is left."""
    if text == "":
        return []
    page[CONTENT] = text
    return [page]


def join_kept(text: str, lines: list[str], kept: list[str]) -> str:
    """Return the text of the lines kept; the text itself, whose view is known, if all of its lines are."""
    return text if len(kept) == len(lines) else "\n".join(kept)


def keep_lines(text: str, table: LineTable, kept: NDArray[np.bool_]) -> str:
    """Return the text of the lines kept, by its line table; the text itself if all of them are."""
    if kept.all():
        return text
    # runs of lines kept: where they begin, and the lines before which they end
    edges = (np.flatnonzero(kept[1:] != kept[:-1]) + 1).tolist()
    if kept[0]:
        edges.insert(0, 0)
    if len(edges) % 2:
        edges.append(len(kept))
    starts, ends = table.starts, table.ends
    runs = zip(edges[::2], edges[1::2], strict=True)
    return "\n".join([text[starts[first] : ends[last - 1]] for first, last in runs])
