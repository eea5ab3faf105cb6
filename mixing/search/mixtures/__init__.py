"""Mixtures: the space that they lie in, draws of them, and the runs that measured them."""
