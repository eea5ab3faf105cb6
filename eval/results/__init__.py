"""Results: items, aggregation to CORE and EXTENDED, intervals."""

VERSION = 1
