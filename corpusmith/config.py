"""YAML to frozen dataclasses, with errors that name file, line and key.

`load_yaml` reads a document safely (no tags, no duplicate keys) and remembers the line of each key; `build` turns a
mapping into a dataclass and refuses unknown keys, missing keys and wrong types, suggesting the nearest name.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml

from corpusmith.errors import ConfigError, did_you_mean
from corpusmith.io import storage

D = TypeVar("D")
Key = str | int
Where = Callable[..., str]


class YamlDocument:
    """A YAML document: its plain data, and where in the file each key stands."""

    def __init__(self, path: str, data: Any, lines: dict[tuple[Key, ...], int]) -> None:
        self.path = path
        self.data = data
        self._lines = lines

    def where(self, *keys: Key) -> str:
        """`file.yaml:14: steps[3].func` for a path of keys; the line of the nearest enclosing key that stands there."""
        known = keys
        while known and known not in self._lines:
            known = known[:-1]
        shown = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
        return f"{self.path}:{self._lines.get(known, 1)}" + (f": {shown}" if shown else "")


def load_yaml(path: str) -> YamlDocument:
    """Read a YAML file.

    Raises:
        ConfigError: with the line, for bad syntax, tags that build objects, or a key given twice.
        InputError: there is no such file.
    """
    text = storage.read_bytes(path)
    try:
        loader = yaml.SafeLoader(text.decode("utf-8-sig"))
        try:
            node = loader.get_single_node()
            lines: dict[tuple[Key, ...], int] = {}
            if node is not None:
                _note_lines(path, node, (), lines, frozenset())
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:1", f"not UTF-8: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}", f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:1", f"not YAML: {error}") from error
    return YamlDocument(path, data, lines)


def _note_lines(
    path: str, node: yaml.Node, keys: tuple[Key, ...], lines: dict[tuple[Key, ...], int], above: frozenset[int]
) -> None:
    lines[keys] = node.start_mark.line + 1
    if id(node) in above:
        raise ConfigError(f"{path}:{lines[keys]}", "an alias that contains itself")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(path, item, (*keys, index), lines, above)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}", f"the key {name!r} stands twice in one mapping")
            seen.add(name)
            _note_lines(path, value, (*keys, name), lines, above)
            lines[(*keys, name)] = key.start_mark.line + 1


def describe_type(annotation: Any) -> str:
    """A type as a user would say it."""
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): "null"}
    if annotation in names:
        return names[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin in (list, tuple) or annotation in (list, tuple):
        return "a list" + (f" of {describe_type(arguments[0])}" if arguments else "")
    if origin is dict or annotation is dict:
        return "a mapping"
    return getattr(annotation, "__name__", str(annotation))


def fits(value: Any, annotation: Any) -> bool:
    """Whether a YAML value may stand for an annotation; integers fit numbers, booleans fit neither."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or isinstance(annotation, str | TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    kind = origin or annotation
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if kind in (list, tuple):
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value if arguments)
    if kind is dict or kind is Mapping:
        return isinstance(value, dict)
    return not isinstance(kind, type) or isinstance(value, kind)


def check_type(value: Any, annotation: Any, where: str) -> None:
    """Raise ConfigError unless `value` fits the annotation."""
    if not fits(value, annotation):
        raise ConfigError(where, f"must be {describe_type(annotation)}, got {value!r}")


def build(cls: type[D], mapping: Mapping[str, Any], where: Where) -> D:
    """A dataclass from a mapping.

    Args:
        cls: the dataclass.
        mapping: its fields by name.
        where: tells where a key of the mapping stands, as `YamlDocument.where` does.

    Raises:
        ConfigError: an unknown or missing key, a wrong type, or a value that the dataclass refuses.
    """
    fields = {item.name: item for item in dataclasses.fields(cls) if item.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key, value in mapping.items():
        if key not in fields:
            known = ", ".join(fields)
            raise ConfigError(where(key), f"unknown key{did_you_mean(str(key), fields)} (known: {known})")
        check_type(value, hints[key], where(key))
    for name, item in fields.items():
        lacks_default = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if lacks_default and name not in mapping:
            raise ConfigError(where(), f"the key {name!r} is missing")
    try:
        return cls(**mapping)
    except ValueError as error:
        raise ConfigError(where(), str(error)) from error
