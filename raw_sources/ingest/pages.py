"""Records of an archive to pages: which records become pages, and why the others don't.

Follows DCLM's record schema (`text`, `metadata`, `warcinfo`; no `url`, which `move_url_modifier` makes) and its
extractor settings. Departs from DCLM in that nothing is dropped silently: each record is kept, removed for a reason
that is counted, or set aside with its error; in taking any charset, and in leaving the text of WET records as it is.

    response      an HTTP response of status 2xx whose media type (or, without one, whose bytes) say HTML
    resource      a page that was stored without its HTTP header
    conversion    a WET record: text already
    metadata      a WAT record: title and links of a page
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corpusmith.io import position
from corpusmith.io.pages.shards import Page
from corpusmith.run.ledger import READ_STEP
from corpusmith.seeds import uniform
from raw_sources.archives.http_message import (
    CodingError,
    HttpResponse,
    NotHttpError,
    TooLargeError,
    decoded_body,
    parse_response,
)
from raw_sources.archives.open_archive import Found, read_archive
from raw_sources.archives.warc import LostPart, WarcRecord
from raw_sources.archives.wat import wat_page
from raw_sources.extractors import page_meta
from raw_sources.extractors.charset import decode_page
from raw_sources.extractors.nesting import TooDeepError, check_nesting
from raw_sources.extractors.registry import Extract
from raw_sources.ingest.config import IngestConfig
from raw_sources.ingest.crawl_stats import CrawlStats
from raw_sources.ingest.outcomes import EXTRACT_STEP, KEPT_BYTES, FailedRecord, RecordOutcome, Removed
from raw_sources.ingest.url_blocklist import load_block_list

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
PAGE_RECORD_TYPES = ("response", "resource", "conversion", "metadata")

_SNIFF_BYTES = 1024


class TooLongError(ValueError):
    """The record's block is too long to be read."""


