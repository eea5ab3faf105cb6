"""One shared view of a text: words, tokens, lines and paragraphs, computed at most once and kept as offsets.

DCLM's filters cut a page into words again and again; here they all ask `view(text)`. A view computes each kind of
segment when it is first asked for, as arrays of offsets in code points; strings are made only for those who want
strings. A memo bounded in bytes keeps the views of the last texts, so filters that follow each other on one page
share one view without knowing of each other. The memo compares texts with `is`, never by `id()` or by content: the
text of an entry is alive, so the same object is the same text.

Word boundaries are those of Unicode Standard Annex #29 for Unicode `UNICODE_VERSION`; white space and alphanumeric
characters are those of Python's `str`. The kernels (numba) are loaded on first use, not on import.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from corpusmith.text.character_table import ALNUM, character_table
from corpusmith.text.word_break_table import UNICODE_VERSION

if TYPE_CHECKING:
    from corpusmith.text.kernels import I32Array, I64Array, U16Array, U32Array

__all__ = [
    "UNICODE_VERSION",
    "WORD_MODELS",
    "Spans",
    "TextView",
    "count_content_tokens",
    "count_whitespace_words",
    "view",
    "warm_kernels",
]

# Counts for the kernels and tables beneath this module too.
VERSION = 1
MAX_MEMO_BYTES = 64 * 1024 * 1024
MAX_MEMO_TEXTS = 4
# A view with all its arrays takes about this much for each character of its text (measured upper bound on prose).
VIEW_BYTES_PER_CHARACTER = 24
WORD_MODELS = ("fasttext", "uniseg", "split")

T = TypeVar("T")


class Spans(NamedTuple):
    """Segments of a text: I32 offsets in code points; segment i is text[starts[i]:ends[i]]."""

    starts: I32Array
    ends: I32Array


class Repeats(NamedTuple):
    """Segments that occur more than once (each occurrence counted), their characters, all segments, all characters."""

    repeated_segments: int
    repeated_characters: int
    segments: int
    characters: int


@cache
def _kernels() -> ModuleType:
    from corpusmith.text import segment_kernels

    return segment_kernels


@cache
def _hash_kernels() -> ModuleType:
    from corpusmith.text import hashing

    return hashing


class TextView:
    """Everything that filters ask about one text; each property is computed once.

    Arrays are shared between callers and must not be written to. Lone surrogates are ordinary characters here.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.points: U32Array = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        self._derived: dict[Any, Any] = {}

    def derive(self, key: Any, compute: Callable[[TextView], T]) -> T:
        """Return `compute(self)`, computed once for each key (any hashable value)."""
        try:
            value: T = self._derived[key]
        except KeyError:
            value = self._derived[key] = compute(self)
        return value

    @cached_property
    def table(self) -> U16Array:
        """The character table (U16, one entry for each code point)."""
        return character_table()

    @cached_property
    def word_bounds(self) -> I32Array:
        """All UAX #29 word boundaries (I32), 0 and len(text) included; empty for an empty text."""
        bounds: I32Array = _kernels().word_bounds(self.points, self.table)
        return bounds

    @cached_property
    def words(self) -> Spans:
        """The words between the boundaries whose first character is alphanumeric."""
        return Spans(*_kernels().alnum_words(self.points, self.table, self.word_bounds))

    @cached_property
    def whitespace_words(self) -> Spans:
        """The words of `text.split()`."""
        return Spans(*_kernels().whitespace_words(self.points, self.table))

    @cached_property
    def fasttext_tokens(self) -> Spans:
        """The tokens of fastText's reader; a line feed is a token of its own."""
        return Spans(*_kernels().fasttext_tokens(self.points, self.table))

    @cached_property
    def lines(self) -> Spans:
        """The pieces between line feeds, stripped, without the empty ones."""
        return Spans(*_kernels().stripped_pieces(self.points, self.table, 1))

    @cached_property
    def paragraphs(self) -> Spans:
        """The pieces between pairs of line feeds, stripped, without the empty ones."""
        return Spans(*_kernels().stripped_pieces(self.points, self.table, 2))

    @cached_property
    def word_ids(self) -> I32Array:
        """Identity of each of `words` (I32): equal numbers for equal words, 0, 1, 2 … by first occurrence."""
        ids: I32Array = _hash_kernels().span_ids(self.points, *self.words)
        return ids

    @cached_property
    def word_offsets(self) -> I64Array:
        """Running sums of the lengths of `words` (I64, one more than words), from 0."""
        offsets: I64Array = _hash_kernels().running_lengths(*self.words)
        return offsets

    @cached_property
    def bullet_lines(self) -> int:
        """How many of `lines` start with ●, •, * or -."""
        return int(_kernels().count_bullets(self.points, self.lines.starts))

    @cached_property
    def ellipsis_lines(self) -> int:
        """How many of `lines` end with `...`, `. . .` or U+2026."""
        return int(_kernels().count_ellipses(self.points, *self.lines))

    @cached_property
    def alnum_characters(self) -> int:
        """How many characters are alphanumeric."""
        return int(_kernels().count_flagged(self.points, self.table, ALNUM))

    @cached_property
    def words_without_alpha(self) -> int:
        """How many of `whitespace_words` have no alphabetic character."""
        return int(_kernels().count_without_alpha(self.points, self.table, *self.whitespace_words))

    @cached_property
    def repeated_lines(self) -> Repeats:
        """What repeats among `lines`."""
        return self._repeats(self.lines)

    @cached_property
    def repeated_paragraphs(self) -> Repeats:
        """What repeats among `paragraphs`."""
        return self._repeats(self.paragraphs)

    def repeated_ngrams(self, longest: int) -> tuple[I64Array, I64Array]:
        """Characters in repeated n-grams of `words`, for n from 1 to `longest` (see `hashing.repeated_ngrams`)."""
        measure: Callable[..., tuple[I64Array, I64Array]] = _hash_kernels().repeated_ngrams
        return self.derive(("repeated_ngrams", longest), lambda v: measure(v.word_ids, v.word_offsets, longest))

    def count_listed(self, words: tuple[str, ...]) -> list[int]:
        """How often each of the given words is a white-space word of the text, ASCII case ignored.

        `words` are lower-case ASCII. Letters outside ASCII whose lower case is ASCII (the Kelvin sign) don't match.
        """
        listed, bounds = _word_list(words)
        counts: list[int] = _kernels().count_listed(self.points, *self.whitespace_words, listed, bounds).tolist()
        return counts

    def count_words(
        self, model: str = "fasttext", ignore_punctuation: bool = False, ignore_whitespace: bool = True
    ) -> int:
        """Return how many words `split_words` of the same arguments would give, without making them.

        Args:
            model: "fasttext", "uniseg" or "split".
            ignore_punctuation: count only words whose first character is alphanumeric (or white space, see next).
            ignore_whitespace: leave out words of white space alone; with `ignore_punctuation`, those that start so.

        Raises:
            ValueError: unknown model.
        """
        counts = self.derive(("token_counts", model), lambda v: v._token_counts(model))
        if ignore_punctuation:
            return counts[2] if ignore_whitespace else counts[3]
        return counts[1] if ignore_whitespace else counts[0]

    def word_strings(self, model: str = "uniseg") -> list[str]:
        """All tokens of the model as strings, punctuation and white space included where the model yields them."""
        text = self.text
        return [text[start:end] for start, end in zip(*(part.tolist() for part in self._tokens(model)), strict=True)]

    def _tokens(self, model: str) -> Spans:
        if model == "fasttext":
            return self.fasttext_tokens
        if model == "uniseg":
            return Spans(self.word_bounds[:-1], self.word_bounds[1:])
        if model == "split":
            return self.whitespace_words
        raise ValueError(f"Unknown word tokenizer: {model}")

    def _token_counts(self, model: str) -> tuple[int, int, int, int]:
        """Return (all, not all white space, first alnum, first alnum or white space) of the model's tokens."""
        counts = _kernels().token_counts(self.points, self.table, *self._tokens(model)).tolist()
        # a line feed of fastText is the word `</s>`: neither alphanumeric nor white space
        feeds = self.text.count("\n") if model == "fasttext" else 0
        return counts[0], counts[1] + feeds, counts[2], counts[3] - feeds

    def _repeats(self, spans: Spans) -> Repeats:
        hashing = _hash_kernels()
        ids = hashing.span_ids(self.points, *spans)
        segments, repeated, characters = hashing.repeated_spans(ids, *spans).tolist()
        return Repeats(segments, repeated, len(spans.starts), characters)


