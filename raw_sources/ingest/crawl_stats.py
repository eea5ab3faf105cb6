"""Statistics of a shard's records: how many by type, status, media type, charset, language and failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from resiliparse.parse.lang import detect_fast

FIELDS = ("record_type", "status", "media_type", "charset", "language", "robots", "failure")
MAX_KEYS = 500
MAX_KEY_LENGTH = 80
OTHER = "(other)"
LANGUAGE_CHARACTERS = 1000


class CrawlStats:
    """Counts of what stood in one input; a crawl chooses its values, so their number and length are bounded."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {field: Counter() for field in FIELDS}
        self.text_characters = 0

    def count(self, field: str, value: str) -> None:
        """One more record with this value."""
        counter = self._counts[field]
        key = value[:MAX_KEY_LENGTH]
        counter[key if key in counter or len(counter) < MAX_KEYS else OTHER] += 1

    def count_text(self, text: str) -> None:
        """One more page with this text; its language is detected from its beginning (resiliparse's quick detector)."""
        self.text_characters += len(text)
        self.count("language", detect_fast(text[:LANGUAGE_CHARACTERS])[0])

    def to_json(self) -> dict[str, Any]:
        """As JSON, values sorted by name."""
        counts = {field: dict(sorted(counter.items())) for field, counter in self._counts.items() if counter}
        return {**counts, "text_characters": self.text_characters}


def summed(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of what `to_json` gave for several inputs."""
    counts: dict[str, Counter[str]] = {field: Counter() for field in FIELDS}
    characters = 0
    for document in documents:
        characters += int(document.get("text_characters", 0))
        for field in FIELDS:
            counts[field].update(document.get(field, {}))
    return {
        **{field: dict(sorted(counter.items())) for field, counter in counts.items() if counter},
        "text_characters": characters,
    }
