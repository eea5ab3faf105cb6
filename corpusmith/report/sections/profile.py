"""The report's section on speed, where a run was profiled: each step against the floor of reading and writing."""

from __future__ import annotations

from corpusmith.report.facts import RunFacts, StageFacts, StepFacts
from corpusmith.report.html import Html, bar, columns, el, join, table
from corpusmith.units import UNKNOWN, duration, number, rate, share


def profile_section(run: RunFacts) -> Html | None:
    """A table for each stage that was run with `--profile`; None where none was."""
    shown = [_stage_table(stage) for stage in run.stages if stage.profile.get("floor_seconds")]
    if not shown:
        return None
    about = el(
        "p",
        "The floor reads, decompresses, parses, serialises, compresses and writes the same shards on the same worker "
        "and does nothing else. Filters that run as one share what they compute; the first to ask pays for it.",
        class_="hint",
    )
    return join([about, *shown])


def _stage_table(stage: StageFacts) -> Html:
    profile = stage.profile
    floor, size = profile["floor_seconds"], profile.get("content_bytes", 0.0)
    steps = [step for step in stage.steps.values() if step.seconds > 0]
    rest = max(profile.get("seconds", 0.0) - sum(step.seconds for step in steps), 0.0)
    rows = [_row(stage, step, floor, size) for step in steps]
    read = stage.counts.read
    rows.append(_cells("reading, counting, writing", read, rest, floor, size))
    rows.append(_cells("the whole stage", read, profile.get("seconds", 0.0), floor, size))
    rows.append(_cells("the floor", read, floor, floor, size))
    cpu, floor_cpu = profile.get("cpu_seconds"), profile.get("floor_cpu_seconds")
    ratio = f"{cpu / floor_cpu:.2f}" if cpu and floor_cpu else UNKNOWN
    heads = columns("step", "#pages in", "#time", "#pages/s", "#MB/s", "#of the floor", "")
    caption = f"{stage.name}: CPU time {ratio} times the floor's ({duration(cpu)} for {duration(floor_cpu)})"
    return table(caption, heads, rows)


def _row(stage: StageFacts, step: StepFacts, floor: float, size: float) -> list[str | Html]:
    part = size * step.pages_in / stage.counts.read if stage.counts.read else 0.0
    return _cells(step.key, step.pages_in, step.seconds, floor, part)


def _cells(label: str, pages: int, seconds: float, floor: float, size: float) -> list[str | Html]:
    times = seconds / floor if floor else 0.0
    return [
        label,
        number(pages),
        duration(seconds),
        rate(pages, seconds, "").removesuffix(" /s"),
        rate(size / 1e6, seconds, "MB").removesuffix(" MB/s"),
        f"{times:.2f}",
        bar(f"{label}: {share(seconds, floor)} of the floor", [("keep", min(times / 4, 1.0))], "mini"),
    ]
