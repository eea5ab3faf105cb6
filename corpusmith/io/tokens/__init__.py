"""Shards of token sequences: webdataset, MDS, Parquet and flat binary behind one reader and one writer."""

VERSION = 1
