"""Our own extractor: blocks of a page, their features, a model that tells text from boilerplate."""

VERSION = 1
