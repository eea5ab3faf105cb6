"""Tables that the block scanner works with: HTML's elements and their kinds, and the words that it knows in attributes.

Words in class names follow what readers' modes and boilerplate removers look for (Arc90's Readability, Mozilla's,
trafilatura, CETD and Web2Text agree on most); grouped here by what they say about a block, one bit each.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

INLINE, BLOCK, VOID, RAW, SKIPPED = range(5)


def _names(spelled: str) -> tuple[str, ...]:
    return tuple(spelled.split())


def _groups(spelled: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Words of each group, which are spelled with bars between them."""
    return {name: tuple(words.split("|")) for name, words in spelled.items()}


BLOCK_NAMES = _names(
    "html body div p article section main header footer nav aside form table thead tbody tfoot tr td th "
    "caption ul ol li dl dt dd h1 h2 h3 h4 h5 h6 blockquote pre figure figcaption address details summary "
    "dialog fieldset legend center hgroup menu search listing plaintext xmp"
)
VOID_NAMES = _names("area base br col embed hr img input link meta param source track wbr keygen frame")
RAW_NAMES = _names("script style title textarea noembed noframes iframe")
SKIPPED_NAMES = _names(
    "head noscript template svg object select option optgroup datalist canvas audio video map applet frameset "
    "rp rt annotation annotation-x button"
)
INLINE_NAMES = _names("a code tt kbd samp b strong i em span label time math sup sub")
NAMES = ("", *BLOCK_NAMES, *VOID_NAMES, *RAW_NAMES, *SKIPPED_NAMES, *INLINE_NAMES)
TAG = {name: number for number, name in enumerate(NAMES)}

#: what a class, id, role or itemprop says -> the words that say it; the order numbers the bits
ATTRIBUTE_WORDS = _groups(
    {
        "comments": "comment|disqus|respond|reply|kommentar|discussion",
        "navigation": "nav|menu|breadcrumb|paginat|pager|toolbar|tabs|toc",
        "footer": "footer|foot|copyright|legal|colophon|impressum",
        "header": "header|masthead|topbar|top-bar|hero|branding|logo",
        "sidebar": "sidebar|aside|rail|widget|secondary|complementary|column-right|rightcol|right-col",
        "related": (
            "related|recommend|popular|trending|similar|latest|most-read|mostread|more-|read-next|readnext|also|further"
        ),
        "share": "share|sharing|social|facebook|twitter|whatsapp|follow|addthis",
        "advert": "advert|sponsor|promo|ad-|-ad|ads|adslot|outbrain|taboola|dfp|banner|anzeige|werbung|marketing",
        "byline": "byline|author|autor|posted|credit|bio|profile|avatar|vcard",
        "date": "date|time|publish|datum|entry-meta|post-meta|meta",
        "tags": "tag|categor|topic|keyword|label|schlagw",
        "newsletter": "newsletter|subscri|signup|sign-up|login|register|optin|paywall|donat|membership",
        "modal": "modal|popup|overlay|cookie|consent|gdpr|lightbox|tooltip|dropdown|dialog|alert",
        "media": "caption|figure|gallery|image|photo|picture|media|video|slide|carousel|thumb|wp-caption",
        "content": "content|article|post|entry|story|text|body|main|page|hentry|blog|single|inhalt|artikel|column",
        "article": (
            "article-body|articlebody|article__body|article_body|story-body|storybody|entry-content|entry_content|"
            "post-content|postcontent|post-body|post_content|article-content|articlecontent|article-text|articletext|"
            "maincontent|main-content|content-body|body-content|rich-text|richtext|bodytext|body-text|bodycopy|"
            "body-copy|article__content|article-copy|wysiwyg|field-body|td-post|single-content|post-text|"
            "content__body|paragraph|textblock"
        ),
        "hidden": "hidden|hide|invisible|sr-only|screen-reader|visually|noprint|no-print|d-none",
        "title": "title|headline|heading|kicker|subtitle|subhead|overline",
        "lead": "lead|summary|intro|standfirst|dek|teaser|excerpt|abstract|description|deck",
        "product": "price|product|cart|shop|rating|review|item|offer",
        "search": "search|filter|form|input|field|select",
        "tool": "tool|action|button|btn|print|email|icon|link|cta|skip",
        "list": "list|grid|card|tile|feed|index|archive|listing|teaserlist",
        "note": "footnote|reference|citation|note|source|correction|disclaimer|update|infobox|factbox",
        "quote": "quote|pullquote|blockquote|highlight",
        "code": "code|highlight|syntax|listing|math|katex|tex|latex|mathjax",
    }
)
#: what a short text says -> beginnings of words that say it; the order numbers the bits
TEXT_WORDS = _groups(
    {
        "share": "share|tweet|facebook|twitter|whatsapp|pinterest|teilen|linkedin|instagram",
        "comment": "comment|kommentar|reply|antwort|leave a|gefällt|like this|disqus",
        "subscribe": "subscrib|newsletter|sign up|log in|login|anmelden|abonn|register|sign in",
        "copyright": "copyright|©|all rights|rights reserved|alle rechte|privacy|datenschutz|terms of",
        "cookie": "cookie|javascript|browser|gdpr",
        "related": (
            "related|read more|see also|more from|recommended|you may|popular|mehr zum|weitere|lesen sie|"
            "auch interessant|weiterlesen|continue reading|most read|trending"
        ),
        "advert": "advertis|sponsor|anzeige|werbung|affiliate",
        "photo": "photo|image:|foto|bild:|credit|getty|reuters|source:|quelle",
        "byline": "by |von |author|autor|written by|posted|published|updated|veröffentlicht|min read",
        "navigation": "previous|next|home|menu|search|back to|skip to|zurück|weiter|startseite|suche",
        "tags": "tags|tagged|filed under|categor|kategorie|schlagw|topics",
        "action": "click here|hier klicken|download|buy now|add to|view all|show more|print",
    }
)

