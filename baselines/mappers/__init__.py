"""The built-in mappers, as code written for DCLM imports them; a YAML finds them by `baselines.core.mapper_table`."""

from baselines.mappers.enrichers.enrichers import (
    line_counter,
    line_counter_enricher,
    word_counter_enricher,
)
from baselines.mappers.filters.content_filters import (
    alphabetic_word_ratio_filter,
    alphanumeric_char_ratio_filter,
    bullet_count_filter,
    ellipsis_count_filter,
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
from baselines.mappers.filters.metadata_filters import (
    language_filter,
    quality_filter,
    random_sampling_filter,
    url_substring_filter,
)
from baselines.mappers.modifiers import (
    join_lines_modifier,
    key_name_modifier,
    line_length_modifier,
    move_url_modifier,
    newline_removal_modifier,
    punctuation_line_modifier,
    split_lines_modifier,
    within_page_dedup,
)

__all__ = [
    "alphabetic_word_ratio_filter",
    "alphanumeric_char_ratio_filter",
    "bullet_count_filter",
    "ellipsis_count_filter",
    "join_lines_modifier",
    "key_name_modifier",
    "language_filter",
    "line_counter",
    "line_counter_enricher",
    "line_length_filter",
    "line_length_modifier",
    "massive_web_repetition_filters",
    "move_url_modifier",
    "newline_removal_modifier",
    "page_length_filter",
    "punctuation_line_modifier",
    "quality_filter",
    "random_sampling_filter",
    "repetition_filter",
    "split_lines_modifier",
    "stop_word_filter",
    "substring_filter",
    "symbol_ratio_filter",
    "url_substring_filter",
    "within_page_dedup",
    "word_counter_enricher",
    "word_length_filter",
    "word_removal_ratio_filter",
]
