"""HTML to text: charset, page metadata, and the extractors by name."""

VERSION = 1
