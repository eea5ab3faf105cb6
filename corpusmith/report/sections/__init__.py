"""The sections of the report that take more than a table."""
