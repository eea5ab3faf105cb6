"""Modifiers of single sources (HTML, arXiv, StackExchange, StarCoder) and of file names: the specification's cases."""

from __future__ import annotations

import copy
import itertools
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.core import get_mapper
from baselines.core.factories import load_mapper_function
from tests.baselines.modifying import change


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<html><body><h1>Head</h1><p>Para <b>bold</b> one.</p><p>Two</p><div>div text</div>"
            "<!-- c --><script>x()</script></body></html>",
            "Head\n\nPara bold one.\n\nTwo\n\ndiv text",
        ),
        ("plain text", "plain text"),
        ('<?xml version="1.0" encoding="utf-8"?><html><body><p>a</p></body></html>', "a"),
        ("", None),
        ("  \n ", None),
        ("<!-- only a comment -->", None),
    ],
)
def test_html_becomes_its_paragraphs(text: str, expected: str | None) -> None:
    pytest.importorskip("justext")
    assert change(text, "html_content_extraction_modifier") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\\appendix b", "a"),
        ("a\\begin{references}\nb", "a"),
        ("a\\begin{REFERENCES}b", "a"),
        ("a\\begin{thebibliography}{9}b\\appendix", "a"),
        ("a\\bibliography{x}b", "a"),
        ("a\\bibliography{x", "a\\bibliography{x"),
        ("a\\bibliography{x\\appendix", "a\\bibliography{x"),
        ("a\\bibliographystyle{x} b", "a\\bibliographystyle{x} b"),
        ("\\appendix b", None),
        ("", None),
    ],
)
def test_appendix_is_cut_off(text: str, expected: str | None) -> None:
    assert change(text, "arxiv_appendix_modifier") == expected


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("% c\na % b\n50\\% ok % c\nx%\n%\nend", {}, "a\n50\\% ok\nx%\nend"),
        ("b%y", {}, None),
        ("ab%y", {}, "a"),
        ("a\\\\%y", {}, "a\\\\%y"),
        ("%y", {}, None),
        (
            "a\\begin{comment}b\nc\\end{comment}d\\end{comment}",
            {},
            "a\\begin{comment}b\nc\\end{comment}d\\end{comment}",
        ),
        (
            "a\\begin{comment}b\nc\\end{comment}d\\end{comment}\\begin{comment}",
            {"remove_multiline": True},
            "ad\\end{comment}\\begin{comment}",
        ),
    ],
)
def test_latex_comments_are_deleted(text: str, arguments: dict[str, Any], expected: str | None) -> None:
    assert change(text, "arxiv_comment_modifier", **arguments) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the definition is rewritten too
        ("\\newcommand{\\foo}{bar}\nx \\foo y", "\\newcommand{bar}{bar}\nx bar y"),
        ("\\newcommand*{\\foo}{bar}\n\\foo", "\\newcommand*{bar}{bar}\n\\foo"),
        ("\\def \\foo {b}\n\\foo.", "\\def b {b}\nb."),
        ("\\def\\foo{b}\n\\foo\\foo\\foo.", "\\defb{b}\nb\\foob."),
        ("\\def\\foo{b}\n\\foox \\foo1", "\\defb{b}\n\\foox \\foo1"),
        # the later definition wins; \def counts as later
        ("\\def\\a{1}\n\\newcommand{\\a}{2}\n\\def\\a{3}\n\\a ", "\\def3{1}\n\\newcommand{3}{2}\n\\def3{3}\n3 "),
        ("\\def\\a{\\b \\1\\n}\n\\a ", "\\def\\b \\1\\n{\\b \\1\\n}\n\\b \\1\\n "),
        # characters that make upstream's pattern fail
        ("\\def\\a{é\t}\n\\a ", "\\defé\t{é\t}\né\t "),
        # not at the end of the line, or with an argument: no macro
        ("\\def\\a{1} \n\\a ", "\\def\\a{1} \n\\a "),
        ("\\newcommand{\\a}[1]{#1}\n\\a ", "\\newcommand{\\a}[1]{#1}\n\\a "),
        ("\\def\\a{}\nx\\a y", "\\def{}\nx y"),
        ("no macro", "no macro"),
    ],
)
def test_macros_are_written_out(text: str, expected: str) -> None:
    assert change(text, "arxiv_macro_modifier") == expected


