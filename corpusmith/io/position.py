"""Which record of which shard this process works on, for who looks into its death.

Off unless someone listens: `listen` is called in a worker that runs a shard again after a death (see
`corpusmith.run.worker`). A reader decorated with `noted` then tells the listener each record before it yields it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

Listener = Callable[[str, int], None]


class Indexed(Protocol):
    """A record that knows its index in the shard."""

    index: int


R = TypeVar("R", bound=Indexed)

_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """Call `listener(url, index)` before each record from now on; None ends that."""
    global _listener
    _listener = listener


def noted(read: Callable[[str], Iterator[R]]) -> Callable[[str], Iterator[R]]:
    """A reader of shards that tells the listener where it is; as fast as before where nobody listens."""

    @functools.wraps(read)
    def reader(url: str) -> Iterator[R]:
        records = read(url)
        return records if _listener is None else _telling(_listener, url, records)

    return reader


def _telling(listener: Listener, url: str, records: Iterator[R]) -> Iterator[R]:
    for record in records:
        listener(url, record.index)
        yield record
