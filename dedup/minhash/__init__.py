"""MinHash LSH deduplication: shingles, signatures, bands, connected components."""
