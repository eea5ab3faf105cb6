"""Deduplication: global steps over all shards of a dataset, one module per algorithm.

Doors, by the name that a YAML gives them: `exact_dedup` (`dedup.exact.stage`), `minhash_dedup` (`dedup.minhash.stage`)
and `bff` (`dedup.bff.stage`), each with a dataclass of its arguments and `plan_stage(config, step)`; `corpusmith dedup
…` and the scripts of this room run one by itself.
"""
