"""One pass over a page's HTML that finds its blocks of text: no tree is built, and time grows with length alone.

A block is a run of text between two boundaries of block-level elements. The scanner follows HTML's tokenizer and as
much of its tree construction as decides where text belongs: implied ends of `p`, `li`, cells and rows, scopes of
tables, raw text, void elements. What it leaves out (foster parenting, the adoption agency) moves no text.

Nothing here can nest deeper than `MAX_DEPTH`: further elements are passed over and their text stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from corpusmith.text.kernels import I32_IN, I64_IN, U64_IN, helper_kernel, kernel
from raw_sources.extractors.blocks.tables import BLOCK, RAW, SKIPPED, TAG, VOID
from raw_sources.extractors.blocks.tags import (
    A_ALT_START,
    A_ALT_STOP,
    A_BITS,
    A_MATH,
    A_SIGNATURE,
    attributes_of,
    find,
    markup_end,
    raw_end,
    tag_of,
)

Array = np.ndarray[Any, Any]

MAX_DEPTH = 1024
TEXT_BYTES = 160

# fields of a block
(
    B_NODE, B_FIRST, B_LAST, B_CHARS, B_WORDS, B_LINK_CHARS, B_LINKS, B_PUNCTUATION, B_COMMAS, B_DIGITS, B_UPPER,
    B_ENDS, B_LAST_BYTE, B_FIRST_BYTE, B_BOLD, B_WIDE, B_BREAKS, B_BITS, B_HASH, B_TEXT_BITS, B_SPACES, B_STATE,
) = range(22)  # fmt: skip
BLOCK_FIELDS = 22
# fields of a node (a block-level element)
N_PARENT, N_TAG, N_OWN, N_ALL, N_DEPTH, N_SIGNATURE = range(6)
NODE_FIELDS = 6
# fields of a segment of a block's text, and its kinds
S_START, S_STOP, S_KIND = range(3)
SEGMENT_FIELDS = 3
TEXT, LINE_BREAK, MATH, MATH_DISPLAY = range(4)
# fields of the page
P_BLOCKS, P_SEGMENTS, P_NODES, P_TITLE_START, P_TITLE_STOP = range(5)

# fields of an open element: those of the elements around it are added up in it
T_TAG, T_KIND, T_NODE, T_BITS, T_LINKS, T_SKIPPED, T_BOLD = range(7)
STACK_FIELDS = 7
# what else the scanner is in the midst of
DEPTH, AFTER_BREAK = range(2)

_A, _P, _LI, _BR, _HR, _DT, _DD = (TAG[name] for name in ("a", "p", "li", "br", "hr", "dt", "dd"))
_TR, _TD, _TH, _TABLE, _CAPTION = (TAG[name] for name in ("tr", "td", "th", "table", "caption"))
_TBODY, _THEAD, _TFOOT = (TAG[name] for name in ("tbody", "thead", "tfoot"))
_UL, _OL, _DL, _HEAD, _BODY, _SCRIPT, _TITLE = (
    TAG[name] for name in ("ul", "ol", "dl", "head", "body", "script", "title")
)
_H1, _H6, _B, _STRONG, _MATH, _IMG = (TAG[name] for name in ("h1", "h6", "b", "strong", "math", "img"))
_MATH_BIT = np.int64(1 << 25)
_TABLE_FAMILY = (_TR, _TD, _TH, _TABLE, _CAPTION, _TBODY, _THEAD, _TFOOT)

U8_IN = types.Array(types.uint8, 1, "C", readonly=True)
I32_TABLE = types.Array(types.int32, 2, "C", readonly=True)
I64_OUT = types.Array(types.int64, 2, "C")
I64_LINE = types.Array(types.int64, 1, "C")


@helper_kernel
def _add_text(
    html: Array, start: int, stop: int, is_link: bool, is_bold: bool, block: Array, step: Array, found: Array
) -> None:
    """Count a run of text into the open block."""
    in_word = block[B_SPACES] == 0 and block[B_CHARS] > 0
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
        if block[B_CHARS] == 0:
            block[B_FIRST_BYTE] = byte
        block[B_CHARS] += 1
        block[B_LINK_CHARS] += is_link
        block[B_BOLD] += is_bold
        block[B_LAST_BYTE] = byte
        if not in_word:
            in_word = True
            block[B_WORDS] += 1
            block[B_UPPER] += 65 <= byte <= 90
            if block[B_CHARS] < TEXT_BYTES:
                block[B_STATE] = step[step[0, 32], 32]
        if byte >= 0xE3:
            block[B_WIDE] += 1
        if byte == 44:
            block[B_COMMAS] += 1
        elif byte == 46 or byte == 33 or byte == 63:
            block[B_ENDS] += 1
        elif byte == 58 or byte == 59 or byte == 124 or byte == 47:
            block[B_PUNCTUATION] += 1
        elif 48 <= byte <= 57:
            block[B_DIGITS] += 1
        block[B_HASH] = (block[B_HASH] * 31 + byte) & 0xFFFFFFFFFFFF
    block[B_SPACES] = not in_word
    if block[B_CHARS] < 2 * TEXT_BYTES:
        state = block[B_STATE]
        for place in range(start, min(stop, start + TEXT_BYTES)):
            state = step[state, html[place]]
            block[B_TEXT_BITS] |= found[state]
        block[B_STATE] = state


@helper_kernel
def _finish(block: Array, blocks: Array, page: Array, node: int) -> None:
    """Close the open block, keep it if it has text, and begin another in `node`."""
    if block[B_CHARS] > 0:
        block[B_LAST] = page[P_SEGMENTS]
        blocks[page[P_BLOCKS]] = block
        page[P_BLOCKS] += 1
    else:
        page[P_SEGMENTS] = block[B_FIRST]
    block[:] = 0
    block[B_NODE] = node
    block[B_FIRST] = page[P_SEGMENTS]


@helper_kernel
def _add_segment(segments: Array, page: Array, start: int, stop: int, kind: int) -> None:
    number = page[P_SEGMENTS]
    segments[number, S_START], segments[number, S_STOP], segments[number, S_KIND] = start, stop, kind
    page[P_SEGMENTS] = number + 1


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
    html: Array, start: int, top: Array, state: Array, text_step: Array, text_found: Array,
    block: Array, segments: Array, page: Array,
) -> int:  # fmt: skip
    """Take the text up to the next tag; its end."""
    stop = find(html, 60, start + 1)
    if top[T_SKIPPED] == 0:
        before = block[B_CHARS]
        _add_text(html, start, stop, top[T_LINKS] > 0, top[T_BOLD] > 0, block, text_step, text_found)
        if block[B_CHARS] > 0:
            _add_segment(segments, page, start, stop, TEXT)
            block[B_BITS] |= top[T_BITS]
        if block[B_CHARS] != before:
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
    html: Array, at: int, tag: int, attributes: Array, top: Array, state: Array, text_step: Array, text_found: Array,
    block: Array, blocks: Array, segments: Array, page: Array,
) -> None:  # fmt: skip
    """An element without content: line breaks (two in a row part blocks), rules, and images of formulas."""
    if tag == _BR and top[T_SKIPPED] == 0:
        if state[AFTER_BREAK]:
            _finish(block, blocks, page, top[T_NODE])
            state[AFTER_BREAK] = 0
        elif block[B_CHARS] > 0:
            state[AFTER_BREAK] = 1
            _add_segment(segments, page, at, at, LINE_BREAK)
            block[B_BREAKS] += 1
            block[B_SPACES] = 1
    elif tag == _HR:
        _finish(block, blocks, page, top[T_NODE])
    elif tag == _IMG and attributes[A_BITS] & _MATH_BIT:
        _take_math(html, attributes, top, text_step, text_found, block, segments, page)


@helper_kernel
def _take_math(
    html: Array, attributes: Array, top: Array, text_step: Array, text_found: Array,
    block: Array, segments: Array, page: Array,
) -> None:  # fmt: skip
    """The formula in an alternative text."""
    start, stop = attributes[A_ALT_START], attributes[A_ALT_STOP]
    if stop > start and top[T_SKIPPED] == 0:
        _add_text(html, start, stop, False, False, block, text_step, text_found)
        if block[B_CHARS] > 0:
            _add_segment(segments, page, start, stop, MATH)


@helper_kernel
def _add_node(tag: int, attributes: Array, parent: int, tag_bits: Array, nodes: Array, page: Array) -> int:
    """A block-level element begins; its number."""
    number: int = page[P_NODES]
    own = attributes[A_BITS] | tag_bits[tag]
    nodes[number, N_PARENT] = parent
    nodes[number, N_TAG] = tag
    nodes[number, N_OWN] = own
    nodes[number, N_ALL] = nodes[parent, N_ALL] | own
    nodes[number, N_DEPTH] = nodes[parent, N_DEPTH] + 1
    nodes[number, N_SIGNATURE] = (attributes[A_SIGNATURE] * 131 + tag) & 0xFFFFFFFFFFFF
    page[P_NODES] = number + 1
    return number


@helper_kernel
def _push(
    tag: int, kind: int, attributes: Array, stack: Array, top: Array, state: Array, block: Array, page: Array
) -> None:
    """Put an element on the stack, unless it is full: then its text belongs to the one below."""
    if state[DEPTH] == MAX_DEPTH:
        if kind == BLOCK:
            block[B_NODE] = top[T_NODE]
        return
    entry = stack[state[DEPTH]]
    entry[:] = top
    entry[T_TAG], entry[T_KIND] = tag, kind
    if kind == BLOCK:
        entry[T_NODE] = page[P_NODES] - 1
        entry[T_BITS] = 0
    else:
        entry[T_BITS] |= attributes[A_BITS]
    if tag == _A:
        entry[T_LINKS] += 1
        block[B_LINKS] += 1
    entry[T_SKIPPED] += kind == SKIPPED or (tag == _MATH and attributes[A_ALT_STOP] > attributes[A_ALT_START])
    entry[T_BOLD] += tag == _B or tag == _STRONG
    state[DEPTH] += 1
    top[:] = entry


@kernel(
    U8_IN, U64_IN, U64_IN, I32_IN, I32_IN, I64_IN, I32_TABLE, I64_IN, I32_TABLE, I64_IN,
    I64_OUT, I64_OUT, I64_OUT, I64_LINE,
)  # fmt: skip
def scan(
    html: Array, letters: Array, codes: Array, tags: Array, kinds: Array, tag_bits: Array,
    step: Array, found: Array, text_step: Array, text_found: Array,
    blocks: Array, segments: Array, nodes: Array, page: Array,
) -> None:  # fmt: skip
    """Fill blocks, segments, nodes (a row each) and page; each has room for two rows per `<` and some more."""
    stack = np.zeros((MAX_DEPTH + 1, STACK_FIELDS), np.int64)
    top = np.zeros(STACK_FIELDS, np.int64)
    attributes = np.zeros(5, np.int64)
    state = np.zeros(2, np.int64)
    block = np.zeros(BLOCK_FIELDS, np.int64)
    nodes[0] = 0
    nodes[0, N_PARENT] = -1
    page[P_NODES] = 1
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
            if tag == _TITLE and page[P_TITLE_STOP] == 0:
                page[P_TITLE_START], page[P_TITLE_STOP] = at, stop
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
