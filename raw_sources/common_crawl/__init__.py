"""Common Crawl: path lists, pools, and its columnar index."""

VERSION = 1
