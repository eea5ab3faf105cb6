"""Runs: the Ray runner, stages with their records, the ledger, progress."""

VERSION = 1
