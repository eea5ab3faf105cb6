"""Which texts a shard lost most often, in bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from corpusmith.io.shards import Page
from dedup.rewrite import shown_address, shown_text

VERSION = 1
MOST_HELD = 20_000
ROWS_PER_SHARD = 30


@dataclass(kw_only=True, slots=True)
class _Repeated:
    index: int
    url: str | None
    text: str
    copies: int = 1


@dataclass(kw_only=True, slots=True)
class RepeatedTexts:
    """Counts removed texts, white space at their ends apart.

    Where more than `MOST_HELD` different ones are held, those seen fewest times are forgotten, as in lossy counting
    (Manku and Motwani 2002), so a count says how often at least.
    """

    held: dict[str, _Repeated] = field(default_factory=dict)
    _floor: int = field(default=0, init=False)

    def add(self, text: str, index: int, page: Page) -> None:
        """Count a text that the page of this index lost; a blank one is none."""
        text = text.strip()
        if not text:
            return
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        known = self.held.get(key)
        if known is not None:
            known.copies += 1
            return
        if len(self.held) >= MOST_HELD:
            self._forget()
        self.held[key] = _Repeated(index=index, url=shown_address(page), text=shown_text(text))

    def _forget(self) -> None:
        """Forget those seen fewest times, until at most half are held."""
        while len(self.held) > MOST_HELD // 2:
            self._floor += 1
            self.held = {key: text for key, text in self.held.items() if text.copies > self._floor}

    def rows(self) -> list[dict[str, Any]]:
        """The texts lost most often: key, copies, and where the first copy stood, how it began."""
        most = sorted(self.held.items(), key=lambda entry: (-entry[1].copies, entry[0]))[:ROWS_PER_SHARD]
        return [
            {"key": key, "copies": one.copies, "index": one.index, "url": one.url, "text": one.text}
            for key, one in most
        ]
