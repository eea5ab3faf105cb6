"""What a MinHash dedup will need of memory and disk, for `--plan` and forecasts."""

from __future__ import annotations

from collections.abc import Sequence

from corpusmith.io.pages.shards import ShardRef
from corpusmith.steps.global_steps import Needs
from corpusmith.steps.needs import WORKER_BYTES, DedupPlan, PhaseNeeds
from corpusmith.steps.sizing import Sample, read_sample
from dedup.minhash.clusters import EDGES_HELD
from dedup.minhash.config import MinhashConfig
from dedup.minhash.sign import ROWS_HELD
from dedup.minhash.signatures import SKETCH_PLACES
from dedup.minhash.stage import PAGES_PER_PART, count_cells

# Measured by benchmarks/dedup.py; one page in CLUSTERED is taken to have near duplicates.
BYTES_PER_HELD_ROW = 60
BYTES_PER_BAND_ROW = 70
BYTES_PER_EDGE = 100
BYTES_PER_PAGE_OF_A_SHARD = 100
SKETCH_BYTES_PER_PLACE = 3
BYTES_PER_CHARACTER = 60
CLUSTERED = 2


def plan_size(config: MinhashConfig, sample: Sample) -> DedupPlan:
    """What the phases will need over an input."""
    pages, of_shard = sample.scaled(len(sample.pages)), sample.in_largest_shard(len(sample.pages))
    bands, rows = config.bands_and_rows
    sizes = count_cells(config, sample)
    of_page = SKETCH_BYTES_PER_PLACE * min(bands * rows, SKETCH_PLACES) + BYTES_PER_PAGE_OF_A_SHARD
    text = BYTES_PER_CHARACTER * max((len(str(page.get(config.content_key))) for page in sample.pages), default=0)
    signing = BYTES_PER_HELD_ROW * min(ROWS_HELD, of_shard * bands) + of_page * of_shard + text
    linking = BYTES_PER_BAND_ROW * -(-pages * bands // sizes["band_cells"])
    in_clusters = -(-pages // CLUSTERED)
    clustering = BYTES_PER_EDGE * min(EDGES_HELD, in_clusters if sizes["parts"] == 1 else PAGES_PER_PART)
    choosing = of_page * max(of_shard, -(-in_clusters // sizes["cells"]))
    phases = [
        ("sign", sample.shards, signing, pages * (12 * bands + min(bands * rows, SKETCH_PLACES) + 4)),
        ("link", sizes["band_cells"], linking, 16 * in_clusters * sizes["band_cells"]),
        ("cluster", sizes["parts"], clustering, 12 * in_clusters),
        ("choose", sample.shards + sizes["cells"], choosing, in_clusters * (2 * min(bands * rows, SKETCH_PLACES) + 64)),
        ("drop", sample.shards, of_page * of_shard + text, 0),
    ]
    return DedupPlan(
        title=f"MinHash dedup of {config.content_key!r}: {bands} bands of {rows} rows, {config.hash_family}",
        facts=[f"about {pages:,} pages with {pages * bands:,} bands in {sample.shards:,} shards"],
        phases=[
            PhaseNeeds(name=name, tasks=tasks, memory=WORKER_BYTES + more, disk=disk)
            for name, tasks, more, disk in phases
        ],
        output=sample.total_bytes,
    )


def plan_needs(config: MinhashConfig, sampled: Sequence[ShardRef], shards: Sequence[ShardRef], workers: int) -> Needs:
    """What the phases will need over shards, judged by the pages of sampled ones."""
    return plan_size(config, read_sample(sampled).standing_for(shards)).needs(workers)
