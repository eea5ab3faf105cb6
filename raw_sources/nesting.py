"""How deep a page nests its elements, before any parser sees it.

The extractors' time grows with the square of the nesting depth (resiliparse: a second at 10,000 nested `div`) while
they hold the interpreter's lock, so that no timer of Python's could stop them.
"""

from __future__ import annotations

import re

VERSION = 1

MAX_NESTING = 1000

# the elements in whose depth the extractor's time grows quadratically (tried with all of HTML's: 8 MB of any other
# kind, nested, takes at most six seconds)
_OPENING = re.compile(r"<(?:div|article|section|ol|main)(?![a-z0-9-])", re.IGNORECASE)
_OPENING_OR_CLOSING = re.compile(r"<(/?)(?:div|article|section|ol|main)(?![a-z0-9-])", re.IGNORECASE)


class TooDeepError(ValueError):
    """The page nests its elements deeper than `MAX_NESTING`."""


def check_nesting(html: str) -> None:
    """Raise TooDeepError where more than `MAX_NESTING` block elements may be open at once.

    A bound, not a parse: an element is open from its opening tag to a closing tag of any of these kinds.
    """
    if html.count("<") <= MAX_NESTING or len(_OPENING.findall(html)) <= MAX_NESTING:
        return
    depth = 0
    for match in _OPENING_OR_CLOSING.finditer(html):
        depth = max(0, depth - 1) if match.group(1) else depth + 1
        if depth > MAX_NESTING:
            raise TooDeepError(f"more than {MAX_NESTING} nested block elements")
