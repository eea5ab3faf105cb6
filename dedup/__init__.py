"""Deduplication: global steps over all shards of a dataset, one module per algorithm.

Doors: `dedup.exact` (ExactConfig, plan_stage), named in a YAML as `exact_dedup`.
"""
