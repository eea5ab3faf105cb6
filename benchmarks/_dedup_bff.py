"""The rows of the Bloom-filter dedup for `benchmarks/dedup.py`: ours, the I/O floor, and the dolma wheel's.

All work on the same shards (zstd) on one core, whole stage against whole stage: read, segment, hash, look up, decide,
write the shards without what repeats. The dolma wheel dedups paragraphs by 13-grams into attributes and its mixer
applies them; against it our filter has the same number of hashes and about the same size (dolma derives its k from size
and count: 256 MiB for 149 million n-grams gives 10). Against the floor the filter has the size that the
pages need.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks._bench import ROOT, Row, interleaved, page_shards, spread
from benchmarks._dedup_scale import run_stage
from corpusmith.io.pages.shards import ShardRef, list_shards, open_shard_writer, read_shard
from dedup.bff.config import BffConfig
from dedup.bff.plan import estimate_ngrams
from dedup.bff.stage import plan_stage, warm_kernels

PEER = ROOT / ".peers" / "dolma" / "bin" / "python"
FILTER_BYTES = 256 << 20
FILTER_NGRAMS = 149_000_000
HASHES = 10
# what 10 hashes in a filter of our kind and about that size mean
EQUAL_RATE = 0.0015
EQUAL = "paragraph in 256 MiB"
NGRAM = 13
THRESHOLD = 0.8
GOAL_PEER = 2.0
GOAL_FLOOR = 5.0
PEER_CODE = """
import json, sys, time
from dolma.dolma import deduper_entrypoint, mixer_entrypoint
dedupe, mix = json.load(sys.stdin)
started = time.process_time()
deduper_entrypoint(json.dumps(dedupe))
mixer_entrypoint(json.dumps(mix))
print("SECONDS", time.process_time() - started)
"""


def prepare(shards: list[ShardRef], folder: pathlib.Path) -> list[ShardRef]:
    """The shards once more as dolma wants them: each page with an id and a source."""
    number = 0
    for shard in shards:
        with open_shard_writer(str(folder / "documents" / shard.name)) as writer:
            for page in read_shard(shard.url):
                number += 1
                kept: dict[str, Any] = {key: page[key] for key in ("url", "text", "metadata") if key in page}
                writer.write({"id": str(number), "source": "pages", "added": "2024-01-01T00:00:00.000Z", **kept})
    return list_shards(str(folder / "documents"))


def config_for(remove_type: str, ngrams: int, rate: float, hashes: int = 0) -> BffConfig:
    """DCLM-Baseline's n-grams and threshold."""
    return BffConfig(
        remove_type=remove_type,
        min_ngram_size=NGRAM,
        max_ngram_size=NGRAM,
        filtering_threshold=THRESHOLD,
        fp_rate=rate,
        expected_ngram_count=ngrams,
        num_hashers=hashes,
    )


def run_ours(shards: list[ShardRef], folder: pathlib.Path, config: BffConfig) -> None:
    """The stage as a run does it: plan, hash, settle, write, books, verification."""
    root = folder / "ours"
    shutil.rmtree(root, ignore_errors=True)
    run_stage(plan_stage(config, "00-bff"), shards, root)


def run_floor(shards: list[ShardRef], folder: pathlib.Path) -> None:
    """Read and write every page."""
    for shard in shards:
        with open_shard_writer(str(folder / "floor" / shard.name)) as writer:
            for page in read_shard(shard.url):
                writer.write(page)


def peer_seconds(shards: list[ShardRef], folder: pathlib.Path) -> float:
    """CPU seconds of the dolma wheel's dedup and mixer in a process of their own."""
    for name in ("attributes", "mixed", "bloom.bin"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).unlink(missing_ok=True)
    documents = [shard.url for shard in shards]
    common = {
        "processes": 1,
        "work_dir": {"input": str(folder / "work_in"), "output": str(folder / "work_out")},
    }
    by_ngram = {
        "ngram_length": NGRAM,
        "stride": 1,
        "overlap_threshold": THRESHOLD,
        "skip_short_paragraphs": True,
    }
    compression = {"input": "zst", "output": "zst"}
    dedupe = {
        **common,
        "name": "bff",
        "documents": documents,
        "dedupe": {
            "name": "bff",
            "paragraphs": {"attribute_name": "repeated", "by_ngram": by_ngram, "paragraph_separator": "\n"},
            "skip_empty": True,
            "min_length": 0,
            "min_words": 0,
        },
        "bloom_filter": {
            "file": str(folder / "bloom.bin"),
            "size_in_bytes": FILTER_BYTES,
            "read_only": False,
            "estimated_doc_count": FILTER_NGRAMS,
            "desired_false_positive_rate": 0.001,
        },
        "compression": compression,
    }
    stream = {
        "name": "mixed",
        "documents": documents,
        "attributes": ["bff"],
        "output": {"path": str(folder / "mixed"), "max_size_in_bytes": 1 << 40},
        "span_replacement": [{"span": "$.attributes.repeated", "min_score": THRESHOLD, "replacement": ""}],
        "compression": compression,
    }
    done = subprocess.run(
        [str(PEER), "-c", PEER_CODE],
        input=json.dumps([dedupe, {**common, "streams": [stream]}]),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.rsplit("SECONDS", 1)[1])


def bff_rows(source: str, quick: bool) -> list[Row]:
    """Ours against the floor and the dolma wheel, CPU seconds; a peer that is not there is a row that says so."""
    repeats = 1 if quick else 3
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shards = prepare(page_shards(source, quick), folder)
        warm_kernels()
        modes = ("paragraph", "old-both", "substring")
        contenders: dict[str, Callable[[], object]] = {"floor": lambda: run_floor(shards, folder)}
        for mode in modes:
            ngrams = int(1.5 * estimate_ngrams(config_for(mode, 1, 0.01), shards))
            config = config_for(mode, ngrams, 0.01)
            contenders[mode] = lambda config=config: run_ours(shards, folder, config)  # type: ignore[misc]
        equal = config_for("paragraph", FILTER_NGRAMS, EQUAL_RATE, HASHES)
        contenders[EQUAL] = lambda: run_ours(shards, folder, equal)
        seconds = interleaved(contenders, repeats)
        if PEER.exists():
            peer_seconds(shards, folder)
            seconds["dolma wheel"] = [peer_seconds(shards, folder) for _ in range(repeats)]
    for contender, values in seconds.items():
        sys.stdout.write(f"bff: {contender}: {spread(values)}\n")
    medians = {contender: statistics.median(values) for contender, values in seconds.items()}
    for mode in modes:
        ratio = medians[mode] / medians["floor"]
        rows.append(
            _row(
                f"bff {mode} / floor", medians[mode], medians["floor"], ratio, f"<= {GOAL_FLOOR:g}", ratio <= GOAL_FLOOR
            )
        )
    if "dolma wheel" in medians:
        ratio = medians["dolma wheel"] / medians[EQUAL]
        rows.append(
            _row(
                "dolma wheel / bff paragraph",
                medians[EQUAL],
                medians["dolma wheel"],
                ratio,
                f">= {GOAL_PEER:g}",
                ratio >= GOAL_PEER,
            )
        )
    else:
        rows.append(
            _row(
                "dolma wheel / bff paragraph: not installed (make peers)",
                medians[EQUAL],
                float("nan"),
                float("nan"),
                f">= {GOAL_PEER:g}",
                None,
            )
        )
    return rows


def _row(name: str, ours: float, other: float, ratio: float, goal: str, met: bool | None) -> Row:
    return Row(name=name, ours=ours, other=other, unit="s", ratio=ratio, goal=goal, met=met)
