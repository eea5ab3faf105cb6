r"""Modifiers for the LaTeX sources of arXiv papers: bibliography, comments, macros, what precedes the first heading.

Follows DCLM's modifiers (which follow RedPajama's), oddities included; departs from it in scanning each text once
where its patterns would start again and again, and in putting any character of a macro's body into the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.mappers.kernels.lines import replace_text

# macros that contain each other can double a text with each of them
MAX_EXPANDED_CHARACTERS = 1 << 28

APPENDIX_RE = re.compile(r"\\appendix|\\begin\{(?:references|REFERENCES|thebibliography)\}|\\bibliography\{")
BIBLIOGRAPHY = "\\bibliography{"
COMMENT_LINE_RE = re.compile(r"^%.*\n?", re.MULTILINE)
COMMENT_TAIL_RE = re.compile(r"[^\\]%.+$", re.MULTILINE)
COMMENT_BEGIN = "\\begin{comment}"
COMMENT_END = "\\end{comment}"
MACRO_HEAD_RES = (
    re.compile(r"\\newcommand\*?\{(\\[a-zA-Z0-9]+)\}\{"),
    re.compile(r"\\def\s*(\\[a-zA-Z0-9]+)\s*\{"),
)
HEADING_RE = re.compile(r"\\(?:chapter|part|(?:sub){0,2}section|(paragraph))\*?(?=[\[{])")
SUBPARAGRAPH_RE = re.compile(r"\}\\subparagraph\*?(?=[\[{])")


@factory_function
def arxiv_appendix_modifier() -> Callable[[Page], list[Page]]:
    r"""Return a mapper that cuts a text off where its appendix or its references begin.

    They begin at `\appendix`, at `\begin{references}`, `\begin{REFERENCES}` or `\begin{thebibliography}`, or at a
    `\bibliography{…}`. A page of which nothing is left is removed.
    """

    def cut_appendix(page: Page) -> list[Page]:
        text = page[CONTENT]
        last_brace = text.rfind("}")
        for found in APPENDIX_RE.finditer(text):
            # the braces of \bibliography may close anywhere behind it
            if found.group() != BIBLIOGRAPHY or last_brace >= found.end():
                return replace_text(page, text[: found.start()])
        return replace_text(page, text)

    return cut_appendix


@factory_function
def arxiv_comment_modifier(remove_multiline: bool = False) -> Callable[[Page], list[Page]]:
    r"""Return a mapper that deletes LaTeX comments; a page of which nothing is left is removed.

    Lines that start with `%` go with their line feed. A comment within a line goes with the character before its `%`
    (as in DCLM), unless that is a backslash or nothing follows the `%` on its line.

    Args:
        remove_multiline: also delete from `\begin{comment}` to the next `\end{comment}`.
    """

    def remove_comments(page: Page) -> list[Page]:
        text = page[CONTENT]
        if "%" in text:
            text = COMMENT_TAIL_RE.sub("", COMMENT_LINE_RE.sub("", text))
        if remove_multiline:
            text = _without_comment_blocks(text)
        return replace_text(page, text)

    return remove_comments


def _without_comment_blocks(text: str) -> str:
    kept: list[str] = []
    position = 0
    while (begin := text.find(COMMENT_BEGIN, position)) >= 0:
        end = text.find(COMMENT_END, begin + len(COMMENT_BEGIN))
        if end < 0:
            break
        kept.append(text[position:begin])
        position = end + len(COMMENT_END)
    return "".join((*kept, text[position:]))


@factory_function
def arxiv_macro_modifier() -> Callable[[Page], list[Page]]:
    r"""Return a mapper that writes out the text's own macros without arguments; an empty page is removed.

    Macros are `\newcommand{\name}{body}`, `\newcommand*{\name}{body}` and `\def\name{body}` with the closing brace at
    the end of the line. One after the other, each replaces `\name` where a character other than a letter or digit
    follows. As in DCLM this rewrites the definitions too, leaves a name at the very end of the text, and only the
    first of two names that touch each other is replaced.

    Raises:
        ValueError: (the mapper) macros that contain each other make the text grow beyond 2^28 characters.
    """

    def expand_macros(page: Page) -> list[Page]:
        text = page.get(CONTENT, "")
        macros: dict[str, str] = {}
        for head in MACRO_HEAD_RES:
            macros.update(_find_macros(text, head))
        for name, body in macros.items():
            text = _expand(text, name, body)
        return replace_text(page, text)

    return expand_macros


def _find_macros(text: str, head: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield (name with its backslash, body) of each definition in order."""
    position = 0
    line_end = -1
    while found := head.search(text, position):
        if found.end() > line_end:
            line_end = text.find("\n", found.end())
            line_end = len(text) if line_end < 0 else line_end
        if line_end > found.end() and text[line_end - 1] == "}":
            yield found.group(1), text[found.end() : line_end - 1]
            position = line_end
        else:
            position = found.start() + 1


def _expand(text: str, name: str, body: str) -> str:
    """Replace the name where no letter or digit follows; that character is taken too, and put back."""
    occurrences = text.count(name)
    if len(text) + occurrences * max(0, len(body) - len(name)) > MAX_EXPANDED_CHARACTERS:
        raise ValueError(f"the macro {name} makes the text grow beyond {MAX_EXPANDED_CHARACTERS} characters")
    if not occurrences:
        return text
    return re.sub(re.escape(name) + r"([^a-zA-Z0-9])", lambda found: body + found.group(1), text)


@factory_function
def arxiv_section_strip_modifier() -> Callable[[Page], list[Page]]:
    r"""Return a mapper that deletes what precedes the first heading; a page without one is removed.

    Headings are `\chapter`, `\part`, `\section`, `\subsection`, `\subsubsection`, perhaps `*`, perhaps `[…]`, then
    `{…}`, and, as in DCLM, `\paragraph…{…}` only with `\subparagraph…{…}` directly behind it.
    """

    def strip_preamble(page: Page) -> list[Page]:
        text = page[CONTENT]
        start = _first_heading(text)
        return [] if start is None else replace_text(page, text[start:])

    return strip_preamble


def _first_heading(text: str) -> int | None:
    last_brace = text.rfind("}")
    last_option = text.rfind("]{", 0, max(last_brace, 0))
    subparagraph = -1  # the last closing brace with a \subparagraph behind it; looked for when it is needed
    subparagraph_option = -1
    searched = False
    for found in HEADING_RE.finditer(text):
        if not found.group(1):
            if _has_arguments(text, found.end(), last_brace, last_option):
                return found.start()
            continue
        if not searched:
            searched = True
            for behind in SUBPARAGRAPH_RE.finditer(text):
                if _has_arguments(text, behind.end(), last_brace, last_option):
                    subparagraph = behind.start()
            subparagraph_option = text.rfind("]{", 0, max(subparagraph, 0))
        if _has_arguments(text, found.end(), subparagraph, subparagraph_option):
            return found.start()
    return None


def _has_arguments(text: str, start: int, last_brace: int, last_option: int) -> bool:
    """Whether `{…}`, or `[…]{…}`, begins at `start`.

    Args:
        text: the text; brackets may hold anything, line feeds and other brackets included.
        start: where the first bracket stands.
        last_brace: the last closing brace that counts; -1 for none.
        last_option: the last `]{` that has such a brace behind it; -1 for none.
    """
    return (last_brace if text[start] == "{" else last_option) > start
