"""The state of a run: which process this is, how a model is spread over processes, and its files on disk."""

VERSION = 1
