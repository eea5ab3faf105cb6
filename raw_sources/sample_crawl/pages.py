"""The responses of the sample crawl, page by page: good articles, copies, other languages, spam, and what is broken.

The kinds come in fixed shares (`SHARES`, out of 40 pages), in an order drawn for each 40, so that a small crawl has
them all. Page `number` depends on the seed, its number and the pages before it, on nothing else.
"""

from __future__ import annotations

import random
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from corpusmith.seeds import stable_hash
from raw_sources.sample_crawl.html import SITES, Site, render, slug
from raw_sources.sample_crawl.languages import LEGACY_CHARSETS, SENTENCES_BY_LANGUAGE
from raw_sources.sample_crawl.text import Document, DocumentBlock, library_documents, write_article
from raw_sources.sample_crawl.words import TOPICS

#: kind -> pages of it in every 40
SHARES = {
    "article": 24,
    "exact_dup": 2,
    "near_dup": 2,
    "language": 4,
    "spam": 2,
    "tiny": 2,
    "broken": 2,
    "non_html": 1,
    "status": 1,
}
BLOCK_PAGES = sum(SHARES.values())
LIBRARY_SHARE = 0.5
REMEMBERED_ORIGINALS = 200
HELDOUT_SHARE = 0.12

BROKEN_VARIANTS = (
    "unclosed",
    "wrong_charset",
    "windows_1252",
    "undeclared_1252",
    "utf_16",
    "truncated",
    "no_head",
    "nested",
    "empty",
)
_NESTED_DIVS = 4000
_OTHER_WORDS = ("today", "perhaps", "once", "nearly", "later", "truly", "seldom", "again", "always", "meanwhile")
_SPAM_WORDS = (
    "cheap",
    "best",
    "buy",
    "online",
    "discount",
    "watches",
    "loans",
    "casino",
    "free",
    "bonus",
    "pills",
    "replica",
    "offer",
    "now",
    "win",
    "credit",
    "download",
    "full",
    "price",
    "sale",
)
_TINY = (
    "This page is under construction.",
    "Please log in to continue.",
    "No results were found.",
    "Coming soon.",
    "You are being redirected to the start page.",
    "Thank you for your message.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """One response of the crawl and the truth about it; `group` is the number of the page it copies, or its own."""

    number: int
    url: str
    status: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    kind: str
    variant: str
    group: int
    language: str
    topic: str
    truncated: bool = False

    @property
    def is_heldout(self) -> bool:
        """Whether the page belongs to the held-out crawl; copies go where their original went."""
        return stable_hash("heldout", self.group) < HELDOUT_SHARE * 2**64


@dataclass(frozen=True, slots=True)
class _Original:
    response: Response
    document: Document


@dataclass(kw_only=True)
class SamplePages:
    """Iterates over the `pages` responses of the crawl with this seed."""

    pages: int
    seed: int
    _library: list[Document] = field(default_factory=list)
    _originals: deque[_Original] = field(default_factory=lambda: deque(maxlen=REMEMBERED_ORIGINALS))

    def __iter__(self) -> Iterator[Response]:
        self._originals.clear()
        self._library = list(library_documents())
        self._draw("library").shuffle(self._library)
        for number in range(self.pages):
            draw = self._draw("page", number)
            yield self._make(self._kind(number), number, draw)

    def _draw(self, *parts: str | int) -> random.Random:
        return random.Random(stable_hash(self.seed, *parts))

    def _kind(self, number: int) -> str:
        kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        self._draw("kinds", number // BLOCK_PAGES).shuffle(kinds)
        kind = kinds[number % BLOCK_PAGES]
        return "article" if kind.endswith("_dup") and not self._originals else kind

    def _make(self, kind: str, number: int, draw: random.Random) -> Response:
        site = draw.choice(SITES)
        match kind:
            case "article":
                return self._article(number, site, draw)
            case "exact_dup":
                original = draw.choice(self._originals).response
                title = original.url.rsplit("/", 1)[-1].rsplit("-", 1)[0]
                url = f"https://{site.host}/mirror/{slug(title.replace('-', ' '), number)}"
                return replace(original, number=number, url=url, kind=kind)
            case "near_dup":
                found = draw.choice(self._originals)
                page = _page(number, site, _reworded(found.document, draw), draw, kind=kind)
                return replace(page, group=found.response.group)
            case "language":
                return _foreign(number, site, draw)
            case "spam":
                return _spam(number, site, draw)
            case "tiny":
                document = Document(title="Notice", blocks=(DocumentBlock("p", draw.choice(_TINY)),), topic="notice")
                return _page(number, site, document, draw, kind=kind)
            case "broken":
                return _broken(number, site, self._new_document(draw), draw)
            case "non_html":
                return _not_html(number, site, draw)
            case _:
                return _other_status(number, site, draw)

    def _new_document(self, draw: random.Random) -> Document:
        if self._library and draw.random() < LIBRARY_SHARE:
            return self._library.pop()
        return write_article(draw.choice(TOPICS), draw, draw.randrange(200, 1000))

    def _article(self, number: int, site: Site, draw: random.Random) -> Response:
        document = self._new_document(draw)
        response = _coded(_page(number, site, document, draw, kind="article"), draw)
        self._originals.append(_Original(response, document))
        return response


def _page(number: int, site: Site, document: Document, draw: random.Random, *, kind: str) -> Response:
    """An ordinary page in UTF-8."""
    return Response(
        number=number,
        url=f"https://{site.host}/{document.topic}/{slug(document.title, number)}",
        status="200 OK",
        fields=_fields("text/html; charset=utf-8"),
        body=render(document, site, draw).encode("utf-8", "replace"),
        kind=kind,
        variant="",
        group=number,
        language=document.language,
        topic=document.topic,
    )


def _fields(content_type: str) -> tuple[tuple[str, str], ...]:
    return (("Server", "example/1.0"), ("Content-Type", content_type), ("Vary", "Accept-Encoding"))


def _coded(response: Response, draw: random.Random) -> Response:
    """Some servers send gzip, some chunks; the crawl stores what was sent."""
    how = draw.random()
    if how < 0.08:
        compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
        body = compressor.compress(response.body) + compressor.flush()
        return replace(response, body=body, fields=(*response.fields, ("Content-Encoding", "gzip")))
    if how < 0.12:
        size = 3000
        pieces = [response.body[at : at + size] for at in range(0, len(response.body), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return replace(response, body=body, fields=(*response.fields, ("Transfer-Encoding", "chunked")))
    return response


def _reworded(document: Document, draw: random.Random) -> Document:
    """The document with about one word in a hundred replaced; its title and code stay."""
    blocks = []
    for block in document.blocks:
        if block.kind == "p":
            words = block.text.split(" ")
            for _ in range(1 + len(words) // 100):
                words[draw.randrange(len(words))] = draw.choice(_OTHER_WORDS)
            block = DocumentBlock("p", " ".join(words))
        blocks.append(block)
    return replace(document, blocks=tuple(blocks))


def _foreign(number: int, site: Site, draw: random.Random) -> Response:
    language = draw.choice(sorted(SENTENCES_BY_LANGUAGE))
    sentences = SENTENCES_BY_LANGUAGE[language]
    joiner = "" if language in ("zh", "ja") else " "
    paragraphs = [joiner.join(draw.sample(sentences, draw.randrange(4, 8))) for _ in range(draw.randrange(3, 9))]
    document = Document(
        title=draw.choice(sentences)[:60].rstrip(" .。।"),
        blocks=tuple(DocumentBlock("p", paragraph) for paragraph in paragraphs),
        topic="world",
        language=language,
    )
    page = _page(number, site, document, draw, kind="language")
    charset = LEGACY_CHARSETS.get(language)
    if charset is None or draw.random() < 0.6:
        return page
    declared_in_header = draw.random() < 0.5
    body = render(document, site, draw, "" if declared_in_header else charset).encode(charset, "xmlcharrefreplace")
    content_type = f"text/html; charset={charset}" if declared_in_header else "text/html"
    return replace(page, body=body, fields=_fields(content_type), variant=charset)


def _spam(number: int, site: Site, draw: random.Random) -> Response:
    variant = draw.choice(("stuffing", "repeated_lines", "symbols", "links"))
    words = draw.sample(_SPAM_WORDS, 6)
    if variant == "stuffing":
        blocks = [DocumentBlock("p", " ".join(draw.choices(words, k=200))) for _ in range(4)]
    elif variant == "repeated_lines":
        blocks = [DocumentBlock("p", f"{' '.join(words)}! Click here for the {words[0]} {words[1]}.")] * draw.randrange(
            20, 60
        )
    elif variant == "symbols":
        blocks = [
            DocumentBlock("p", " ".join(draw.choices((*words, "###", "$$$", "***", "!!!", ">>>", "..."), k=150)))
        ] * 3
    else:
        blocks = [DocumentBlock("p", f"{draw.choice(words)} {draw.choice(words)} | ...") for _ in range(120)]
    document = Document(title=" ".join(words[:3]), blocks=tuple(blocks), topic="offers")
    return replace(_page(number, site, document, draw, kind="spam"), variant=variant)


def _broken(number: int, site: Site, document: Document, draw: random.Random) -> Response:
    variant = BROKEN_VARIANTS[number // BLOCK_PAGES % len(BROKEN_VARIANTS)]
    page = replace(_page(number, site, document, draw, kind="broken"), variant=variant)
    document = replace(
        document, blocks=(*document.blocks, DocumentBlock("p", "The café’s crème brûlée – “voilà” – was déjà vu."))
    )
    markup = render(document, site, draw)
    unmarked = render(document, site, draw, "")
    match variant:
        case "unclosed":
            body = (
                "".join(part for part in markup.split("</p>")).replace("</article>", "").replace("</li>", "").encode()
            )
        case "wrong_charset":
            return replace(page, body=markup.encode(), fields=_fields("text/html; charset=iso-8859-1"))
        case "windows_1252":
            body = render(document, site, draw, "windows-1252").encode("windows-1252", "xmlcharrefreplace")
            return replace(page, body=body, fields=_fields("text/html"))
        case "undeclared_1252":
            body = unmarked.encode("windows-1252", "xmlcharrefreplace")
            return replace(page, body=body, fields=_fields("text/html"))
        case "utf_16":
            return replace(page, body=b"\xff\xfe" + unmarked.encode("utf-16-le"), fields=_fields("text/html"))
        case "truncated":
            return replace(page, body=markup.encode()[: len(markup) * 2 // 3], truncated=True)
        case "no_head":
            body = "\n".join(f"<p>{block.text}" for block in document.blocks).encode()
        case "nested":
            body = (markup.replace("<body", "<body><div" + "><div" * _NESTED_DIVS, 1)).encode()
        case _:
            body = b""
    return replace(page, body=body)


def _not_html(number: int, site: Site, draw: random.Random) -> Response:
    kind, suffix, body = draw.choice(
        (
            ("application/json", "json", b'{"items": [1, 2, 3], "next": null}'),
            ("image/png", "png", b"\x89PNG\r\n\x1a\n" + draw.randbytes(400)),
            ("text/css", "css", b"body { margin: 0 }\n"),
            ("application/pdf", "pdf", b"%PDF-1.4\n" + draw.randbytes(300) + b"\n%%EOF\n"),
        )
    )
    return _bare(number, f"https://{site.host}/files/{number}.{suffix}", "200 OK", kind, body, "non_html")


def _other_status(number: int, site: Site, draw: random.Random) -> Response:
    status = draw.choice(("404 Not Found", "301 Moved Permanently", "500 Internal Server Error", "403 Forbidden"))
    body = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>".encode()
    page = _bare(number, f"https://{site.host}/gone/{number}", status, "text/html", body, "status")
    if status.startswith("301"):
        return replace(page, fields=(*page.fields, ("Location", f"https://{site.host}/")))
    return page


def _bare(number: int, url: str, status: str, content_type: str, body: bytes, kind: str) -> Response:
    return Response(
        number=number,
        url=url,
        status=status,
        fields=_fields(content_type),
        body=body,
        kind=kind,
        variant=status.split()[0] if kind == "status" else content_type,
        group=number,
        language="",
        topic="",
    )
