"""MinHash signatures (Broder 1997) in numba, by the hash families of datasketch, value for value.

A signature holds, for each of K hash functions, the smallest value over the shingles of a text; two texts agree in a
place with the probability of their Jaccard similarity. All values have 32 bits. The families:

 - `affine32`: (a · mix(x) + b) mod 2^32 with odd a, what datasketch does since 2.0; the fast one and the default;
 - `mersenne61`: ((a · x + b) mod 2^64) mod (2^61 - 1), lowest 32 bits, what datasketch did before (`legacy`).

x is the upper half of a shingle's 64-bit hash, mix the finalizer of MurmurHash3 for 32 bits. As x is a hash already,
the places of the smallest values are exchangeable whatever the function, so estimates are unbiased in both families.
`to_datasketch` and `from_datasketch` exchange signatures with `datasketch.MinHash`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from corpusmith.errors import missing_package
from corpusmith.text.hashing import PAIR_FACTOR, SHIFT_29, SHIFT_32, SHIFT_35, WORD_FACTOR, WORD_SEED, finalize
from corpusmith.text.kernels import (
    U32_IN,
    U64_IN,
    U8Array,
    U32Array,
    U64Array,
    helper_kernel,
    kernel,
)

Family = Literal["affine32", "mersenne61"]
SCHEMES: dict[str, Family] = {"affine32": "affine32", "legacy": "mersenne61"}
MERSENNE_PRIME = np.uint64((1 << 61) - 1)
LOW_32 = np.uint64(0xFFFFFFFF)
MAX_HASH = np.uint32(0xFFFFFFFF)
SKETCH_PLACES = 256
SKETCH_FACTOR = np.uint32(0x9E3779B1)

_SHIFT_61 = np.uint64(61)
_SHIFT_13, _SHIFT_16, _SHIFT_24 = np.uint32(13), np.uint32(16), np.uint32(24)
_MIX_1, _MIX_2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)


@lru_cache(maxsize=4)
def permutations(family: Family, hashes: int, seed: int) -> tuple[Any, Any]:
    """The factors a and the summands b of the hash functions, as datasketch draws them: U32 or U64, (hashes,) each."""
    draw = np.random.RandomState(seed)
    if family == "affine32":
        factors = draw.randint(0, 1 << 31, hashes, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
        return factors, draw.randint(0, 1 << 32, hashes, dtype=np.uint32)
    pairs = [
        (draw.randint(1, MERSENNE_PRIME, dtype=np.uint64), draw.randint(0, MERSENNE_PRIME, dtype=np.uint64))
        for _ in range(hashes)
    ]
    both = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


@helper_kernel
def mix32(value: np.uint32) -> np.uint32:
    """The 32-bit finalizer of MurmurHash3."""
    value = np.uint32(value ^ (value >> _SHIFT_16))
    value = np.uint32(value * _MIX_1)
    value = np.uint32(value ^ (value >> _SHIFT_13))
    value = np.uint32(value * _MIX_2)
    return np.uint32(value ^ (value >> _SHIFT_16))


@kernel(U32_IN, U32_IN, U32_IN)
def affine32_signature(values: U32Array, factors: U32Array, summands: U32Array) -> U32Array:
    """Return the signature of a set of 32-bit values (U32, one for each function); all ones for an empty set."""
    mixed = np.empty(values.shape[0], dtype=np.uint32)
    for j in range(values.shape[0]):
        mixed[j] = mix32(values[j])
    signature = np.empty(factors.shape[0], dtype=np.uint32)
    for i in range(factors.shape[0]):
        factor, summand = factors[i], summands[i]
        smallest = MAX_HASH
        for j in range(mixed.shape[0]):
            smallest = min(smallest, np.uint32(factor * mixed[j] + summand))
        signature[i] = smallest
    return signature


@kernel(U32_IN, U64_IN, U64_IN)
def mersenne61_signature(values: U32Array, factors: U64Array, summands: U64Array) -> U32Array:
    """Return the signature of a set of 32-bit values (U32, one for each function); all ones for an empty set."""
    signature = np.empty(factors.shape[0], dtype=np.uint32)
    for i in range(factors.shape[0]):
        factor, summand = factors[i], summands[i]
        smallest = MAX_HASH
        for j in range(values.shape[0]):
            value = factor * np.uint64(values[j]) + summand
            value = (value & MERSENNE_PRIME) + (value >> _SHIFT_61)
            if value >= MERSENNE_PRIME:
                value -= MERSENNE_PRIME
            smallest = min(smallest, np.uint32(value))
        signature[i] = smallest
    return signature


@kernel(U64_IN)
def upper_halves(hashes: U64Array) -> U32Array:
    """Return the upper 32 bits of each hash."""
    values = np.empty(hashes.shape[0], dtype=np.uint32)
    for i in range(hashes.shape[0]):
        values[i] = np.uint32(hashes[i] >> SHIFT_32)
    return values


@kernel(U32_IN, U32_IN.dtype)
def band_keys(signature: U32Array, bands: int) -> U64Array:
    """Return a 64-bit hash of each band's number and rows (U64, `bands`); rows = len(signature) // bands.

    The number is part of the key, so equal rows of two bands do not meet. Two bands that differ have equal keys with
    probability 2^-64: of 10^9 pages in 14 bands about five pairs.
    """
    rows = signature.shape[0] // np.int64(bands)
    keys = np.empty(np.int64(bands), dtype=np.uint64)
    for band in range(keys.shape[0]):
        value = WORD_SEED ^ finalize(np.uint64(band) + np.uint64(1))
        for row in range(rows):
            value ^= np.uint64(signature[band * rows + row]) * WORD_FACTOR
            value = (value << SHIFT_29) | (value >> SHIFT_35)
            value *= PAIR_FACTOR
        keys[band] = finalize(value)
    return keys


@kernel(U32_IN)
def sketch(signature: U32Array) -> U8Array:
    """Return 8 bits of each of the first `SKETCH_PLACES` values of a signature: enough to estimate a similarity."""
    places = min(signature.shape[0], SKETCH_PLACES)
    bits = np.empty(places, dtype=np.uint8)
    for i in range(places):
        bits[i] = np.uint8(np.uint32(signature[i] * SKETCH_FACTOR) >> _SHIFT_24)
    return bits


def similarities(left: U8Array, right: U8Array) -> Any:
    """Estimated Jaccard similarities of pairs of sketches of shape (pairs, places): float64 of shape (pairs,).

    Different values agree in 8 bits once in 256, which is taken off (b-bit minwise hashing, Li and König 2010).
    """
    agreeing = (left == right).mean(axis=1)
    return np.clip((agreeing - 1 / 256) / (1 - 1 / 256), 0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """Makes signatures of `hashes` values by the functions of a family and seed."""

    hashes: int
    family: Family = "affine32"
    seed: int = 1

    def sign(self, shingles: U64Array) -> U32Array:
        """The signature (U32, `hashes`) of a text whose shingles have these 64-bit hashes."""
        return self.sign_values(upper_halves(shingles))

    def sign_values(self, values: U32Array) -> U32Array:
        """The signature of a set of 32-bit values: what `datasketch.MinHash` holds after `update` with each."""
        factors, summands = permutations(self.family, self.hashes, self.seed)
        if self.family == "affine32":
            return affine32_signature(values, factors, summands)
        return mersenne61_signature(values, factors, summands)

    def to_datasketch(self, signature: U32Array, hashfunc: Any = None) -> Any:
        """The signature as a `datasketch.MinHash`; `hashfunc`: for later updates of that object.

        Raises UserError where datasketch is not installed.
        """
        try:
            import datasketch
        except ModuleNotFoundError as error:
            raise missing_package("datasketch", "dedup") from error
        scheme = next(name for name, family in SCHEMES.items() if family == self.family)
        kind = np.uint32 if self.family == "affine32" else np.uint64
        return datasketch.MinHash(seed=self.seed, hashfunc=hashfunc, hashvalues=signature.astype(kind), scheme=scheme)

    def from_datasketch(self, minhash: Any) -> U32Array:
        """The signature that a `datasketch.MinHash` holds; ValueError where its seed, size or scheme is another."""
        theirs = (SCHEMES.get(minhash.scheme), len(minhash.hashvalues), minhash.seed)
        if theirs != (self.family, self.hashes, self.seed):
            raise ValueError(
                f"a MinHash of scheme {minhash.scheme!r}, {theirs[1]} values and seed {theirs[2]} cannot be compared "
                f"with signatures of {self.family}, {self.hashes} values and seed {self.seed}"
            )
        return np.asarray(minhash.hashvalues).astype(np.uint32)
