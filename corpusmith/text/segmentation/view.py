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
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

import numpy as np

from corpusmith.text.segmentation.character_table import ALNUM, character_table, flag_table, line_flag_table
from corpusmith.text.segmentation.word_break_table import UNICODE_VERSION

if TYPE_CHECKING:
    from corpusmith.text.kernels import I32Array, I64Array, U32Array

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
MAX_MEMO_BYTES = 64 * 1024 * 1024
MAX_MEMO_TEXTS = 4
# A view with all its arrays takes about this much for each character of its text (measured upper bound on prose).
VIEW_BYTES_PER_CHARACTER = 28
MAX_COUNT = 2**62
WORD_MODELS = ("fasttext", "uniseg", "split")

T = TypeVar("T")


class once(Generic[T]):
    """A property that is computed once and then an attribute.

    `functools.cached_property` takes a lock each time; that of Python 3.12 takes none, and then this class goes.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class Spans(NamedTuple):
    """Segments of a text: I32 offsets in code points; segment i is text[starts[i]:ends[i]]."""

    starts: I32Array
    ends: I32Array


class Repeats(NamedTuple):
    """Segments that occur more than once (each occurrence counted), their characters, all segments, all characters.

    The `later` ones are those that occurred before: the repeated ones without the first occurrence of each.
    """

    repeated_segments: int
    repeated_characters: int
    segments: int
    characters: int
    later_segments: int
    later_characters: int


class NgramRepeats(NamedTuple):
    """Characters in repeated n-grams of words, each a list by n (see `hashing.repeated_ngrams`)."""

    most_common: list[int]
    covered: list[int]
    later: list[int]


class LineTable(NamedTuple):
    """Columns about the lines of `text.split("\n")`, one entry (I32) for each line.

    `starts` and `ends`: offsets; `words`: of `str.split`; `upper` and `digits`: characters of which `isupper` and
    `isdigit` hold; `starts_with_number`: 1 if the first alphanumeric character or underscore is a decimal digit;
    `case_twins`: characters beyond ASCII that `re.IGNORECASE` takes for ASCII letters.
    """

    starts: I32Array
    ends: I32Array
    words: I32Array
    upper: I32Array
    digits: I32Array
    starts_with_number: I32Array
    case_twins: I32Array


@cache
def _kernels() -> ModuleType:
    from corpusmith.text.segmentation import kernels as segment_kernels

    return segment_kernels


@cache
def _survey_kernels() -> ModuleType:
    from corpusmith.text.segmentation import survey_kernels

    return survey_kernels


@cache
def _hash_kernels() -> ModuleType:
    from corpusmith.text import hashing

    return hashing


class Survey(NamedTuple):
    """What one pass over a text counts.

    Words are those of `str.split`, tokens those of fastText's reader, each line feed being one. `symbols`: `#`, `...`,
    `. . .` and U+2026, each as `str.count` counts it. `lines` are those that are not blank, stripped: `bullet_lines`
    start with ●, •, * or -; `ellipsis_lines` end with `...`, `. . .` or U+2026. `visible_tokens` are not white space
    alone; the last two tell how many tokens have a first character that is alphanumeric, or white space.
    """

    words: int
    word_characters: int
    words_without_alpha: int
    words_from_alnum: int
    symbols: int
    lines: int
    bullet_lines: int
    ellipsis_lines: int
    tokens: int
    visible_tokens: int
    tokens_from_alnum: int
    tokens_from_space: int


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

    @once
    def folded(self) -> bytes:
        """The text as UTF-8 (lone surrogates included) with its ASCII letters in lower case."""
        return self.text.encode("utf-8", "surrogatepass").lower()

    @once
    def _surveyed(self) -> tuple[Survey, I32Array]:
        """The survey, and the lines with whether a new paragraph begins with them (I32, 3 × lines)."""
        kernels = _survey_kernels()
        totals = np.zeros(kernels.NUMBERS, dtype=np.int64)
        lines: I32Array = kernels.survey(self.points, flag_table(), totals)
        return Survey(*totals.tolist()), lines

    @property
    def survey(self) -> Survey:
        """What one pass over the text counts."""
        return self._surveyed[0]

    @once
    def word_bounds(self) -> I32Array:
        """All UAX #29 word boundaries (I32), 0 and len(text) included; empty for an empty text."""
        bounds: I32Array = _kernels().word_bounds(self.points, character_table(), flag_table())
        return bounds

    @once
    def words(self) -> Spans:
        """The words between the boundaries whose first character is alphanumeric."""
        return Spans(*_kernels().alnum_words(self.points, character_table(), flag_table()))

    @once
    def whitespace_words(self) -> Spans:
        """The words of `text.split()`."""
        return Spans(*_kernels().whitespace_words(self.points, character_table()))

    @once
    def fasttext_tokens(self) -> Spans:
        """The tokens of fastText's reader; a line feed is a token of its own."""
        return Spans(*_kernels().fasttext_tokens(self.points, character_table()))

    @property
    def lines(self) -> Spans:
        """The pieces between line feeds, stripped, without the empty ones."""
        lines = self._surveyed[1]
        return Spans(lines[0], lines[1])

    @once
    def paragraphs(self) -> Spans:
        """The pieces between pairs of line feeds, stripped, without the empty ones."""
        return Spans(*_survey_kernels().paragraph_spans(self._surveyed[1]))

    @once
    def line_table(self) -> LineTable:
        """What is known of each line of `text.split("\n")`."""
        rows = _survey_kernels().line_table(self.points, line_flag_table(), self.text.count("\n") + 1)
        return LineTable(*rows)

    @once
    def word_ids(self) -> I32Array:
        """Identity of each of `words` (I32): equal numbers for equal words, 0, 1, 2 … by first occurrence."""
        ids: I32Array = _hash_kernels().span_ids(self.points, *self.words)
        return ids

    @once
    def word_offsets(self) -> I64Array:
        """Running sums of the lengths of `words` (I64, one more than words), from 0."""
        offsets: I64Array = _hash_kernels().running_lengths(*self.words)
        return offsets

    @once
    def alnum_characters(self) -> int:
        """How many characters are alphanumeric."""
        return int(_kernels().count_flagged(self.points, character_table(), ALNUM))

    @once
    def repeated_lines(self) -> Repeats:
        """What repeats among `lines`."""
        return self._repeats(self.lines)

    @once
    def repeated_paragraphs(self) -> Repeats:
        """What repeats among `paragraphs`."""
        return self._repeats(self.paragraphs)

    def repeated_ngrams(self, longest: int) -> NgramRepeats:
        """Characters in repeated n-grams of `words`, for n from 1 to `longest`."""
        return self.derive(("repeated_ngrams", longest), lambda v: v._repeated_ngrams(longest))

    def _repeated_ngrams(self, longest: int) -> NgramRepeats:
        amounts = np.zeros((3, longest + 1), dtype=np.int64)
        _hash_kernels().repeated_ngrams(self.word_ids, self.word_offsets, longest, *amounts)
        return NgramRepeats(*amounts.tolist())

    @once
    def later_line_characters(self) -> int:
        """Characters of the lines of `line_table` that are not blank and stood in the text before, unstripped."""
        table = self.line_table
        spans = Spans(*(column[table.words > 0] for column in (table.starts, table.ends)))
        return self._repeats(spans).later_characters

    def count_listed(self, words: tuple[str, ...], wanted: int = MAX_COUNT) -> list[int]:
        """How often each of the given words is a white-space word of the text, ASCII case ignored.

        Args:
            words: up to four lower-case ASCII letters each. Letters outside ASCII whose lower case is ASCII (the
                Kelvin sign) don't match.
            wanted: stop when so many were found.

        Raises:
            ValueError: a longer word, or other characters.
        """
        counts = np.zeros(len(words), dtype=np.int64)
        _survey_kernels().count_listed(self.points, character_table(), _packed(words), wanted, counts)
        return counts.tolist()

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
        if model == "split":
            words, from_alnum = self.survey.words, self.survey.words_from_alnum
            return words, words, from_alnum, from_alnum
        if model == "fasttext":
            # a line feed is the word `</s>`: neither alphanumeric nor white space
            seen = self.survey
            alnum = seen.tokens_from_alnum
            return seen.tokens, seen.visible_tokens, alnum, alnum + seen.tokens_from_space
        counts = _kernels().token_counts(self.points, character_table(), *self._tokens(model)).tolist()
        return counts[0], counts[1], counts[2], counts[3]

    def _repeats(self, spans: Spans) -> Repeats:
        totals = np.zeros(5, dtype=np.int64)
        _hash_kernels().repeated_spans(self.points, *spans, totals)
        repeated, repeated_characters, characters, later, later_characters = totals.tolist()
        return Repeats(repeated, repeated_characters, len(spans.starts), characters, later, later_characters)


@cache
def _packed(words: tuple[str, ...]) -> U32Array:
    """The words as `survey_kernels.count_listed` takes them."""
    for word in words:
        if not 0 < len(word) <= _survey_kernels().MAX_LISTED_LENGTH or not (
            word.isascii() and word.isalpha() and word.islower()
        ):
            raise ValueError(f"only words of one to four lower-case ASCII letters can be listed, not {word!r}")
    return np.array([int.from_bytes(word.encode("ascii"), "big") for word in words], dtype=np.uint32)


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
    return view(text).survey.words


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
        sample.whitespace_words,
        sample.fasttext_tokens,
        sample.line_table,
        sample.alnum_characters,
        sample.repeated_lines,
        sample.repeated_paragraphs,
        sample.repeated_ngrams(2),
        hashing.ngram_hashes(hashing.word_hashes(sample.points, *sample.words), 2),
    ):
        del computed
