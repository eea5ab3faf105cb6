"""Records that a step could not handle, quarantined as they stood in the stage's input, with the reason."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

from corpusmith.io import storage
from corpusmith.io.pages.shards import Record, ShardWriter, open_shard_writer
from corpusmith.redact import redact
from corpusmith.run.ledger import READ_STEP
from corpusmith.run.stage import StagePlace

SHOWN = 3


class QuarantineWriter:
    """Writes a shard's error files, one per step, each whole or not at all.

    Use as a context manager around the work on one shard. Files of an earlier try are removed for all `steps`.
    A row is `{"shard", "index", "offset", "piece", "step", "error", "raw"}`; bytes that are not UTF-8 stand under
    `raw_base64` instead of `raw`. The reason is shown without secrets, the record stands as it was.
    """

    def __init__(self, place: StagePlace, shard: str, steps: list[str]) -> None:
        self._place = place
        self._shard = shard
        self._writers: dict[str, ShardWriter] = {}
        self._stack = contextlib.ExitStack()
        self.examples: dict[str, list[dict[str, Any]]] = {}
        for step in (READ_STEP, *steps):
            storage.remove(place.error_url(step, shard))

    def __enter__(self) -> QuarantineWriter:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, step: str, record: Record, reason: str, *, piece: int = 0) -> None:
        """Quarantine a record; `piece` is its number among the pieces that splits made of the record."""
        if step not in self._writers:
            self._writers[step] = self._stack.enter_context(open_shard_writer(self._place.error_url(step, self._shard)))
        reason = redact(reason)
        row: dict[str, Any] = {
            "shard": self._shard,
            "index": record.index,
            "offset": record.offset,
            "piece": piece,
            "step": step,
            "error": reason,
        }
        try:
            row["raw"] = record.raw.decode()
        except UnicodeDecodeError:
            row["raw_base64"] = base64.b64encode(record.raw).decode()
        self._writers[step].write(row)
        shown = self.examples.setdefault(step, [])
        if len(shown) < SHOWN:
            url = record.page.get("url") if record.page else None
            shown.append({"index": record.index, "url": url if isinstance(url, str) else None, "error": reason})
