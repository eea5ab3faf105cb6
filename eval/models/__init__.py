"""Models that can be evaluated, behind one protocol, and the tokenizers of their prompts."""

VERSION = 1
