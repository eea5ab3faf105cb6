"""The built-in mappers, as code written for DCLM imports them: `baselines.core.mapper_table` lists them."""

from baselines.core.mapper_table import door

VERSION = 1

__all__, __getattr__, __dir__ = door(
    __name__,
    "baselines.mappers.arxiv_modifiers",
    "baselines.mappers.code_modifiers",
    "baselines.mappers.enrichers.enrichers",
    "baselines.mappers.filters",
    "baselines.mappers.html_modifiers",
    "baselines.mappers.line_modifiers",
    "baselines.mappers.modifiers",
    "baselines.mappers.pii_modifiers",
    "baselines.mappers.url_modifiers",
)