def test_macros_need_a_text_and_may_not_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.mappers.arxiv_modifiers.MAX_EXPANDED_CHARACTERS", 10_000)
    assert get_mapper("arxiv_macro_modifier")({}) == []
    assert change("", "arxiv_macro_modifier") is None
    names = [f"\\m{number}" for number in range(60)]
    lines = [f"\\def{name}{{{following}  {following} }}" for name, following in itertools.pairwise(names)]
    with pytest.raises(ValueError, match="grow"):
        get_mapper("arxiv_macro_modifier")({"text": "\n".join([*lines, names[0] + " "])})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pre\\section{A} b", "\\section{A} b"),
        ("pre \\subsubsection*[s\n]{A\n} b \\chapter{c}", "\\subsubsection*[s\n]{A\n} b \\chapter{c}"),
        ("a \\partial{x} \\sections{y} \\part{z}", "\\part{z}"),
        ("a \\section {x}", None),
        ("a \\section{x", None),
        ("a \\section[x]", None),
        ("a \\section[x]\\part{y}", "\\part{y}"),
        ("a \\paragraph{p} b \\section{s}", "\\section{s}"),
        ("a \\subparagraph{p} b", None),
        ("a \\paragraph{p}\\subparagraph{q} b", "\\paragraph{p}\\subparagraph{q} b"),
        ("a \\paragraph{p} \\subparagraph{q} b", None),
        ("no heading", None),
        ("", None),
    ],
)
def test_what_precedes_the_first_heading_is_deleted(text: str, expected: str | None) -> None:
    assert change(text, "arxiv_section_strip_modifier") == expected


ARGUMENTS = r"\b\*?(?:\[(?:.*?)\])?\{(?:.*?)\}"
HEADINGS = "|".join(rf"\\\b{name}{ARGUMENTS}" for name in ("chapter", "part", "section", "subsection", "subsubsection"))
PIECES = {
    "heading": ["\\section", "\\part", "\\paragraph", "\\subparagraph", "*", "[", "]", "{", "}", "x", "\n"],
    "macro": [
        "\\def",
        "\\newcommand",
        "*",
        "\\a",
        "\\b",
        "1",
        " ",
        "{",
        "}",
        "{x}",
        "\n",
        "\\a{\\b }\n",
        "\\def\\a{y}\n",
    ],
    "appendix": ["\\appendix", "\\bibliography{", "\\bibliography", "}", "x", "\\begin{references}", "\n"],
    "comment": ["%", "\\", "a", "\n", "\\begin{comment}", "\\end{comment}", " "],
}


def strip_preamble(text: str) -> str:
    pair = rf"\\\bparagraph{ARGUMENTS}\\\bsubparagraph{ARGUMENTS}"
    found = re.search(f"{HEADINGS}|{pair}", text, re.DOTALL)
    return text[found.start() :] if found else ""


def expand_macros(text: str) -> str:
    macros: dict[str, str] = {}
    for head in (r"\\newcommand\*?\{(\\[a-zA-Z0-9]+?)\}\{(.*?)\}$", r"\\def\s*(\\[a-zA-Z0-9]+?)\s*\{(.*?)\}$"):
        macros.update(re.findall(head, text, re.MULTILINE))
    for name, body in macros.items():
        text = re.sub(rf"({re.escape(name)})([^a-zA-Z0-9])", body.replace("\\", "\\\\") + r"\2", text)
    return text


