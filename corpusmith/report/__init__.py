"""A run's self-contained HTML report: facts from the records, sections, one page."""
