"""What a stage's shards cost without its steps: the I/O floor, for `corpusmith process --profile` and benchmarks."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from corpusmith.io import storage
from corpusmith.io.pages.shards import open_shard_writer, read_records


def measure_floor(url: str, output: str) -> int:
    """Read, decompress, parse, serialise, compress and write the pages of a shard, and nothing else.

    Returns the bytes of its lines.
    """
    size = 0
    with open_shard_writer(output) as writer:
        for record in read_records(url):
            size += len(record.raw)
            if record.page is not None:
                writer.write(record.page)
    return size


def profile_of(url: str, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """Return what a shard took, and what its floor takes on the same worker.

    Args:
        url: the shard.
        seconds: wall time of the steps.
        cpu_seconds: CPU time of the steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        started, cpu_started = time.perf_counter(), time.process_time()
        size = measure_floor(url, storage.join(folder, storage.basename(url)))
        return {
            "content_bytes": size,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "floor_seconds": time.perf_counter() - started,
            "floor_cpu_seconds": time.process_time() - cpu_started,
        }
