"""The report as one self-contained HTML page: what became of a run's pages, step by step, in numbers and examples.

The page loads nothing and runs nothing: a strict content security policy stands in its head, there is no script, and
all text comes through `corpusmith.report.html`, which escapes it. It shows no time of its own making, so the same run
folder and database give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from corpusmith.report.facts import Example, FunnelRow, RunFacts, StageFacts, StepFacts, funnel
from corpusmith.report.html import Html, bar, columns, el, facts, folded, join, legend, page_text, table, tile
from corpusmith.report.lineage import Lineage
from corpusmith.report.sections.distributions import lengths_section, values_section
from corpusmith.report.sections.duplicates import duplicates_section
from corpusmith.report.sections.profile import profile_section
from corpusmith.report.sections.results import results_section
from corpusmith.report.style import STYLE
from corpusmith.report.values import as_dict
from corpusmith.run.ledger import READ_STEP
from corpusmith.units import UNKNOWN, byte_size, duration, number, rate, share, short_number

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
FOOTER = (
    "Written by Corpusmith from the records of the run. Token counts are white-space tokens unless a tokenizer is "
    "named; bytes are those of the files as stored."
)
INPUTS_SHOWN = 20
ARGUMENT_CHARACTERS = 200


def render(run: RunFacts, lineage: Lineage | None) -> str:
    """The page of a run, and of what came of its output where a database was given."""
    rows = funnel(run)
    sections = [
        ("funnel", "Funnel", _funnel_section(rows)),
        ("removed", "Removed", _removed_section(run, rows)),
        ("aside", "Set aside", _aside_section(run, rows)),
        ("lengths", "Lengths", lengths_section(run)),
        ("values", "Values", values_section(run)),
        ("duplicates", "Duplicates", duplicates_section(run)),
        ("results", "What came of it", results_section(lineage) if lineage is not None else None),
        ("stages", "Stages", _stages_section(run)),
        ("profile", "Speed", profile_section(run)),
        ("books", "Books", _balance_section(run)),
        ("config", "Configuration", _config_section(run)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in sections if body is not None]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),
        el("title", f"{run.name}: Corpusmith report"),
        el("style", Html(STYLE)),
    )
    body = el(
        "body",
        _header(run),
        el("nav", *(el("a", title, href=f"#{anchor}") for anchor, title, _ in shown), aria_label="Sections"),
        el("main", *(el("section", el("h2", title), body, id=anchor) for anchor, title, body in shown)),
        el("footer", el("p", FOOTER)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"


# --- head of the page ------------------------------------------------------------------------------------------------


def _header(run: RunFacts) -> Html:
    failed = any(stage.failures for stage in run.stages)
    state = "finished" if run.finished else "failed" if failed else "not finished"
    badge = el("span", state, class_="badge good" if run.finished else "badge bad")
    when = f"{_moment(run.started_at)} to {_moment(run.ended_at)} (UTC)" if run.started_at else "no event told when"
    return el(
        "header",
        el("p", "Corpusmith report", class_="over"),
        el("h1", run.name),
        el("p", badge, "  ", when, class_="about"),
        _tiles(run),
    )


def _moment(text: str | None) -> str:
    return text.replace("T", " ").removesuffix("Z") if text else UNKNOWN


def _tiles(run: RunFacts) -> Html:
    total, seconds = run.total(), run.wall_seconds()
    removed, aside = sum(total.removed.values()), sum(total.errored.values())
    first, last = (run.stages[0], run.stages[-1]) if run.stages else (StageFacts(name=""), StageFacts(name=""))
    whole = total.read + total.added
    tokens_note = "not counted by the last stage"
    if last.tokens_out is not None:
        tokens_note = f"{share(last.tokens_out, first.tokens_in)} of {short_number(first.tokens_in)}"
    return el(
        "dl",
        tile("Pages in", short_number(total.read), f"{number(total.added)} more by splits" if total.added else ""),
        tile("Pages kept", short_number(total.kept), share(total.kept, whole), "kept"),
        tile("Pages removed", short_number(removed), share(removed, whole)),
        tile("Set aside", short_number(aside), share(aside, whole) if aside else "none", "bad" if aside else ""),
        tile("Tokens kept", short_number(last.tokens_out), tokens_note),
        tile("Output", byte_size(last.bytes_out), f"from {byte_size(first.bytes_in)}" if first.bytes_in else ""),
        tile("Time", duration(seconds), f"{len(run.stages)} stage{'' if len(run.stages) == 1 else 's'}"),
        tile("Throughput", _megabytes(first.bytes_in, seconds), rate(total.read, seconds, "pages")),
        class_="tiles",
    )


def _megabytes(size: int | None, seconds: float | None) -> str:
    return rate(None if size is None else size / 1e6, seconds, "MB")


# --- funnel ----------------------------------------------------------------------------------------------------------


def arguments_text(arguments: dict[str, Any]) -> str:
    """A step's arguments as its YAML gives them, cut where they are very long."""
    shown = ", ".join(f"{name}={compact(value)}" for name, value in arguments.items() if value is not None)
    return shown if len(shown) <= ARGUMENT_CHARACTERS else f"{shown[: ARGUMENT_CHARACTERS - 1]}…"


