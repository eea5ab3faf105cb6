"""Mappers that turn one page into several: none here yet; DCLM keeps its only one among the modifiers."""
