"""Mixture weights: the search for them (CLIMB and its rivals), and the bench that judges searches."""
