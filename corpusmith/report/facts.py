"""What a run's folder tells: its plan, ledger, events and the records of its shards, merged into a few numbers.

Records are read one after the other and merged as they come, so memory does not grow with their number; of the pages
shown as examples only the first few by (shard, index) are kept. The counts come from the records, never from the
ledger: the ledger is only held against them. A record's details are for show, so whatever is missing or odd in them
counts as unknown and is never an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import orjson

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.report.duplicate_facts import DuplicateFacts
from corpusmith.report.values import as_dict, as_int, as_number, as_rows
from corpusmith.run.ledger import READ_STEP, Counts

EXAMPLES_PER_STEP = 5
FAILURES_SHOWN = 20
MAX_VALUES_COUNTED = 10_000
PERCENTILES = frozenset(("min", "max", "median", "p25", "p75", "p90", "p95", "p99", "mean"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A page that a step removed or could not handle: where it stood, how it began, and why."""

    shard: str
    index: int
    url: str | None
    text: str
    reason: str


@dataclass(kw_only=True, slots=True)
class StepFacts:
    """One step over all shards. `tokens_removed` counts white-space tokens of removed pages; None where unknown."""

    key: str
    func: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    pages_in: int = 0
    pages_out: int = 0
    removed: int = 0
    errors: int = 0
    tokens_removed: int | None = 0
    seconds: float = 0.0
    samples: list[Example] = field(default_factory=list)
    quarantined: list[Example] = field(default_factory=list)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    duplicates: DuplicateFacts | None = None

    @property
    def added(self) -> int:
        """Pages that splits made beyond those that were split."""
        return self.pages_out - self.pages_in + self.removed + self.errors


