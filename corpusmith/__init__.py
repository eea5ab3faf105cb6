"""What several packages of Corpusmith need and nothing else: storage, shards, runs, text kernels, config, records.

Public: `corpusmith.io` (storage and shards), `corpusmith.run` (Ray, stages, ledger), `corpusmith.text` (segmentation,
tokenizers), `corpusmith.config`, `corpusmith.expdb.references`, `corpusmith.report.command`, `corpusmith.cli`.
"""

VERSION = 1

__version__ = "0.1.0"
