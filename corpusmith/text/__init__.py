"""Text: segmentation and hashing kernels, normalizers, tokenizers, packing.

Doors: `segment.view(text)` (words, lines and paragraphs of one text, computed at most once), `hashing` (stable n-gram
hashes, repeated n-grams), `normalize.DEDUP_NORMALIZERS`, `tokenizer.load_tokenizer`, `packing`.
"""

VERSION = 1