def compact(value: object) -> str:
    """A JSON value on one line; text without quotes."""
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


def _funnel_section(rows: list[FunnelRow]) -> Html:
    if not rows:
        return el("p", "No stage has begun yet.")
    has_tokens = any(row.tokens is not None for row in rows)
    keys = [("keep", "pages left"), ("lose", "removed by this step")]
    keys += [("fail", "set aside")] if any(row.errors for row in rows) else []
    keys += [("tokens", "white-space tokens left (share of the input's)")] if has_tokens else []
    return join(
        [
            el("p", "Pages and tokens left after each step, as a share of what came in.", class_="hint"),
            legend(keys),
            el("ol", *(_funnel_row(row, rows) for row in rows), class_="funnel"),
            folded("The funnel in numbers", _funnel_table(rows)),
        ]
    )


def _funnel_row(row: FunnelRow, rows: list[FunnelRow]) -> Html:
    widest = max((each.pages + each.removed + each.errors for each in rows), default=0) or 1
    most_tokens = max((each.tokens or 0 for each in rows), default=0) or 1
    left = share(row.pages, rows[0].pages)
    parts = [("keep", row.pages / widest), ("lose", row.removed / widest), ("fail", row.errors / widest)]
    lost = f", {number(row.removed)} removed" if row.removed else ""
    bars = [bar(f"{row.label}: {number(row.pages)} pages left ({left} of the input){lost}", parts)]
    if row.tokens is not None:
        said = f"{row.label}: {number(row.tokens)} white-space tokens left ({share(row.tokens, rows[0].tokens)})"
        bars.append(bar(said, [("tokens", row.tokens / most_tokens)], "thin"))
    effects = [
        f"−{number(row.removed)} ({share(row.removed, row.pages_before)})" if row.removed else "",
        f"+{number(row.added)} by splits" if row.added else "",
        f"{number(row.errors)} set aside" if row.errors else "",
    ]
    note = ", ".join(filter(None, effects)) or ("removed nothing" if row.kind == "step" else "")
    return el(
        "li",
        el("div", row.label, *_small(arguments_text(row.arguments)), *_small(note), class_="name"),
        el("div", *bars, class_="bars"),
        el("div", number(row.pages), *_small(left), class_="left"),
        class_=row.kind,
    )


def _step(key: str) -> Html:
    return el("span", key, class_="key-name")


def _small(text: str) -> list[Html]:
    return [el("small", text)] if text else []


