"""`corpusmith explain FILE --config C`: a few pages through the local steps, and what each step did to them.

Runs in this process, writes nothing. For each page and step: whether it was kept, removed, split or raised, what
changed (keys added or changed, characters lost) or what it measured. Global steps look at all pages of a data set and
are passed over.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.run.progress import say

if TYPE_CHECKING:
    from baselines.core.shard_processor import StepResult
    from baselines.core.steps import BuiltStep

Page = dict[str, Any]

DEFAULT_PAGES = 3
SHOWN_CHARACTERS = 160
BULLETS = ("\u25cf", "\u2022", "*", "-")
KEPT, REMOVED, SPLIT, FAILED, PASSED_OVER = "kept", "REMOVED", "split", "RAISED", "passed over"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a step did to a piece of a page: `verdict`, and in words what it measured or changed."""

    step: str
    verdict: str
    details: str


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith explain`."""
    parser = make_parser(
        "corpusmith explain",
        "Show for some pages, step by step, what each mapper of a YAML measured and decided.",
        "corpusmith explain pages/a.jsonl.zst --config filters.yaml --page 7",
    )
    parser.add_argument("file", help="a page shard")
    parser.add_argument("--config", required=True, help="the YAML")
    parser.add_argument("--source_name", help="entry of the YAML (default: the only one)")
    parser.add_argument("--page", type=int, action="append", help="index of a page, from 0; may be given several times")
    parser.add_argument("--assets", help="folder of word lists and models, or `sample` for our own small ones")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default 0)")
    parser.add_argument(
        "--raw_data_dirpath",
        help="the run's input folder, which holds FILE: its place there decides random draws (default: FILE's folder)",
    )
    return parser


def measures(page: Page) -> str:
    """What the filters look at, in numbers."""
    from corpusmith.text.segmentation.view import view

    text = page.get("text")
    if not isinstance(text, str):
        return f"text: {type(text).__name__}"
    words = text.split()
    lines = sum(1 for line in text.split("\n") if line.strip())
    mean = sum(map(len, words)) / len(words) if words else 0.0
    segmented = view(text).count_words("uniseg", True, True)
    return f"{len(text)} characters, {len(words)} words ({segmented} by UAX #29), mean length {mean:.2f}, {lines} lines"


def measured_by(func: str, arguments: dict[str, Any], page: Page) -> str:
    """What a filter compared with its thresholds, where that is one number; else the measures of the page."""
    from baselines.mappers.filters.content_filters import STOP_WORDS, SYMBOLS

    text = page.get("text")
    if func in ("language_filter", "quality_filter"):
        key = arguments.get("key", "language_id_whole_page_langdetect" if func == "language_filter" else None)
        return f"{key or 'fasttext_hq_prob'} = {_short(page.get(key or 'fasttext_hq_prob'))}"
    if func.startswith("url_"):
        return f"url = {_short(page.get('url'))}"
    if not isinstance(text, str) or "." in func:
        return measures(page)
    words, lines = text.split(), [line.strip() for line in text.split("\n") if line.strip()]
    if func == "symbol_ratio_filter":
        symbols = sum(map(text.count, SYMBOLS))
        return f"{symbols} symbols in {len(words)} words"
    if func == "bullet_count_filter":
        return f"{sum(line.startswith(BULLETS) for line in lines)} of {len(lines)} lines start with a bullet"
    if func == "ellipsis_count_filter":
        return f"{sum(line.endswith(SYMBOLS[1:]) for line in lines)} of {len(lines)} lines end with an ellipsis"
    if func == "alphabetic_word_ratio_filter":
        return f"{sum(not any(map(str.isalpha, word)) for word in words)} of {len(words)} words have no letter"
    if func == "stop_word_filter":
        hits = [word for word in text.lower().split() if word in STOP_WORDS]
        return f"{len(hits)} stop words, {len(set(hits))} different ones"
    return measures(page)


def changes(before: Page, after: Page) -> str:
    """What a step changed: keys, and the length of the text."""
    found = [f"+{key}={_short(after[key])}" for key in after if key not in before]
    found += [f"-{key}" for key in before if key not in after]
    for key in before:
        if key in after and before[key] != after[key]:
            old, new = before[key], after[key]
            if isinstance(old, str) and isinstance(new, str):
                found.append(f"{key}: {len(old)} → {len(new)} characters")
            else:
                found.append(f"{key}: {_short(old)} → {_short(new)}")
    return "; ".join(found)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[: SHOWN_CHARACTERS - 3]}..."


class Explainer:
    """The steps of a pipeline with their mappers built."""

    def __init__(self, config: str, source_name: str | None, assets: str | None, seed: int) -> None:
        from baselines.assets import resolve_step
        from baselines.core.steps import build_steps
        from ray_processing.pipeline.config import GlobalCall, load_pipeline
        from ray_processing.pipeline.stages import local_runs

        self._seed = seed
        self._runs: list[tuple[BuiltStep, ...] | str] = []  # a run of local steps, or the key of a global one
        for run in local_runs(load_pipeline(config, source_name)):
            if isinstance(run, GlobalCall):
                self._runs.append(run.key)
                continue
            found = [resolve_step(step.func, step.arguments, assets, f"step {step.key}") for step in run]
            running = [dataclasses.replace(step, arguments=own.arguments) for step, own in zip(run, found, strict=True)]
            self._runs.append(build_steps(tuple(running)))

    def explain(self, page: Page, shard: str, index: int) -> list[Finding]:
        """Return the findings of a page's way, until no piece of it is left.

        Args:
            page: the page; it is changed.
            shard: the name of its shard in the run.
            index: its place there.
        """
        from baselines.core.shard_processor import run_in_order

        findings: list[Finding] = []

        def report(result: StepResult) -> None:
            findings.append(_finding(result))

        pages = [page]
        for run in self._runs:
            if not pages:
                break
            if isinstance(run, str):
                findings.append(Finding(step=run, verdict=PASSED_OVER, details="looks at all pages of a data set"))
            else:
                pages = run_in_order(run, pages, (self._seed, shard, index), report)
        return findings


def _finding(result: StepResult) -> Finding:
    """What a local step did to a page."""
    step, before = result.built.step, result.before
    if result.problem is not None:
        return Finding(step=step.reason, verdict=FAILED, details=result.problem)
    if not result.pages:
        return Finding(step=step.reason, verdict=REMOVED, details=measured_by(step.func, step.arguments, before))
    if len(result.pages) > 1:
        return Finding(step=step.reason, verdict=SPLIT, details=f"into {len(result.pages)} pages")
    details = changes(before, result.pages[0]) or measured_by(step.func, step.arguments, before)
    return Finding(step=step.reason, verdict=KEPT, details=details)


def _name_in_run(file: str, folder: str | None) -> str:
    """The shard's name in a run over `folder`."""
    from corpusmith.io import storage

    if folder is None:
        return storage.basename(file)
    if not file.startswith(folder.rstrip("/") + "/"):
        raise InputError(f"{file} does not lie in --raw_data_dirpath {folder}")
    return storage.relative(file, folder)


def run(arguments: argparse.Namespace) -> None:
    """Show each page that was asked for."""
    from corpusmith.io import storage
    from corpusmith.io.pages.shards import read_records

    if not storage.exists(arguments.file):
        raise InputError(f"{arguments.file}: no such file")
    shard = _name_in_run(arguments.file, arguments.raw_data_dirpath)
    explainer = Explainer(arguments.config, arguments.source_name, arguments.assets, arguments.seed)
    wanted = set(arguments.page if arguments.page else range(DEFAULT_PAGES))
    shown = set()
    for record in itertools.islice(read_records(arguments.file), max(wanted) + 1):
        if record.index not in wanted:
            continue
        shown.add(record.index)
        say(f"page {record.index} of {arguments.file}")
        if record.page is None:
            say(f"  unreadable: {record.error}")
            continue
        say(f"  url {record.page.get('url')!r}; {measures(record.page)}")
        for finding in explainer.explain(record.page, shard, record.index):
            say(f"  {finding.verdict:<11} {finding.step}: {finding.details}")
    missing = sorted(wanted - shown)
    if missing and arguments.page:
        raise InputError(f"{arguments.file} has no page {missing[0]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith explain`."""
    return run_command(build_parser(), run, argv)
