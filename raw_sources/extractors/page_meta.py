"""What a page says about itself besides its text: title, date, links, and what robots may do with it.

Found by bounded patterns in the HTML, since a second parse would cost as much as extracting the text. Robots' flags
follow Google's specification of `X-Robots-Tag` and `meta name=robots`, DeviantArt's `noai` and `noimageai`, and the
TDM Reservation Protocol of W3C's community group (`tdm-reservation`).
"""

from __future__ import annotations

import html as html_module
import itertools
import re
from collections.abc import Mapping
from urllib.parse import urljoin

HEAD_CHARACTERS = 256 << 10
MAX_LINKS = 5000
MAX_ANCHORS = 20_000
TAG_CHARACTERS = 4000
LINK_TEXT_CHARACTERS = 2000
MAX_TITLE = 1000
ROBOTS_FLAGS = (
    "none",
    "noindex",
    "nofollow",
    "noarchive",
    "nosnippet",
    "noimageindex",
    "notranslate",
    "noai",
    "noimageai",
    "tdm-reservation",
)

_META = re.compile(r"<[mM][eE][tT][aA]\s([^>]{1,4000})>")
_ATTRIBUTE = re.compile(
    r"""([a-z][a-z:_-]{0,40})\s*=\s*(?:"([^"]{0,2000})"|'([^']{0,2000})'|([^\s"'>]{1,2000}))""", re.I
)
_TITLE = re.compile(r"<title(?:\s[^>]{0,500})?>([^<]{0,4000})", re.IGNORECASE)
_ANCHOR_END = re.compile(r"</[aA][\s>]")
_ANCHOR = re.compile(r"<[aA](?=\s)")
_TAG = re.compile(r"<[^>]{0,2000}>")
_DAY = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})")
_TIME = re.compile(r"""<time\s[^>]{0,500}?datetime\s*=\s*["']?(\d{4}-\d{2}-\d{2})""", re.IGNORECASE)
_JSON_LD = re.compile(r"\"datePublished\"\s*:\s*\"(\d{4}-\d{2}-\d{2})")
_URL_DAY = re.compile(r"/(\d{4})[/-](\d{1,2})[/-](\d{1,2})(?=/|[-_.]|$)")
_DATE_NAMES = (
    "article:published_time",
    "datepublished",
    "date",
    "dc.date",
    "dc.date.issued",
    "dcterms.created",
    "pubdate",
    "publishdate",
    "publish-date",
    "og:published_time",
    "sailthru.date",
    "parsely-pub-date",
)
_TITLE_NAMES = ("og:title", "twitter:title", "dc.title")
_ROBOT_NAMES = ("robots", "googlebot", "bingbot", "ccbot", "gptbot")


def _head_end(html: str) -> int:
    """Where a page's head ends, at most: `meta` has its place there."""
    found = html.find("<body", 0, HEAD_CHARACTERS)
    if found < 0:
        found = html.find("<BODY", 0, HEAD_CHARACTERS)
    return HEAD_CHARACTERS if found < 0 else found


def metas(html: str, only_robots: bool = False) -> dict[str, str]:
    """The contents of the page's `meta` elements by lower-case name; of those with one name the first counts, and
    those for robots are joined."""
    found: dict[str, str] = {}
    for tag in _META.findall(html, 0, _head_end(html)):
        if only_robots and "bot" not in (lowered := tag.lower()) and "tdm-" not in lowered:
            continue
        attributes = {name.lower(): a or b or c for name, a, b, c in _ATTRIBUTE.findall(tag)}
        name = (attributes.get("name") or attributes.get("property") or attributes.get("itemprop") or "").lower()
        content = attributes.get("content", "")
        if name in _ROBOT_NAMES:
            found["robots"] = f"{found.get('robots', '')},{content}"
        elif name:
            found.setdefault(name, html_module.unescape(content))
    return found


def robots_flags(html: str, fields: Mapping[str, str]) -> list[str]:
    """What robots are asked not to do, sorted; by the fields of the HTTP header (lower-case names) and the page."""
    said = fields.get("x-robots-tag", "")
    reserved = fields.get("tdm-reservation", "")
    tags = metas(html, only_robots=True)
    said += f",{tags.get('robots', '')}"
    reserved = reserved or tags.get("tdm-reservation", "")
    words = {word.strip().lower().rpartition(":")[2].strip() for word in said.split(",")}
    if reserved.strip() == "1":
        words.add("tdm-reservation")
    return sorted(words.intersection(ROBOTS_FLAGS))


def title_of(html: str) -> str | None:
    """The page's title, white space evened out; None where it has none."""
    found = _TITLE.search(html, 0, HEAD_CHARACTERS)
    title = " ".join(html_module.unescape(found.group(1)).split()) if found else ""
    if not title:
        tags = metas(html)
        title = " ".join(next((tags[name] for name in _TITLE_NAMES if tags.get(name)), "").split())
    return title[:MAX_TITLE] or None


def date_of(html: str, url: str) -> str | None:
    """The day on which the page was published, `YYYY-MM-DD`, by its own word or its URL; None where neither tells."""
    tags = metas(html)
    candidates = [tags[name] for name in _DATE_NAMES if name in tags]
    for pattern in (_JSON_LD, _TIME):
        found = pattern.search(html)
        candidates += [found.group(1)] if found else []
    found = _URL_DAY.search(url)
    candidates += ["{:0>4}-{:0>2}-{:0>2}".format(*found.groups())] if found else []
    for text in candidates:
        day = _DAY.search(text)
        if day and 1990 <= int(day[1]) <= 2100 and 1 <= int(day[2]) <= 12 and 1 <= int(day[3]) <= 31:
            return day.group(0)
    return None


def links_of(html: str, base: str) -> list[dict[str, str]]:
    """The page's links in order, `{"url", "text"}`, absolute where `base` is; at most `MAX_LINKS`."""
    links: list[dict[str, str]] = []
    for match in itertools.islice(_ANCHOR.finditer(html), MAX_ANCHORS):
        end = html.find(">", match.end(), match.end() + TAG_CHARACTERS)
        if end < 0:
            continue
        attributes = {name.lower(): a or b or c for name, a, b, c in _ATTRIBUTE.findall(html[match.end() : end])}
        target = html_module.unescape(attributes.get("href", "").strip())
        if not target or target.startswith("#") or target.lower().startswith(("javascript:", "data:", "mailto:")):
            continue
        try:
            absolute = urljoin(base, target)
        except ValueError:
            continue
        inner = html[end + 1 : end + 1 + LINK_TEXT_CHARACTERS]
        inner = inner[: found.start()] if (found := _ANCHOR_END.search(inner)) else ""
        links.append({"url": absolute, "text": " ".join(html_module.unescape(_TAG.sub(" ", inner)).split())})
        if len(links) == MAX_LINKS:
            break
    return links
