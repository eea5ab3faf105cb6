"""Groups of duplicates: their members, which one stays, and examples for the report."""

VERSION = 1
