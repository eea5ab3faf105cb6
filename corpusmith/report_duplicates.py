"""The report's duplicates: by domain, by similarity to the page that was kept, and the biggest groups with samples."""

from __future__ import annotations

from corpusmith.report_duplicate_facts import DuplicateFacts, Member
from corpusmith.report_facts import RunFacts
from corpusmith.report_html import (
    Child,
    Html,
    Series,
    bar,
    column_chart,
    columns,
    el,
    folded,
    join,
    number,
    page_text,
    share,
    table,
)

DOMAINS_SHOWN = 20


def duplicates_section(run: RunFacts) -> Html | None:
    """What each dedup found; None where there was none."""
    steps = [(step.key, step.duplicates) for stage in run.stages for step in stage.steps.values()]
    parts = [_step(key, found) for key, found in steps if found is not None]
    return join(parts) if parts else None


def _step(key: str, found: DuplicateFacts) -> Html:
    return join([el("h3", key), _domains(key, found), _similarity(key, found), _groups(found)])


def _domains(key: str, found: DuplicateFacts) -> Html:
    removed = sum(count for _, count in found.domains.values())
    if not removed:
        return el("p", "No page was removed as a duplicate.")
    most = sorted(found.domains.items(), key=lambda entry: (-entry[1][1], entry[0]))
    cells: list[tuple[Child, ...]] = [
        (
            page_text(name),
            number(pages),
            number(lost),
            share(lost, pages),
            share(lost, removed),
            bar(f"{name}: {share(lost, removed)} of the duplicates", [("lose", lost / removed)], "mini"),
        )
        for name, (pages, lost) in most[:DOMAINS_SHOWN]
    ]
    if len(most) > DOMAINS_SHOWN:
        rest = sum(lost for _, (_, lost) in most[DOMAINS_SHOWN:])
        cells.append(
            (f"{number(len(most) - DOMAINS_SHOWN)} more", "", number(rest), "", share(rest, removed), Html(""))
        )
    heads = columns("domain", "#pages", "#removed", "#of its pages", "#of all removed", "")
    caption = f"Duplicates that {key} removed, by domain; pages are those of shards in which the domain lost any"
    return table(caption, heads, cells)


def _similarity(key: str, found: DuplicateFacts) -> Html | None:
    total, bins = sum(found.similarity), len(found.similarity)
    if not total:
        return None
    labels = [f"{index / bins:.2f}" for index in range(bins)]
    series = [Series(name="duplicates", style="before", counts=found.similarity)]
    common = max(range(bins), key=lambda index: found.similarity[index])
    said = f"The commonest similarity lies between {common / bins:.2f} and {(common + 1) / bins:.2f}."
    chart = column_chart(f"Similarity of duplicates to the page kept instead ({key})", said, labels, series)
    cells = [
        (f"{index / bins:.2f}–{(index + 1) / bins:.2f}", number(count), share(count, total))
        for index, count in enumerate(found.similarity)
        if count
    ]
    hint = (
        "Duplicates by their estimated Jaccard similarity to the page that was kept. A cluster can hold pages that are "
        "like a third one and less like each other."
    )
    numbers = table("By similarity", columns("similarity", "#pages", "#share"), cells)
    return join([el("p", hint, class_="hint"), chart, folded("The similarities in numbers", numbers)])


def _groups(found: DuplicateFacts) -> Html | None:
    biggest = found.biggest()
    if not biggest:
        return None
    parts = [el("p", "The biggest groups: the unit that was kept, and the first of the others.", class_="hint")]
    for position, (name, size, members) in enumerate(biggest):
        summary = join([el("strong", page_text(name)), el("span", f" · {number(size)} copies", class_="count")])
        parts.append(folded(summary, *(_member(member) for member in members), is_open=position == 0))
    return join(parts)


def _member(member: Member) -> Html:
    return el(
        "article",
        el(
            "p",
            el("strong", "kept" if member.is_kept else "duplicate"),
            " · ",
            *([page_text(member.url), " · "] if member.url else []),
            page_text(member.shard),
            f", page {member.index}",
            class_="where",
        ),
        el("p", page_text(member.text), class_="text") if member.text else None,
        class_="page",
    )
