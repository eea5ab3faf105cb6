"""Tokenizers of every kind behind one class, and our own byte-pair engine."""

VERSION = 1
