"""HTML to a page's text: the extractors behind one interface, and the presets that users name.

`fast` is resiliparse with DCLM's settings, `best` stands for `blocks`, which is ours: blocks of the page scored by a
small model (`raw_sources.extractors.blocks.extractor`). trafilatura and justext are there for who wants their text;
they need the extra `extract`. Each extractor's options are its keyword arguments; an unknown one is refused before any
work starts.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from corpusmith.errors import InputError, did_you_mean, missing_package
from raw_sources.extractors.charset import decode_html
from raw_sources.extractors.nesting import check_nesting

#: preset -> extractor
PRESETS = {"fast": "resiliparse", "best": "blocks"}
STRUCTURED = ("blocks", "trafilatura")


class Extract(Protocol):
    """A page's text, possibly empty; `html` was checked for its nesting."""

    def __call__(self, html: str, /) -> str: ...


def resiliparse_extractor(
    main_content: bool = True,
    preserve_formatting: bool = True,
    list_bullets: bool = True,
    alt_texts: bool = True,
    links: bool = False,
    form_fields: bool = False,
    noscript: bool = False,
    comments: bool = True,
    post_meta: bool = False,
    hidden_elements: bool = False,
    skip_elements: list[str] | None = None,
) -> Extract:
    """`resiliparse.extract.html2text.extract_plain_text`; DCLM gives `main_content` and leaves the rest alone."""
    from resiliparse.extract.html2text import extract_plain_text

    given: dict[str, Any] = {
        "main_content": main_content,
        "preserve_formatting": preserve_formatting,
        "list_bullets": list_bullets,
        "alt_texts": alt_texts,
        "links": links,
        "form_fields": form_fields,
        "noscript": noscript,
        "comments": comments,
        "post_meta": post_meta,
        "hidden_elements": hidden_elements,
        "skip_elements": skip_elements,
    }
    defaults = inspect.signature(resiliparse_extractor).parameters
    options = {name: value for name, value in given.items() if value != defaults[name].default}

    def extract(html: str) -> str:
        text: str = extract_plain_text(html, **{"main_content": main_content, **options})
        return text

    return extract


def trafilatura_extractor(
    structure: bool = False,
    include_comments: bool = False,
    include_tables: bool = True,
    include_links: bool = False,
    favor_precision: bool = False,
    favor_recall: bool = False,
    fast: bool = False,
    deduplicate: bool = False,
    target_language: str | None = None,
) -> Extract:
    """`trafilatura.extract`; `structure` asks for its Markdown. Comments are left out unless asked for."""
    try:
        from trafilatura import extract as trafilatura_extract
    except ImportError as error:
        raise missing_package("trafilatura", "extract") from error

    def extract(html: str) -> str:
        text: str | None = trafilatura_extract(
            html,
            output_format="markdown" if structure else "txt",
            include_formatting=structure,
            include_comments=include_comments,
            include_tables=include_tables,
            include_links=include_links,
            favor_precision=favor_precision,
            favor_recall=favor_recall,
            fast=fast,
            deduplicate=deduplicate,
            target_language=target_language,
        )
        return text or ""

    return extract


def justext_extractor(
    language: str = "English",
    length_low: int = 70,
    length_high: int = 200,
    stopwords_low: float = 0.30,
    stopwords_high: float = 0.32,
    max_link_density: float = 0.2,
    no_headings: bool = False,
) -> Extract:
    """`justext.justext` with the stop words of `language`; paragraphs are joined by an empty line."""
    try:
        import justext
    except ImportError as error:
        raise missing_package("justext", "extract") from error
    if language not in justext.get_stoplists():
        known = ", ".join(sorted(justext.get_stoplists()))
        raise InputError(f"justext has no stop words for {language!r}; it has {known}")
    stop_words = justext.get_stoplist(language)

    def extract(html: str) -> str:
        if not html.strip():
            return ""
        paragraphs = justext.justext(
            html,
            stop_words,
            length_low=length_low,
            length_high=length_high,
            stopwords_low=stopwords_low,
            stopwords_high=stopwords_high,
            max_link_density=max_link_density,
            no_headings=no_headings,
        )
        return "\n\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)

    return extract


#: extractor -> `"module:function"`; its options are the function's parameters
EXTRACTORS = {
    "resiliparse": "raw_sources.extractors.registry:resiliparse_extractor",
    "trafilatura": "raw_sources.extractors.registry:trafilatura_extractor",
    "justext": "raw_sources.extractors.registry:justext_extractor",
    "blocks": "raw_sources.extractors.blocks.extractor:blocks_extractor",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractorChoice:
    """An extractor by name (or preset) with its options; ValueError for a name or an option that it lacks."""

    name: str = "fast"
    options: tuple[tuple[str, Any], ...] = ()
    structure: bool = False

    def __post_init__(self) -> None:
        known = (*PRESETS, *EXTRACTORS)
        if self.name not in known:
            raise ValueError(
                f"no extractor {self.name!r}{did_you_mean(self.name, known)} (there are {', '.join(known)})"
            )
        if self.structure and self.extractor not in STRUCTURED:
            raise ValueError(f"the extractor {self.name!r} keeps no structure; take one of {', '.join(STRUCTURED)}")
        accepted = inspect.signature(self._function).parameters
        for option, _ in self.options:
            if option not in accepted:
                raise ValueError(
                    f"the extractor {self.name!r} has no option {option!r}{did_you_mean(option, accepted)} "
                    f"(it has {', '.join(accepted)})"
                )

    @property
    def extractor(self) -> str:
        """The extractor that a preset stands for."""
        return PRESETS.get(self.name, self.name)

    @property
    def _function(self) -> Callable[..., Extract]:
        function: Callable[..., Extract] = pkgutil.resolve_name(EXTRACTORS[self.extractor])
        return function

    def open(self) -> Extract:
        """The extractor itself, its model loaded; InputError or UserError where it can't be had."""
        options = dict(self.options)
        if self.structure:
            options["structure"] = True
        return self._function(**options)


def extract_html(body: bytes, http_charset: str = "") -> str:
    """The main text of an HTML page by the preset `fast`, possibly empty; raises TooDeepError."""
    html = decode_html(body, http_charset)
    check_nesting(html)
    return ExtractorChoice().open()(html)
