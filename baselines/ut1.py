"""Lists of domains and URLs out of UT1's archive of blacklists (Université Toulouse Capitole, CC BY-SA).

Takes RefinedWeb's categories in DCLM's order, as files `<category>/domains` and `<category>/urls`. The archive is read
once from beginning to end, from any URL; it is somebody else's, so only plain files of these names are taken, and none
beyond a size that no list has.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from corpusmith.errors import InputError
from corpusmith.io import storage

CATEGORIES = (
    "adult",
    "phishing",
    "dating",
    "gambling",
    "filehosting",
    "ddos",
    "agressif",
    "chat",
    "mixed_adult",
    "arjel",
)
LISTS = {
    "refinedweb_banned_domains.txt": ("domains",),
    "refinedweb_banned_urls.txt": ("urls",),
    "refinedweb_banned_domains_and_urls.txt": ("domains", "urls"),
}
MAX_FILE_BYTES = 1 << 30


def build_ut1_list(archive: str, name: str, target: str) -> None:
    """Write the domains, the URLs or both of all categories one after the other.

    Args:
        archive: path or URL of `blacklists.tar.gz`.
        name: which of `LISTS`.
        target: path or URL of the list, which appears whole or not at all.

    Raises:
        InputError: no such archive, a damaged one, or one that lacks a category.
    """
    files = LISTS[name]
    with tempfile.TemporaryDirectory() as folder:
        try:
            with storage.open_read(archive) as raw, gzip.open(raw) as content:
                with tarfile.open(fileobj=content, mode="r|") as tar:
                    _unpack(tar, folder, files, archive)
                while content.read(storage.COPY_BYTES):  # to the end, where the checksum stands
                    pass
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise InputError(f"{archive}: not a readable tar.gz archive: {error}") from error
        parts = [os.path.join(folder, f"{category}-{kind}") for category in CATEGORIES for kind in files]
        missing = [
            category
            for category in CATEGORIES
            if not any(os.path.exists(os.path.join(folder, f"{category}-{kind}")) for kind in files)
        ]
        if len(missing) == len(CATEGORIES) or ("domains" in files and missing):
            raise InputError(f"{archive}: holds no {' or '.join(files)} of the category {missing[0]}")
        with storage.atomic_write(target) as writer:
            for part in filter(os.path.exists, parts):
                _append(part, writer)


def _unpack(tar: tarfile.TarFile, folder: str, files: Sequence[str], archive: str) -> None:
    """Put the wanted members into `folder` under names of our own."""
    wanted = {(category, kind) for category in CATEGORIES for kind in files}
    for member in tar:
        place = tuple(member.name.split("/")[-2:])
        if not member.isreg() or place not in wanted:
            continue
        if member.size > MAX_FILE_BYTES:
            raise InputError(f"{archive}: {member.name} is larger than any list ({member.size} bytes)")
        content = tar.extractfile(member)
        if content is not None:
            with content, open(os.path.join(folder, "-".join(place)), "wb") as file:
                shutil.copyfileobj(content, file)


def _append(part: str, writer: BinaryIO) -> None:
    """The file's bytes, with a final line end."""
    with open(part, "rb") as file:
        shutil.copyfileobj(file, writer)
        size = file.tell()
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            writer.write(b"\n")
