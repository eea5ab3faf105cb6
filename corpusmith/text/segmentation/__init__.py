"""Words, lines, sentences and paragraphs of a text as arrays, computed at most once."""

VERSION = 1
