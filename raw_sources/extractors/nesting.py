"""How deep a page nests its elements, before any parser sees it.

The extractors' time grows with the square of the nesting depth (resiliparse: a second at 10,000 nested `div`) while
they hold the interpreter's lock, so that no timer of Python's could stop them.
"""

from __future__ import annotations

import re

MAX_NESTING = 1000

# the elements in whose depth the extractor's time grows quadratically (tried with all of HTML's: 8 MB of any other
# kind, nested, takes at most six seconds)
_NAMES = "|".join(
    # both cases spelled out: the pattern then begins with a fixed character, which is searched for ten times as fast
    "".join(f"[{letter}{letter.upper()}]" for letter in name)
    for name in ("div", "article", "section", "ol", "main")
)
_OPENING = re.compile(rf"<(?:{_NAMES})(?![A-Za-z0-9-])")
_OPENING_OR_CLOSING = re.compile(rf"<(/?)(?:{_NAMES})(?![A-Za-z0-9-])")


class TooDeepError(ValueError):
    """The page nests its elements deeper than `MAX_NESTING`."""


def check_nesting(html: str) -> None:
    """Raise TooDeepError where more than `MAX_NESTING` block elements may be open at once.

    A bound, not a parse: an element is open from its opening tag to a closing tag of any of these kinds.
    """
    if len(_OPENING.findall(html)) <= MAX_NESTING:
        return
    depth = 0
    for match in _OPENING_OR_CLOSING.finditer(html):
        depth = max(0, depth - 1) if match.group(1) else depth + 1
        if depth > MAX_NESTING:
            raise TooDeepError(f"more than {MAX_NESTING} nested block elements")
