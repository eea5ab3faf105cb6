"""The mixing stage of `corpusmith tokenize --mixture`: every sequence as often as the mixture says.

Tokenizing has counted what each source has. The plan (`corpusmith.mixture`) says how many whole epochs of a source are
read and how many tokens of the last one; which sequences those are is decided by a threshold on their seeded keys,
found in two rounds over the spill files: a histogram of tokens by the first bits of the keys, then the keys within
the bin where the target lies. So the choice depends on seed and plan only, and the driver holds one bin at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from corpusmith.errors import RunFailed
from corpusmith.io.spill import read_spill_cell, spill_source
from corpusmith.mixture import KEYS, Mixture, RowSelection, SourcePlan, cut_at, plan_mixture, selection_key
from corpusmith.run.ledger import Counts
from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import ShardRecord, Stage, StagePlace
from ray_processing.tokens.config import TokenConfig
from ray_processing.tokens.spilled_rows import Spiller, documents_in, row_lengths, tokens_in, with_copies

STEP = "mixture"
BINS = 1 << 12
_BATCH = 16

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class MixTask:
    """One spill file whose rows are to be mixed."""

    place: StagePlace
    unit: str
    identity: str
    url: str
    config: TokenConfig
    partitions: int
    source: str
    selection: RowSelection


def mix_stage(
    config: TokenConfig, mixture: Mixture, partitions: int, sources: Mapping[str, str], stage: Stage, runner: Runner
) -> list[str]:
    """Run the mixing stage on Ray: the pending spill files; returns a line for each that failed.

    Args:
        config: what decides the token shards.
        mixture: what is asked for.
        partitions: how many shuffle partitions there are.
        sources: the source of each page shard by name.
        stage: the stage, whose inputs are spill files.
        runner: what runs its tasks.
    """
    spills = {ref.name: (ref.url, sources[ref.name.rpartition("/")[0]]) for ref in stage.inputs}
    plans = plan_mixture(mixture, count_tokens(list(spills.values()), runner), _unit(config))
    selections = select(plans, list(spills.values()), config.seed, runner)
    pending = set(stage.pending())
    tasks = {
        unit: MixTask(
            place=stage.place,
            unit=unit,
            identity=stage.units[unit],
            url=url,
            config=config,
            partitions=partitions,
            source=source,
            selection=selections[source],
        )
        for unit, (url, source) in spills.items()
        if unit in pending
    }
    return stage.run_units(runner, mix_spill, tasks, label="mix", unit="files")


def _unit(config: TokenConfig) -> int:
    """Tokens of a row where all are equally long, else 1."""
    return 1 if config.pack == "document" else config.sequence_length


def mix_spill(task: MixTask) -> None:
    """Write the copies of the rows of one spill file, by partition, and the record."""
    batch = read_spill_cell(task.url, 0)
    shard = spill_source(batch)
    rows = batch.replace_schema_metadata(None).drop_columns(["key"])
    positions = batch.column("position").to_pylist()
    copies = [task.selection.copies(task.config.seed, task.source, shard, position) for position in positions]
    copies_S = np.array(copies, dtype=np.int64)
    spiller = Spiller(
        task.place,
        unit=task.unit,
        source=shard,
        seed=task.config.seed,
        partitions=task.partitions,
        fixed_partition=None,
        limit=task.config.spill_bytes,
    )
    kept = 0
    # in parts, so that many copies take no more memory than one
    step = max(1, rows.num_rows // max(1, int(copies_S.max(initial=1))))
    for start in range(0, rows.num_rows, step):
        copied = with_copies(rows.slice(start, step), copies_S[start : start + step])
        kept += documents_in(copied)
        spiller.add(copied)
    outputs = spiller.finish()
    read, dropped = documents_in(rows), documents_in(rows.filter(pa.array(copies_S == 0)))
    counts = Counts(read=read, kept=kept, added=kept - (read - dropped), removed={STEP: dropped} if dropped else {})
    details = {"source": task.source, "sequences": spiller.rows, "row_tokens": spiller.tokens}
    details["available_tokens"] = tokens_in(rows)
    task.place.write_record(
        ShardRecord(unit=task.unit, identity=task.identity, outputs=outputs, counts=counts, details=details)
    )


# --- which rows of the last epoch --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """Spill files to look into: (url, source) each; `epochs` of the sources looked for, `bins` where known."""

    spills: list[tuple[str, str]]
    seed: int
    epochs: dict[str, int]
    bins: dict[str, int] | None = None


def count_tokens(spills: list[tuple[str, str]], runner: Runner) -> dict[str, int]:
    """Tokens that each source has."""
    totals = dict.fromkeys(sorted({source for _, source in spills}), 0)
    looks = [_Look(spills=spills[at : at + _BATCH], seed=0, epochs={}) for at in range(0, len(spills), _BATCH)]
    for counted in _outcomes(sum_tokens, looks, runner):
        for source, tokens in counted.items():
            totals[source] += tokens
    return totals


def sum_tokens(look: _Look) -> dict[str, int]:
    """Tokens by source in some spill files."""
    totals: dict[str, int] = {}
    for url, source in look.spills:
        totals[source] = totals.get(source, 0) + tokens_in(read_spill_cell(url, 0))
    return totals


def select(
    plans: list[SourcePlan], spills: list[tuple[str, str]], seed: int, runner: Runner
) -> dict[str, RowSelection]:
    """Return the selection of each source: which of its sequences belong to the last epoch.

    Args:
        plans: how many epochs and tokens of each source are read.
        spills: (url, source) of each spill file.
        seed: of the selection.
        runner: what looks into the spill files.
    """
    partial = {plan.source: plan for plan in plans if plan.remainder}
    epochs = {name: plan.full_epochs for name, plan in partial.items()}
    own = [spill for spill in spills if spill[1] in partial]
    batches = [own[start : start + _BATCH] for start in range(0, len(own), _BATCH)]
    sums = {name: np.zeros(BINS, dtype=np.int64) for name in partial}
    looks = [_Look(spills=batch, seed=seed, epochs=epochs) for batch in batches]
    for histograms in _outcomes(tokens_by_bin, looks, runner):
        for name, histogram in histograms.items():
            sums[name] += np.array(histogram, dtype=np.int64)
    # the bin in which the target lies, and the tokens before it
    bins = {name: int(np.searchsorted(np.cumsum(sums[name]), plan.remainder)) for name, plan in partial.items()}
    before = {name: int(sums[name][: bins[name]].sum()) for name in partial}
    rows: dict[str, list[tuple[int, int]]] = {name: [] for name in partial}
    looks = [_Look(spills=batch, seed=seed, epochs=epochs, bins=bins) for batch in batches]
    for found in _outcomes(rows_of_bin, looks, runner):
        for name, pairs in found.items():
            rows[name] += pairs
    chosen = {}
    for plan in plans:
        threshold = 0
        if plan.source in partial:
            threshold = cut_at(plan.remainder - before[plan.source], sorted(rows[plan.source]))
            if threshold == KEYS:  # all rows of the bin: the next bin begins here
                threshold = (bins[plan.source] + 1) * (KEYS // BINS)
        chosen[plan.source] = RowSelection(full_epochs=plan.full_epochs, threshold=threshold)
    return chosen


def _outcomes(function: Callable[[_Look], T], looks: list[_Look], runner: Runner) -> Iterator[T]:
    for outcome in runner.map(function, looks, label="choose", unit="batches"):
        if outcome.value is None:
            raise RunFailed(f"cannot read the spill files: {outcome.error}")
        yield outcome.value


def _keys_and_tokens(look: _Look, url: str, source: str) -> tuple[list[int], npt.NDArray[np.int64]]:
    batch = read_spill_cell(url, 0)
    shard, epoch = spill_source(batch), look.epochs[source]
    positions = batch.column("position").to_pylist()
    keys = [selection_key(look.seed, source, epoch, shard, position) for position in positions]
    return keys, row_lengths(batch)


def tokens_by_bin(look: _Look) -> dict[str, list[int]]:
    """By source, the tokens of the rows whose key lies in each of `BINS` equal ranges."""
    sums = {name: np.zeros(BINS, dtype=np.int64) for name in look.epochs}
    for url, source in look.spills:
        keys, tokens = _keys_and_tokens(look, url, source)
        np.add.at(sums[source], np.array([key // (KEYS // BINS) for key in keys], dtype=np.int64), tokens)
    return {name: bins.tolist() for name, bins in sums.items()}


def rows_of_bin(look: _Look) -> dict[str, list[tuple[int, int]]]:
    """By source, (key, tokens) of the rows whose key lies in the source's bin."""
    assert look.bins is not None
    found: dict[str, list[tuple[int, int]]] = {}
    for url, source in look.spills:
        keys, tokens = _keys_and_tokens(look, url, source)
        wanted = look.bins[source]
        pairs = [
            (key, size) for key, size in zip(keys, tokens.tolist(), strict=True) if key // (KEYS // BINS) == wanted
        ]
        found.setdefault(source, []).extend(pairs)
    return found
