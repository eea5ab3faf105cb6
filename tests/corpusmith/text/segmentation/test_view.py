"""The segmentation view: equal to its plain twin, to `uniseg` and to `str`, on any Unicode; computed once; bounded."""

from __future__ import annotations

import itertools
import pathlib
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corpusmith.io.pages.shards import read_shard
from corpusmith.text.segmentation import view as segment
from corpusmith.text.segmentation.character_table import ALNUM, ALPHA, DECIMAL, DIGIT, SPACE, UPPER, character_table
from corpusmith.text.segmentation.view import TextView, count_whitespace_words, view, warm_kernels
from tests.oracles import segment_reference as segment_plain

# Characters of every class that the rules name, twice or more for most, and lone surrogates.
AWKWARD = (
    "aZ9_'\"’.,:;·- \t\n\r\x0b\x0c\x00\x1c\x85"
    "\u00a0\u00ad\u0300\u0301\u0308\u200b\u200c\u200d\u2003\u2028\u2029\u2060\ufeff"
    "אבגש״׳ąßéЖ中日あカタア゛ー１²½٣ªⓂ©"
    "\U0001f1e6\U0001f1e7\U0001f1fa\U0001f469\U0001f3ff\U0001f466❤️\U0001f680"
    "\U00010400\U0001d7d8\U000e0001\U000e0100\U0010ffff\ud800\udfff‿⁀＇．：﹒︓"
)
ANYTHING = st.characters(codec=None, categories=None)
TEXTS = st.one_of(
    st.text(st.sampled_from(AWKWARD), max_size=40),
    st.text(ANYTHING, max_size=40),
    st.text(st.one_of(st.sampled_from(AWKWARD), st.sampled_from("abc. \n'"), ANYTHING), max_size=40),
)
# What a survey counts, in lengths around that of a block of 64 characters.
SYMBOLIC_TEXTS = st.one_of(
    TEXTS,
    st.lists(
        st.sampled_from(
            [
                "the",
                "a",
                "1",
                "½",
                "#",
                ".",
                "...",
                ". . .",
                "…",
                "•",
                "-",
                "\n",
                "\n\n",
                " ",
                "\u00a0",
                "\x00",
                "日本",
                "É",
                "_",
                "\u017f",
                "\u212a",
            ]
        ),
        max_size=150,
    ).map("".join),
)
MODELS = ("fasttext", "uniseg", "split")


def pieces(text: str) -> list[str]:
    """The text cut at the view's word boundaries."""
    return [text[a:b] for a, b in itertools.pairwise(TextView(text).word_bounds.tolist())]


def spans(found: segment.Spans) -> list[tuple[int, int]]:
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (
            "can't stop 3.14 a_b foo-bar e.g. U.S.A.",
            ["can't", " ", "stop", " ", "3.14", " ", "a_b", " ", "foo", "-", "bar", " ", "e.g", ".", " ", "U.S.A", "."],
        ),
        ("你好世界 テスト", ["你", "好", "世", "界", " ", "テスト"]),
        ("a  b\n\n\r\nc", ["a", "  ", "b", "\n", "\n", "\r\n", "c"]),
        # Unicode Standard Annex #29, section 4.2, and the examples of its rules
        ("The quick (“brown”) fox can’t jump 32.3 feet, right?".replace(" ", ""), None),
        ("\u0001\u0308\u0001", ["\u0001\u0308", "\u0001"]),
        ('א"א', ['א"א']),
        ("א'", ["א'"]),
        ("a'", ["a", "'"]),
        ("\U0001f1e6\U0001f1e7\U0001f1e8", ["\U0001f1e6\U0001f1e7", "\U0001f1e8"]),
        ("a\u0308\u200d\u0308b", ["a\u0308\u200d\u0308b"]),
        ("\u200d\U0001f6d1", ["\u200d\U0001f6d1"]),
    ],
)
def test_word_bounds_are_those_of_the_standard(text: str, expected: list[str] | None) -> None:
    if expected is None:
        expected = ["Thequick", "(", "“", "brown", "”", ")", "foxcan’tjump32.3feet", ",", "right", "?"]
    assert pieces(text) == expected