def _funnel_table(rows: list[FunnelRow]) -> Html:
    heads = columns(
        *("step", "#pages left", "#share", "#removed", "#of those that came", "#added", "#set aside"),
        *("#tokens left", "#share", "#tokens removed", "#seconds"),
    )
    cells = [
        (
            _step(row.label) if row.kind == "step" else row.label,
            number(row.pages),
            share(row.pages, rows[0].pages),
            number(row.removed) if row.kind == "step" else "",
            share(row.removed, row.pages_before) if row.kind == "step" else "",
            number(row.added) if row.kind == "step" else "",
            number(row.errors) if row.kind == "step" else "",
            number(row.tokens),
            share(row.tokens, rows[0].tokens),
            number(row.tokens_removed) if row.kind != "input" else "",
            f"{row.seconds:,.2f}" if row.seconds > 0 else "",
        )
        for row in rows
    ]
    return table("Pages and white-space tokens after each step; seconds are summed over all workers", heads, cells)


# --- examples --------------------------------------------------------------------------------------------------------


def _steps(run: RunFacts) -> Iterator[tuple[StageFacts, StepFacts]]:
    for stage in run.stages:
        for step in stage.steps.values():
            yield stage, step


def _pages_before(rows: list[FunnelRow]) -> dict[tuple[str, str], int]:
    """How many pages came to each step, by (stage, step)."""
    return {(row.stage, row.label): row.pages_before for row in rows}


def _removed_section(run: RunFacts, rows: list[FunnelRow]) -> Html:
    steps = [(stage, step) for stage, step in _steps(run) if step.removed]
    if not steps:
        return el("p", "No step removed a page.")
    came = _pages_before(rows)
    parts = [el("p", "What each step removed, with the first examples by shard and index.", class_="hint")]
    for position, (stage, step) in enumerate(steps):
        arrived = share(step.removed, came[stage.name, step.key])
        count = f" · {number(step.removed)} pages, {arrived} of those that came to it"
        if step.tokens_removed:
            count += f", {number(step.tokens_removed)} tokens"
        reasons = {example.reason for example in step.samples}
        why = el("p", "removed by ", el("code", *reasons), class_="why") if len(reasons) == 1 else None
        examples = [_example(example, with_reason=why is None) for example in step.samples]
        none = el("p", "The records hold no example.", class_="page hint")
        summary = join([el("strong", step.key), el("span", count, class_="count")])
        parts.append(folded(summary, why, *(examples or [none]), is_open=position == 0))
    return join(parts)


def _example(example: Example, *, with_reason: bool) -> Html:
    return el(
        "article",
        el(
            "p",
            *([page_text(example.url), " · "] if example.url else []),
            page_text(example.shard),
            f", page {example.index}",
            class_="where",
        ),
        el("p", page_text(example.text), class_="text") if example.text else None,
        el("p", el("code", example.reason), class_="where") if with_reason else None,
        class_="page",
    )


def _aside_section(run: RunFacts, rows: list[FunnelRow]) -> Html:
    steps = [(stage, step) for stage, step in _steps(run) if step.errors]
    if not steps:
        return el("p", "Every page could be read and handled by every step.")
    came = _pages_before(rows)
    cells = [
        (
            join([_step(step.key), " (records that cannot be read)" if step.key == READ_STEP else None]),
            stage.name,
            number(step.errors),
            share(step.errors, came[stage.name, step.key]),
            el("code", f"errors/{step.key}/"),
        )
        for stage, step in steps
    ]
    heads = columns("step", "stage", "#pages", "#share", "kept in")
    examples = [
        (
            _step(step.key),
            el("div", page_text(example.shard), f", record {example.index}", class_="wide"),
            el("div", page_text(example.url), class_="wide") if example.url else UNKNOWN,
            el("div", page_text(example.reason), class_="wide"),
        )
        for _, step in steps
        for example in step.quarantined
    ]
    hint = "Records that could not be read and pages that a step could not handle. They are kept as they were."
    return join(
        [
            el("p", hint, class_="hint"),
            table("Set aside by step", heads, cells),
            table("First examples", columns("step", "where", "url", "reason"), examples) if examples else None,
        ]
    )


# --- the run itself --------------------------------------------------------------------------------------------------


