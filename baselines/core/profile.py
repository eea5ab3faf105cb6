"""What a stage's shards cost without its steps: the I/O floor, for `corpusmith process --profile`."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from corpusmith.io import storage
from corpusmith.io.shards import open_shard_writer, read_records


def measure_floor(url: str, folder: str) -> None:
    """Read, decompress, parse, serialise, compress and write the pages of a shard, and nothing else."""
    with open_shard_writer(storage.join(folder, storage.basename(url))) as writer:
        for record in read_records(url):
            if record.page is not None:
                writer.write(record.page)


def profile_of(url: str, cpu_seconds: float) -> dict[str, Any]:
    """CPU seconds that a shard took, and those of its floor on the same worker."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        measure_floor(url, folder)
        return {"cpu_seconds": cpu_seconds, "floor_cpu_seconds": time.process_time() - started}
