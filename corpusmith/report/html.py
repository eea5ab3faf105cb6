"""HTML and SVG of the report: elements that escape by construction, tables, three charts.

A string becomes part of a page only through `el` or `join`, which escape it; what is already HTML has the type `Html`.
Page text of a crawl is hostile: control characters, overrides of the writing direction and other characters that are
not seen are shown as their code point, and nothing of a page ever becomes a link, a style or a script.

Charts scale with the page's width while their text does not: shapes stand in per cent, text in CSS pixels.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: C0 and C1 controls but tab and line feed, invisible and direction-changing characters, surrogates, noncharacters
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_VOID = frozenset(("meta", "link", "rect", "line", "polyline", "br"))


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Html | str | None


def escape(value: str) -> Html:
    """Text as HTML; characters that cannot be seen are shown as their code point."""
    pieces, end = [], 0
    for match in _UNSEEN.finditer(value):
        pieces.append(html.escape(value[end : match.start()]))
        pieces.append(f'<span class="unseen">U+{ord(match.group()):04X}</span>')
        end = match.end()
    pieces.append(html.escape(value[end:]))
    return Html("".join(pieces))


def _attribute(value: str) -> str:
    return html.escape(_UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", value))


def join(children: Iterable[Child]) -> Html:
    """The children one after the other; None is nothing."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def el(name: str, /, *children: Child, **attributes: str | None) -> Html:
    """An element; `class_` and `aria_label` spell `class` and `aria-label`, an attribute that is None is left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{shown}/>") if name in ("rect", "line", "polyline") else Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{join(children)}</{name}>")


def page_text(value: str) -> Html:
    """Text from a crawl: isolated, so that its writing direction does not reach the rest of the page."""
    return el("bdi", value)


# --- tables and facts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers."""

    heading: str
    numeric: bool = False


def columns(*headings: str) -> list[Column]:
    """Columns by heading; a heading that starts with `#` holds numbers."""
    return [Column(heading=heading.removeprefix("#"), numeric=heading.startswith("#")) for heading in headings]


def table(caption: str, heads: Sequence[Column], rows: Iterable[Sequence[Child]]) -> Html:
    """A table in a box of its own that scrolls sideways where the page is too narrow."""
    head = el("tr", *(el("th", head.heading, scope="col", class_="number" if head.numeric else None) for head in heads))
    body = [
        el(
            "tr",
            *(
                el("td", cell, class_="number" if head.numeric else None)
                for head, cell in zip(heads, cells, strict=True)
            ),
        )
        for cells in rows
    ]
    inner = el("table", el("caption", caption), el("thead", head), el("tbody", *body))
    return el("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names and values under each other."""
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in pairs), class_="facts")


def tile(label: str, value: str, note: str = "", tone: str = "") -> Html:
    """A headline number with its label and a line below."""
    return el(
        "div",
        el("dt", label),
        el("dd", el("strong", value), el("span", note) if note else None),
        class_=f"tile {tone}".strip(),
    )


def folded(summary: Child, *children: Child, is_open: bool = False) -> Html:
    """A part that is unfolded by a click."""
    return el("details", el("summary", summary), *children, open="" if is_open else None)


# --- charts ----------------------------------------------------------------------------------------------------------


def _percent(value: float) -> str:
    return f"{max(0.0, value):.3f}".rstrip("0").rstrip(".") + "%"


def bar(title: str, parts: Sequence[tuple[str, float]], kind: str = "bar") -> Html:
    """A bar of parts one behind the other; each part is (class, fraction of the full width)."""
    shapes, start = [], 0.0
    for name, fraction in parts:
        if fraction > 0:
            shapes.append(
                el("rect", class_=name, x=_percent(100 * start), y="0", width=_percent(100 * fraction), height="100%")
            )
            start += fraction
    return el("svg", el("title", title), *shapes, class_=kind, role="img", aria_label=title)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A row of heights of a column chart: the CSS class that colours it, its name, its counts."""

    name: str
    style: str
    counts: Sequence[int]


def legend(entries: Iterable[tuple[str, str]]) -> Html:
    """What the colours of a chart mean: (class, name)."""
    swatch = Html('<i aria-hidden="true"></i>')
    return el("p", *(el("span", swatch, name, class_=f"key {style}") for style, name in entries), class_="legend")


def column_chart(title: str, description: str, labels: Sequence[str], series: Sequence[Series]) -> Html:
    """Columns side by side for each label; at most eight labels are written."""
    highest = max((count for row in series for count in row.counts), default=0) or 1
    slot = 100.0 / max(len(labels), 1)
    width = slot * 0.84 / max(len(series), 1)
    shapes: list[Html] = []
    for fraction in (0.0, 0.5, 1.0):
        y = _percent(100 * (1 - fraction))
        shapes.append(el("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
    for place, row in enumerate(series):
        for index, count in enumerate(row.counts):
            if count:
                height = max(100.0 * count / highest, 0.6)
                x, y = _percent(slot * index + slot * 0.08 + width * place), _percent(100 - height)
                shapes.append(el("rect", class_=row.style, x=x, y=y, width=_percent(width), height=_percent(height)))
    shapes += [
        el("text", f"{value:,}", class_="tick", x="0", y=_percent(100 - 100 * value / highest), dy="-4")
        for value in dict.fromkeys((highest, highest // 2))
        if value
    ]
    every = max(1, math.ceil(len(labels) / 8))
    shapes += [
        el("text", label, class_="tick middle", x=_percent(slot * (index + 0.5)), y="100%", dy="18")
        for index, label in enumerate(labels)
        if index % every == 0
    ]
    named = (el("title", title), el("desc", description))
    return el("svg", *named, *shapes, class_="chart", role="img", aria_label=f"{title}. {description}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A dashed horizontal line of a line chart with its name."""

    name: str
    style: str
    value: float


def line_chart(
    title: str, description: str, unit: str, points: Sequence[tuple[float, float]], levels: Sequence[Level] = ()
) -> Html:
    """A curve over x (in `unit`) from its first to its last point, y between round numbers that enclose all values."""
    values = [y for _, y in points] + [level.value for level in levels]
    ticks = round_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    left, right = points[0][0], points[-1][0]

    def up(value: float) -> float:
        return 100.0 * (high - value) / (high - low)

    def along(value: float) -> float:
        return 100.0 * (value - left) / (right - left) if right > left else 50.0

    shapes = [el("line", class_="grid", x1="0", x2="100%", y1=_percent(up(y)), y2=_percent(up(y))) for y in ticks]
    shapes += [el("text", f"{y:g}", class_="tick", x="0", y=_percent(up(y)), dy="-4") for y in ticks]
    for level in levels:
        y = _percent(up(level.value))
        shapes.append(el("line", class_=f"level {level.style}", x1="0", x2="100%", y1=y, y2=y))
    drawn = " ".join(f"{along(x):.2f},{up(y):.2f}" for x, y in points)
    curve = el("polyline", points=drawn, class_="curve", vector_effect="non-scaling-stroke")
    shapes.append(el("svg", curve, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%"))
    shapes.append(el("text", f"{unit} {left:,.0f}", class_="tick", x="0", y="100%", dy="18"))
    shapes.append(el("text", f"{unit} {right:,.0f}", class_="tick end", x="100%", y="100%", dy="18"))
    named = (el("title", title), el("desc", description))
    return el("svg", *named, *shapes, class_="chart", role="img", aria_label=f"{title}. {description}")


def round_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that enclose [low, high]."""
    span = high - low or max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 4.5)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    return [round(index * step, 12) for index in range(first, last + 1)]