class PageMaker:
    """Makes pages of records and HTML as a config says; holds the extractor and the lists, counts statistics.

    `extract` stands for the config's extractor where it is given.
    """

    def __init__(self, config: IngestConfig, stats: CrawlStats | None = None, extract: Extract | None = None) -> None:
        self.config = config
        self.stats = stats or CrawlStats()
        self._extract = extract or config.choice().open()
        self._block_list = (
            load_block_list(tuple(config.blocked_domains), tuple(config.blocked_urls))
            if config.blocked_domains or config.blocked_urls
            else None
        )
        self._dropped_robots = frozenset(config.drop_robots)

    def outcome(self, found: Found, name: str = "", index: int = 0, poison: str | None = None) -> RecordOutcome:
        """What becomes of an archive's record; `name` and `index` are its file's and its own, for sampling.

        `poison` says how a worker died at this record before.
        """
        record = found.item
        if isinstance(record, LostPart):
            self.stats.count("failure", READ_STEP)
            return FailedRecord(
                step=READ_STEP,
                offset=record.offset,
                record_id="",
                target_uri="",
                reason=record.reason,
                raw=record.raw,
                member=found.member,
            )
        self.stats.count("record_type", record.type)
        try:
            if poison is not None:
                raise TooLongError(poison)
            made = self._refused(record, name, index) or self._page(record)
        except (NotHttpError, TooLargeError, TooDeepError, TooLongError, CodingError) as error:
            return Removed(step="not_http") if isinstance(error, NotHttpError) else self._aside(found, str(error))
        except Exception as error:  # noqa: BLE001 - the page boundary: the archive goes on, the record is kept aside
            return self._aside(found, f"{type(error).__name__}: {error}")
        if isinstance(made, Removed):
            return made
        made["metadata"] = dict(record.headers)
        if record.warcinfo is not None:
            made["warcinfo"] = record.warcinfo
        return made

    def _aside(self, found: Found, reason: str) -> FailedRecord:
        record = found.item
        assert isinstance(record, WarcRecord)
        self.stats.count("failure", reason.partition(":")[0])
        return FailedRecord(
            step=EXTRACT_STEP,
            offset=record.offset,
            record_id=record.headers.get("WARC-Record-ID", ""),
            target_uri=record.headers.get("WARC-Target-URI", ""),
            reason=reason,
            raw=(record.block or record.head)[:KEPT_BYTES],
            member=found.member,
        )

    def refused_url(self, url: str) -> Removed | None:
        """Why a page of this URL is not wanted, or None."""
        blocked = self._block_list.blocks(url) if self._block_list is not None and url else None
        return Removed(step=f"blocked_{blocked}") if blocked else None

    def refused_sample(self, name: str, index: int) -> Removed | None:
        """Whether the draw left a record out."""
        if self.config.sample < 1 and uniform(self.config.seed, name, index) >= self.config.sample:
            return Removed(step="not_sampled")
        return None

    def _refused(self, record: WarcRecord, name: str, index: int) -> Removed | None:
        if record.type not in PAGE_RECORD_TYPES:
            return Removed(step="record_type")
        return self.refused_sample(name, index) or self.refused_url(record.headers.get("WARC-Target-URI", ""))

    def _page(self, record: WarcRecord) -> Page | Removed:
        if record.type == "response":
            return self._response_page(record)
        if record.block is None:
            raise TooLongError(f"a block of {record.length} bytes")
        media_type = record.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.stats.count("media_type", media_type)
        if record.type == "metadata":
            page = wat_page(record.block) if media_type == "application/json" else None
            return Removed(step="record_type") if page is None else self._kept(page)
        if record.type == "conversion":
            if media_type != "text/plain":
                return Removed(step="media_type")
            return self._kept({"text": record.block.decode("utf-8", "replace")})
        if media_type not in HTML_TYPES:
            return Removed(step="media_type")
        return self.html_page(record.block, "", record.headers.get("WARC-Target-URI", ""), {})

    def _response_page(self, record: WarcRecord) -> Page | Removed:
        """The page of an HTTP response; of one that is too long only the head decides whether it was one."""
        block = record.head if record.block is None else record.block
        if "ARC-Content-Type" in record.headers and not block.startswith(b"HTTP/"):
            response = _without_http(record.headers["ARC-Content-Type"], block)
        else:
            response = parse_response(block)
        self.stats.count("status", str(response.status))
        if not 200 <= response.status < 300:
            return Removed(step="status")
        self.stats.count("media_type", response.media_type)
        if response.media_type and response.media_type not in HTML_TYPES:
            return Removed(step="media_type")
        if record.block is None:
            raise TooLongError(f"a block of {record.length} bytes")
        body = decoded_body(response)
        if not response.media_type and not _looks_like_html(body):
            return Removed(step="media_type")
        return self.html_page(body, response.charset, record.headers.get("WARC-Target-URI", ""), response.fields)

    def html_page(self, body: bytes | str, charset: str, url: str, fields: Mapping[str, str]) -> Page | Removed:
        """The page of an HTML document; `fields` are those of its HTTP header by lower-case name."""
        if isinstance(body, str):
            html = body
        else:
            html, codec = decode_page(body, charset)
            self.stats.count("charset", codec)
        flags = page_meta.robots_flags(html, fields)
        for flag in flags:
            self.stats.count("robots", flag)
        if not self._dropped_robots.isdisjoint(flags):
            return Removed(step="robots")
        check_nesting(html)
        page: Page = {"text": self._extract(html)}
        if flags:
            page["robots"] = flags
        config = self.config
        if config.title and (title := page_meta.title_of(html)):
            page["title"] = title
        if config.date and (date := page_meta.date_of(html, url)):
            page["date"] = date
        if config.links:
            page["links"] = page_meta.links_of(html, url)
        return self._kept(page)

    def text_page(self, text: str) -> Page | Removed:
        """The page of a text."""
        return self._kept({"text": text})

    def _kept(self, page: Page) -> Page | Removed:
        """The page, unless there is nothing in it."""
        text = page["text"]
        if (not text or text.isspace()) and not ("links" in page and page.get("links") and "wat" in page):
            return Removed(step="empty_text")
        page.pop("wat", None)
        self.stats.count_text(text)
        return page


def _without_http(media_type: str, block: bytes) -> HttpResponse:
    """What an ARC record without an HTTP header stands for: early crawlers stored the page alone."""
    if media_type.partition(";")[0].strip().lower() not in HTML_TYPES:
        raise NotHttpError(f"no HTTP status line: {block[:40]!r}")
    return HttpResponse(status=200, fields={"content-type": media_type}, body=block)


def _looks_like_html(body: bytes) -> bool:
    head = body[:_SNIFF_BYTES].replace(b"\0", b"").lower()
    return b"<html" in head or b"<!doctype html" in head


def read_outcomes(url: str, maker: PageMaker | None = None, name: str = "") -> Iterator[RecordOutcome]:
    """What became of each record and each lost part of an archive, in order."""
    maker = maker or PageMaker(IngestConfig())
    poison = position.avoided(url)
    for index, found in enumerate(read_archive(url, PAGE_RECORD_TYPES)):
        yield maker.outcome(found, name, index, poison.get(index))


def read_pages(url: str, config: IngestConfig | None = None) -> Iterator[Page]:
    """The pages of an archive in order; use `read_outcomes` to learn of what did not become one."""
    for outcome in read_outcomes(url, PageMaker(config or IngestConfig())):
        if isinstance(outcome, dict):
            yield outcome
