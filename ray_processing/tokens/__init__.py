"""Pages to shuffled token shards and back: plan, tokenize, mix, shuffle, trace."""

VERSION = 1
