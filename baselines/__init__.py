"""Mappers: functions from one page to a list of pages, named in a YAML and run over shards of pages.

Doors: `baselines.core` (get_mapper, get_aggregator, get_transform), `baselines.mappers` (the built-in mappers),
`baselines.aggregators`.
"""

VERSION = 1
