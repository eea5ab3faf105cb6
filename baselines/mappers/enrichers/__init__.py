"""Enrichers: mappers that add a key to a page. The counting ones are in `enrichers.enrichers`."""

from baselines.mappers.enrichers.enrichers import line_counter_enricher

__all__ = ["line_counter_enricher"]