@dataclass(kw_only=True, slots=True)
class StageFacts:
    """One stage over all its records.

    `units`: how many it should have (None: unknown); `wall_seconds`: from the events, all tries together;
    `work_seconds`: summed over the shards; bytes are those of the files as stored. `profile`: sums over the shards
    that were run with `--profile` (seconds, CPU seconds, those of the I/O floor, bytes of content).
    """

    name: str
    records: int = 0
    units: int | None = None
    counts: Counts = field(default_factory=Counts)
    steps: dict[str, StepFacts] = field(default_factory=dict)
    tokens_in: int | None = 0
    tokens_out: int | None = 0
    lengths_in: list[int] = field(default_factory=list)
    lengths_out: list[int] = field(default_factory=list)
    bytes_in: int | None = 0
    bytes_out: int = 0
    written: int = 0
    wall_seconds: float | None = None
    work_seconds: float | None = 0.0
    profile: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A claim about the counts and whether it holds."""

    claim: str
    holds: bool


@dataclass(kw_only=True)
class RunFacts:
    """A run as its folder tells it; `finished` is the last word of its events."""

    base: str
    plan: dict[str, Any]
    stages: list[StageFacts]
    ledger: dict[str, Any] | None
    finished: bool
    started_at: str | None
    ended_at: str | None
    versions: list[dict[str, str]]

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return storage.basename(self.base)

    def total(self) -> Counts:
        """The counts from the first stage's input to the last stage's output."""
        whole = Counts()
        for stage in self.stages:
            whole.add(Counts(added=stage.counts.added, removed=stage.counts.removed, errored=stage.counts.errored))
        if self.stages:
            whole.read, whole.kept = self.stages[0].counts.read, self.stages[-1].counts.kept
        return whole

    def wall_seconds(self) -> float | None:
        """Time that the stages took, one after the other; None where no event tells."""
        known = [stage.wall_seconds for stage in self.stages if stage.wall_seconds is not None]
        return sum(known) if known else None

    def checks(self) -> list[Check]:
        """What must hold between the records, the files they name and the ledger."""
        found = [check for index in range(len(self.stages)) for check in self._stage_checks(index)]
        if self.finished and self.ledger is not None:
            stored = counts_of(self.ledger.get("total"))
            same = stored.to_json() == self.total().to_json()
            found.append(Check(claim="the ledger's total equals the sum of the shards' records", holds=same))
        return found

    def _stage_checks(self, index: int) -> Iterator[Check]:
        stage = self.stages[index]
        counts, name = stage.counts, stage.name
        gone = counts.kept + sum(counts.removed.values()) + sum(counts.errored.values())
        yield Check(
            claim=f"{name}: read {counts.read:,} + added {counts.added:,} = kept {counts.kept:,} + removed "
            f"{sum(counts.removed.values()):,} + set aside {sum(counts.errored.values()):,}",
            holds=counts.read + counts.added == gone,
        )
        claim = f"{name}: kept {counts.kept:,} records and wrote {stage.written:,}"
        yield Check(claim=claim, holds=stage.written == counts.kept)
        if index > 0:
            before = self.stages[index - 1].counts.kept
            claim = f"{name}: read {counts.read:,} of the {before:,} records that the stage before kept"
            yield Check(claim=claim, holds=before == counts.read)


@dataclass(frozen=True, kw_only=True, slots=True)
class FunnelRow:
    """A place in the funnel: what is left after it. `kind` is `input`, `step` or `change` (nothing of a step's)."""

    kind: str
    label: str
    func: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    pages_before: int = 0
    pages: int = 0
    added: int = 0
    removed: int = 0
    errors: int = 0
    tokens: int | None = None
    tokens_removed: int | None = None
    seconds: float = 0.0


def funnel(run: RunFacts) -> list[FunnelRow]:
    """The way of the pages through all steps of all stages.

    White-space tokens left are known exactly at the ends of a stage; in between they are its input less what the
    removed pages held, and a row of its own says by how much steps that rewrite text (or split, or set aside) differ.
    """
    if not run.stages:
        return []
    first = run.stages[0]
    rows = [FunnelRow(kind="input", label="input", pages=first.counts.read, tokens=first.tokens_in)]
    for index, stage in enumerate(run.stages):
        following = run.stages[index + 1].tokens_in if index + 1 < len(run.stages) else None
        if (gap := stage.counts.read - rows[-1].pages) != 0:
            label = "not handed on by the stage before"
            rows.append(FunnelRow(kind="change", label=label, pages=rows[-1].pages + gap, tokens=stage.tokens_in))
        rows.extend(_stage_rows(stage, stage.tokens_out if stage.tokens_out is not None else following))
    return rows


def _stage_rows(stage: StageFacts, tokens_out: int | None) -> Iterator[FunnelRow]:
    """The rows of one stage; `tokens_out` is what its output holds, as far as anyone knows."""
    pages, tokens = stage.counts.read, stage.tokens_in
    steps = list(stage.steps.values())
    for position, step in enumerate(steps):
        before, lost = pages, step.tokens_removed
        pages += step.added - step.removed - step.errors
        if lost is None and len(steps) == 1 and tokens is not None and tokens_out is not None:
            lost = tokens - tokens_out
        if tokens is None or lost is None:
            tokens = tokens_out if position == len(steps) - 1 else None
        else:
            tokens -= lost
        yield FunnelRow(
            kind="step",
            label=step.key,
            func=step.func,
            arguments=step.arguments,
            stage=stage.name,
            pages_before=before,
            pages=pages,
            added=step.added,
            removed=step.removed,
            errors=step.errors,
            tokens=tokens,
            tokens_removed=lost,
            seconds=step.seconds,
        )
    if steps and tokens is not None and tokens_out is not None and tokens != tokens_out:
        label = "text rewritten, split or set aside in this stage"
        yield FunnelRow(kind="change", label=label, pages=pages, tokens=tokens_out, tokens_removed=tokens - tokens_out)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_run(base: str) -> RunFacts:
    """Read the run below `base`, the folder that holds `run/` or is that folder itself.

    Raises:
        InputError: no run was started there.
    """
    root, plan_url = storage.join(base, "run"), storage.join(base, "run", "plan.json")
    if not storage.exists(plan_url) and storage.exists(storage.join(base, "plan.json")):
        root, plan_url = base, storage.join(base, "plan.json")
    if not storage.exists(plan_url):
        raise InputError(
            f"{base}: holds no run ({plan_url} is missing); give the folder that holds run/ and its output"
        )
    events = list(_read_events(storage.join(root, "events.jsonl")))
    runs = [event for event in events if event.get("event") == "run"]
    finished = bool(runs) and runs[-1].get("state") == "finished"
    ledger_url = storage.join(root, "ledger.json")
    ledger = as_dict(storage.read_json(ledger_url)) if storage.exists(ledger_url) else None
    stages = _read_stages(storage.join(root, "stages"))
    if finished and ledger is not None:
        named = [row.get("stage") for row in as_rows(ledger.get("stages"))]
        stages = [stage for stage in stages if stage.name in named]
    _add_events(stages, events)
    times = [event["time"] for event in events if isinstance(event.get("time"), str)]
    versions = [
        {name: str(version) for name, version in as_dict(event["versions"]).items()}
        for event in runs
        if "versions" in event
    ]
    return RunFacts(
        base=base,
        plan=as_dict(storage.read_json(plan_url)),
        stages=stages,
        ledger=ledger,
        finished=finished,
        started_at=times[0] if times else None,
        ended_at=times[-1] if times else None,
        versions=[entry for index, entry in enumerate(versions) if entry not in versions[:index]],
    )


def _read_events(url: str) -> Iterator[dict[str, Any]]:
    if not storage.exists(url):
        return
    for line in storage.read_bytes(url).splitlines():
        try:
            yield as_dict(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue


def _read_stages(root: str) -> list[StageFacts]:
    """The stages whose folders stand, by name, merged from their records."""
    stages: dict[str, StageFacts] = {}
    if not storage.is_dir(root):
        return []
    for info in storage.list_files(root, (".json",)):
        name, _, rest = storage.relative(info.url, root).partition("/")
        stage = stages.setdefault(name, StageFacts(name=name))
        if rest.startswith("records/"):
            _merge(stage, as_dict(storage.read_json(info.url)))
    for stage in stages.values():
        _complete(stage)
    return [stages[name] for name in sorted(stages)]


def _add_events(stages: list[StageFacts], events: Iterable[dict[str, Any]]) -> None:
    by_name = {stage.name: stage for stage in stages}
    for event in events:
        stage = by_name.get(str(event.get("stage")))
        if stage is None or event.get("event") != "stage":
            continue
        if event.get("state") == "started":
            stage.units = as_int(event.get("units"))
        elif event.get("state") == "ended":
            stage.wall_seconds = (stage.wall_seconds or 0.0) + (as_number(event.get("seconds")) or 0.0)
            failures = event.get("failures")
            stage.failures = [str(line) for line in failures[:FAILURES_SHOWN]] if isinstance(failures, list) else []


def _merge(stage: StageFacts, record: dict[str, Any]) -> None:
    """Add one shard's record to its stage."""
    details, unit = as_dict(record.get("details")), str(record.get("unit"))
    stage.records += 1
    stage.counts.add(counts_of(record.get("counts")))
    for file in as_rows(record.get("outputs")):
        stage.bytes_out += as_int(file.get("bytes")) or 0
        stage.written += as_int(file.get("records")) or 0
    stage.tokens_in = _plus(stage.tokens_in, as_int(details.get("tokens_in")))
    stage.tokens_out = _plus(stage.tokens_out, as_int(details.get("tokens_out")))
    stage.bytes_in = _plus(stage.bytes_in, as_int(details.get("bytes_in")))
    seconds = as_number(details.get("seconds"))
    known = stage.work_seconds is not None and seconds is not None
    stage.work_seconds = (stage.work_seconds or 0.0) + (seconds or 0.0) if known else None
    for name, amount in as_dict(details.get("profile")).items():
        stage.profile[name] = stage.profile.get(name, 0.0) + (as_number(amount) or 0.0)
    lengths = as_dict(details.get("histograms"))
    stage.lengths_in = _add_lengths(stage.lengths_in, lengths.get("tokens_in"))
    stage.lengths_out = _add_lengths(stage.lengths_out, lengths.get("tokens_out"))
    for row in as_rows(details.get("steps")):
        _merge_step(stage.steps, row)
    for kind in ("samples", "errors"):
        for key, rows in as_dict(details.get(kind)).items():
            step = stage.steps.setdefault(key, StepFacts(key=key))
            shown = step.samples if kind == "samples" else step.quarantined
            _add_examples(shown, unit, as_rows(rows))
    for key, found in as_dict(details.get("duplicates")).items():
        step = stage.steps.setdefault(key, StepFacts(key=key))
        step.duplicates = step.duplicates or DuplicateFacts()
        step.duplicates.add(unit, as_dict(found))
    for key, values in as_dict(details.get("aggregates")).items():
        _add_values(stage.steps.setdefault(key, StepFacts(key=key)), as_dict(values))


def _merge_step(steps: dict[str, StepFacts], row: dict[str, Any]) -> None:
    key = str(row.get("step"))
    step = steps.setdefault(key, StepFacts(key=key))
    step.func = str(row.get("func") or step.func)
    step.arguments = as_dict(row.get("arguments")) or step.arguments
    pages_in, pages_out = as_int(row.get("pages_in")) or 0, as_int(row.get("pages_out"))
    removed, errors = as_int(row.get("removed")) or 0, as_int(row.get("errors")) or 0
    step.pages_in += pages_in
    step.pages_out += pages_in - removed - errors if pages_out is None else pages_out
    step.removed += removed
    step.errors += errors
    step.tokens_removed = _plus(step.tokens_removed, as_int(row.get("tokens_removed")))
    step.seconds += as_number(row.get("seconds")) or 0.0


def _add_examples(shown: list[Example], shard: str, rows: list[dict[str, Any]]) -> None:
    """Keep the first few examples by (shard, index)."""
    for row in rows:
        url, text = row.get("url"), row.get("text")
        shown.append(
            Example(
                shard=shard,
                index=as_int(row.get("index")) or 0,
                url=url if isinstance(url, str) else None,
                text=text if isinstance(text, str) else "",
                reason=str(row.get("reason") or row.get("error") or ""),
            )
        )
    shown.sort(key=lambda example: (example.shard, example.index))
    del shown[EXAMPLES_PER_STEP:]


def _add_values(step: StepFacts, aggregates: dict[str, Any]) -> None:
    """Sum histograms over names (languages, sources); percentiles and numeric bins of shards cannot be summed."""
    for key, found in aggregates.items():
        counts = as_dict(found)
        if not counts or set(counts) == PERCENTILES or any(_is_number(name) for name in counts):
            continue
        if any(as_int(count) is None for count in counts.values()):
            continue
        total = step.values.setdefault(key, {})
        for name, count in counts.items():
            if name in total or len(total) < MAX_VALUES_COUNTED:
                total[name] = total.get(name, 0) + count


def _complete(stage: StageFacts) -> None:
    """Give steps that only the counts name their row: unreadable records first, all others last."""
    named: dict[str, None] = dict.fromkeys((*stage.counts.removed, *stage.counts.errored))
    for key in named:
        step = stage.steps.setdefault(key, StepFacts(key=key, tokens_removed=None if stage.tokens_in is None else 0))
        if step.pages_in == 0:
            step.removed, step.errors = stage.counts.removed.get(key, 0), stage.counts.errored.get(key, 0)
            step.pages_out = -step.removed - step.errors  # it adds nothing
    if READ_STEP in stage.steps:
        stage.steps = {READ_STEP: stage.steps[READ_STEP], **stage.steps}
    if stage.records == 0:
        stage.tokens_in = stage.tokens_out = stage.bytes_in = stage.work_seconds = None


# --- values that may be anything -------------------------------------------------------------------------------------


def counts_of(value: object) -> Counts:
    """The counts in a JSON object; what is missing is 0."""
    document = as_dict(value)
    return Counts(
        read=as_int(document.get("read")) or 0,
        added=as_int(document.get("added")) or 0,
        kept=as_int(document.get("kept")) or 0,
        removed={step: as_int(pages) or 0 for step, pages in as_dict(document.get("removed")).items()},
        errored={step: as_int(pages) or 0 for step, pages in as_dict(document.get("errored")).items()},
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _plus(total: int | None, value: int | None) -> int | None:
    """A sum that is unknown as soon as a part is."""
    return None if total is None or value is None else total + value


def _add_lengths(total: list[int], value: object) -> list[int]:
    counts = [as_int(count) or 0 for count in value] if isinstance(value, list) else []
    return [left + right for left, right in zip_longest(total, counts, fillvalue=0)]
