"""The report's distributions: lengths of pages before and after, and named values that steps aggregated."""

from __future__ import annotations

from corpusmith.report.facts import RunFacts
from corpusmith.report.html import (
    Child,
    Html,
    Series,
    bar,
    column_chart,
    columns,
    el,
    folded,
    join,
    legend,
    page_text,
    table,
)
from corpusmith.units import number, share

VALUES_SHOWN = 20


def bucket_label(index: int) -> str:
    """The lengths in a bucket: 0, 1, 2–3, 4–7, …"""
    if index < 2:
        return str(index)
    return f"{1 << (index - 1):,}–{(1 << index) - 1:,}"


def lengths_section(run: RunFacts) -> Html | None:
    """Pages by length before the first stage and after the last; None where no record tells."""
    before = next((stage.lengths_in for stage in run.stages if stage.lengths_in), [])
    last = next((stage for stage in reversed(run.stages) if stage.lengths_out), None)
    after = last.lengths_out if last is not None else []
    kept = "pages kept" if last is None or last is run.stages[-1] else f"pages kept by stage {last.name}"
    if not before and not after:
        return None
    size = max(len(before), len(after))
    before, after = before + [0] * (size - len(before)), after + [0] * (size - len(after))
    first = next((index for index in range(size) if before[index] or after[index]), 0)
    span = range(first, size)
    labels = [_short_label(index) for index in span]
    series = [
        Series(name="pages that came in", style="before", counts=[before[index] for index in span]),
        Series(name=kept, style="after", counts=[after[index] for index in span]),
    ]
    said = (
        f"The commonest length of pages that came in is {bucket_label(_peak(before))} tokens, "
        f"of those kept {bucket_label(_peak(after))}."
    )
    chart = column_chart("Length of pages in white-space tokens, before and after", said, labels, series)
    cells = [
        (bucket_label(index), number(before[index]), number(after[index]), share(after[index], before[index]))
        for index in span
    ]
    heads = columns("#tokens", "#pages in", "#pages kept", "#kept : in")
    return join(
        [
            el("p", "Pages by their number of white-space tokens; each column doubles the length.", class_="hint"),
            legend((row.style, row.name) for row in series),
            chart,
            folded("The lengths in numbers", table("Pages by length", heads, cells)),
        ]
    )


def _peak(counts: list[int]) -> int:
    return max(range(len(counts)), key=lambda index: counts[index], default=0)


def _short_label(index: int) -> str:
    low = 1 << (index - 1) if index > 1 else index
    if low >= 1 << 20:
        return f"{low >> 20}M"
    return f"{low >> 10}k" if low >= 1 << 10 else str(low)


def values_section(run: RunFacts) -> Html | None:
    """Histograms over names (languages, sources) that steps aggregated; None where there is none."""
    parts = []
    for step in (step for stage in run.stages for step in stage.steps.values()):
        for key, counts in step.values.items():
            total = sum(counts.values())
            ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
            cells: list[tuple[Child, ...]] = [
                (page_text(name), number(count), share(count, total), _mini(name, count, total))
                for name, count in ordered[:VALUES_SHOWN]
            ]
            if len(ordered) > VALUES_SHOWN:
                rest = sum(count for _, count in ordered[VALUES_SHOWN:])
                cells.append((f"{number(len(ordered) - VALUES_SHOWN)} more", number(rest), share(rest, total), ""))
            parts.append(table(f"{key} after {step.key}", columns("value", "#pages", "#share", ""), cells))
    return join(parts) if parts else None


def _mini(name: str, count: int, total: int) -> Html:
    return bar(f"{name}: {share(count, total)}", [("keep", count / max(total, 1))], "mini")
