"""Bloom-filter deduplication by n-grams, page by page and paragraph by paragraph, as DCLM's BFF."""

VERSION = 1
