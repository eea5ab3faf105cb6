"""What an ingest does, as typed configuration: a YAML mapping or the flags of the command become it at the edge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from corpusmith.config import build, load_yaml
from corpusmith.errors import ConfigError
from raw_sources.extractors.page_meta import ROBOTS_FLAGS
from raw_sources.extractors.registry import ExtractorChoice

DEFAULT_SHARD_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestConfig:
    """All that decides the pages of an ingest apart from its input.

    `extractor`: `fast` (resiliparse, DCLM's settings), `blocks` (ours, also `best`), or another by name, with its
    `extractor_options`. `structure` keeps headings, lists, code, tables and math as Markdown. `title`, `date`, `links`
    add keys of that name. `output`: format of the shards, cut where `shard_bytes` of JSON (or `pages_per_shard`) are
    reached. `sample`: share of the records taken, drawn by `seed`, file and index. `blocked_domains`, `blocked_urls`:
    list files. `drop_robots`: flags of robots that remove a page. `html_column`, `text_column`, `url_column`: columns
    of tables and keys of JSON lines (default: `html` if there is one, else `text` or `content`; `url`).
    """

    extractor: str = "fast"
    extractor_options: dict[str, Any] = field(default_factory=dict)
    structure: bool = False
    title: bool = False
    date: bool = False
    links: bool = False
    output: Literal["jsonl.zst", "jsonl.gz", "jsonl", "parquet"] = "jsonl.zst"
    shard_bytes: int = DEFAULT_SHARD_BYTES
    pages_per_shard: int | None = None
    sample: float = 1.0
    seed: int = 0
    blocked_domains: list[str] = field(default_factory=list)
    blocked_urls: list[str] = field(default_factory=list)
    drop_robots: list[str] = field(default_factory=list)
    html_column: str | None = None
    text_column: str | None = None
    url_column: str = "url"

    def __post_init__(self) -> None:
        self.choice()
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must lie in (0, 1], got {self.sample}")
        for name in ("shard_bytes", "pages_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for flag in self.drop_robots:
            if flag not in ROBOTS_FLAGS:
                raise ValueError(f"drop_robots: no flag {flag!r} (there are {', '.join(ROBOTS_FLAGS)})")
        if self.html_column and self.text_column:
            raise ValueError("html_column and text_column exclude each other")

    def choice(self) -> ExtractorChoice:
        """The extractor with its options; ValueError where there is none such."""
        options = tuple(sorted(self.extractor_options.items()))
        return ExtractorChoice(name=self.extractor, options=options, structure=self.structure)

    def fingerprint(self) -> dict[str, Any]:
        """What of it defines the result, as JSON."""
        return dataclasses.asdict(self)


def load_ingest_config(path: str) -> IngestConfig:
    """Read a YAML mapping; ConfigError names file, line and key."""
    document = load_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(document.where(), "must be a mapping of an ingest's options")
    return build(IngestConfig, document.data, document.where)
