"""The text of chosen blocks: plain, or as Markdown that keeps headings, lists, quotations, code, tables and math."""

from __future__ import annotations

import html as html_module
from collections.abc import Iterator

from raw_sources.extractors.blocks.columns import LINE_BREAK, MATH, MATH_DISPLAY, B, N, S
from raw_sources.extractors.blocks.scan import Blocks
from raw_sources.extractors.blocks.tables import TAG

_HEADINGS = {TAG[f"h{level}"]: "#" * level + " " for level in range(1, 7)}
_PRE, _LI, _UL, _OL, _QUOTE, _TR, _TABLE = (
    TAG[name] for name in ("pre", "li", "ul", "ol", "blockquote", "tr", "table")
)
_CELLS = (TAG["td"], TAG["th"])
MAX_LEVELS = 8


class PageText:
    """Makes text of a page's blocks by their numbers."""

    def __init__(self, page: Blocks) -> None:
        self._html = page.html
        self._blocks = page.blocks[:, [B.node, B.first, B.last]].tolist()
        self._segments = page.segments[:, [S.start, S.stop, S.kind]].tolist()
        self._nodes = page.nodes[:, [N.parent, N.tag]].tolist()

    def above(self, index: int) -> Iterator[tuple[int, int]]:
        """The elements that a block stands in, innermost first: (node, tag)."""
        node = self._blocks[index][0]
        while node > 0:
            parent, tag = self._nodes[node]
            yield node, tag
            node = parent

    def is_in(self, index: int, tag: int) -> bool:
        """Whether a block stands in an element of this tag."""
        return any(above == tag for _, above in self.above(index))

    def text(self, index: int) -> str:
        """A block's text, white space evened out except in `pre`; lines that `br` ends stay lines."""
        _, first, last = self._blocks[index]
        is_code = self.is_in(index, _PRE)
        pieces: list[str] = []
        for start, stop, kind in self._segments[first:last]:
            if kind == LINE_BREAK:
                pieces.append("\n" if is_code else "\0")
                continue
            piece = self._html[start:stop].decode("utf-8", "replace")
            if kind in (MATH, MATH_DISPLAY):
                mark = "$" if kind == MATH else "$$"
                piece = f"{mark}{' '.join(piece.split())}{mark}"
            pieces.append(piece)
        text = "".join(pieces)
        if "&" in text:
            text = html_module.unescape(text)
        if is_code:
            return text.strip("\r\n").replace("\r\n", "\n")
        if "\0" not in text:
            return " ".join(text.split())
        lines = (" ".join(line.split()) for line in text.split("\0"))
        return "\n".join(line for line in lines if line)

    def plain(self, chosen: list[int]) -> str:
        """The chosen blocks as plain text: an empty line between paragraphs, items and cells closer together."""
        parts: list[str] = []
        before = -1
        for index in chosen:
            text = self.text(index)
            if not text:
                continue
            if parts:
                parts.append(self._separator(before, index))
            parts.append(text)
            before = index
        return "".join(parts)

    def _separator(self, before: int, index: int) -> str:
        """What stands between two blocks."""
        first = {tag: node for node, tag in reversed(list(self.above(before)))}
        second = {tag: node for node, tag in reversed(list(self.above(index)))}
        if _TR in first and first.get(_TR) == second.get(_TR):
            return " "
        both_items = _LI in first and _LI in second
        both_rows = _TABLE in first and first.get(_TABLE) == second.get(_TABLE)
        return "\n" if both_items or both_rows else "\n\n"

    def markdown(self, chosen: list[int]) -> str:
        """The chosen blocks as Markdown."""
        parts: list[str] = []
        started: dict[int, int] = {}
        counters: dict[int, int] = {}
        at = 0
        while at < len(chosen):
            index = chosen[at]
            table = next((node for node, tag in self.above(index) if tag == _TABLE), None)
            if table is not None:
                stop = at
                while stop < len(chosen) and (table, _TABLE) in self.above(chosen[stop]):
                    stop += 1
                parts.append(self._table(chosen[at:stop]))
                at = stop
                continue
            at += 1
            text = self.text(index)
            if text:
                parts.append(self._marked(index, text, started, counters))
        return _joined(parts)

    def _marked(self, index: int, text: str, started: dict[int, int], counters: dict[int, int]) -> str:
        """A block with the marks of the elements around it; `started` are list items with the width of their bullet."""
        path = list(self.above(index))
        tags = [tag for _, tag in path]
        if _PRE in tags:
            fence = "```" if "```" not in text else "~~~~"
            text = f"{fence}\n{text}\n{fence}"
        else:
            text = next((mark + text.replace("\n", " ") for tag, mark in _HEADINGS.items() if tag in tags), text)
        item = next((node for node, tag in path if tag == _LI), None)
        if item is not None:
            lists = [(node, tag) for node, tag in path if tag in (_UL, _OL)]
            indent = "  " * min(max(0, len(lists) - 1), MAX_LEVELS)
            if item in started:
                lead = indent + " " * started[item]
            else:
                bullet = "- "
                if lists and lists[0][1] == _OL:
                    counters[lists[0][0]] = counters.get(lists[0][0], 0) + 1
                    bullet = f"{counters[lists[0][0]]}. "
                started[item] = len(bullet)
                lead = indent + bullet
            below = indent + " " * started[item]
            text = lead + text.replace("\n", f"\n{below}")
        if _QUOTE in tags:
            text = "\n".join(f"> {line}" for line in text.split("\n"))
        return text

    def _table(self, chosen: list[int]) -> str:
        """A table's blocks as rows of cells; one of a single column as lines."""
        rows: dict[int, dict[int, list[str]]] = {}
        for index in chosen:
            path = list(self.above(index))
            row = next((node for node, tag in path if tag == _TR), -1)
            cell = next((node for node, tag in path if tag in _CELLS), -1)
            if text := self.text(index).replace("\n", " ").replace("|", "\\|"):
                rows.setdefault(row, {}).setdefault(cell, []).append(text)
        cells = [[" ".join(texts) for texts in row.values()] for row in rows.values()]
        width = max(map(len, cells), default=0)
        if width < 2:
            return "\n\n".join(text for row in cells for text in row)
        lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in cells]
        return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])


def _joined(parts: list[str]) -> str:
    """Parts with an empty line between them, none between items of a list."""
    out: list[str] = []
    for part in filter(None, parts):
        if out:
            is_item = all(
                text.lstrip(" >").startswith("- ") or text.lstrip(" >")[:1].isdigit() for text in (out[-1], part)
            )
            out.append("\n" if is_item and "\n" not in part.strip() else "\n\n")
        out.append(part)
    return "".join(out)
