"""Enrichers: mappers that add a key to a page; here are those that DCLM has at this place.

Counting ones are in `enrichers.enrichers`; languages, classifiers and perplexity in modules of their own.
"""

from baselines.core.mapper_table import door

VERSION = 1

__all__, __getattr__, __dir__ = door(
    __name__,
    "baselines.mappers.enrichers.enrichers:line_counter_enricher",
    "baselines.mappers.enrichers.language_id_enrichers",
    "baselines.mappers.enrichers.quality_prediction_enrichers_calc_fasttext",
    "baselines.mappers.enrichers.quality_prediction_enrichers_kenlm_model",
)
