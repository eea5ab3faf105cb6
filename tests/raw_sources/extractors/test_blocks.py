"""The block scanner and what is made of it: boundaries as HTML draws them, text, Markdown, the model's file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from raw_sources.extractors.blocks.extractor import choose, with_structure
from raw_sources.extractors.blocks.features import FEATURES, block_features
from raw_sources.extractors.blocks.kernels import B_CHARS, B_LINK_CHARS, B_NODE, B_WORDS, N_ALL, N_TAG
from raw_sources.extractors.blocks.model import BlockModel, dump_model, load_model
from raw_sources.extractors.blocks.scan import scan_blocks
from raw_sources.extractors.blocks.tables import ATTRIBUTE_WORDS, NAMES, automaton, name_code
from raw_sources.extractors.blocks.text import PageText
from raw_sources.extractors.registry import ExtractorChoice


def blocks_of(html: str) -> list[tuple[str, str]]:
    """Tag and text of each block."""
    page = scan_blocks(html)
    text = PageText(page)
    tags = [NAMES[page.nodes[block[B_NODE], N_TAG]] for block in page.blocks]
    return list(zip(tags, map(text.text, range(len(tags))), strict=True))


@pytest.mark.parametrize(
    ("html", "blocks"),
    [
        ("plain", [("", "plain")]),
        ("<p>one<p>two", [("p", "one"), ("p", "two")]),
        ("<p>one<div>two</div>three", [("p", "one"), ("div", "two"), ("", "three")]),
        ("<div>a <b>bold</b>\n word<span> more</span></div>", [("div", "a bold word more")]),
        ("<ul><li>1<li>2<ul><li>2.1</ul></ul>x", [("li", "1"), ("li", "2"), ("li", "2.1"), ("", "x")]),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", [("td", "a"), ("td", "b"), ("td", "c"), ("", "d")]),
        ("<dl><dt>a<dd>b<dt>c</dl>", [("dt", "a"), ("dd", "b"), ("dt", "c")]),
        ("<h1>a<h2>b</h2>", [("h1", "a"), ("h2", "b")]),
        ("<div><table><tr><td></div>a</td></tr></table>b</div>", [("td", "a"), ("div", "b")]),
        ("<head><title>t</title><meta name=x></head><body>b", [("body", "b")]),
        ("<head><title>t</title><p>no body", [("p", "no body")]),
        ("a<script>var x = '</p>';</script>b<style>p {}</style>c", [("", "abc")]),
        ("a<!-- <p>no</p> -->b<!doctype x>c<?php echo ?>d", [("", "abcd")]),
        ("a<noscript>no</noscript>b<select><option>x</select>c<svg><text>y</text></svg>", [("", "abc")]),
        ("a<noscript><p>no</p></noscript>b", [("", "a"), ("", "b")]),
        ("one<br>two<br/>three", [("", "one\ntwo\nthree")]),
        ("one<br><br>two", [("", "one"), ("", "two")]),
        ("one<hr>two", [("", "one"), ("", "two")]),
        ("1 < 2 &amp;&lt; 3 <4", [("", "1 < 2 &< 3 <4")]),
        ("<pre>  a\n    b\n</pre>", [("pre", "  a\n    b")]),
        ("<P CLASS=x>a</P><Div\n>b</dIV >", [("p", "a"), ("div", "b")]),
        ("<div title='a > b' data-x=\"<p>\">c", [("div", "c")]),
        ("<p>&nbsp; \n</p><p>x", [("p", "x")]),
        ('f <script type="math/tex">x^2</script> g', [("", "f $x^2$ g")]),
        ('<math alttext="a/b"><mfrac>a b</mfrac></math> is', [("", "$a/b$ is")]),
        ('<p>see <img class="latex" alt="\\pi"> and <img alt="no"></p>', [("p", "see $\\pi$ and")]),
        ("<unknown-tag>x</unknown-tag>y", [("", "xy")]),
    ],
)
def test_blocks_lie_between_block_level_boundaries(html: str, blocks: list[tuple[str, str]]) -> None:
    assert blocks_of(html) == blocks


def test_counts_of_a_block() -> None:
    page = scan_blocks('<div class="article-body">Ab <a href=x>cd é</a>&amp;</div>')
    (block,) = page.blocks
    assert (block[B_CHARS], block[B_WORDS], block[B_LINK_CHARS]) == (6, 3, 3)
    bits = int(page.nodes[block[B_NODE], N_ALL])
    assert bits >> 15 & 1
    assert not bits & 1


MARKUP = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<div class=nav>", "</div>", "<b>", "</b>", "<a href=x>", "</a>", "<li>", "<ul>", "</ul>",
         "<td>", "<table>", "<tr>", "</table>", "<br>", "word ", "zwei, ", "3.", "&lt;", "é", " ", "\n",
         "<h2>", "</h2>"]
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(MARKUP)
def test_no_letter_is_lost_and_none_invented(pieces: list[str]) -> None:
    html = "".join(pieces)
    ours = "".join(text for _, text in blocks_of(html))
    assert "".join(ours.split()) == "".join(extract_plain_text(html, main_content=False, list_bullets=False).split())


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("<>/ab pdiv!-=\"'&;\n\ud800é"), max_size=200))
def test_any_text_is_scanned_and_described(html: str) -> None:
    page = scan_blocks(html)
    features = block_features(page)
    assert features.shape == (len(page.blocks), FEATURES)
    assert np.isfinite(features).all()


def test_the_automaton_finds_words_anywhere_in_any_case() -> None:
    step, found = automaton((("share", "are"), ("hare",)))

    def bits(text: str) -> int:
        state = result = 0
        for byte in text.encode():
            state = int(step[state, byte])
            result |= int(found[state])
        return result

    assert [bits(text) for text in ("xSHAREx", "hare", "are", "shar", "")] == [3, 3, 1, 0, 0]


@given(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=12), st.text("abcdefghijklmnopqrstuvwxyz", max_size=12)
)
def test_codes_of_names_are_unique(first: str, second: str) -> None:
    assert (name_code(first) == name_code(second)) is (first == second)
    assert name_code(first) < 1 << 64


STRUCTURED = """<article><h2>Heading &amp; more</h2><p>Text<br>goes on.</p>
<ol><li>first</li><li><p>second</p><p>still second</p><ul><li>inner</li></ul></li></ol>
<blockquote><p>quoted</p></blockquote>
<pre><code>def f(x):
    return x &lt; 2
