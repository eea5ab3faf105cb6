"""What the pages of the sample crawl say: documents made of text that every Python has, and articles of our own.

Docstrings, comments and code of the standard library, the language reference that `pydoc` carries and the licence give
real technical prose (about 4 MB); the standard library differs between Python versions, and so do the documents. The
articles are sentences of patterns filled with the words of a topic: plain English of a dozen subjects, without end.
"""

from __future__ import annotations

import ast
import functools
import inspect
import pathlib
import random
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from raw_sources.sample_crawl.words import COMMON_REASONS, HEADINGS, SENTENCES, TITLES, Topic

PAGE_WORDS = 700
MIN_DOCUMENT_WORDS = 80
_SKIPPED_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "site-packages",
        "dist-packages",
        "idlelib",
        "lib2to3",
        "__pycache__",
        "pydoc_data",
        "ensurepip",
        "lib-dynload",
        "turtledemo",
        "msilib",
        "encodings",
    }
)
_SEASONS = ("spring", "summer", "autumn", "winter")
_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty")
_MAX_CODE_LINES = 45
_MIN_COMMENT_LINES = 4


@dataclass(frozen=True, slots=True)
class DocumentBlock:
    """A piece of a document: `kind` is `p`, `h2` or `pre`."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A page's content without its HTML; `topic` names the subject, `language` is an ISO code."""

    title: str
    blocks: tuple[DocumentBlock, ...]
    topic: str
    language: str = "en"

    def words(self) -> int:
        """Words of the blocks."""
        return sum(len(block.text.split()) for block in self.blocks)


class _Deck:
    """Deals its cards in a drawn order, each once before any comes again."""

    def __init__(self, cards: tuple[str, ...], draw: random.Random) -> None:
        self._cards, self._draw = cards, draw
        self._left: list[str] = []

    def deal(self) -> str:
        if not self._left:
            self._left = self._draw.sample(self._cards, len(self._cards))
        return self._left.pop()


class _Slots(Mapping[str, str]):
    """Deals a phrase for each slot of a pattern; `Person` is `person` with a capital, `person2` another one."""

    def __init__(self, topic: Topic, draw: random.Random) -> None:
        self._draw = draw
        self._decks = {
            name: _Deck(cards, draw)
            for name, cards in (
                ("thing", topic.things),
                ("parts", topic.parts),
                ("deed", topic.deeds),
                ("habit", topic.habits),
                ("quality", topic.qualities),
                ("person", topic.people),
                ("place", topic.places),
                ("reason", (*topic.reasons, *COMMON_REASONS)),
                ("season", _SEASONS),
                ("number", _NUMBERS),
            )
        }

    def __getitem__(self, key: str) -> str:
        name = key.rstrip("2").lower()
        phrase = str(self._draw.randrange(1820, 2024)) if name == "year" else self._decks[name].deal()
        return phrase[:1].upper() + phrase[1:] if key[0].isupper() else phrase

    def __iter__(self) -> Iterator[str]:
        return iter(self._decks)

    def __len__(self) -> int:
        return len(self._decks)


def write_article(topic: Topic, draw: random.Random, words: int) -> Document:
    """An article of about `words` words on a topic; up to about 1000 words no sentence pattern comes twice."""
    slots = _Slots(topic, draw)
    patterns = _Deck(SENTENCES, draw)
    headings = _Deck(HEADINGS, draw)
    blocks: list[DocumentBlock] = []
    written = 0
    while written < words:
        if blocks and draw.random() < 0.22:
            blocks.append(DocumentBlock("h2", headings.deal().format_map(slots)))
        paragraph = " ".join(patterns.deal().format_map(slots) for _ in range(draw.randrange(3, 8)))
        blocks.append(DocumentBlock("p", paragraph))
        written += len(paragraph.split())
    return Document(title=draw.choice(TITLES).format_map(slots), blocks=tuple(blocks), topic=topic.name)


