"""The kernels of the Bloom-filter dedup equal the plain sequential pass, in every mode and over any cuts."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedup.bff.apply import duplicate_spans, text_left, verdicts
from dedup.bff.blocks import NgramBlockBuilder, resolve_in_order
from dedup.bff.bloom.filter import FilterShape, shape_for
from dedup.bff.config import MODES, BffConfig
from tests.oracles.bff_reference import PlainBff, PlainResult

WORDS = ["a", "b", "c", "über", "x.", "日本", "\U0001f600", "e\u0301"]
GAPS = [" ", "\n", "\n\n", "  ", "\r\n", "\t", "\u2028", "\u0085"]
texts = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=24).map(
        lambda parts: "".join(word + gap for word, gap in parts)
    ),
    max_size=8,
)


def run_kernels(
    corpus: list[str], config: BffConfig, shape: FilterShape, cut: int
) -> tuple[list[PlainResult], set[int]]:
    words = np.zeros(shape.blocks * 8, dtype=np.uint64)
    builder = NgramBlockBuilder(config)
    results = []
    for start in range(0, len(corpus), cut):
        batch = corpus[start : start + cut]
        for text in batch:
            builder.add(text)
        block = builder.take()
        decided, _ = resolve_in_order(block, config, words, shape)
        found = verdicts(block.tokens, block.pages, decided._asdict(), config)
        for text, verdict in zip(batch, found, strict=True):
            spans = duplicate_spans(text, verdict, config)
            left = text_left(text, spans, verdict, config)
            told = {name: getattr(verdict, name) for name in ("contained", "ngrams", "document")}
            results.append(PlainResult(text=left, spans=spans, **told))
    bits = {i for i, bit in enumerate(np.unpackbits(words.view(np.uint8), bitorder="little").tolist()) if bit}
    return results, bits


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    corpus=texts,
    mode=st.sampled_from(sorted(MODES)),
    sizes=st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 3)]),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
    rate=st.sampled_from([0.3, 0.01]),
    seqlen=st.integers(1, 6),
    cut=st.integers(1, 8),
)
def test_kernels_equal_the_plain_pass(
    corpus: list[str], mode: str, sizes: tuple[int, int], threshold: float, rate: float, seqlen: int, cut: int
) -> None:
    config = BffConfig(
        remove_type=mode,
        min_ngram_size=sizes[0],
        max_ngram_size=sizes[1],
        filtering_threshold=threshold,
        substr_seqlen=seqlen,
        fp_rate=rate,
    )
    shape = shape_for(4, rate)  # so full that false positives decide
    plain = PlainBff(config, shape)
    expected = [plain.process(text) for text in corpus]
    found, bits = run_kernels(corpus, config, shape, cut)
    assert found == expected
    assert bits == plain.bits
