"""What an exact dedup will need of memory and disk, for `--plan` and forecasts."""

from __future__ import annotations

from collections.abc import Sequence

from corpusmith.io.pages.shards import ShardRef
from corpusmith.steps.global_steps import Needs
from corpusmith.steps.needs import WORKER_BYTES, DedupPlan, PhaseNeeds
from corpusmith.steps.sizing import Sample, cells_for, read_sample
from dedup.exact.config import ExactConfig
from dedup.exact.stage import ROWS_PER_CELL, count_units

BYTES_PER_UNIT_OF_A_SHARD = 150
BYTES_PER_ROW_OF_A_CELL = 130
SPILLED_BYTES_PER_UNIT = 28


def plan_size(config: ExactConfig, sample: Sample) -> DedupPlan:
    """What the phases will need over an input."""
    in_sample = count_units(config, sample)
    units = sample.scaled(in_sample)
    of_shard = WORKER_BYTES + BYTES_PER_UNIT_OF_A_SHARD * sample.in_largest_shard(in_sample)
    cells = cells_for(units, ROWS_PER_CELL)
    of_cell = WORKER_BYTES + BYTES_PER_ROW_OF_A_CELL * -(-units // cells)
    spilled = SPILLED_BYTES_PER_UNIT * units
    return DedupPlan(
        title=f"exact dedup of {config.content_key!r}",
        facts=[f"about {sample.scaled(len(sample.pages)):,} pages with {units:,} units in {sample.shards:,} shards"],
        phases=[
            PhaseNeeds(name="hash", tasks=sample.shards, memory=of_shard, disk=spilled),
            PhaseNeeds(name="compare", tasks=cells, memory=of_cell, disk=spilled),
            PhaseNeeds(name="drop", tasks=sample.shards, memory=of_shard, disk=0),
        ],
        output=sample.total_bytes,
    )


def plan_needs(config: ExactConfig, sampled: Sequence[ShardRef], shards: Sequence[ShardRef], workers: int) -> Needs:
    """What the phases will need over shards, judged by the pages of sampled ones."""
    return plan_size(config, read_sample(sampled).standing_for(shards)).needs(workers)
