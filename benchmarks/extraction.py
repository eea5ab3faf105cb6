"""The extractors on annotated pages: scores by kind of annotation, and time, on hosts that `best` was not tuned on.

`--source` is a folder of annotated pages (see `benchmarks/_extraction_gold.py`). All extractors read the same decoded
pages in this process, on one core; times are CPU seconds over all pages of the half that is reported.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import functools
import statistics
from collections.abc import Callable, Sequence

from benchmarks._bench import SHARED, Row, interleaved, make_parser, run, spread
from benchmarks._extraction_gold import KINDS, GoldPage, is_teaching, load_pages, score_pages
from raw_sources.extractors.registry import ExtractorChoice

TIME_GOAL = 1 / 3


def extractors() -> dict[str, Callable[[str], str]]:
    """The contenders; `bare resiliparse` calls the library with DCLM's setting and nothing around it."""
    from resiliparse.extract.html2text import extract_plain_text

    return {
        "best": ExtractorChoice(name="best").open(),
        "fast": ExtractorChoice(name="fast").open(),
        "bare resiliparse": lambda html: extract_plain_text(html, main_content=True),
        "trafilatura": ExtractorChoice(name="trafilatura").open(),
        "justext": ExtractorChoice(name="justext").open(),
    }


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Scores and times of `best` beside the other extractors."""
    pages = [page for page in load_pages(arguments.source) if arguments.all or not is_teaching(page)]
    contenders = extractors()
    timed = pages[:: 8 if arguments.quick else 1]
    texts = {name: [extract(page.html) for page in pages] for name, extract in contenders.items()}
    scores = {name: score_pages(pages, found) for name, found in texts.items()}
    print(f"{len(pages)} pages: " + ", ".join(f"{sum(page.kind == kind for page in pages)} {kind}" for kind in KINDS))
    for name, found in scores.items():
        shown = "  ".join(f"{kind} F1 {s.f1:.4f} (P {s.precision:.3f} R {s.recall:.3f})" for kind, s in found.items())
        print(f"{name:<17} {shown}")
    seconds = interleaved(
        {name: functools.partial(_extract_all, extract, timed) for name, extract in contenders.items()},
        repeats=1 if arguments.quick else 3,
    )
    for name, values in seconds.items():
        print(f"{name}: {spread(values)} for {len(timed)} pages")
    same = texts["fast"] == texts["bare resiliparse"]
    print(f"fast gives {'the same text as' if same else 'OTHER TEXT than'} bare resiliparse")
    rows = [
        _score_row(kind, other, scores["best"][kind].f1, scores[other][kind].f1)
        for other in ("fast", "trafilatura")
        for kind in KINDS
    ]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["best"] / medians["trafilatura"]
    return [
        *rows,
        Row(
            name="best / trafilatura, time",
            ours=medians["best"],
            other=medians["trafilatura"],
            unit="s",
            ratio=ratio,
            goal=f"<= {TIME_GOAL:.3f}",
            met=ratio <= TIME_GOAL,
        ),
    ]


def _extract_all(extract: Callable[[str], str], pages: Sequence[GoldPage]) -> list[str]:
    return [extract(page.html) for page in pages]


def _score_row(kind: str, other: str, ours: float, theirs: float) -> Row:
    name = f"best / {other}, {kind}"
    return Row(
        name=name, ours=ours, other=theirs, unit="F1", ratio=ours / theirs, goal=f">= {other}", met=ours >= theirs
    )


def main() -> int:
    """Print scores and ratios; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.set_defaults(source=str(SHARED / "data" / "html"))
    parser.add_argument("--all", action="store_true", help="report all hosts, those that taught `best` too")
    return run(parser, measure)


if __name__ == "__main__":
    raise SystemExit(main())
