"""Shards of pages: JSON lines and Parquet behind one reader and one writer."""

VERSION = 1
