"""Modifiers for repositories of code in the form of StarCoder 2: `files` (of `filename` and `text`) and `repo_name`.

Follows DCLM's modifiers; departs from it in copying only the files of each piece when a large repository is split.
"""

from __future__ import annotations

import copy
import random

from baselines.core.constants import CONTENT, Page
from baselines.core.factory_utils import draws_random

FILES = "files"
FILE_SENTINEL = "<file_sep>"
REPOSITORY_SENTINEL = "<repo_name>"


def starcoder_v2_repo_splitter(page: Page, max_files: int = 1000, delete_content: bool = True) -> list[Page]:
    """Split a repository of more files into pages of at most so many consecutive files each.

    Args:
        page: the page; a small repository stays as it is.
        max_files: files a page.
        delete_content: take `text` away from the pieces.

    Raises:
        ValueError: `max_files` is less than 1 and there are files.
    """
    files = page[FILES]
    if len(files) <= max_files:
        return [page]
    if max_files < 1:
        raise ValueError(f"max_files must be at least 1, got {max_files}")
    pieces: list[Page] = []
    for start in range(0, len(files), max_files):
        part = files[start : start + max_files]
        piece = {key: copy.deepcopy(part if key == FILES else value) for key, value in page.items()}
        if delete_content:
            piece.pop(CONTENT, None)
        pieces.append(piece)
    return pieces


@draws_random
def starcoder_v2_format_modifier(page: Page, add_metadata_prob: float = 0.5, add_sentinels: bool = True) -> list[Page]:
    """Write all files of a repository into the text, with their names in some repositories, drawn at random.

    Args:
        page: the page.
        add_metadata_prob: the probability that the name of the repository and of each file is written too.
        add_sentinels: keep `<file_sep>` and `<repo_name>`; otherwise two line feeds and nothing take their place, also
            where a file contains them, and the text is stripped.

    Raises:
        AssertionError: a probability outside [0, 1].
    """
    if not 0 <= add_metadata_prob <= 1:
        raise AssertionError(f"add_metadata_prob must lie in [0, 1], got {add_metadata_prob}")
    if random.random() < add_metadata_prob:
        parts = [f"{FILE_SENTINEL}{file['filename']}\n{file[CONTENT]}" for file in page[FILES]]
        text = f"{REPOSITORY_SENTINEL}{page['repo_name']}{''.join(parts)}"
    else:
        text = "".join(f"{FILE_SENTINEL}{file[CONTENT]}" for file in page[FILES])
    if not add_sentinels:
        text = text.replace(FILE_SENTINEL, "\n\n").replace(REPOSITORY_SENTINEL, "").strip()
    page[CONTENT] = text
    return [page]
