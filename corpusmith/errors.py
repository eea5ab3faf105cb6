"""The exception family, and the exit code that each branch stands for.

CorpusmithError           exit 1   something failed
├── UserError             exit 2   the user's mistake: says what is wrong and what to do
│   ├── ConfigError                a key of a config file; carries file:line and key
│   ├── InputError                 missing input, unwritable output, bad argument
│   └── ChangedError               a run is continued under another config, seed, input or code
├── ShardError                     a damaged shard; carries shard and byte offset
├── StorageError                   a file or object store refused
├── BalanceError                   a run whose books do not balance
└── RunFailed                      a stage that ended with failed shards
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CorpusmithError(Exception):
    """Base of everything that Corpusmith raises on purpose."""

    exit_code = 1


class UserError(CorpusmithError):
    """The user's mistake; shown as one line, never with a stack trace."""

    exit_code = 2


class ConfigError(UserError):
    """A wrong key or value in a config file; `where` reads like `refinedweb.yaml:14: steps[3].min_wrods`."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(where, message)
        self.where = where
        self.message = message

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class FieldError(ValueError):
    """A value that a field of a dataclass of arguments refuses, and what is wrong with it.

    No CorpusmithError itself: who knows where the value came from makes one of it, naming file and line or the flag.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class InputError(UserError):
    """Missing input, unwritable output, or an argument that cannot be used."""


class ChangedError(UserError):
    """The stored run differs from the one asked for; the message names the key that changed."""


class StorageError(CorpusmithError):
    """A file system or object store refused a request; `transient` where the same request may succeed later."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ShardError(CorpusmithError):
    """A shard that is damaged at a byte offset of its uncompressed content."""

    def __init__(self, shard: str, offset: int, message: str) -> None:
        super().__init__(shard, offset, message)
        self.shard = shard
        self.offset = offset
        self.message = message

    def __str__(self) -> str:
        return f"{self.shard}: byte {self.offset}: {self.message}"


class BalanceError(CorpusmithError):
    """read + added by splits != kept + removed + errored."""


class RunFailed(CorpusmithError):
    """A stage finished its other shards, but some failed."""


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name most like `name`, or None if none is near."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `names`, or an empty string."""
    match = closest(name, names)
    return f"; did you mean {match!r}?" if match else ""


def missing_package(package: str, extra: str) -> UserError:
    """The error for an optional package that is not installed, with the command that installs it."""
    return UserError(f"the package {package!r} is not installed; run: pip install 'corpusmith[{extra}]'")