def cut_appendix(text: str) -> str:
    triggers = r"\\appendix|\\begin\{references\}|\\begin\{REFERENCES\}|\\begin\{thebibliography\}|\\bibliography\{.*\}"
    return re.sub(rf"(?:{triggers}).*", "", text, flags=re.DOTALL)


def remove_comments(text: str) -> str:
    text = re.sub(r"(?m)^%.*\n?", "", text)
    text = re.sub(r"(?m)[^\\]%.+$", "", text)
    return re.sub(r"(?s)\\begin\{comment\}.*?\\end\{comment\}", "", text)


@pytest.mark.parametrize(
    ("pieces", "step", "twin"),
    [
        ("heading", {"func": "arxiv_section_strip_modifier"}, strip_preamble),
        ("macro", {"func": "arxiv_macro_modifier"}, expand_macros),
        ("appendix", {"func": "arxiv_appendix_modifier"}, cut_appendix),
        ("comment", {"func": "arxiv_comment_modifier", "remove_multiline": True}, remove_comments),
    ],
)
def test_latex_scanners_equal_plain_patterns(pieces: str, step: dict[str, Any], twin: Any) -> None:
    @given(st.lists(st.sampled_from(PIECES[pieces]), max_size=20).map("".join))
    @settings(deadline=None, max_examples=300)
    def compare(text: str) -> None:
        assert change(text, **step) == (twin(text) or None)

    compare()


def test_lists_of_questions_and_answers_become_bullets() -> None:
    page = {"question": {"text": "<ol><li>a</li></ol>"}, "answers": [{"text": "<ul><li>b</li></ul>"}]}
    assert get_mapper("stackexchange_list_modifier")(page) == [page]
    assert page == {"question": {"text": "\n*\n*a"}, "answers": [{"text": "<ul>\n*b</ul>"}]}
    with pytest.raises(KeyError, match="question"):
        get_mapper("stackexchange_list_modifier")({})


def test_answers_are_sorted_and_ties_keep_their_order() -> None:
    answers = [{"id": 1, "score": 1}, {"id": 2}, {"id": 3, "score": 2}, {"id": 4, "score": 1}, {"id": 5, "score": 0}]
    page: dict[str, Any] = {"answers": copy.deepcopy(answers)}
    assert get_mapper("stackexchange_answer_sort_modifier")(page) == [page]
    assert [answer["id"] for answer in page["answers"]] == [3, 1, 4, 2, 5]
    page = {"answers": copy.deepcopy(answers)}
    get_mapper("stackexchange_answer_sort_modifier", descending=False)(page)
    assert [answer["id"] for answer in page["answers"]] == [2, 5, 1, 4, 3]
    for unsorted in ({}, {"answers": None}, {"answers": "ba"}):
        assert get_mapper("stackexchange_answer_sort_modifier")(dict(unsorted)) == [unsorted]


def test_html_of_questions_and_answers_becomes_text() -> None:
    pytest.importorskip("bs4")
    page = {"question": {"text": "<p>a &amp; b</p><p>c</p>"}, "answers": [{"text": ""}, {"text": "d"}]}
    assert get_mapper("stackexchange_html_extraction_modifier")(page) == [page]
    assert page == {"question": {"text": "a & bc"}, "answers": [{"text": ""}, {"text": "d"}]}
    page = {"question": {"text": "<b>q</b>"}}
    assert get_mapper("stackexchange_html_extraction_modifier")(page) == [{"question": {"text": "q"}}]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ({"question": {"text": "q"}, "answers": [{"text": "a"}, {"text": "b"}]}, "Q: q\nA: a\nA: b"),
        ({"question": {"text": "q"}, "answers": []}, "Q: q\nA: "),
        ({"question": {"text": "q"}}, "Q: q"),
        ({"answers": []}, None),
    ],
)
def test_questions_and_answers_are_written_out(page: dict[str, Any], text: str | None) -> None:
    full = copy.deepcopy(page)
    assert get_mapper("stackexchange_qa_formatter")(full) == ([] if text is None else [{**page, "text": text}])
    bare = copy.deepcopy(page)
    assert get_mapper("stackexchange_qa_formatter", remove_qa=True)(bare) == ([] if text is None else [{"text": text}])


