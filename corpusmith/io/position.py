"""Which record of which shard this process works on, for who looks into its death.

Off unless someone listens: `listen` is called in a worker that is watched (see `corpusmith.run.ray.worker`). A reader
decorated with `reporting` then reports each record to the listener before it yields it; others call `report`. Records
at which a worker died before are `avoided`: such readers yield them with an error instead of a page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

#: the index that a listener gets where no record is worked on
NO_RECORD = -2

Listener = Callable[[str, int], None]
#: by the URL of a shard: indices of records, and why they are avoided
Avoided = Mapping[str, Mapping[int, str]]


class IndexedRecord(Protocol):
    """A record that knows its index in the shard, and has a page or an error."""

    index: int
    page: dict[str, object] | None
    error: str | None


R = TypeVar("R", bound=IndexedRecord)

_listener: Listener | None = None
_avoided: Avoided = {}


def listen(listener: Listener | None, avoid: Avoided | None = None) -> None:
    """Call `listener(url, index)` before each record from now on; None ends that, and avoids nothing."""
    global _listener, _avoided
    _listener, _avoided = listener, avoid or {}


def report(url: str, index: int) -> None:
    """This process begins to work on a record."""
    if _listener is not None:
        _listener(url, index)


def report_no_record() -> None:
    """What follows belongs to no record, until the next one is reported."""
    if _listener is not None:
        _listener("", NO_RECORD)


def avoided(url: str) -> Mapping[int, str]:
    """The records of a shard at which a worker died before, and how."""
    return _avoided.get(url, {})


def reporting(read: Callable[[str], Iterator[R]]) -> Callable[[str], Iterator[R]]:
    """A reader of shards that reports where it is; as fast as before where nobody listens."""

    @functools.wraps(read)
    def reader(url: str) -> Iterator[R]:
        records = read(url)
        return records if _listener is None else _reporting(_listener, url, records)

    return reader


def _reporting(listener: Listener, url: str, records: Iterator[R]) -> Iterator[R]:
    quarantined = avoided(url)
    for record in records:
        listener(url, record.index)
        if record.index in quarantined:
            record.page, record.error = None, quarantined[record.index]
        yield record
