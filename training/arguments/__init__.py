"""Command lines of DCLM and OpenLM, and how their arguments become a run's config."""
