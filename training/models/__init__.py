"""Model configs as data, and the networks that they describe."""

VERSION = 1
