"""The one place that reads a pickle: DCLM's banlists, each a compiled regular expression.

Such a file holds a call of `re._compile` with a string and flags. Nothing else is admitted: the unpickler here looks up
no other name, so that a file with other calls in it is refused before anything runs.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

from corpusmith.errors import InputError
from corpusmith.io import storage


def _compile(pattern: object, flags: object = 0) -> re.Pattern[str]:
    """Stand in for `re._compile`, for strings only."""
    if not isinstance(pattern, str) or not isinstance(flags, int):
        raise pickle.UnpicklingError(f"a pattern is a string with flags, got {type(pattern).__name__}")
    return re.compile(pattern, flags)


class _PatternUnpickler(pickle.Unpickler):
    """Knows `re._compile` and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("re", "_compile"):
            return _compile
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only a compiled regular expression is admitted")


def load_pickled_pattern(path: str) -> re.Pattern[str]:
    """Return the regular expression of a pickled banlist.

    Raises:
        InputError: the file holds anything else, or no pickle.
        FileNotFoundError: no such file.
    """
    content = storage.read_bytes(path)
    try:
        pattern = _PatternUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a pickled banlist: {error}") from error
    except re.error as error:
        raise InputError(f"{path}: its pattern does not compile: {error}") from error
    if not isinstance(pattern, re.Pattern):
        raise InputError(f"{path}: not a pickled banlist: it holds a {type(pattern).__name__}, not a compiled pattern")
    return pattern
