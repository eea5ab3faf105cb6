"""Enrichers: mappers that add a key to a page.

Counting ones are in `enrichers.enrichers`; languages, classifiers and perplexity in modules of their own.
"""

from baselines.mappers.enrichers.enrichers import line_counter_enricher
from baselines.mappers.enrichers.language_id_enrichers import (
    detect_lang_paragraph_enricher,
    detect_lang_whole_page_enricher,
)
from baselines.mappers.enrichers.quality_prediction_enrichers_calc_fasttext import classify_fasttext_hq_prob_enricher
from baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model import ken_lm_perplexity_enricher

VERSION = 1

__all__ = [
    "classify_fasttext_hq_prob_enricher",
    "detect_lang_paragraph_enricher",
    "detect_lang_whole_page_enricher",
    "ken_lm_perplexity_enricher",
    "line_counter_enricher",
]
