"""Kernels of the mappers: addresses, literals, lines and numbers over UTF-8 and code points."""
