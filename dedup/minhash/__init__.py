"""MinHash LSH deduplication: shingles, signatures, bands, connected components."""

VERSION = 1
