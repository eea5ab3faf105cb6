"""Finding many literal strings in a text at once, with the answers that Python's `re` gives for their alternation.

DCLM compiles banlists into one large pattern (a character trie, longest item first). Here a short list is such a
pattern, and a long one an Aho-Corasick automaton, whose cost for each text does not grow with the number of items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from corpusmith.text.segmentation.view import view

MIN_AUTOMATON_ITEMS = 17
METACHARACTERS = frozenset(".^$*+?{}[]\\|()")
QUANTIFIERS = frozenset("*+?{")
UNSEARCHABLE_RE = re.compile("[\ud800-\udfff\uffff]")
# stands for a lone surrogate, which the automaton does not take; a code point that is never a character
NONCHARACTER = "\uffff"
# Lower-case characters that `re.IGNORECASE` takes for the same, because they share their upper case.
SAME_CASE = (
    "i\u0131",
    "s\u017f",
    "\xb5\u03bc",
    "\u03b9\u1fbe\u0345",
    "\u0390\u1fd3",
    "\u03b0\u1fe3",
    "\u03b2\u03d0",
    "\u03b5\u03f5",
    "\u03b8\u03d1",
    "\u03ba\u03f0",
    "\u03c0\u03d6",
    "\u03c1\u03f1",
    "\u03c2\u03c3",
    "\u03c6\u03d5",
    "\u0432\u1c80",
    "\u0434\u1c81",
    "\u043e\u1c82",
    "\u0441\u1c83",
    "\u0442\u1c84\u1c85",
    "\u044a\u1c86",
    "\u0463\u1c87",
    "\u1c88\ua64b",
    "\u1e61\u1e9b",
    "\ufb05\ufb06",
)


def _same_case_table() -> dict[int, str]:
    return {ord(other): group[0] for group in SAME_CASE for other in group[1:]}


def is_literal(expression: str) -> bool:
    """Whether a regular expression matches itself and nothing else."""
    return METACHARACTERS.isdisjoint(expression)


def _required_literal(expression: str) -> str:
    """Return a string that every match of a regular expression begins with; empty where none is known."""
    if "|" in expression:
        return ""
    length = next((index for index, sign in enumerate(expression) if sign in METACHARACTERS), len(expression))
    if length < len(expression) and expression[length] in QUANTIFIERS:
        length -= 1
    return expression[: max(length, 0)]


class Possible:
    """A quick look at a text: False only if none of some regular expressions can match in it, or in a part of it."""

    def __init__(self, expressions: Iterable[str], *, ignore_case: bool) -> None:
        """Find what each of the expressions must begin with; with `ignore_case` they must be lower-cased already."""
        literals = [_required_literal(expression) for expression in expressions]
        self._literals = literals
        self._folded = [literal.encode("utf-8", "surrogatepass") for literal in literals]
        # beyond ASCII a letter may match several whose lower cases differ; such expressions are always tried
        unsure = ignore_case and not all(map(str.isascii, literals))
        self._always = not literals or "" in literals or unsure
        self._ignore_case = ignore_case

    def __call__(self, text: str) -> bool:
        """Whether a match is possible."""
        if self._always:
            return True
        if not self._ignore_case:
            return any(literal in text for literal in self._literals)
        folded = view(text).folded
        if any(literal in folded for literal in self._folded):
            return True
        return not text.isascii() and bool(view(text).line_table.case_twins.any())


class LiteralFinder:
    """Finds the items of a list in texts, from left to right and without overlap, the longest at each place.

    `matches(text)` equals the matches of `(?:item1|item2|…)` with each item escaped and the longest first; an empty
    item, or an empty list, matches everywhere.
    """

    def __init__(self, items: Iterable[str], *, whole_words: bool = False, ignore_case: bool = False) -> None:
        """Build the pattern or the automaton.

        Args:
            items: literal strings.
            whole_words: require a word boundary on both sides (`\\b`).
            ignore_case: compare as `re.IGNORECASE` does; items and texts must be lower-cased already.
        """
        unique = sorted(set(items), key=lambda item: (-len(item), item))
        self.whole_words = whole_words
        self._same_case = _same_case_table() if ignore_case else None
        self._pattern: re.Pattern[str] | None = None
        if len(unique) < MIN_AUTOMATON_ITEMS or not unique[-1] or any(map(UNSEARCHABLE_RE.search, unique)):
            expression = f"(?:{'|'.join(map(re.escape, unique))})"
            if whole_words:
                expression = rf"\b{expression}\b"
            self._pattern = re.compile(expression, re.IGNORECASE if ignore_case else 0)
            return
        from ahocorasick_rs import AhoCorasick, MatchKind

        self._automaton = AhoCorasick(
            sorted({self._comparable(item) for item in unique}),
            matchkind=MatchKind.Standard if whole_words else MatchKind.LeftmostLongest,
        )

    def contains(self, text: str) -> bool:
        """Whether any item is in the text."""
        if self._pattern is not None:
            return self._pattern.search(text) is not None
        return next(self._spans(text), None) is not None

    def matches(self, text: str) -> list[str]:
        """Return the matched parts of the text, in order."""
        if self._pattern is not None:
            return self._pattern.findall(text)
        return [text[start:end] for start, end in self._spans(text)]

    def _comparable(self, text: str) -> str:
        """Return the text as the automaton compares it, of the same length."""
        if self._same_case is not None and not text.isascii():
            text = text.translate(self._same_case)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = UNSEARCHABLE_RE.sub(NONCHARACTER, text)
        return text

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        compared = self._comparable(text)
        if not self.whole_words:
            for _, start, end in self._automaton.find_matches_as_indexes(compared):
                yield start, end
            return
        bounded = [
            (start, -end)
            for _, start, end in self._automaton.find_matches_as_indexes(compared, overlapping=True)
            if _is_word_boundary(text, start) and _is_word_boundary(text, end)
        ]
        position = 0
        for start, negative_end in sorted(bounded):
            if start >= position:
                position = -negative_end
                yield start, position


def is_word_character(character: str) -> bool:
    """Whether `re` counts the character as one of a word (`\\w`)."""
    return character.isalnum() or character == "_"


def _is_word_boundary(text: str, position: int) -> bool:
    before = position > 0 and is_word_character(text[position - 1])
    after = position < len(text) and is_word_character(text[position])
    return before != after
