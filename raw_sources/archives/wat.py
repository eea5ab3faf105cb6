"""WAT records (Common Crawl's metadata of a page, as JSON) to title and links.

Follows the layout that Common Crawl's `ia-web-commons` writes: Envelope, Payload-Metadata, HTTP-Response-Metadata,
HTML-Metadata with Head and Links. Any part of it may be missing or of another type.
"""

from __future__ import annotations

from typing import Any

import orjson

from corpusmith.io.pages.shards import Page

MAX_LINKS = 5000


def wat_page(block: bytes) -> Page | None:
    """A page of title (`text`, `title`) and `links` (`{"url", "text"}`, relative ones as they stand); None for a
    record that tells of no HTML page. Its mark `wat` says that it may lack a text.

    Raises ValueError where the block is no JSON.
    """
    document = orjson.loads(block)
    html = _part(document, "Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")
    if not html:
        return None
    title = _part(html, "Head").get("Title")
    title = " ".join(title.split()) if isinstance(title, str) else ""
    links = [link for entry in _list(html.get("Links")) if (link := _link(entry)) is not None]
    return {"text": title, "title": title, "links": links[:MAX_LINKS], "wat": True}


def _part(document: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _link(entry: Any) -> dict[str, str] | None:
    """An anchor's target and text; images, scripts and forms are no links between pages."""
    if not isinstance(entry, dict) or not str(entry.get("path", "")).upper().startswith("A@"):
        return None
    url, text = entry.get("url"), entry.get("text")
    return {"url": url, "text": text if isinstance(text, str) else ""} if isinstance(url, str) and url else None
