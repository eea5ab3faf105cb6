"""Many steps: the loop, checkpoints, resuming, validation, ranks."""

VERSION = 1
