"""Text: segmentation and hashing kernels, normalizers, tokenizers, packing.

Public: `segmentation.view.view(text)` (words, lines and paragraphs of one text, computed at most once), `hashing`
(stable n-gram hashes, repeated n-grams), `normalize.DEDUP_NORMALIZERS`, `tokenizers.load.load_tokenizer`, `packing`.
"""

VERSION = 1
