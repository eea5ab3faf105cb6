"""Filters: mappers that keep or remove a page. All of them, by the name that a YAML gives."""

from baselines.core.mapper_table import door

VERSION = 1

__all__, __getattr__, __dir__ = door(
    __name__,
    "baselines.mappers.filters.content_filters",
    "baselines.mappers.filters.line_quality_filters",
    "baselines.mappers.filters.metadata_filters",
    "baselines.mappers.filters.repetition_filters",
)
