"""The report's duplicates: by domain, by similarity to the page that was kept, and the biggest groups with samples."""

from __future__ import annotations

from corpusmith.report.duplicate_facts import DuplicateFacts, GroupMember
from corpusmith.report.facts import RunFacts
from corpusmith.report.html import Child, Html, Series, bar, column_chart, columns, el, folded, join, page_text, table
from corpusmith.units import number, share

DOMAINS_SHOWN = 20
SIMILARITY = (
    "Duplicates by their estimated Jaccard similarity to the page that was kept. A cluster can hold pages that are "
    "like a third one and less like each other."
)
KNOWN = (
    "Pages that lost text (or had it marked) by the share of their n-grams that stood earlier in the input, or earlier "
    "on the page."
)


def duplicates_section(run: RunFacts) -> Html | None:
    """What each dedup found; None where there was none."""
    steps = [(step.key, step.duplicates) for stage in run.stages for step in stage.steps.values()]
    parts = [_step(key, found) for key, found in steps if found is not None]
    return join(parts) if parts else None


def _step(key: str, found: DuplicateFacts) -> Html:
    return join(
        [
            el("h3", key),
            _domains(key, found),
            _shares(f"Similarity of duplicates to the page kept instead ({key})", SIMILARITY, found.similarity),
            _shares(f"Share of n-grams seen before, of pages that lost text ({key})", KNOWN, found.known),
            _groups(found),
            _repeated(found),
        ]
    )


def _domains(key: str, found: DuplicateFacts) -> Html:
    lost = [(name, facts) for name, facts in found.domains.items() if facts.removed or facts.tokens]
    if not lost:
        return el("p", "No duplicate was removed.")
    tokens = sum(facts.tokens for _, facts in lost)
    lost.sort(key=lambda entry: (-entry[1].tokens, -entry[1].removed, entry[0]))
    cells: list[tuple[Child, ...]] = [
        (
            page_text(name),
            number(facts.pages),
            number(facts.removed),
            share(facts.removed, facts.pages),
            number(facts.tokens),
            share(facts.tokens, tokens),
            bar(f"{name}: {share(facts.tokens, tokens)} of it", [("lose", facts.tokens / max(tokens, 1))], "mini"),
        )
        for name, facts in lost[:DOMAINS_SHOWN]
    ]
    if rest := [facts for _, facts in lost[DOMAINS_SHOWN:]]:
        pages, removed = sum(facts.pages for facts in rest), sum(facts.removed for facts in rest)
        less = sum(facts.tokens for facts in rest)
        more = (f"{number(len(rest))} more", number(pages), number(removed), share(removed, pages))
        cells.append((*more, number(less), share(less, tokens), Html("")))
    heads = columns("domain", "#pages", "#removed", "#of its pages", "#tokens removed", "#of all removed", "")
    caption = f"What {key} removed, by domain; pages are those of shards in which the domain lost any"
    return table(caption, heads, cells)


def _shares(title: str, hint: str, counts: list[int]) -> Html | None:
    """Pages by a share, as a chart and in numbers."""
    total, bins = sum(counts), len(counts)
    if not total:
        return None
    labels = [f"{index / bins:.2f}" for index in range(bins)]
    series = [Series(name="pages", style="before", counts=counts)]
    common = max(range(bins), key=lambda index: counts[index])
    said = f"Most pages lie between {common / bins:.2f} and {(common + 1) / bins:.2f}."
    cells = [
        (f"{index / bins:.2f}–{(index + 1) / bins:.2f}", number(count), share(count, total))
        for index, count in enumerate(counts)
        if count
    ]
    numbers = table("In numbers", columns("between", "#pages", "#share"), cells)
    chart = column_chart(title, said, labels, series)
    return join([el("p", hint, class_="hint"), chart, folded("The same in numbers", numbers)])


def _groups(found: DuplicateFacts) -> Html | None:
    biggest = found.biggest()
    if not biggest:
        return None
    parts = [el("p", "The biggest groups: the unit that was kept, and the first of the others.", class_="hint")]
    for position, (name, size, members) in enumerate(biggest):
        summary = join([el("strong", page_text(name)), el("span", f" · {number(size)} copies", class_="count")])
        parts.append(
            folded(
                summary,
                *(_member(one, "kept" if one.is_kept else "duplicate") for one in members),
                is_open=position == 0,
            )
        )
    return join(parts)


def _repeated(found: DuplicateFacts) -> Html | None:
    repeated = found.most_repeated()
    if not repeated:
        return None
    hint = "The texts removed most often: how often at least, and where the first removed one stood."
    return join(
        [el("p", hint, class_="hint")]
        + [
            _member(first, f"removed {number(copies)} times" if copies > 1 else "removed once")
            for copies, first in repeated
        ]
    )


def _member(member: GroupMember, what: str) -> Html:
    return el(
        "article",
        el(
            "p",
            el("strong", what),
            " · ",
            *([page_text(member.url), " · "] if member.url else []),
            page_text(member.shard),
            f", page {member.index}",
            class_="where",
        ),
        el("p", page_text(member.text), class_="text") if member.text else None,
        class_="page",
    )
