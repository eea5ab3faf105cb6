"""The one list of built-in mappers, aggregators and transforms: which module holds each, as strings.

A new mapper is a function in one of these modules and its name here. The rest follows: what a YAML and `get_mapper`
find (`MAPPERS`), what `import *` takes from a module (`mappers_of`), and what DCLM's modules re-export (`door`).
Nothing is imported before it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from corpusmith.imports import resolve

HOME = "baselines.mappers"


def _functions(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


def _mappers(module: str, *names: str) -> dict[str, str]:
    return _functions(f"{HOME}.{module}", *names)


#: functions that are no mappers, though `get_mapper` finds them too, as DCLM's does
HELPERS: dict[str, str] = {
    **_mappers(
        "core_utils",
        "ccnet_dedup_normalizer",
        "do_once",
        "hash_text",
        "join_paragraphs",
        "join_sentences",
        "normalize_timestamps",
        "normalize_url",
        "normalize_whitespace_and_lowercase",
        "split_paragraphs",
        "split_sentences",
        "split_words",
    ),
    **_mappers("enrichers.enrichers", "line_counter"),
}

MAPPERS: dict[str, str] = {
    **_mappers(
        "filters.content_filters",
        "alphabetic_characters_to_tokens_filter",
        "alphabetic_word_ratio_filter",
        "alphanumeric_char_ratio_filter",
        "bullet_count_filter",
        "ellipsis_count_filter",
        "github_extension_filter",
        "line_length_filter",
        "page_length_filter",
        "stop_word_filter",
        "substring_filter",
        "symbol_ratio_filter",
        "word_length_filter",
        "word_removal_ratio_filter",
    ),
    **_mappers("filters.repetition_filters", "massive_web_repetition_filters", "repetition_filter"),
    **_mappers(
        "filters.metadata_filters",
        "language_filter",
        "quality_filter",
        "random_sampling_filter",
        "url_substring_filter",
    ),
    **_mappers("filters.line_quality_filters", "fineweb_quality_filter"),
    **_mappers(
        "modifiers",
        "join_lines_modifier",
        "key_name_modifier",
        "line_length_modifier",
        "move_url_modifier",
        "newline_removal_modifier",
        "punctuation_line_modifier",
        "split_lines_modifier",
        "within_page_dedup",
    ),
    **_mappers(
        "arxiv_modifiers",
        "arxiv_appendix_modifier",
        "arxiv_comment_modifier",
        "arxiv_macro_modifier",
        "arxiv_section_strip_modifier",
    ),
    **_mappers("code_modifiers", "starcoder_v2_format_modifier", "starcoder_v2_repo_splitter"),
    **_mappers(
        "html_modifiers",
        "html_content_extraction_modifier",
        "stackexchange_answer_sort_modifier",
        "stackexchange_html_extraction_modifier",
        "stackexchange_list_modifier",
        "stackexchange_qa_formatter",
    ),
    **_mappers(
        "line_modifiers",
        "citation_removal_modifier",
        "counter_line_modifier",
        "numeric_ratio_line_modifier",
        "substring_line_modifier",
        "uppercase_ratio_line_modifier",
        "word_length_modifier",
    ),
    **_mappers("pii_modifiers", "pii_masking_modifier"),
    **_mappers("url_modifiers", "url_removal_modifier"),
    **_mappers("enrichers.enrichers", "line_counter_enricher", "word_counter_enricher"),
    **_mappers("enrichers.language_id_enrichers", "detect_lang_paragraph_enricher", "detect_lang_whole_page_enricher"),
    **_mappers("enrichers.quality_prediction_enrichers_calc_fasttext", "classify_fasttext_hq_prob_enricher"),
    **_mappers("enrichers.huggingface_classifiers", "classify_huggingface_enricher"),
    **_mappers("enrichers.quality_prediction_enrichers_kenlm_model", "ken_lm_perplexity_enricher"),
    **HELPERS,
}

AGGREGATORS: dict[str, str] = _functions("baselines.aggregators", "histogram", "percentiles", "threshold_transform")

Door = tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]


def mappers_of(*places: str) -> list[str]:
    """Return the names, sorted, of the mappers in some places: modules, packages, or rows (`"module:name"`)."""
    beginnings = tuple(f"{place}{sign}" for place in places for sign in ":.")
    return sorted(name for name, row in MAPPERS.items() if row in places or row.startswith(beginnings))


def door(module: str, *places: str) -> Door:
    """Return `__all__`, `__getattr__` and `__dir__` of a module of DCLM's that re-exports mappers.

    A mapper is imported when it is asked for.

    Args:
        module: its dotted name.
        places: where its mappers lie, as in `mappers_of`; spelled out, since `corpusmith.run.deciding_code` reads them.
    """
    names = mappers_of(*places)

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return resolve(MAPPERS[name])

    return names, get, lambda: sorted({*vars(sys.modules[module]), *names})