TAG_BITS = _names(
    "article main nav header footer aside form table figure figcaption blockquote li pre dl section address "
    "label details dialog td th ul ol"
)
#: names of the bits of an element: words of its attributes, its tag, whether it is a heading
BIT_NAMES = (*ATTRIBUTE_WORDS, *(f"<{name}>" for name in TAG_BITS), "<h1-h6>")
BITS = len(BIT_NAMES)
BIT = {name: 1 << number for number, name in enumerate(BIT_NAMES)}

#: what speaks against a block: words of attributes, and elements
NEGATIVE = (
    *("comments", "navigation", "footer", "sidebar", "related", "share", "advert", "newsletter", "modal"),
    *("<nav>", "<footer>", "<aside>", "<form>", "<dialog>"),
)
#: what speaks for it most
POSITIVE = "article"

_LETTERS = {ord(letter): number + 1 for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz0123456789-")}


def name_code(name: str) -> int:
    """A tag's name as a number; names of more than twelve letters share those of their beginning."""
    code = 0
    for letter in name[:12]:
        code = code * 38 + _LETTERS[ord(letter)]
    return code


@functools.cache
def letters() -> Array:
    """Byte -> number of the letter in a name, 0 for what ends one; upper case counts as lower."""
    table = np.zeros(256, np.uint64)
    for byte, number in _LETTERS.items():
        table[byte] = table[ord(chr(byte).upper())] = number
    return table


@functools.cache
def name_codes() -> tuple[Array, Array]:
    """Codes of the known names, sorted, and the tag that each stands for."""
    pairs = sorted((name_code(name), tag) for name, tag in TAG.items() if name)
    return np.array([code for code, _ in pairs], np.uint64), np.array([tag for _, tag in pairs], np.int32)


@functools.cache
def tag_kinds() -> Array:
    """Tag -> INLINE, BLOCK, VOID, RAW or SKIPPED."""
    kinds = np.full(len(NAMES), INLINE, np.int32)
    for names, kind in ((BLOCK_NAMES, BLOCK), (VOID_NAMES, VOID), (RAW_NAMES, RAW), (SKIPPED_NAMES, SKIPPED)):
        for name in names:
            kinds[TAG[name]] = kind
    return kinds


@functools.cache
def tag_bits() -> Array:
    """Tag -> its bit in a block's flags, 0 for none."""
    bits = np.zeros(len(NAMES), np.int64)
    for name in TAG_BITS:
        bits[TAG[name]] = BIT[f"<{name}>"]
    for level in range(1, 7):
        bits[TAG[f"h{level}"]] = BIT["<h1-h6>"]
    return bits


def automaton(groups: Iterable[Sequence[str]]) -> tuple[Array, Array]:
    """Aho-Corasick over lower-case UTF-8: `step[state, byte]` -> state, `found[state]` -> bits of the groups."""
    goto: list[dict[int, int]] = [{}]
    found = [0]
    for bit, words in enumerate(groups):
        for word in words:
            state = 0
            for byte in word.encode():
                if byte not in goto[state]:
                    goto.append({})
                    found.append(0)
                    goto[state][byte] = len(goto) - 1
                state = goto[state][byte]
            found[state] |= 1 << bit
    return _completed(goto, found)


def _completed(goto: list[Mapping[int, int]] | list[dict[int, int]], found: list[int]) -> tuple[Array, Array]:
    """The automaton as tables, failure links followed once and for all; upper case steps as lower."""
    step = np.zeros((len(goto), 256), np.int32)
    fail = [0] * len(goto)
    queue: list[int] = []
    for byte, state in goto[0].items():
        step[0, byte] = state
        queue.append(state)
    for state in queue:
        found[state] |= found[fail[state]]
        step[state] = step[fail[state]]
        for byte, following in goto[state].items():
            fail[following] = int(step[fail[state], byte])
            step[state, byte] = following
            queue.append(following)
    step[:, ord("A") : ord("Z") + 1] = step[:, ord("a") : ord("z") + 1]
    return step, np.array(found, np.int64)


@functools.cache
def attribute_automaton() -> tuple[Array, Array]:
    """The automaton over class names and the like."""
    return automaton(ATTRIBUTE_WORDS.values())


@functools.cache
def text_automaton() -> tuple[Array, Array]:
    """The automaton over the beginnings of texts."""
    return automaton(TEXT_WORDS.values())
