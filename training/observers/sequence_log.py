"""The training log of sequences: which sequence of which shard was read at which step, by which rank.

Each rank writes Parquet files of its own, `<experiment>/sequences/steps_<first>_to_<last>.rank<r>.parquet`, closed at
each checkpoint; a run that goes on removes those of steps that it does again, so no row stands twice. Columns: step,
rank, slot (within the rank's batch), source (index), domain, shard (URL), row (within the shard), start (first token
read). Together with the build log they lead from a page to the steps that trained on it.
"""

from __future__ import annotations

import io
import re

from corpusmith.io import storage
from training.data.batch import Batch
from training.state.ranks import Ranks, wait_for_all

FOLDER = "sequences"
MAX_ROWS = 1 << 18

_NAME = re.compile(r"steps_(\d+)_to_(\d+)\.rank\d+\.parquet")


class SequenceLog:
    """Collects the sequences of this rank's steps, from step `step` on; all ranks make one together.

    Args:
        folder: the experiment's.
        enabled: else nothing is written.
    """

    def __init__(self, folder: str, ranks: Ranks, step: int, *, enabled: bool = True) -> None:
        self._folder, self._ranks, self._enabled = storage.join(folder, FOLDER), ranks, enabled
        self._steps: list[int] = []
        self._batches: list[Batch] = []
        self._rows = 0
        if ranks.leads:
            _remove_from(self._folder, step)
        wait_for_all(ranks)

    def add(self, step: int, batch: Batch) -> None:
        """Note the sequences of a step that was done."""
        if not self._enabled:
            return
        self._steps.append(step)
        self._batches.append(batch)
        self._rows += len(batch.origins)
        if self._rows >= MAX_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was noted to a file of its own."""
        if not self._steps:
            return
        name = f"steps_{self._steps[0]:08d}_to_{self._steps[-1]:08d}.rank{self._ranks.rank}.parquet"
        storage.write_bytes(storage.join(self._folder, name), self._table_bytes())
        self._steps, self._batches, self._rows = [], [], 0

    def _table_bytes(self) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            (step, slot, origin)
            for step, batch in zip(self._steps, self._batches, strict=True)
            for slot, origin in enumerate(batch.origins)
        ]
        text = pa.dictionary(pa.int32(), pa.string())
        table = pa.table(
            {
                "step": pa.array([step for step, _, _ in rows], pa.int32()),
                "rank": pa.array([self._ranks.rank] * len(rows), pa.int16()),
                "slot": pa.array([slot for _, slot, _ in rows], pa.int32()),
                "source": pa.array([origin.source for _, _, origin in rows], pa.int16()),
                "domain": pa.array([origin.domain for _, _, origin in rows], text),
                "shard": pa.array([origin.shard for _, _, origin in rows], text),
                "row": pa.array([origin.row for _, _, origin in rows], pa.int64()),
                "start": pa.array([origin.start for _, _, origin in rows], pa.int32()),
            }
        )
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd")
        return sink.getvalue()


def _remove_from(folder: str, step: int) -> None:
    """Remove the files that begin at a step or later: that step is done again."""
    if not storage.is_dir(folder):
        return
    for info in storage.list_files(folder, (".parquet",)):
        match = _NAME.fullmatch(storage.basename(info.url))
        if match and int(match[1]) >= step:
            storage.remove(info.url)
