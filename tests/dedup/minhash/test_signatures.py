"""Signatures equal datasketch's value for value and a plain twin; estimates are unbiased; the S-curve holds."""

from __future__ import annotations

import math

import datasketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup.minhash.config import MinhashConfig, Preset, bands_for_threshold, collision_probability
from dedup.minhash.shingles import Shingler
from dedup.minhash.signatures import (
    SCHEMES,
    Family,
    Signer,
    band_keys,
    permutations,
    similarities,
    sketch,
    upper_halves,
)

MASK_32, MASK_64, PRIME = (1 << 32) - 1, (1 << 64) - 1, (1 << 61) - 1
VALUES = st.lists(st.integers(0, MASK_32) | st.sampled_from([0, 1, MASK_32]), max_size=20)
FAMILIES: list[Family] = ["affine32", "mersenne61"]


def mix(value: int) -> int:
    value ^= value >> 16
    value = value * 0x85EBCA6B & MASK_32
    value ^= value >> 13
    value = value * 0xC2B2AE35 & MASK_32
    return value ^ value >> 16


def plain_signature(values: list[int], signer: Signer) -> list[int]:
    found = []
    for a, b in zip(*(part.tolist() for part in permutations(signer.family, signer.hashes, signer.seed)), strict=True):
        if signer.family == "affine32":
            hashed = [(a * mix(value) + b) & MASK_32 for value in values]
        else:
            hashed = [((a * value + b) & MASK_64) % PRIME & MASK_32 for value in values]
        found.append(min([MASK_32, *hashed]))
    return found


