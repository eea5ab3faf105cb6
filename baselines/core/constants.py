"""Names of page keys and of rows in stats files, as DCLM's code and users' mappers import them."""

from __future__ import annotations

from typing import Any

from corpusmith.steps.global_steps import GLOBAL_FUNCTIONS

__all__ = [
    "CHUNK",
    "COMMIT_KEY_NAME",
    "CONTENT",
    "GLOBAL_FUNCTIONS",
    "PROCESS_END_KEY_NAME",
    "PROCESS_SETUP_KEY_NAME",
    "URL",
    "Page",
]

CONTENT = "text"
URL = "url"
CHUNK = "chunk"
PROCESS_SETUP_KEY_NAME = "process_setup"
PROCESS_END_KEY_NAME = "process_finished"
COMMIT_KEY_NAME = "commit"

Page = dict[str, Any]