def _stages_section(run: RunFacts) -> Html:
    if not run.stages:
        return el("p", "No stage has begun yet.")
    heads = columns(
        *("stage", "#shards", "#pages in", "#pages out", "#in", "#out"),
        *("#wall time", "#work time", "#pages/s", "#MB/s"),
    )
    cells = [
        (
            stage.name,
            number(stage.records) if stage.units in (None, stage.records) else f"{stage.records} of {stage.units}",
            number(stage.counts.read),
            number(stage.counts.kept),
            byte_size(stage.bytes_in),
            byte_size(stage.bytes_out),
            duration(stage.wall_seconds),
            duration(stage.work_seconds),
            rate(stage.counts.read, stage.wall_seconds, "").removesuffix(" /s"),
            _megabytes(stage.bytes_in, stage.wall_seconds).removesuffix(" MB/s"),
        )
        for stage in run.stages
    ]
    caption = "Stages; wall time includes starting and all tries, work time is summed over the workers"
    failures = [
        join(
            [
                el("h3", f"Failed shards of {stage.name}"),
                el("ul", *(el("li", page_text(line)) for line in stage.failures)),
            ]
        )
        for stage in run.stages
        if stage.failures
    ]
    return join([table(caption, heads, cells), *failures, _slowest(run)])


def _slowest(run: RunFacts) -> Html | None:
    """The steps by the time that they took, longest first."""
    timed = sorted(((step.seconds, step.key) for _, step in _steps(run) if step.seconds > 0), reverse=True)
    total = sum(seconds for seconds, _ in timed)
    if not timed:
        return None
    cells = [
        (
            key,
            f"{seconds:,.2f}",
            share(seconds, total),
            bar(f"{key}: {share(seconds, total)}", [("keep", seconds / total)], "mini"),
        )
        for seconds, key in timed
    ]
    return table(
        "Where the time of the steps went (summed over the workers)", columns("step", "#seconds", "#share", ""), cells
    )


def _balance_section(run: RunFacts) -> Html:
    checks = run.checks()
    balanced = all(check.holds for check in checks)
    verdict = "The books balance." if balanced else "The books do not balance."
    if not run.finished:
        verdict += " The run is not finished: they hold for the shards that have a record."
    total = run.total()
    steps = dict.fromkeys((*total.removed, *total.errored))
    cells = [("read", number(total.read), ""), ("added by splits", number(total.added), "")]
    for step in steps:
        cells += [(f"removed by {step}", "", number(total.removed[step]))] if total.removed.get(step) else []
        cells += [(f"set aside by {step}", "", number(total.errored[step]))] if total.errored.get(step) else []
    cells.append(("kept", "", number(total.kept)))
    gone = total.kept + sum(total.removed.values()) + sum(total.errored.values())
    cells.append(("sum", number(total.read + total.added), number(gone)))
    items = [el("li", check.claim, class_=None if check.holds else "broken bad-text") for check in checks]
    return join(
        [
            el("p", el("span", verdict, class_="badge good" if balanced else "badge bad")),
            table("The books of the whole run, summed from the shards' records", columns("", "#in", "#out"), cells),
            el("ul", *items, class_="checks"),
        ]
    )


def _config_section(run: RunFacts) -> Html:
    inputs = as_dict(run.plan.get("input"))
    common = [(str(key), compact(value)) for key, value in run.plan.items() if key not in ("input", "stages")]
    shown = dict(list(inputs.items())[:INPUTS_SHOWN])
    more = len(inputs) - len(shown)
    plan = {**run.plan, "input": {**shown, **({f"and {more:,} more": ""} if more > 0 else {})}}
    parts = [facts([*common, ("input shards", number(len(inputs)))])]
    if len(run.versions) > 1:
        parts.append(el("p", "This run was continued under other versions than it was begun with.", class_="bad-text"))
    for index, versions in enumerate(run.versions):
        caption = "Versions" if len(run.versions) == 1 else f"Versions, try {index + 1}"
        parts.append(table(caption, columns("what", "version"), sorted(versions.items())))
    dumped = orjson.dumps(plan, option=orjson.OPT_INDENT_2).decode()
    parts.append(folded("What defines the result (plan.json)", el("pre", dumped)))
    return join(parts)
