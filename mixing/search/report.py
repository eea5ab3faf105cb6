"""The report of a search as one self-contained HTML page, and its numbers as JSON beside it."""

from __future__ import annotations

from collections.abc import Sequence

from corpusmith.io import storage
from corpusmith.report.html import Html, Level, columns, el, escape, facts, line_chart, table
from corpusmith.report.style import STYLE
from corpusmith.units import decimal, share
from mixing.search.mixtures.arrays import Json

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SHOWN_ROUNDS = 8


def write_report(folder: str, name: str, found: Json) -> str:
    """Write `report.html` and `report.json` into a folder; gives the page's path."""
    storage.write_json(storage.join(folder, "report.json"), found, indent=1)
    path = storage.join(folder, "report.html")
    storage.write_bytes(path, render(name, found).encode())
    return path


def render(name: str, found: Json) -> str:
    """The page; equal facts give equal bytes."""
    sections = [_claim(found), _weights(found), _by_round(found), _fit(found), _progress(found), _sensitivity(found)]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{name}: mixture search"),
        el("style", Html(STYLE)),
    )
    header = el("header", el("p", "Corpusmith: mixture search", class_="over"), el("h1", name))
    return "<!doctype html>\n" + el("html", head, el("body", header, el("main", *sections)), lang="en") + "\n"


def claim_line(found: Json) -> str:
    """What is claimed of the answer against the natural shares, as one sentence."""
    claim = found["better_than_natural"]
    interval = f"{claim['gain']:+.4g} [{claim['low']:+.4g}, {claim['high']:+.4g}]"
    if claim["shown"]:
        return f"better than natural: {interval}, 95 % interval"
    return f"not shown to be better than natural: {interval}, 95 % interval"


def _section(title: str, *children: Html | str | None) -> Html:
    return el("section", el("h2", title), *children)


def _claim(found: Json) -> Html:
    claim, objective = found["better_than_natural"], found["objective"]
    pairs = [
        ("objective", escape(f"{objective['name']} ({objective['better']} is better)")),
        ("runs", escape(str(found["runs"]))),
        ("answer against the natural shares", escape(claim_line(found))),
        ("chance that no mixture is better than another", escape(f"{claim['chance_of_no_difference']:.3g}")),
        ("best measured", escape(f"{found['best_measured']['score']:.5g} ({found['best_measured']['id']})")),
    ]
    return _section("What was found", facts(pairs))


def _weights(found: Json) -> Html:
    epochs = found["epochs"]
    heads = columns("group", "#answer", "#natural", "#best measured", *(["#epochs"] if epochs else []))
    order = sorted(found["answer"], key=lambda group: (-found["answer"][group], group))
    rows: list[Sequence[Html | str]] = [
        [
            group,
            share(found["answer"][group], 1.0),
            share(found["natural"][group], 1.0),
            share(found["best_measured"]["groups"][group], 1.0),
            *([decimal(epochs[group], 2)] if epochs else []),
        ]
        for group in order
    ]
    return _section("Weights", table("Weights of the answer, largest first", heads, rows))


def _by_round(found: Json) -> Html:
    rounds = found["rounds"]
    step = max(1, -(-len(rounds) // _SHOWN_ROUNDS))
    shown = [*range(0, len(rounds) - 1, step), len(rounds) - 1]
    heads = columns("group", *(f"#round {index + 1}" for index in shown))
    order = sorted(found["answer"], key=lambda group: (-found["answer"][group], group))
    rows: list[Sequence[Html | str]] = [
        [group, *(share(rounds[index]["weights"][group], 1.0) for index in shown)] for group in order
    ]
    rows.append(["best score", *(decimal(rounds[index]["best"]) for index in shown)])
    return _section("Rounds", table("Mean weight of the mixtures of a round", heads, rows))


def _fit(found: Json) -> Html:
    fit = found["fit"]
    pairs = [
        ("rank correlation of held-out predictions and measurements", escape(f"{fit['spearman']:.3f}")),
        ("within the best quarter, where the choice is made", escape(f"{fit['spearman_top_quarter']:.3f}")),
    ]
    return _section("Predictor", facts(pairs))


def _progress(found: Json) -> Html:
    points = [(float(index), value) for index, value in enumerate(found["best_so_far"], 1)]
    low, middle, high = found["random_band"][-1]
    levels = [
        Level(name=name, style="", value=value) for name, value in (("5 %", low), ("median", middle), ("95 %", high))
    ]
    about = (
        f"The dashed lines: where random search would end after as many runs, by the model ({low:.5g}, {middle:.5g}, "
        f"{high:.5g}: 5 %, median, 95 %)."
    )
    chart = line_chart("Best so far", "The best score measured after each run", "run", points, levels)
    return _section("Progress", el("p", about, class_="hint"), chart)


def _sensitivity(found: Json) -> Html:
    heads = columns("group", "#removed", "#halved", "#doubled")
    rows: list[Sequence[Html | str]] = [
        [group, *(f"{row[label]:+.4g}" for label in ("removed", "halved", "doubled"))]
        for group, row in found["sensitivity"].items()
    ]
    hint = el("p", "Predicted change of the objective (above 0: better); the others make room in proportion.")
    return _section("Sensitivity", hint, table("One group changed", heads, rows))
