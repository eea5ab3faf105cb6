"""HTML bytes to text: which charset they are in.

The charset is found as browsers do (byte order mark, HTTP header, `meta`, detection) with two departures. Bytes that
are valid UTF-8 and not plain ASCII are UTF-8 whatever was declared: servers that send a wrong default are common, other
text that happens to be valid UTF-8 is not. A declared charset that does not fit the bytes is passed over. DCLM decodes
strict UTF-8 only and drops all else.
"""

from __future__ import annotations

import codecs
import functools
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META_BYTES = 4096
DETECT_BYTES = 128 << 10

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_CHARSET = re.compile(rb"""<meta[^>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_:.-]{2,40})["']""")
_DOUBLE_BYTE_ASCII = ("iso2022_jp", "iso2022-jp", "hz")
_CP1252 = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0xA0)}
_ALIASES = {"latin-1": "cp1252", "latin1": "cp1252", "utf8": "utf-8"}


def decode_html(body: bytes, http_charset: str = "") -> str:
    """The page as text; bytes that the charset has no character for become U+FFFD."""
    return decode_page(body, http_charset)[0]


def decode_page(body: bytes, http_charset: str = "") -> tuple[str, str]:
    """The page as text, and the name of the codec that was found (Python's)."""
    for mark, codec in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace"), codec
    declared = _declared(body, http_charset)
    has_nul = b"\0" in body[:META_BYTES]
    if body.isascii() and not has_nul:
        codec = next((codec for codec in declared if codec in _DOUBLE_BYTE_ASCII), "ascii")
        return body.decode(codec, "replace"), codec
    text = _fitting(body, "utf-8")
    if text is not None and not has_nul:
        return text, "utf-8"
    candidates = [codec for codec in declared if codec != "utf-8"]
    detected = detect_encoding(body[:DETECT_BYTES], max_len=DETECT_BYTES)
    known = _codec(detected) if detected else None
    for codec in (*candidates, *([known] if known else [])):
        text = _fitting(body, codec)
        if text is not None:
            return text, codec
    codec = (*declared, known or "cp1252")[0]
    return body.decode(codec, "replace"), codec


def _declared(body: bytes, http_charset: str) -> list[str]:
    """The codecs that the page is declared to be in, the strongest declaration first."""
    head = body[:META_BYTES]
    labels = [http_charset]
    for pattern in (_META_CHARSET, _XML_ENCODING):
        found = pattern.search(head)
        if found:
            label = found.group(1).decode("ascii")
            # a meta element that could be read as ASCII is no UTF-16
            labels.append("utf-8" if label.lower().startswith("utf-16") else label)
    return [codec for label in labels if label and (codec := _codec(label))]


@functools.lru_cache(maxsize=1024)
def _codec(label: str) -> str | None:
    """Python's codec for a charset label as the web uses it, None for an unknown one."""
    label = label.strip().lower()
    name = _ALIASES.get(label) or map_encoding_to_html5(label, fallback_utf8=False)
    if name is None:
        return None
    try:
        return "gb18030" if name in ("gbk", "gb2312") else codecs.lookup(name).name
    except LookupError:
        return None


def _fitting(body: bytes, codec: str) -> str | None:
    """The body decoded strictly, a character cut off at its end apart; None where it does not fit."""
    if codec == "cp1252":
        return _decoded_cp1252(body)
    try:
        return codecs.getincrementaldecoder(codec)("strict").decode(body, final=False)
    except UnicodeDecodeError:
        return None


def _decoded_cp1252(body: bytes) -> str:
    """windows-1252 as browsers decode it: the five bytes that it leaves open are C1 control characters."""
    return body.decode("latin-1").translate(_CP1252)
