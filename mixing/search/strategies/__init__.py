"""Ways to choose what to measure next and what to answer, all behind `base.Strategy`."""
