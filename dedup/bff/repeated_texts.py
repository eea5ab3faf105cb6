"""Which texts a shard lost most often, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any

from corpusmith.io.pages.shards import Page
from corpusmith.steps.rewrite import SAMPLE_CHARACTERS, shown_address, shown_text

MOST_HELD = 20_000
ROWS_PER_SHARD = 30


@dataclass(kw_only=True, slots=True)
class _Repeated:
    index: int
    url: str | None
    copies: int = 1


@dataclass(kw_only=True, slots=True)
class RepeatedTexts:
    """Counts removed texts, white space at their ends apart.

    Where more than `MOST_HELD` different ones are held, those seen fewest times are forgotten, as in lossy counting
    (Manku and Motwani 2002), so a count says how often at least. `held`: by the text, or by its beginning and a hash.
    """

    held: dict[str | tuple[str, str], _Repeated] = field(default_factory=dict)
    _floor: int = field(default=0, init=False)

    def add(self, texts: Iterable[str], index: int, page: Page) -> None:
        """Count texts that the page of this index lost; a blank one is none."""
        held = self.held
        for text in map(str.strip, texts):
            key = text if len(text) <= SAMPLE_CHARACTERS else (shown_text(text), _digest(text))
            known = held.get(key)
            if known is not None:
                known.copies += 1
            elif text:
                if len(held) >= MOST_HELD:
                    held = self._forget()
                held[key] = _Repeated(index=index, url=shown_address(page))

    def _forget(self) -> dict[str | tuple[str, str], _Repeated]:
        """Forget those seen fewest times, until at most half are held."""
        while len(self.held) > MOST_HELD // 2:
            self._floor += 1
            self.held = {key: text for key, text in self.held.items() if text.copies > self._floor}
        return self.held

    def rows(self) -> list[dict[str, Any]]:
        """The texts lost most often: key, copies, and where the first copy stood, how it began."""
        most = nsmallest(ROWS_PER_SHARD, self.held.items(), key=lambda entry: (-entry[1].copies, _parts(entry[0])))
        rows = []
        for key, one in most:
            text, digest = _parts(key)
            rows.append({"key": digest or _digest(text), "copies": one.copies, "index": one.index, "url": one.url})
            rows[-1]["text"] = text
        return rows


def _parts(key: str | tuple[str, str]) -> tuple[str, str]:
    return (key, "") if isinstance(key, str) else key


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
