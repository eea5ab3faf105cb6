"""A YAML pipeline: its check, its stages, forecasts, explanations and views of its statistics."""

VERSION = 1
