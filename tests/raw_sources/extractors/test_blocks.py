"""The block scanner and what is made of it: boundaries as HTML draws them, text, Markdown, the model's file."""

from __future__ import annotations

import pathlib

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from corpusmith.errors import InputError
from raw_sources.extractors.blocks.columns import B, N
from raw_sources.extractors.blocks.extractor import choose, with_structure
from raw_sources.extractors.blocks.feature_names import FEATURE_NAMES, FEATURES
from raw_sources.extractors.blocks.features import block_features
from raw_sources.extractors.blocks.model import MODEL_FILE, BlockModel, dump_model, load_model
from raw_sources.extractors.blocks.scan import scan_blocks
from raw_sources.extractors.blocks.tables import NAMES, TAG, automaton, name_code
from raw_sources.extractors.blocks.text import PageText
from raw_sources.extractors.registry import ExtractorChoice


def blocks_of(html: str) -> list[tuple[str, str]]:
    """Tag and text of each block."""
    page = scan_blocks(html)
    text = PageText(page)
    tags = [NAMES[page.nodes[block[B.node], N.tag]] for block in page.blocks]
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
    assert (block[B.chars], block[B.words], block[B.link_chars]) == (6, 3, 3)
    bits = int(page.nodes[block[B.node], N.all])
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
    features[1, FEATURE_NAMES.index("own.link_density")] = 0.75
    assert model.scores(features).round(4).tolist() == [0.7311, 0.2689]
    assert dump_model(model)["features"] == list(FEATURE_NAMES)


def test_a_model_of_other_features_is_refused_with_the_first_that_differs(tmp_path: pathlib.Path) -> None:
    document = orjson.loads(MODEL_FILE.read_bytes())
    document["features"].remove("own.links")
    path = tmp_path / "model.json"
    path.write_bytes(orjson.dumps(document))
    with pytest.raises(InputError, match=r"number 3 was own\.chars_per_word and is own\.links"):
        load_model(path)


def test_each_feature_has_its_own_name_and_column() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == FEATURES
    page = scan_blocks('<div class="nav"><p>One, two. <a href=x>three</a></p></div><h1>Head</h1><p>Share</p>')
    columns = dict(zip(FEATURE_NAMES, block_features(page).T.tolist(), strict=True))
    assert columns["own.links"] == [1, 0, 0]
    assert columns["own.ends"] == [1, 0, 0]
    assert columns["own.tag"] == [TAG["p"], TAG["h1"], TAG["p"]]
    assert columns["own.repeats"] == [1, 1, 1]
    assert columns["text.share"] == [0, 0, 1]
    assert columns["neighbour-1.tag"] == [0, TAG["p"], TAG["h1"]]
    assert columns["neighbour+1.tag"] == [TAG["h1"], TAG["p"], 0]
    assert columns["place.blocks_before"] == [0, 1, 2]
    assert columns["place.blocks_left"] == [3, 2, 1]
    assert columns["place.is_heading"] == [0, 1, 0]
    assert columns["page.share_of_long_blocks"] == [0, 0, 0]
    assert columns["parents.navigation"] == [1, 0, 0]
    assert columns["around.navigation"] == [1, 0, 0]
    assert columns["around.<h1-h6>"] == [0, 1, 0]


def test_the_shipped_model_fits_the_features_and_knows_menus_from_text() -> None:
    assert 0 < load_model().threshold < 1
    sentence = "The river rose in the night, and by morning the lower meadows stood under water. "
    paragraphs = "".join(f"<p>{sentence * 3}</p>" for _ in range(6))
    menu = "".join(f"<li><a href=/{word}>{word}</a></li>" for word in ("News", "Sport", "Travel", "Weather"))
    html = (
        f'<html><body><div class="nav menu"><ul>{menu}</ul></div><div id="content"><h1>Floods</h1>{paragraphs}</div>'
        '<div class="footer"><p>Copyright 2020 Example. All rights reserved. <a href=/p>Privacy</a></p></div></body>'
    )
    text = ExtractorChoice(name="blocks").open()(html)
    assert text.count(sentence.strip()) == 18
    assert "Weather" not in text
    assert "Copyright" not in text
