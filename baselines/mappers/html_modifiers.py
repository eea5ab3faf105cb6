"""Modifiers that turn HTML into text: jusText for pages, BeautifulSoup for questions and answers of StackExchange.

Follows DCLM's modifiers; departs from it in loading both packages when a mapper that needs them is first used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import factory_function
from baselines.mappers.kernels.lines import replace_text
from corpusmith.errors import missing_package

QUESTION = "question"
ANSWERS = "answers"
LIST_TAGS = (("<li>", "\n*"), ("</li>", ""), ("<ol>", "\n*"), ("</ol>", ""))


@functools.cache
def _justext() -> tuple[Callable[..., Any], type[Exception]]:
    """Return `justext.justext` and the error that lxml raises for a document without content."""
    try:
        from justext import justext
        from lxml.etree import ParserError
    except ImportError as error:
        raise missing_package("justext", "mappers") from error
    return justext, ParserError


def html_content_extraction_modifier(page: Page) -> list[Page]:
    """Replace HTML by its paragraphs, two line feeds between them, boilerplate included; remove a page without any.

    Raises:
        UserError: jusText is not installed.
    """
    justext, parser_error = _justext()
    try:
        paragraphs = justext(page[CONTENT], ())
    except parser_error:
        return []
    return replace_text(page, "\n\n".join(paragraph.text for paragraph in paragraphs)) if paragraphs else []


def stackexchange_list_modifier(page: Page) -> list[Page]:
    """Turn list tags of question and answers into bullets (`<ol>` gives one too, as in DCLM)."""
    for post in _posts(page):
        for tag, replacement in LIST_TAGS:
            post[CONTENT] = post[CONTENT].replace(tag, replacement)
    return [page]


def stackexchange_answer_sort_modifier(page: Page, descending: bool = True) -> list[Page]:
    """Sort the answers by `score` (0 where there is none), equal ones in their order; no answers, no change."""
    answers = page.get(ANSWERS)
    if isinstance(answers, list):
        answers.sort(key=lambda answer: answer.get("score", 0), reverse=descending)
    return [page]


@factory_function
def stackexchange_html_extraction_modifier() -> Callable[[Page], list[Page]]:
    """Return a mapper that replaces the HTML of question and answers by its text.

    Raises:
        UserError: BeautifulSoup or lxml is not installed.
    """
    try:
        import lxml
        from bs4 import BeautifulSoup
    except ImportError as error:
        raise missing_package("beautifulsoup4", "mappers") from error
    del lxml

    def extract_texts(page: Page) -> list[Page]:
        for post in _posts(page):
            post[CONTENT] = BeautifulSoup(post[CONTENT], "lxml").get_text()
        return [page]

    return extract_texts


def stackexchange_qa_formatter(page: Page, remove_qa: bool = False) -> list[Page]:
    """Write question and answers into the text, as `Q: …` and one `A: …` a line; remove a page without question.

    Args:
        page: the page.
        remove_qa: take the keys `question` and `answers` away.
    """
    if QUESTION not in page:
        return []
    text = f"Q: {page[QUESTION][CONTENT]}"
    if ANSWERS in page:
        text += "\nA: " + "\nA: ".join(answer[CONTENT] for answer in page[ANSWERS])
    page[CONTENT] = text
    if remove_qa:
        page.pop(QUESTION)
        page.pop(ANSWERS, None)
    return [page]


def _posts(page: Page) -> list[dict[str, Any]]:
    """Return the question and all answers; KeyError where the page has no question."""
    return [page[QUESTION], *page.get(ANSWERS, ())]
