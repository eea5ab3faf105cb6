"""The source that each page shard belongs to, for mixtures and for DCLM's `--do_sample`.

A shard belongs to the first source, in the order of the YAML, one of whose markers occurs in its path: the input folder
as it was given, and the shard's name in it (an object's key without the bucket).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.config import build, load_yaml
from corpusmith.errors import ConfigError, InputError
from corpusmith.io.pages.shards import ShardRef
from corpusmith.mixture import Mixture

UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, kw_only=True)
class SamplingFile:
    """DCLM's sampling YAML: `sources` (each `source` and `markers`) and `sampling_frequencies` by source."""

    sources: list[Any]
    sampling_frequencies: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _SourceLine:
    source: str
    markers: list[str]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """DCLM's sampling: markers of each source in order, how often its sequences are written, and the YAML as it is."""

    markers: dict[str, Sequence[str]]
    frequencies: dict[str, float]
    document: dict[str, Any]


def load_sampling(path: str) -> Sampling:
    """Read a sampling YAML.

    Raises:
        ConfigError: a wrong key, or a source without a frequency.
    """
    document = load_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(document.where(), "expected a mapping with the keys 'sources' and 'sampling_frequencies'")
    file = build(SamplingFile, document.data, document.where)
    markers: dict[str, Sequence[str]] = {}
    for number, entry in enumerate(file.sources):
        if not isinstance(entry, dict):
            raise ConfigError(document.where("sources", number), "expected a mapping with 'source' and 'markers'")
        line = build(_SourceLine, entry, lambda *keys, number=number: document.where("sources", number, *keys))
        if line.source in markers:
            raise ConfigError(document.where("sources", number), f"the source {line.source!r} stands there twice")
        markers[line.source] = line.markers
    frequencies = {}
    for source, value in file.sampling_frequencies.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            where = document.where("sampling_frequencies", source)
            raise ConfigError(where, f"expected a number of at least 0, got {value!r}")
        frequencies[source] = float(value)
    for source in (*markers, UNKNOWN):
        if source not in frequencies:
            raise ConfigError(document.where("sampling_frequencies"), f"the source {source!r} has no frequency")
    return Sampling(markers=markers, frequencies=frequencies, document=document.data)


def mixture_markers(mixture: Mixture) -> dict[str, Sequence[str]]:
    """The markers of a mixture's sources: those of the line, else the source's name."""
    return {line.source: line.markers if line.markers is not None else [line.source] for line in mixture.lines}


def sources_of_shards(
    shards: Sequence[ShardRef], markers: Mapping[str, Sequence[str]], *, unknown: str | None = None
) -> dict[str, str]:
    """Return the source of each shard by name.

    Args:
        shards: the input.
        markers: parts of the path by source, in order.
        unknown: the source of a shard that no marker fits.

    Raises:
        InputError: there is such a shard and no `unknown`.
    """
    found = {}
    for shard in shards:
        path = _path(shard.url)
        source = next((name for name, own in markers.items() if any(marker in path for marker in own)), unknown)
        if source is None:
            raise InputError(
                f"{path} belongs to no source of the mixture (markers: "
                f"{', '.join(marker for own in markers.values() for marker in own)}); add a line for it, with "
                "`repeat: 0` to leave it out"
            )
        found[shard.name] = source
    return found


def _path(url: str) -> str:
    """A local path as it is; of an object the key without the bucket."""
    _, separator, rest = url.partition("://")
    return rest.partition("/")[2] if separator else url
