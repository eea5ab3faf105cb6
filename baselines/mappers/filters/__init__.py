"""Filters: mappers that keep or remove a page. All of them, by the name that a YAML gives."""

from baselines.mappers.filters.content_filters import (
    alphabetic_characters_to_tokens_filter,
    alphabetic_word_ratio_filter,
    alphanumeric_char_ratio_filter,
    bullet_count_filter,
    ellipsis_count_filter,
    github_extension_filter,
    line_length_filter,
    massive_web_repetition_filters,
    page_length_filter,
    repetition_filter,
    stop_word_filter,
    substring_filter,
    symbol_ratio_filter,
    word_length_filter,
    word_removal_ratio_filter,
)
from baselines.mappers.filters.line_quality_filters import fineweb_quality_filter
from baselines.mappers.filters.metadata_filters import (
    language_filter,
    quality_filter,
    random_sampling_filter,
    url_substring_filter,
)

VERSION = 1

__all__ = [
    "alphabetic_characters_to_tokens_filter",
    "alphabetic_word_ratio_filter",
    "alphanumeric_char_ratio_filter",
    "bullet_count_filter",
    "ellipsis_count_filter",
    "fineweb_quality_filter",
    "github_extension_filter",
    "language_filter",
    "line_length_filter",
    "massive_web_repetition_filters",
    "page_length_filter",
    "quality_filter",
    "random_sampling_filter",
    "repetition_filter",
    "stop_word_filter",
    "substring_filter",
    "symbol_ratio_filter",
    "url_substring_filter",
    "word_length_filter",
    "word_removal_ratio_filter",
]
