"""Which record of which shard this process works on, for who looks into its death.

Off unless someone listens: `listen` is called in a worker that is watched (see `corpusmith.run.ray.worker`). A reader
decorated with `noted` then tells the listener each record before it yields it; others call `tell`. Records at which a
worker died before are `avoided`: `noted` readers yield them with an error instead of a page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

#: the index that a listener is told where no record is worked on
REST = -2

Listener = Callable[[str, int], None]
#: by the URL of a shard: indices of records, and why they are avoided
Avoided = Mapping[str, Mapping[int, str]]


class Indexed(Protocol):
    """A record that knows its index in the shard, and has a page or an error."""

    index: int
    page: dict[str, object] | None
    error: str | None


R = TypeVar("R", bound=Indexed)

_listener: Listener | None = None
_avoided: Avoided = {}


def listen(listener: Listener | None, avoid: Avoided | None = None) -> None:
    """Call `listener(url, index)` before each record from now on; None ends that, and avoids nothing."""
    global _listener, _avoided
    _listener, _avoided = listener, avoid or {}


def tell(url: str, index: int) -> None:
    """This process begins to work on a record."""
    if _listener is not None:
        _listener(url, index)


def rest() -> None:
    """What follows belongs to no record, until the next one is told."""
    if _listener is not None:
        _listener("", REST)


def avoided(url: str) -> Mapping[int, str]:
    """The records of a shard at which a worker died before, and how."""
    return _avoided.get(url, {})


def noted(read: Callable[[str], Iterator[R]]) -> Callable[[str], Iterator[R]]:
    """A reader of shards that tells the listener where it is; as fast as before where nobody listens."""

    @functools.wraps(read)
    def reader(url: str) -> Iterator[R]:
        records = read(url)
        return records if _listener is None else _telling(_listener, url, records)

    return reader


def _telling(listener: Listener, url: str, records: Iterator[R]) -> Iterator[R]:
    poison = avoided(url)
    for record in records:
        listener(url, record.index)
        if record.index in poison:
            record.page, record.error = None, poison[record.index]
        yield record
