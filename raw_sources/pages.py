"""One archive to its pages: which records become pages, and why the others don't.

Follows DCLM's record schema (`text`, `metadata`, `warcinfo`; no `url`, which `move_url_modifier` makes) and its
extractor settings. Departs from DCLM in that nothing is dropped silently: each record is kept, removed for a reason
that is counted, or set aside with its error; in taking any charset, and in leaving the text of WET records as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from corpusmith.io import storage
from corpusmith.io.shards import Page
from raw_sources.extract import TooDeepError, extract_html
from raw_sources.http_message import CodingError, NotHttpError, TooLargeError, decoded_body, parse_response
from raw_sources.warc import LostPart, WarcRecord, read_warc

VERSION = 1

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
PAGE_RECORD_TYPES = ("response", "conversion")

#: why a record is no page, in the order in which it is asked; keys of the ledger's `removed`
REMOVAL_STEPS = ("record_type", "size", "not_http", "status", "media_type", "nesting", "empty_text")
#: what could not be handled; keys of the ledger's `errored`
READ_STEP = "read"
EXTRACT_STEP = "extract"

_SNIFF_BYTES = 1024
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """A record that is no page, by one of `REMOVAL_STEPS`."""

    step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAside:
    """A record that raised (`EXTRACT_STEP`; `raw` is its block) or a lost part (`READ_STEP`; `raw` is its head)."""

    step: str
    offset: int
    record_id: str
    target_uri: str
    reason: str
    raw: bytes


Outcome = Page | Removed | SetAside


def read_pages(url: str) -> Iterator[Page]:
    """The pages of an archive in order; use `read_outcomes` to learn of what did not become one."""
    for outcome in read_outcomes(url):
        if isinstance(outcome, dict):
            yield outcome


def read_outcomes(url: str) -> Iterator[Outcome]:
    """What became of each record and each lost part of an archive, in order."""
    for record in read_warc(url, PAGE_RECORD_TYPES):
        if isinstance(record, LostPart):
            raw = storage.read_range(url, record.offset, _HEAD_BYTES)
            yield SetAside(
                step=READ_STEP, offset=record.offset, record_id="", target_uri="", reason=record.reason, raw=raw
            )
        else:
            yield outcome_of(record)


def outcome_of(record: WarcRecord) -> Outcome:
    """The page of a record, or what became of it instead."""
    if record.type not in PAGE_RECORD_TYPES:
        return Removed(step="record_type")
    if record.block is None:
        return Removed(step="size")
    try:
        text = _plain_text(record, record.block) if record.type == "conversion" else _page_text(record.block)
    except NotHttpError:
        return Removed(step="not_http")
    except TooLargeError:
        return Removed(step="size")
    except TooDeepError:
        return Removed(step="nesting")
    except CodingError as error:
        return _set_aside(record, str(error))
    except Exception as error:  # noqa: BLE001 - the page boundary: the archive goes on, the record is kept aside
        return _set_aside(record, f"{type(error).__name__}: {error}")
    if isinstance(text, Removed):
        return text
    if not text or text.isspace():
        return Removed(step="empty_text")
    page: Page = {"text": text, "metadata": dict(record.headers)}
    if record.warcinfo is not None:
        page["warcinfo"] = record.warcinfo
    return page


def _set_aside(record: WarcRecord, reason: str) -> SetAside:
    return SetAside(
        step=EXTRACT_STEP,
        offset=record.offset,
        record_id=record.headers.get("WARC-Record-ID", ""),
        target_uri=record.headers.get("WARC-Target-URI", ""),
        reason=reason,
        raw=record.block or b"",
    )


def _plain_text(record: WarcRecord, block: bytes) -> str | Removed:
    """The text of a WET record, which is extracted already."""
    if not record.headers.get("Content-Type", "").lower().startswith("text/plain"):
        return Removed(step="media_type")
    return block.decode("utf-8", "replace")


def _page_text(block: bytes) -> str | Removed:
    response = parse_response(block)
    if not 200 <= response.status < 300:
        return Removed(step="status")
    if response.media_type and response.media_type not in HTML_TYPES:
        return Removed(step="media_type")
    body = decoded_body(response)
    if not response.media_type and not _looks_like_html(body):
        return Removed(step="media_type")
    return extract_html(body, response.charset)


def _looks_like_html(body: bytes) -> bool:
    head = body[:_SNIFF_BYTES].replace(b"\0", b"").lower()
    return b"<html" in head or b"<!doctype html" in head
