"""What becomes of a record: a page, removed for a reason that is counted, or set aside with its error."""

from __future__ import annotations

from dataclasses import dataclass

from corpusmith.io.pages.shards import Page
from corpusmith.run.ledger import READ_STEP

#: what could not be handled; keys of the ledger's `errored`
EXTRACT_STEP = "extract"
ERROR_STEPS = (READ_STEP, EXTRACT_STEP)

KEPT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """A record that is no page, and why; keys of the ledger's `removed`.

    In the order in which it is asked: record_type, not_sampled, blocked_domain, blocked_url, not_http, status,
    media_type, robots, empty_text.
    """

    step: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRecord:
    """A record that raised (`EXTRACT_STEP`; `raw` is its block) or a lost part (`READ_STEP`; `raw` is its head).

    Of what is longer, `raw` holds the first `KEPT_BYTES`. `member` is the file within a WACZ.
    """

    step: str
    offset: int
    record_id: str
    target_uri: str
    reason: str
    raw: bytes
    member: str = ""


RecordOutcome = Page | Removed | FailedRecord