@cache
def _word_list(words: tuple[str, ...]) -> tuple[U32Array, I32Array]:
    """Return the words' characters, concatenated (U32), and where each begins and the last ends (I32)."""
    characters = np.frombuffer("".join(words).encode("utf-32-le"), dtype=np.uint32)
    bounds = np.zeros(len(words) + 1, dtype=np.int32)
    np.cumsum([len(word) for word in words], out=bounds[1:])
    return characters, bounds


# The views of the last texts, newest first; replaced as a whole, so that threads see a complete tuple.
_recent: tuple[TextView, ...] = ()


def view(text: str) -> TextView:
    """Return the view of this text; the same one while the text object is among the last few asked for."""
    global _recent
    recent = _recent
    for known in recent:
        if known.text is text:
            return known
    fresh = TextView(text)
    budget = MAX_MEMO_BYTES - len(text) * VIEW_BYTES_PER_CHARACTER
    if budget < 0:
        return fresh
    kept = [fresh]
    for known in recent[: MAX_MEMO_TEXTS - 1]:
        budget -= len(known.text) * VIEW_BYTES_PER_CHARACTER
        if budget < 0:
            break
        kept.append(known)
    _recent = tuple(kept)
    return fresh


def count_whitespace_words(text: str) -> int:
    """Return `len(text.split())`, from the shared view."""
    return len(view(text).whitespace_words.starts)


def count_content_tokens(content: object) -> int:
    """White-space words of a page's content: a text, or the sum over a list of texts; 0 for anything else."""
    if isinstance(content, str):
        return count_whitespace_words(content)
    if isinstance(content, list):
        return sum(count_whitespace_words(piece) for piece in content if isinstance(piece, str))
    return 0


def warm_kernels() -> None:
    """Call every kernel once, so that no page pays for loading or compiling them; the runner does so per worker."""
    sample = view("Warm the kernels: 3.14 words, can't they?\n\n- warm the kernels...\n" * 2)
    hashing = _hash_kernels()
    for model in WORD_MODELS:
        sample.count_words(model)
    sample.count_listed(("the",))
    for computed in (
        sample.bullet_lines,
        sample.ellipsis_lines,
        sample.alnum_characters,
        sample.words_without_alpha,
        sample.repeated_lines,
        sample.repeated_paragraphs,
        sample.repeated_ngrams(2),
        hashing.ngram_hashes(hashing.word_hashes(sample.points, *sample.words), 2),
    ):
        del computed
