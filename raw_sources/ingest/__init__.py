"""Crawl archives, tables and documents to page shards: inputs, units of work, pages, statistics."""
