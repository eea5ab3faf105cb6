"""What the records of a complete stage are held against before its run goes on.

Each rule is there for a leak that it catches (`tests/corpusmith/run/test_leaks.py` plants them): the record of each
shard agrees with its steps and files; each shard of the input is one unit of work, counted once; it read as many
records as the stage before wrote for it; no file stands in the output of which no record tells. What the files hold is
read back by `Stage.verify`. Of the raw input nobody knows how many records it has: a file that ends early is damage,
which the reader itself reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from corpusmith.errors import BalanceError
from corpusmith.run.stage import Stage

SHOWN = 20


def check_stage(stage: Stage, before: Stage | None, *, is_last: bool) -> None:
    """Hold a complete stage against its records, its files and the stage before.

    Args:
        stage: the stage.
        before: the stage whose output this one read, None for the first.
        is_last: whether its output folder is the run's, which others will list.

    Raises:
        BalanceError: naming stage and shards.
    """
    wrong = [*_record_problems(stage), *stage.foreign_records(), *_unit_problems(stage), *_flow_problems(stage, before)]
    if is_last:
        wrong += [f"{name}: stands in the output folder, but no record tells of it" for name in stage.unrecorded()]
    if wrong:
        shown = "\n  ".join(wrong[:SHOWN]) + (f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        raise BalanceError(
            f"the books of stage {stage.place.name} do not hold; to do the stage again, delete {stage.place.folder} "
            f"and run the same command:\n  {shown}"
        )


def _record_problems(stage: Stage) -> Iterator[str]:
    """Each record by itself, and files that two shards wrote."""
    writers: dict[str, str] = {}
    for unit, record in stage.records().items():
        try:
            record.check(f"shard {unit}")
        except BalanceError as error:
            yield str(error)
        for name, times in Counter(file.name for file in record.outputs).items():
            other = writers.setdefault(name, unit)
            if other != unit:
                yield f"shard {unit}: wrote {name}, which shard {other} wrote too"
            if times > 1:
                yield f"shard {unit}: counts its output {name} {times} times"


def works_by_shard(stage: Stage) -> bool:
    """Whether the stage's units are the shards of its input, and not cells of its own."""
    names = {shard.name for shard in stage.inputs}
    return any(unit in names for unit in stage.units)


def _unit_problems(stage: Stage) -> Iterator[str]:
    if not works_by_shard(stage):
        return
    names = [shard.name for shard in stage.inputs]
    twice = [name for name, times in Counter(names).items() if times > 1]
    yield from (f"shard {name}: stands twice in the stage's input" for name in twice)
    yield from (f"shard {name}: was skipped; it is in the stage's input" for name in names if name not in stage.units)
    known = set(names)
    yield from (f"shard {unit}: is not in the stage's input" for unit in stage.units if unit not in known)


def _flow_problems(stage: Stage, before: Stage | None) -> Iterator[str]:
    """What this stage read against what the one before wrote: by shard, or in total where it works by cells."""
    if before is None:
        return
    if not works_by_shard(stage):
        read, kept = stage.counts().read, before.counts().kept
        if read != kept and not stage.missing():
            yield f"all cells: read {read} records, but stage {before.place.name} wrote {kept}"
        return
    written = {file.name: file.records for record in before.records().values() for file in record.outputs}
    for unit, record in stage.records().items():
        expected = written.get(unit)
        if expected is not None and record.counts.read != expected:
            found = record.counts.read
            yield f"shard {unit}: read {found} records, but stage {before.place.name} wrote {expected} into it"