</code></pre>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2|3</td></tr></table>
<table><tr><td>layout</td></tr></table><p>End $x$.</p></article>"""


def test_structure_is_kept_as_markdown() -> None:
    page = scan_blocks(STRUCTURED)
    assert PageText(page).markdown(list(range(len(page.blocks)))) == (
        "## Heading & more\n\nText\ngoes on.\n\n1. first\n2. second\n\n   still second\n\n  - inner\n\n> quoted\n\n"
        "```\ndef f(x):\n    return x < 2\n```\n\n| a | b |\n| --- | --- |\n| 1 | 2\\|3 |\n\nlayout\n\nEnd $x$."
    )


def test_plain_text_parts_paragraphs_by_an_empty_line() -> None:
    page = scan_blocks(STRUCTURED)
    assert PageText(page).plain(list(range(len(page.blocks)))) == (
        "Heading & more\n\nText\ngoes on.\n\nfirst\nsecond\nstill second\ninner\n\nquoted\n\n"
        "def f(x):\n    return x < 2\n\na b\n1 2|3\n\nlayout\n\nEnd $x$."
    )


def test_code_and_tables_among_chosen_text_come_with_it() -> None:
    page = scan_blocks(
        "<p>before</p><pre>x = 1</pre><p>no</p><table><tr><td>1</td></tr></table><p>after</p><pre>out</pre>"
    )
    chosen = with_structure(page, np.array([True, False, False, False, True, False]))
    assert chosen.tolist() == [True, True, False, True, True, False]


def test_where_nothing_is_above_the_threshold_the_best_is_taken() -> None:
    assert choose(np.array([0.1, 0.3, 0.2]), 0.5).tolist() == [False, True, True]
    assert choose(np.array([0.01, 0.02]), 0.5).tolist() == [False, False]
    assert choose(np.array([0.6, 0.3]), 0.5).tolist() == [True, False]


def test_a_model_survives_its_file_and_scores_as_its_trees_say() -> None:
    model = BlockModel(
        feature=np.array([2, -1, -1], np.int16),
        value=np.array([0.5, 1.0, -1.0], np.float32),
        left=np.array([1, 0, 0], np.int32),
        right=np.array([2, 0, 0], np.int32),
        roots=np.array([0], np.int32),
        boosters=1,
        threshold=0.4,
    )
    features = np.zeros((2, FEATURES), np.float32)
    features[1, 2] = 0.75
    assert model.scores(features).round(4).tolist() == [0.7311, 0.2689]
    assert dump_model(model)["features"] == FEATURES


def test_the_shipped_model_fits_the_features_and_knows_menus_from_text() -> None:
    assert 0 < load_model().threshold < 1
    sentence = "The river rose in the night, and by morning the lower meadows stood under water. "
    paragraphs = "".join(f"<p>{sentence * 3}</p>" for _ in range(6))
    menu = "".join(f"<li><a href=/{word}>{word}</a></li>" for word in ("News", "Sport", "Travel", "Weather"))
    html = (
        f'<html><body><div class="nav menu"><ul>{menu}</ul></div><div id="content"><h1>Floods</h1>{paragraphs}</div>'
        '<div class="footer"><p>Copyright 2020 Example. All rights reserved. <a href=/p>Privacy</a></p></div></body>'
    )
    text = ExtractorChoice(name="best").open()(html)
    assert text.count(sentence.strip()) == 18
    assert "Weather" not in text
    assert "Copyright" not in text


def test_groups_of_words_fit_their_bits() -> None:
    assert len(ATTRIBUTE_WORDS) == 26  # the scanner names bits 16 (hidden) and 25 (math)
    assert "hidden" in ATTRIBUTE_WORDS[16]
    assert "math" in ATTRIBUTE_WORDS[25]
