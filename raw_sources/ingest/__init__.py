"""Crawl archives, tables and documents to page shards: inputs, units of work, pages, statistics."""

VERSION = 1
