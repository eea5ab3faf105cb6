"""The HTML of the sample crawl: five kinds of sites, each with its furniture around the document.

Navigation, side bars, cookie notices, scripts, comments and footers stand where real sites have them, so that an
extractor has something to leave out. All hosts lie under the domains that RFC 2606 reserves for examples.
"""

from __future__ import annotations

import html
import random
from dataclasses import dataclass

from raw_sources.sample_crawl.text import Document, DocumentBlock

_HOSTS = (
    "field-notes.example.org",
    "evening-paper.example.com",
    "handbook.example.net",
    "wiki.example.org",
    "talk.example.com",
    "slow-lane.example.net",
    "harbour-view.example.org",
    "daily-round.example.com",
    "reference.example.net",
    "open-shelf.example.org",
    "workbench.example.com",
    "north-window.example.net",
    "encyclopedia.example.org",
    "town-crier.example.com",
    "manual.example.net",
    "long-walk.example.org",
    "questions.example.com",
    "second-draft.example.net",
    "common-room.example.org",
    "bulletin.example.com",
)
_KINDS = ("blog", "news", "manual", "wiki", "forum")
_MENU = ("Home", "Articles", "Archive", "About", "Contact", "Search", "Log in", "Newsletter", "Shop", "Help", "Events")
_ASIDE = (
    "Most read this week",
    "Five things to see before noon",
    "Our readers write",
    "From the archive: ten years ago",
    "Sign up for our newsletter",
    "A map of all stations",
    "Photographs of the month",
    "How to support us",
    "Upcoming dates",
    "What the editors recommend",
)
_NAMES = ("marta_k", "old_oak", "j.smith", "quietwater", "Ines", "tobias", "north7", "Lena P.", "dr_bell", "rowan")
_REMARKS = (
    "Thanks, this was useful.",
    "I had always wondered about that.",
    "Could you say more about the second point?",
    "Not sure I agree, but well written.",
    "Bookmarked!",
    "My father told a very similar story.",
)
_COOKIES = (
    "We use cookies to improve your experience. By continuing you accept our cookie policy.",
    "This site stores data on your device. Manage your choices or accept all.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A host and the kind of its pages."""

    host: str
    kind: str


SITES = tuple(Site(host=host, kind=_KINDS[index % len(_KINDS)]) for index, host in enumerate(_HOSTS))


def slug(title: str, number: int) -> str:
    """A path for a page: the words of its title and a number that makes it unique."""
    words = "".join(letter if letter.isalnum() and letter.isascii() else " " for letter in title.lower()).split()
    return "-".join([*words[:7], str(number)])


def render(document: Document, site: Site, draw: random.Random, charset: str = "utf-8") -> str:
    """The whole page; `charset` is what its `meta` declares (empty: nothing)."""
    body = "\n".join(_block(block) for block in document.blocks)
    title = html.escape(document.title)
    page = {
        "blog": _blog,
        "news": _news,
        "manual": _manual,
        "wiki": _wiki,
        "forum": _forum,
    }[site.kind](title, body, draw)
    return f"""<!DOCTYPE html>
<html lang="{document.language}">
{_head(title, site, draw, charset)}
<body class="{site.kind}">
{page}
{_footer(site, draw)}
</body>
</html>
"""


def _head(title: str, site: Site, draw: random.Random, charset: str) -> str:
    meta = f'<meta charset="{charset}">\n' if charset else ""
    return f"""<head>
{meta}<title>{title} | {site.host.split(".")[0].replace("-", " ").title()}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="{title}">
<link rel="stylesheet" href="/static/site-{draw.randrange(100, 999)}.css">
<style>.banner {{ position: fixed; bottom: 0 }} .content {{ max-width: 40em; margin: auto }}</style>
<script>var visits = window.visits || [];
visits.push({{page: {draw.randrange(10**6)}, kind: "{site.kind}"}});</script>
</head>"""


def _block(block: DocumentBlock) -> str:
    text = html.escape(block.text, quote=False)
    return f"<pre><code>{text}</code></pre>" if block.kind == "pre" else f"<{block.kind}>{text}</{block.kind}>"


def _links(names: list[str]) -> str:
    return "\n".join(f'<li><a href="/{name.lower().replace(" ", "-")}">{name}</a></li>' for name in names)


def _navigation(draw: random.Random) -> str:
    return f'<nav class="menu" role="navigation"><ul>\n{_links(draw.sample(_MENU, 7))}\n</ul></nav>'


def _sidebar(draw: random.Random) -> str:
    links = _links(draw.sample(_ASIDE, 5))
    return f'<aside class="sidebar"><h3>More</h3><ul class="related-links">\n{links}\n</ul></aside>'


def _footer(site: Site, draw: random.Random) -> str:
    year = draw.randrange(2015, 2025)
    notice = draw.choice(_COOKIES)
    banner = f'<div class="cookie-banner" id="cookie-consent"><p>{notice}</p><button>Accept</button></div>'
    return f"""<footer class="footer"><p>Copyright {year} {site.host}. All rights reserved.</p>
<ul>{_links(["Privacy policy", "Terms of use", "Imprint"])}</ul></footer>
{banner if draw.random() < 0.6 else ""}
<script src="/static/app.js" async></script>
<script>document.querySelectorAll("a.share").forEach(function (link) {{ link.hidden = true; }});</script>"""


def _date(draw: random.Random) -> str:
    month = draw.choice(("January", "March", "May", "July", "October"))
    return f"{draw.randrange(1, 29)} {month} {draw.randrange(2008, 2025)}"


def _blog(title: str, body: str, draw: random.Random) -> str:
    return f"""<div class="wrapper">
<header class="site-header">{_navigation(draw)}</header>
<main><article class="post content">
<h1 class="entry-title">{title}</h1>
<div class="entry-content">
{body}
</div>
<div class="share-buttons"><a class="share" href="#">Share</a> <a class="share" href="#">Print</a></div>
</article></main>
{_sidebar(draw)}
</div>"""


def _news(title: str, body: str, draw: random.Random) -> str:
    return f"""<div id="top-bar" class="navbar">{_navigation(draw)}</div>
<div class="advertisement">Advertisement</div>
<div id="main" class="columns"><div class="main-content" id="content">
<article itemscope itemtype="https://schema.org/NewsArticle"><h1 itemprop="headline">{title}</h1>
<p class="byline">By {draw.choice(_NAMES)}, {_date(draw)}</p>
<div class="article-body" itemprop="articleBody">
{body}
</div></article></div>
{_sidebar(draw)}</div>"""


def _manual(title: str, body: str, draw: random.Random) -> str:
    chapters = "".join(f'<li><a href="/chapter/{number}">Chapter {number}</a></li>' for number in range(1, 13))
    return f"""<div class="page"><div class="sidebar toc"><ul>{chapters}</ul></div>
<div class="document" role="main"><section id="s{draw.randrange(1000)}">
<h1>{title}<a class="headerlink" href="#top" title="Link">&para;</a></h1>
{body}
</section></div>
<div class="related"><a href="/previous">Previous</a> <a href="/next">Next</a></div></div>"""


def _wiki(title: str, body: str, draw: random.Random) -> str:
    return f"""<div id="mw-navigation">{_navigation(draw)}</div>
<div id="content" class="mw-body" role="main"><h1 id="firstHeading">{title}</h1>
<div id="siteSub">From the free example encyclopedia</div>
<div id="mw-content-text" class="mw-parser-output">
{body}
<div class="navbox"><table><tr><td>{draw.choice(_ASIDE)}</td><td>{draw.choice(_ASIDE)}</td></tr></table></div>
</div></div>
<div id="catlinks" class="catlinks"><a href="/categories">Categories</a></div>"""


def _forum(title: str, body: str, draw: random.Random) -> str:
    replies = "\n".join(
        f'<div class="comment"><span class="author">{draw.choice(_NAMES)}</span><p>{draw.choice(_REMARKS)}</p></div>'
        for _ in range(draw.randrange(4))
    )
    return f"""<table class="layout" width="100%"><tr><td class="menu" width="20%">{_navigation(draw)}</td>
<td><div class="thread main-content"><h1>{title}</h1>
<div class="post-body">
{body}
</div>
<div class="comments" id="comments">{replies}</div></div></td></tr></table>"""