@functools.cache
def library_documents() -> tuple[Document, ...]:
    """Documents from the text that this Python carries, each of about `PAGE_WORDS` words, in a fixed order."""
    found: list[Document] = []
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).parts):
        folders = path.relative_to(root).parts[:-1]
        if len(folders) < 3 and not _SKIPPED_FOLDERS.intersection(folders) and path.is_file():
            found.extend(_module_documents(path, ".".join((*folders, path.stem))))
    found.extend(_reference_documents())
    licence = root / "LICENSE.txt"
    if licence.is_file():
        text = licence.read_text(encoding="utf-8", errors="replace")
        found.extend(_cut("The licence of Python", _paragraphs(text), "licence"))
    return tuple(found)


def _module_documents(path: pathlib.Path, name: str) -> Iterator[Document]:
    source = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.split("\n")
    yield from _cut(f"The module {name}", list(_documented(tree, lines)), "library")
    comments = list(_comments(lines))
    if comments:
        yield from _cut(f"Notes in the source of {name}", comments, "comments")


def _documented(tree: ast.Module, lines: list[str]) -> Iterator[DocumentBlock]:
    """The docstrings of a module in order of the source; every third function also shows its code."""
    yield from _paragraphs(ast.get_docstring(tree) or "")
    functions = 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        doc = ast.get_docstring(node)
        if doc is None:
            continue
        if isinstance(node, ast.ClassDef):
            yield DocumentBlock("h2", f"class {node.name}")
        else:
            functions += 1
            yield DocumentBlock("h2", f"{node.name}({', '.join(argument.arg for argument in node.args.args)})")
        yield from _paragraphs(doc)
        length = (node.end_lineno or node.lineno) - node.lineno
        if functions % 3 == 1 and 4 < length < _MAX_CODE_LINES and not isinstance(node, ast.ClassDef):
            code = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            yield DocumentBlock("pre", inspect.cleandoc("\n" + code) if node.col_offset else code)


def _comments(lines: list[str]) -> Iterator[DocumentBlock]:
    run: list[str] = []
    for line in [*lines, ""]:
        stripped = line.strip()
        if stripped.startswith("#") and not stripped.startswith("#!"):
            run.append(stripped.lstrip("#").removeprefix(" "))
            continue
        if len(run) >= _MIN_COMMENT_LINES:
            yield from _paragraphs("\n".join(run))
        run = []


def _reference_documents() -> Iterator[Document]:
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield from _cut(f"Python reference: {name}", _paragraphs(topics[name]), "reference")


def _paragraphs(text: str) -> list[DocumentBlock]:
    """Blocks of a plain text: indented or prompted paragraphs are code, underlined lines headings."""
    blocks = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = part.split("\n")
        if not part.strip():
            continue
        if len(lines) == 2 and re.fullmatch(r"[*=~^-]{3,}", lines[1].strip()):
            blocks.append(DocumentBlock("h2", lines[0].strip()))
        elif any(line.startswith(("    ", "\t", ">>>")) for line in lines):
            blocks.append(DocumentBlock("pre", part.rstrip()))
        else:
            blocks.append(DocumentBlock("p", " ".join(part.split())))
    return blocks


def _cut(title: str, blocks: list[DocumentBlock], topic: str) -> Iterator[Document]:
    """Documents of about `PAGE_WORDS` words each; repeated blocks and what is too short to be a page are left out."""
    held: list[DocumentBlock] = []
    words = part = 0
    for block in [*dict.fromkeys(blocks), None]:
        if block is not None:
            held.append(block)
            words += len(block.text.split())
        if held and (block is None or words >= PAGE_WORDS):
            if words >= MIN_DOCUMENT_WORDS:
                part += 1
                name = title if part == 1 else f"{title}, part {part}"
                yield Document(title=name, blocks=tuple(held), topic=topic)
            held, words = [], 0
