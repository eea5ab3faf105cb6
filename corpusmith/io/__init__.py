"""Storage, page shards, spill files and token shards."""

VERSION = 1
