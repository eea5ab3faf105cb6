"""One pass over a page's HTML that finds its blocks of text: no tree is built, and time grows with length alone.

A block is a run of text between two boundaries of block-level elements. The scanner follows HTML's tokenizer and as
much of its tree construction as decides where text belongs: implied ends of `p`, `li`, cells and rows, scopes of
tables, raw text, void elements. What it leaves out (foster parenting, the adoption agency) moves no text.

Nothing here can nest deeper than `MAX_DEPTH`: further elements are passed over and their text stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from corpusmith.text.kernels import (
    I32_2D_IN,
    I32_IN,
    I64_2D_OUT,
    I64_IN,
    I64_OUT,
    U8_IN,
    U64_IN,
    helper_kernel,
    kernel,
)
from raw_sources.extractors.blocks.columns import LINE_BREAK, MATH, MATH_DISPLAY, TEXT, B, N, P, S
from raw_sources.extractors.blocks.tables import BIT, BLOCK, RAW, SKIPPED, TAG, VOID
from raw_sources.extractors.blocks.tags import (
    A_ALT_START,
    A_ALT_STOP,
    A_BITS,
    A_MATH,
    A_SIGNATURE,
    ATTRIBUTE_FIELDS,
    attributes_of,
    find,
    markup_end,
    raw_end,
    tag_of,
)

Array = np.ndarray[Any, Any]

MAX_DEPTH = 1024
TEXT_BYTES = 160

# fields of an open element: those of the elements around it are added up in it
T_TAG, T_KIND, T_NODE, T_BITS, T_LINKS, T_SKIPPED, T_BOLD = range(7)
STACK_FIELDS = 7
# what else the scanner is in the midst of
DEPTH, AFTER_BREAK = range(2)
STATE_FIELDS = 2

_A, _P, _LI, _BR, _HR, _DT, _DD = (TAG[name] for name in ("a", "p", "li", "br", "hr", "dt", "dd"))
_TR, _TD, _TH, _TABLE, _CAPTION = (TAG[name] for name in ("tr", "td", "th", "table", "caption"))
_TBODY, _THEAD, _TFOOT = (TAG[name] for name in ("tbody", "thead", "tfoot"))
_UL, _OL, _DL, _HEAD, _BODY, _SCRIPT, _TITLE = (
    TAG[name] for name in ("ul", "ol", "dl", "head", "body", "script", "title")
)
_H1, _H6, _B, _STRONG, _MATH, _IMG = (TAG[name] for name in ("h1", "h6", "b", "strong", "math", "img"))
_MATH_BIT = np.int64(BIT["code"])
_TABLE_FAMILY = (_TR, _TD, _TH, _TABLE, _CAPTION, _TBODY, _THEAD, _TFOOT)


@helper_kernel
def _add_text(
    html: Array, start: int, stop: int, is_link: bool, is_bold: bool, block: Array, step: Array, found: Array
) -> None:
    """Count a run of text into the open block."""
    in_word = block[B.spaces] == 0 and block[B.chars] > 0
    at = start
    while at < stop:
        byte = html[at]
        at += 1
        if byte <= 32:
            in_word = False
            continue
        if byte == 38:  # an entity is one character, &nbsp; a space
            end = at
            while end < stop and end - at < 10 and html[end] > 32 and html[end] != 59:
                end += 1
            if end < stop and html[end] == 59:
                is_space = end - at == 4 and html[at] == 110 and html[at + 1] == 98
                at = end + 1
                if is_space:
                    in_word = False
                    continue
        if byte & 0xC0 == 0x80:
            continue
        if block[B.chars] == 0:
            block[B.first_byte] = byte
        block[B.chars] += 1
        block[B.link_chars] += is_link
        block[B.bold] += is_bold
        block[B.last_byte] = byte
        if not in_word:
            in_word = True
            block[B.words] += 1
            block[B.upper] += 65 <= byte <= 90
            if block[B.chars] < TEXT_BYTES:
                block[B.state] = step[step[0, 32], 32]
        if byte >= 0xE3:
            block[B.wide] += 1
        if byte == 44:
            block[B.commas] += 1
        elif byte == 46 or byte == 33 or byte == 63:
            block[B.ends] += 1
        elif byte == 58 or byte == 59 or byte == 124 or byte == 47:
            block[B.punctuation] += 1
        elif 48 <= byte <= 57:
            block[B.digits] += 1
        block[B.hash] = (block[B.hash] * 31 + byte) & 0xFFFFFFFFFFFF
    block[B.spaces] = not in_word
    if block[B.chars] < 2 * TEXT_BYTES:
        state = block[B.state]
        for place in range(start, min(stop, start + TEXT_BYTES)):
            state = step[state, html[place]]
            block[B.text_bits] |= found[state]
        block[B.state] = state


@helper_kernel
def _finish(block: Array, blocks: Array, page: Array, node: int) -> None:
    """Close the open block, keep it if it has text, and begin another in `node`."""
    if block[B.chars] > 0:
        block[B.last] = page[P.segments]
        blocks[page[P.blocks]] = block
        page[P.blocks] += 1
    else:
        page[P.segments] = block[B.first]
    block[:] = 0
    block[B.node] = node
    block[B.first] = page[P.segments]


@helper_kernel
def _add_segment(segments: Array, page: Array, start: int, stop: int, kind: int) -> None:
    number = page[P.segments]
    segments[number, S.start], segments[number, S.stop], segments[number, S.kind] = start, stop, kind
    page[P.segments] = number + 1


@helper_kernel
def _implied_end(tag: int, kind: int, depth: int, stack: Array) -> int:
    """How deep the stack is once what an opening tag ends by itself is closed."""
    if tag == _BODY:
        for at in range(depth):
            if stack[at, T_TAG] == _HEAD:
                return at
        return depth
    if kind != BLOCK:
        if tag == _A:
            for at in range(depth - 1, -1, -1):
                if stack[at, T_TAG] == _A:
                    return at
                if stack[at, T_KIND] == BLOCK:
                    return depth
        return depth
    if depth and stack[depth - 1, T_TAG] == _HEAD:
        return depth - 1
    for at in range(depth - 1, -1, -1):
        open_tag, open_kind = stack[at, T_TAG], stack[at, T_KIND]
        if tag == _LI:
            if open_tag == _LI:
                return at
            if open_tag == _UL or open_tag == _OL:
                break
        elif tag == _DT or tag == _DD:
            if open_tag == _DT or open_tag == _DD:
                return at
            if open_tag == _DL:
                break
        elif tag == _TD or tag == _TH:
            if open_tag == _TD or open_tag == _TH:
                return at
            if open_tag == _TR or open_tag == _TABLE:
                break
        elif tag == _TR:
            if open_tag == _TR:
                return at
            if open_tag == _TABLE:
                break
        elif tag == _TBODY or tag == _TFOOT:
            if open_tag == _TBODY or open_tag == _THEAD:
                return at
            if open_tag == _TABLE:
                break
        else:
            if open_tag == _P or (_H1 <= open_tag <= _H6 and _H1 <= tag <= _H6):
                return at
            if open_kind == BLOCK:
                break
    return depth


@helper_kernel
def _explicit_end(tag: int, kind: int, depth: int, stack: Array) -> int:
    """How deep the stack is once a closing tag is obeyed; as deep as before where it closes nothing."""
    is_table = tag in _TABLE_FAMILY
    for at in range(depth - 1, -1, -1):
        open_tag = stack[at, T_TAG]
        if open_tag == tag:
            return at
        if kind != BLOCK and kind != SKIPPED and stack[at, T_KIND] == BLOCK:
            break
        if not is_table and (open_tag == _TD or open_tag == _TH or open_tag == _CAPTION):
            break
        if is_table and open_tag == _TABLE:
            break
    return depth


@helper_kernel
def _read_text(
    html: Array,
    start: int,
    top: Array,
    state: Array,
    text_step: Array,
    text_found: Array,
    block: Array,
    segments: Array,
    page: Array,
) -> int:
    """Take the text up to the next tag; its end."""
    stop = find(html, 60, start + 1)
    if top[T_SKIPPED] == 0:
        before = block[B.chars]
        _add_text(html, start, stop, top[T_LINKS] > 0, top[T_BOLD] > 0, block, text_step, text_found)
        if block[B.chars] > 0:
            _add_segment(segments, page, start, stop, TEXT)
            block[B.bits] |= top[T_BITS]
        if block[B.chars] != before:
            state[AFTER_BREAK] = 0
    return stop


@helper_kernel
def _close_down_to(kept: int, stack: Array, top: Array, state: Array, block: Array, blocks: Array, page: Array) -> None:
    """Close what is open above `kept` elements; a block-level element among it ends the open block."""
    ended = False
    for level in range(kept, state[DEPTH]):
        ended = ended or stack[level, T_KIND] == BLOCK
    state[DEPTH] = kept
    if kept:
        top[:] = stack[kept - 1]
    else:
        top[:] = 0
    if ended:
        _finish(block, blocks, page, top[T_NODE])
        state[AFTER_BREAK] = 0


@helper_kernel
def _take_void(
    html: Array,
    at: int,
    tag: int,
    attributes: Array,
    top: Array,
    state: Array,
    text_step: Array,
    text_found: Array,
    block: Array,
    blocks: Array,
    segments: Array,
    page: Array,
) -> None:
    """An element without content: line breaks (two in a row part blocks), rules, and images of formulas."""
    if tag == _BR and top[T_SKIPPED] == 0:
        if state[AFTER_BREAK]:
            _finish(block, blocks, page, top[T_NODE])
            state[AFTER_BREAK] = 0
        elif block[B.chars] > 0:
            state[AFTER_BREAK] = 1
            _add_segment(segments, page, at, at, LINE_BREAK)
            block[B.breaks] += 1
            block[B.spaces] = 1
    elif tag == _HR:
        _finish(block, blocks, page, top[T_NODE])
    elif tag == _IMG and attributes[A_BITS] & _MATH_BIT:
        _take_math(html, attributes, top, text_step, text_found, block, segments, page)


@helper_kernel
def _take_math(
    html: Array,
    attributes: Array,
    top: Array,
    text_step: Array,
    text_found: Array,
    block: Array,
    segments: Array,
    page: Array,
) -> None:
    """The formula in an alternative text."""
    start, stop = attributes[A_ALT_START], attributes[A_ALT_STOP]
    if stop > start and top[T_SKIPPED] == 0:
        _add_text(html, start, stop, False, False, block, text_step, text_found)
        if block[B.chars] > 0:
            _add_segment(segments, page, start, stop, MATH)


@helper_kernel
def _add_node(tag: int, attributes: Array, parent: int, tag_bits: Array, nodes: Array, page: Array) -> int:
    """A block-level element begins; its number."""
    number: int = page[P.nodes]
    own = attributes[A_BITS] | tag_bits[tag]
    nodes[number, N.parent] = parent
    nodes[number, N.tag] = tag
    nodes[number, N.own] = own
    nodes[number, N.all] = nodes[parent, N.all] | own
    nodes[number, N.depth] = nodes[parent, N.depth] + 1
    nodes[number, N.signature] = (attributes[A_SIGNATURE] * 131 + tag) & 0xFFFFFFFFFFFF
    page[P.nodes] = number + 1
    return number


@helper_kernel
def _push(
    tag: int, kind: int, attributes: Array, stack: Array, top: Array, state: Array, block: Array, page: Array
) -> None:
    """Put an element on the stack, unless it is full: then its text belongs to the one below."""
    if state[DEPTH] == MAX_DEPTH:
        if kind == BLOCK:
            block[B.node] = top[T_NODE]
        return
    entry = stack[state[DEPTH]]
    entry[:] = top
    entry[T_TAG], entry[T_KIND] = tag, kind
    if kind == BLOCK:
        entry[T_NODE] = page[P.nodes] - 1
        entry[T_BITS] = 0
    else:
        entry[T_BITS] |= attributes[A_BITS]
    if tag == _A:
        entry[T_LINKS] += 1
        block[B.links] += 1
    entry[T_SKIPPED] += kind == SKIPPED or (tag == _MATH and attributes[A_ALT_STOP] > attributes[A_ALT_START])
    entry[T_BOLD] += tag == _B or tag == _STRONG
    state[DEPTH] += 1
    top[:] = entry


@kernel(
    U8_IN,
    U64_IN,
    U64_IN,
    I32_IN,
    I32_IN,
    I64_IN,
    I32_2D_IN,
    I64_IN,
    I32_2D_IN,
    I64_IN,
    I64_2D_OUT,
    I64_2D_OUT,
    I64_2D_OUT,
    I64_OUT,
)
def scan(
    html: Array,
    letters: Array,
    codes: Array,
    tags: Array,
    kinds: Array,
    tag_bits: Array,
    step: Array,
    found: Array,
    text_step: Array,
    text_found: Array,
    blocks: Array,
    segments: Array,
    nodes: Array,
    page: Array,
) -> None:
    """Fill blocks, segments, nodes (a row each) and page; each has room for two rows per `<` and some more."""
    stack = np.zeros((MAX_DEPTH + 1, STACK_FIELDS), np.int64)
    top = np.zeros(STACK_FIELDS, np.int64)
    attributes = np.zeros(ATTRIBUTE_FIELDS, np.int64)
    state = np.zeros(STATE_FIELDS, np.int64)
    block = np.zeros(len(B), np.int64)
    nodes[0] = 0
    nodes[0, N.parent] = -1
    page[P.nodes] = 1
    at, size = 0, len(html)
    while at < size:
        following = html[at + 1] if html[at] == 60 and at + 1 < size else 0
        if following == 33 or following == 63:  # <! <?
            at = markup_end(html, at)
            continue
        is_end = following == 47
        if not (is_end or 65 <= following <= 90 or 97 <= following <= 122):
            at = _read_text(html, at, top, state, text_step, text_found, block, segments, page)
            continue
        tag, name_end = tag_of(html, at + 1 + is_end, letters, codes, tags)
        kind = kinds[tag]
        kept = state[DEPTH]
        if is_end:
            at = min(find(html, 62, name_end) + 1, size)
            kept = _explicit_end(tag, kind, kept, stack) if tag else kept
        else:
            at = attributes_of(html, name_end, letters, step, found, attributes)
            kept = _implied_end(tag, kind, kept, stack) if tag else kept
        if kept < state[DEPTH]:
            _close_down_to(kept, stack, top, state, block, blocks, page)
        if is_end or tag == 0:
            continue
        if kind == RAW:
            stop, end = raw_end(html, at, tag, letters, codes, tags)
            if tag == _TITLE and page[P.title_stop] == 0:
                page[P.title_start], page[P.title_stop] = at, stop
            if tag == _SCRIPT and attributes[A_MATH] and top[T_SKIPPED] == 0:
                _add_text(html, at, stop, False, False, block, text_step, text_found)
                _add_segment(segments, page, at, stop, MATH_DISPLAY if attributes[A_MATH] == 2 else MATH)
            at = end
            continue
        if kind == VOID:
            _take_void(html, at, tag, attributes, top, state, text_step, text_found, block, blocks, segments, page)
            continue
        if kind == BLOCK:
            _finish(block, blocks, page, _add_node(tag, attributes, top[T_NODE], tag_bits, nodes, page))
            state[AFTER_BREAK] = 0
        elif tag == _MATH:
            _take_math(html, attributes, top, text_step, text_found, block, segments, page)
        _push(tag, kind, attributes, stack, top, state, block, page)
    _finish(block, blocks, page, 0)
