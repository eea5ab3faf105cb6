"""Documents in tars, as DCLM's tokenizer reads them: members of one extension, in the order of the archive.

`--content_key` says which: `txt` (a member's text), `json:KEY` (a key of a JSON member) or `npy` (an array of token
ids, flattened, which is taken as it is). Members of other extensions are passed over. A member that cannot be read is a
record with an error, and so is the lost rest of a damaged archive.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import orjson

from corpusmith.errors import InputError, ShardError
from corpusmith.io import storage
from corpusmith.io.pages.shards import Page, Record
from corpusmith.io.tokens.wds import read_members

SUFFIX = ".tar"
TEXT, JSON, NPY = "txt", "json", "npy"
#: the key under which a page made of a member holds its text or its token ids
CONTENT = "content"


def split_content_key(content_key: str) -> tuple[str, str]:
    """Return the extension that is read, and the key in a JSON member or an empty string.

    Raises:
        InputError: another content key.
    """
    extension, _, key = content_key.partition(":")
    if extension == JSON and key:
        return extension, key
    if content_key in (TEXT, NPY):
        return content_key, ""
    raise InputError(f"--content_key for tars must be {TEXT}, {JSON}:KEY or {NPY}, got {content_key!r}")


def read_tar_records(url: str, content_key: str) -> Iterator[Record]:
    """The documents of a tar as records; a page holds `content` and, as `id`, the member's name without extension."""
    wanted, key = split_content_key(content_key)
    index = 0
    try:
        for offset, name, content in read_members(url):
            stem, _, extension = storage.basename(name).partition(".")
            if extension == wanted:
                found = _page(content, wanted, key, stem)
                page, error = (None, f"member {name}: {found}") if isinstance(found, str) else (found, None)
                yield Record(index=index, offset=offset, raw=content, page=page, error=error)
                index += 1
    except ShardError as damage:
        reason = f"lost rest of the tar: {damage.message}"
        yield Record(index=index, offset=damage.offset, raw=b"", page=None, error=reason)


def _page(content: bytes, kind: str, key: str, name: str) -> Page | str:
    """The page of a member, or why there is none."""
    try:
        if kind == TEXT:
            return {"id": name, CONTENT: content.decode("utf-8")}
        if kind == NPY:
            array = np.load(io.BytesIO(content), allow_pickle=False)
            if array.dtype.kind not in "iu" or (array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 32):
                return f"an array of {array.dtype} is no list of token ids"
            return {"id": name, CONTENT: array.reshape(-1).astype(np.uint32)}
        page = orjson.loads(content)
    except (ValueError, EOFError, OSError, MemoryError, OverflowError) as error:
        return str(error)
    if not isinstance(page, dict) or not isinstance(page.get(key), str):
        return f"no text under {key!r}"
    return {"id": name, **page, CONTENT: page[key]}
