"""Exact deduplication of pages, addresses, lines or any key."""

VERSION = 1