@given(TEXTS)
@settings(deadline=None, max_examples=300)
@example("\U0001f1e6\u0308\U0001f1e7\U0001f1e8\n\U0001f1e8\U0001f1e8")
@example("\u0308a'\u0308\u200db:\ud8009,9,")
def test_word_bounds_equal_twin_and_uniseg(text: str) -> None:
    uniseg = pytest.importorskip("uniseg.wordbreak", reason="uniseg, the Unicode oracle of the tests, is not installed")
    found = TextView(text).word_bounds.tolist()
    assert found == segment_plain.word_bounds(text)
    assert found == list(uniseg.word_boundaries(text))


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_spans_equal_their_plain_twins(text: str) -> None:
    seen = TextView(text)
    assert spans(seen.words) == segment_plain.alnum_words(text)
    assert spans(seen.whitespace_words) == segment_plain.whitespace_words(text)
    assert spans(seen.fasttext_tokens) == segment_plain.fasttext_tokens(text)
    assert spans(seen.lines) == segment_plain.stripped_pieces(text, 1)
    assert spans(seen.paragraphs) == segment_plain.stripped_pieces(text, 2)


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_view_agrees_with_the_methods_of_str(text: str) -> None:
    seen = TextView(text)
    words = text.split()
    assert seen.word_strings("split") == words
    assert count_whitespace_words(text) == len(words)
    assert "".join(seen.word_strings("uniseg")) == text
    assert seen.alnum_characters == sum(character.isalnum() for character in text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    assert [text[a:b] for a, b in spans(seen.lines)] == lines


@given(SYMBOLIC_TEXTS)
@settings(deadline=None, max_examples=400)
@example("a" * 62 + "...")
@example("a" * 63 + ". . .")
@example("a" * 64 + "\n\n" + "1" * 64 + "\u00a0\x00")
@example("\u00a0" * 130)
def test_survey_counts_what_str_counts(text: str) -> None:
    words, lines = text.split(), [line.strip() for line in text.split("\n") if line.strip()]
    tokens = [text[a:b] for a, b in segment_plain.fasttext_tokens(text)]
    others = [token for token in tokens if token != "\n"]
    assert TextView(text).survey == segment.Survey(
        words=len(words),
        word_characters=sum(map(len, words)),
        words_without_alpha=sum(not any(map(str.isalpha, word)) for word in words),
        words_from_alnum=sum(word[0].isalnum() for word in words),
        symbols=sum(text.count(symbol) for symbol in ("#", "...", ". . .", "…")),
        lines=len(lines),
        bullet_lines=sum(line.startswith(("●", "•", "*", "-")) for line in lines),
        ellipsis_lines=sum(line.endswith(("...", ". . .", "…")) for line in lines),
        tokens=len(tokens),
        visible_tokens=len(tokens) - sum(token.isspace() for token in others),
        tokens_from_alnum=sum(token[0].isalnum() for token in others),
        tokens_from_space=sum(token[0].isspace() for token in others),
    )


@given(SYMBOLIC_TEXTS)
@settings(deadline=None, max_examples=200)
def test_line_table_tells_of_each_line_what_str_tells(text: str) -> None:
    table = TextView(text).line_table
    lines = text.split("\n")
    assert [text[a:b] for a, b in zip(table.starts, table.ends, strict=True)] == lines
    assert table.words.tolist() == [len(line.split()) for line in lines]
    assert table.upper.tolist() == [sum(map(str.isupper, line)) for line in lines]
    assert table.digits.tolist() == [sum(map(str.isdigit, line)) for line in lines]
    assert table.case_twins.tolist() == [sum(map(line.count, "\u0130\u0131\u017f\u212a")) for line in lines]
    assert table.starts_with_number.tolist() == [bool(re.match(r"\W*\d", line)) for line in lines]


@given(TEXTS, st.sampled_from(MODELS))
@settings(deadline=None, max_examples=200)
def test_counts_follow_the_first_character_of_each_word(text: str, model: str) -> None:
    seen = TextView(text)
    words = ["</s>" if model == "fasttext" and word == "\n" else word for word in seen.word_strings(model)]
    alnum = [word for word in words if word[0].isalnum()]
    assert seen.count_words(model, False, False) == len(words)
    assert seen.count_words(model, False, True) == sum(bool(word.strip()) for word in words)
    assert seen.count_words(model, True, True) == len(alnum)
    assert seen.count_words(model, True, False) == len(alnum) + sum(word[0].isspace() for word in words)


@given(st.text(st.sampled_from("theTHE bofandvwi,\n\u2003İK"), max_size=60))
@settings(deadline=None)
def test_listed_words_are_counted_as_lower_cased_whitespace_words(text: str) -> None:
    listed = ("the", "be", "to", "of", "and", "that", "have", "with")
    words = [word.lower() for word in text.split()]
    assert TextView(text).count_listed(listed) == [words.count(word) for word in listed]
    found = sum(map(words.count, listed))
    assert sum(TextView(text).count_listed(listed, 2)) == min(found, 2)


@pytest.mark.parametrize("end", ["...", ". . .", "…"])
def test_lines_that_end_in_an_ellipsis_are_counted(end: str) -> None:
    assert TextView(f"a{end}\nb{end} \n{end}\nc").survey.ellipsis_lines == 3


@pytest.mark.parametrize("line", ["..", ". .", " . .", "....x", ".. .", ". ..", "a. . . b"])
def test_other_dots_are_no_ellipsis(line: str) -> None:
    assert TextView(f"x\n{line}\n").survey.ellipsis_lines == 0


def test_character_table_says_what_str_says_of_every_character() -> None:
    table = character_table()
    characters = [chr(point) for point in range(0x110000)]
    for flag, method in (
        (ALNUM, str.isalnum),
        (ALPHA, str.isalpha),
        (SPACE, str.isspace),
        (UPPER, str.isupper),
        (DIGIT, str.isdigit),
        (DECIMAL, str.isdecimal),
    ):
        expected = np.fromiter(map(method, characters), dtype=bool, count=len(characters))
        assert np.array_equal((table & flag) != 0, expected), method


def test_view_of_the_same_object_is_computed_once() -> None:
    text = "one two " * 3
    first = view(text)
    assert view(text) is first
    assert first.words is first.words
    other = "".join(["one two "] * 3)
    assert other == text
    assert other is not text
    assert view(other) is not first


def test_memo_keeps_few_texts_and_few_bytes() -> None:
    texts = [f"text {i}" for i in range(10)]
    views = [view(text) for text in texts]
    assert view(texts[-1]) is views[-1]
    assert view(texts[0]) is not views[0]
    large = "x" * (segment.MAX_MEMO_BYTES // segment.VIEW_BYTES_PER_CHARACTER + 1)
    assert view(large) is not view(large)
    half = "y" * (len(large) // 2 + 1)
    kept, dropped = view(half), view("y" + half)
    assert view("y" + half) is not dropped
    assert view(half) is not kept


def test_derived_values_are_computed_once_for_each_key() -> None:
    calls: list[str] = []
    seen = TextView("a")

    def count(v: TextView) -> int:
        calls.append(v.text)
        return len(calls)

    for _ in range(2):
        assert seen.derive("key", count) == 1
    assert calls == ["a"]


@pytest.mark.parametrize("word", ["", "longer", "The", "é", "a b"])
def test_words_that_cannot_be_listed_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="lower-case ASCII"):
        TextView("a").count_listed((word,))


def test_unknown_word_model_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown word tokenizer: spacy"):
        TextView("a").count_words("spacy")


def test_a_text_that_is_no_string_is_refused() -> None:
    with pytest.raises(AttributeError):
        view(None)  # type: ignore[arg-type]


def test_kernels_can_be_warmed_before_the_first_page() -> None:
    warm_kernels()


def test_real_pages_are_cut_as_their_plain_twin_cuts_them(shared_data: pathlib.Path) -> None:
    shard = shared_data / "data" / "pages" / "shard_00000008_processed.jsonl.zst"
    for page in itertools.islice(read_shard(str(shard)), 20):
        text = page["text"]
        assert TextView(text).word_bounds.tolist() == segment_plain.word_bounds(text)