def test_large_repositories_are_split() -> None:
    files = [{"filename": str(number), "text": "t"} for number in range(5)]
    page = {"repo_name": "r", "files": files, "text": "all"}
    split = load_mapper_function("starcoder_v2_repo_splitter")
    (same,) = split(page, max_files=5)
    assert same is page
    pieces = split(page, max_files=2)
    assert pieces == [{"repo_name": "r", "files": files[start : start + 2]} for start in (0, 2, 4)]
    assert pieces[0]["files"][0] is not files[0]
    assert page["text"] == "all"
    assert [piece["text"] for piece in split(page, max_files=3, delete_content=False)] == ["all", "all"]
    with pytest.raises(ValueError, match="max_files"):
        split(page, max_files=0)


def test_repositories_are_written_out_with_names_or_without() -> None:
    files = [{"filename": "a.py", "text": "x<file_sep>"}, {"filename": "b.py", "text": "<repo_name>y\n"}]
    page: dict[str, Any] = {"repo_name": "r", "files": files}
    write = load_mapper_function("starcoder_v2_format_modifier")
    assert write(page, add_metadata_prob=1) == [page]
    assert page["text"] == "<repo_name>r<file_sep>a.py\nx<file_sep><file_sep>b.py\n<repo_name>y\n"
    write(page, add_metadata_prob=0)
    assert page["text"] == "<file_sep>x<file_sep><file_sep><repo_name>y\n"
    write(page, add_metadata_prob=0, add_sentinels=False)
    assert page["text"] == "x\n\n\n\ny"
    write(page, add_metadata_prob=1, add_sentinels=False)
    assert page["text"] == "r\n\na.py\nx\n\n\n\nb.py\ny"
    with pytest.raises(AssertionError, match="add_metadata_prob"):
        write(page, add_metadata_prob=1.5)
    assert write({"repo_name": "r", "files": []}, add_metadata_prob=0) == [{"repo_name": "r", "files": [], "text": ""}]


def test_one_number_is_drawn_for_each_repository() -> None:
    write = load_mapper_function("starcoder_v2_format_modifier")
    random.seed(7)
    expected = [random.random() < 0.5 for _ in range(50)]
    random.seed(7)
    pages = [write({"repo_name": "r", "files": []})[0] for _ in range(50)]
    assert [page["text"] == "<repo_name>r" for page in pages] == expected


@pytest.mark.parametrize(
    ("page", "arguments", "kept"),
    [
        ({"filename": "a.py"}, {}, True),
        ({"filename": "a.PY"}, {}, False),
        ({"filename": "xMakefile"}, {}, True),
        ({"filename": "a.tsx"}, {}, True),
        ({"filename": "a.txt"}, {}, False),
        ({}, {}, False),
        ({"name": "a.txt"}, {"filename_key": "name", "allowed_extensions": [".txt"]}, True),
        ({"filename": "a.txt"}, {"allowed_extensions": ".txt"}, True),
        ({"filename": "a.py"}, {"allowed_extensions": (".txt", ".py")}, True),
        ({"filename": "a.py"}, {"allowed_extensions": []}, False),
        ({"filename": ""}, {"allowed_extensions": ""}, True),
    ],
)
def test_files_are_kept_by_their_endings(page: dict[str, Any], arguments: dict[str, Any], kept: bool) -> None:
    assert get_mapper("github_extension_filter", **arguments)(page) == ([page] if kept else [])


def test_file_names_and_endings_of_other_types_raise() -> None:
    with pytest.raises(AttributeError):
        get_mapper("github_extension_filter")({"filename": None})
    with pytest.raises(TypeError):
        get_mapper("github_extension_filter", allowed_extensions={".py"})({"filename": "a.py"})