@pytest.mark.parametrize("family", FAMILIES)
@given(values=VALUES, seed=st.integers(0, 1 << 32 - 1), hashes=st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_signatures_equal_their_plain_twin(family: Family, values: list[int], seed: int, hashes: int) -> None:
    signer = Signer(hashes=hashes, family=family, seed=seed)
    assert signer.sign_values(np.array(values, dtype=np.uint32)).tolist() == plain_signature(values, signer)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(values=st.lists(st.integers(0, MASK_32), min_size=1, max_size=30), seed=st.sampled_from([1, 2, 77]))
@settings(deadline=None, max_examples=50)
def test_signatures_are_those_of_datasketch_and_go_both_ways(scheme: str, values: list[int], seed: int) -> None:
    theirs = datasketch.MinHash(num_perm=48, seed=seed, scheme=scheme, hashfunc=lambda value: value)
    theirs.update_batch(values)
    signer = Signer(hashes=48, family=SCHEMES[scheme], seed=seed)
    ours = signer.sign_values(np.array(values, dtype=np.uint32))
    assert theirs.hashvalues.tolist() == ours.tolist()
    assert signer.from_datasketch(theirs).tolist() == ours.tolist()
    exported = signer.to_datasketch(ours, hashfunc=lambda value: value)
    assert exported.jaccard(theirs) == 1.0
    theirs.update(values[0] ^ 1)
    exported.update(values[0] ^ 1)
    assert exported.hashvalues.tolist() == theirs.hashvalues.tolist()


def test_a_minhash_of_other_functions_is_refused() -> None:
    theirs = datasketch.MinHash(num_perm=16, seed=2)
    for signer in (Signer(hashes=16), Signer(hashes=17, seed=2), Signer(hashes=16, seed=2, family="mersenne61")):
        with pytest.raises(ValueError, match="scheme 'affine32', 16 values and seed 2 cannot be compared"):
            signer.from_datasketch(theirs)


def test_a_text_is_signed_by_the_upper_halves_of_its_shingles() -> None:
    shingles = Shingler().hashes("a text of some more than five words")
    signer = Signer(hashes=8)
    assert upper_halves(shingles).tolist() == [value >> 32 for value in shingles.tolist()]
    assert signer.sign(shingles).tolist() == signer.sign_values(upper_halves(shingles)).tolist()


@given(st.lists(st.integers(0, MASK_32), min_size=12, max_size=12), st.integers(0, 11))
@settings(deadline=None, max_examples=50)
def test_a_changed_value_changes_the_key_of_its_band_alone(values: list[int], place: int) -> None:
    signature = np.array(values, dtype=np.uint32)
    changed = signature.copy()
    changed[place] ^= 1
    same = band_keys(signature, 4) == band_keys(changed, 4)
    assert [band for band in range(4) if not same[band]] == [place // 3]


def test_equal_rows_of_two_bands_have_two_keys() -> None:
    assert len(set(band_keys(np.zeros(100, dtype=np.uint32), 50).tolist())) == 50


def make_pair(draw: np.random.Generator, config: MinhashConfig) -> tuple[np.ndarray, np.ndarray, float]:
    """Shingles of a random text and of a copy with words replaced, and their Jaccard similarity."""
    words = draw.integers(0, 5000, int(draw.integers(60, 300))).astype(str)
    copy = words.copy()
    edited = draw.random(len(words)) < draw.uniform(0, 0.1)
    copy[edited] = draw.integers(5000, 9999, int(edited.sum())).astype(str)
    left, right = (config.shingler.hashes(" ".join(text)) for text in (words, copy))
    one, other = set(left.tolist()), set(right.tolist())
    return left, right, len(one & other) / len(one | other)


def deviation(found: list[bool], probabilities: list[float]) -> float:
    """How many standard deviations the number of found pairs lies from what is expected."""
    variance = sum(p * (1 - p) for p in probabilities)
    return (sum(found) - sum(probabilities)) / math.sqrt(max(variance, 1e-9))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("preset", ["fineweb", "refinedweb", "dclm", "corpusmith"])
def test_pairs_that_share_a_band_follow_the_s_curve(preset: Preset, family: Family) -> None:
    config = MinhashConfig(preset=preset, hash_family=family)
    bands, rows = config.bands_and_rows
    draw = np.random.default_rng(20)
    cuts: dict[int, tuple[list[bool], list[float]]] = {}
    for _ in range(1000):
        left, right, similarity = make_pair(draw, config)
        keys = band_keys(config.signer.sign(left), bands), band_keys(config.signer.sign(right), bands)
        found, probabilities = cuts.setdefault(int(similarity * 5), ([], []))
        found.append(bool((keys[0] == keys[1]).any()))
        probabilities.append(collision_probability(similarity, bands, rows))
    assert all(abs(deviation(*cut)) < 4.5 for cut in cuts.values())
    found = [each for cut, _ in cuts.values() for each in cut]
    assert abs(deviation(found, [each for _, cut in cuts.values() for each in cut])) < 3.5


@pytest.mark.parametrize("family", FAMILIES)
def test_estimates_from_signatures_and_sketches_are_unbiased(family: Family) -> None:
    config = MinhashConfig(bands=16, rows=16, hash_family=family)
    draw = np.random.default_rng(3)
    errors = []
    for _ in range(600):
        left, right, similarity = make_pair(draw, config)
        one, other = config.signer.sign(left), config.signer.sign(right)
        estimate = float(similarities(sketch(one)[None], sketch(other)[None])[0])
        errors.append(((one == other).mean() - similarity, estimate - similarity))
    means = np.mean(errors, axis=0)
    assert np.abs(means).max() < 4.5 * 0.5 / math.sqrt(256 * 600)
    assert np.std(errors, axis=0).max() < 0.035


@pytest.mark.parametrize(("threshold", "hashes"), [(0.5, 128), (0.7, 128), (0.8, 112), (0.9, 256)])
def test_bands_for_a_threshold_are_those_of_datasketch(threshold: float, hashes: int) -> None:
    lsh = datasketch.MinHashLSH(threshold=threshold, num_perm=hashes)
    bands, rows = bands_for_threshold(threshold, hashes)
    assert bands * rows <= hashes

    def error(b: int, r: int) -> float:
        below = sum(collision_probability((i + 0.5) / 1000, b, r) for i in range(int(threshold * 1000)))
        above = sum(1 - collision_probability((i + 0.5) / 1000, b, r) for i in range(int(threshold * 1000), 1000))
        return below + above

    assert error(bands, rows) <= error(lsh.b, lsh.r) + 1e-6
