"""Where built-in mappers, aggregators and transforms live: a table of strings, so that nothing is imported early."""

from __future__ import annotations

_CONTENT = "baselines.mappers.filters.content_filters"
_REPETITION = "baselines.mappers.filters.repetition_filters"
_METADATA = "baselines.mappers.filters.metadata_filters"
_MODIFIERS = "baselines.mappers.modifiers"
_ARXIV = "baselines.mappers.arxiv_modifiers"
_CODE = "baselines.mappers.code_modifiers"
_HTML = "baselines.mappers.html_modifiers"
_LINES = "baselines.mappers.line_modifiers"
_LINE_QUALITY = "baselines.mappers.filters.line_quality_filters"
_PII = "baselines.mappers.pii_modifiers"
_URLS = "baselines.mappers.url_modifiers"
_ENRICHERS = "baselines.mappers.enrichers.enrichers"
_LANGUAGE_ID = "baselines.mappers.enrichers.language_id_enrichers"
_FASTTEXT_QUALITY = "baselines.mappers.enrichers.quality_prediction_enrichers_calc_fasttext"
_HUGGINGFACE = "baselines.mappers.enrichers.huggingface_classifiers"
_KENLM = "baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model"
_CORE_UTILS = "baselines.mappers.core_utils"
_AGGREGATORS = "baselines.aggregators"


def _functions(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


MAPPERS: dict[str, str] = {
    **_functions(
        _CONTENT,
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
    **_functions(_REPETITION, "massive_web_repetition_filters", "repetition_filter"),
    **_functions(_METADATA, "language_filter", "quality_filter", "random_sampling_filter", "url_substring_filter"),
    **_functions(
        _MODIFIERS,
        "join_lines_modifier",
        "key_name_modifier",
        "line_length_modifier",
        "move_url_modifier",
        "newline_removal_modifier",
        "punctuation_line_modifier",
        "split_lines_modifier",
        "within_page_dedup",
    ),
    **_functions(
        _ARXIV,
        "arxiv_appendix_modifier",
        "arxiv_comment_modifier",
        "arxiv_macro_modifier",
        "arxiv_section_strip_modifier",
    ),
    **_functions(
        _CODE,
        "starcoder_v2_format_modifier",
        "starcoder_v2_repo_splitter",
    ),
    **_functions(
        _HTML,
        "html_content_extraction_modifier",
        "stackexchange_answer_sort_modifier",
        "stackexchange_html_extraction_modifier",
        "stackexchange_list_modifier",
        "stackexchange_qa_formatter",
    ),
    **_functions(
        _LINES,
        "citation_removal_modifier",
        "counter_line_modifier",
        "numeric_ratio_line_modifier",
        "substring_line_modifier",
        "uppercase_ratio_line_modifier",
        "word_length_modifier",
    ),
    **_functions(_LINE_QUALITY, "fineweb_quality_filter"),
    **_functions(_PII, "pii_masking_modifier"),
    **_functions(
        _URLS,
        "url_removal_modifier",
    ),
    **_functions(_ENRICHERS, "line_counter", "line_counter_enricher", "word_counter_enricher"),
    **_functions(_LANGUAGE_ID, "detect_lang_paragraph_enricher", "detect_lang_whole_page_enricher"),
    **_functions(_FASTTEXT_QUALITY, "classify_fasttext_hq_prob_enricher"),
    **_functions(_HUGGINGFACE, "classify_huggingface_enricher"),
    **_functions(_KENLM, "ken_lm_perplexity_enricher"),
    **_functions(
        _CORE_UTILS,
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
}

AGGREGATORS: dict[str, str] = _functions(_AGGREGATORS, "histogram", "percentiles", "threshold_transform")
