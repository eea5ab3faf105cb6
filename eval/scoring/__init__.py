"""From requests to scores: batches, inference, judgement, a suite as a whole."""

VERSION = 1
