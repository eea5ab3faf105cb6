"""Word lists, models and task data that are third-party: where they come from, fetching them, verifying them.

Nothing is fetched unless `corpusmith assets fetch` is called. Each package that needs such files has a catalogue; they
are named here as strings and imported when the command runs.
"""

from __future__ import annotations

import argparse
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpusmith.command import make_parser, run_command
from corpusmith.errors import CorpusmithError, InputError, did_you_mean
from corpusmith.imports import resolve
from corpusmith.io import storage
from corpusmith.io.cache import cache_folder, file_sha256
from corpusmith.run.progress import say

PROJECT_ROOT = Path(__file__).resolve().parents[1]
CATALOGUES = ("baselines.asset_table:ASSETS", "eval.tasks.assets:ASSETS")
CHECKSUMS = "checksums.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A file of somebody else's.

    `folder`: below the root by which its users name it, and below the cache; `source`: its URL, or in words where it
    has none; `sha256`: of its content where known; `sample`: our own small stand-in; `root`: what comes before `folder`
    where a YAML names it; `build`: `"module:function"`, called with (source, name, target), which makes it of what the
    source holds.
    """

    name: str
    folder: str
    about: str
    source: str
    licence: str
    sha256: str | None = None
    sample: str | None = None
    root: str = ""
    build: str | None = None

    @property
    def path(self) -> str:
        """The path by which a YAML names it."""
        return f"{self.root}{self.folder}/{self.name}"


def all_assets() -> dict[str, Asset]:
    """Every asset of every package, by the name that the command knows it by."""
    found: dict[str, Asset] = {}
    for entry in CATALOGUES:
        catalogue: Mapping[str, Asset] = resolve(entry)
        found |= catalogue
    return found


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith assets`."""
    parser = make_parser(
        "corpusmith assets",
        "List, fetch and verify word lists, models and task data that others own.",
        "corpusmith assets fetch ldnoobw.txt",
    )
    parser.add_argument("action", choices=["list", "fetch", "verify"], help="what to do")
    parser.add_argument(
        "names", nargs="*", help="names of assets, or patterns such as 'eval/*' (default: all; fetch wants them named)"
    )
    parser.add_argument("--folder", help="where they lie (default: CORPUSMITH_ASSETS or ~/.cache/corpusmith/assets)")
    parser.add_argument("--from", dest="from_folder", help="fetch: take the files from this folder instead")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says."""
    folder = arguments.folder or cache_folder()
    assets = all_assets()
    chosen = _choose(arguments.names or ["*"], assets)
    if arguments.action == "list":
        return list_assets(chosen, folder)
    if arguments.action == "verify":
        return verify_assets(chosen, folder)
    if not arguments.names:
        raise InputError(f"name what to fetch: {', '.join(assets)}")
    return fetch_assets(chosen, folder, arguments.from_folder)


def _choose(names: Sequence[str], assets: Mapping[str, Asset]) -> dict[str, Asset]:
    """The assets of the given names and patterns."""
    chosen: dict[str, Asset] = {}
    for name in names:
        matching = {known: asset for known, asset in assets.items() if fnmatch.fnmatchcase(known, name)}
        if not matching:
            raise InputError(f"no asset {name!r}{did_you_mean(name, assets)} (corpusmith assets list)")
        chosen |= matching
    return chosen


def _target(asset: Asset, folder: str) -> str:
    return storage.join(folder, asset.folder, asset.name)


def _recorded(folder: str) -> dict[str, str]:
    """The checksums of what was fetched into a folder."""
    path = storage.join(folder, CHECKSUMS)
    found: dict[str, str] = storage.read_json(path) if storage.exists(path) else {}
    return found


def list_assets(chosen: Mapping[str, Asset], folder: str) -> int:
    """Say of each asset what it is, whose, and whether it is there."""
    say(f"folder: {folder}")
    recorded = _recorded(folder)
    for name, asset in chosen.items():
        places = (_target(asset, folder), asset.path, str(PROJECT_ROOT / asset.path))
        found = next((place for place in places if storage.exists(place)), "no")
        say(f"\n{name}\n  what:     {asset.about}\n  source:   {asset.source}\n  licence:  {asset.licence}")
        say(f"  sha256:   {asset.sha256 or recorded.get(name, 'not known before it is fetched')}")
        say(f"  here:     {found}")
    return 0


def fetch_assets(chosen: Mapping[str, Asset], folder: str, from_folder: str | None) -> int:
    """Copy each asset to the folder unless it is there; a failed one leaves the others."""
    failed = []
    for name, asset in chosen.items():
        target = _target(asset, folder)
        if storage.exists(target):
            say(f"{name}: there already: {target}")
            continue
        try:
            source = _source(asset, from_folder)
            say(f"{name}: from {source} (licence: {asset.licence})")
            _get(asset, source, target)
            digest = file_sha256(target)
            if asset.sha256 not in (None, digest):
                storage.remove(target)
                raise InputError(f"its content has another SHA-256 ({digest}) than {asset.sha256}; it was removed")
            storage.write_json(storage.join(folder, CHECKSUMS), {**_recorded(folder), name: digest}, indent=2)
            say(f"{name}: {target} ({storage.stat(target).size} bytes, sha256 {digest})")
        except CorpusmithError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise CorpusmithError("; ".join(failed))
    return 0


def _source(asset: Asset, from_folder: str | None) -> str:
    if from_folder is None:
        if "://" not in asset.source:
            raise InputError(f"cannot be fetched by itself: {asset.source}")
        return asset.source
    published = asset.source.rsplit("/", 1)[-1]
    below = asset.folder.partition("/")[2]
    for name in (
        f"{asset.folder}/{asset.name}",
        f"{below}/{asset.name}" if below else asset.name,
        asset.name,
        published,
    ):
        if storage.exists(place := storage.join(from_folder, name)):
            return place
    raise InputError(f"{from_folder} holds no {asset.name}")


def _get(asset: Asset, source: str, target: str) -> None:
    """Copy the file, or make it of what its source publishes."""
    if asset.build is None or storage.basename(source) == asset.name:
        storage.copy_file(source, target)
    else:
        resolve(asset.build)(source, asset.name, target)


def verify_assets(chosen: Mapping[str, Asset], folder: str) -> int:
    """Hold what is in the folder against the known or recorded checksums; 1 where one differs."""
    recorded, wrong = _recorded(folder), 0
    for name, asset in chosen.items():
        target = _target(asset, folder)
        expected = asset.sha256 or recorded.get(name)
        if not storage.exists(target):
            say(f"{name}: not there")
        elif expected is None:
            say(f"{name}: no checksum is known; it was not fetched by this command")
        elif file_sha256(target) == expected:
            say(f"{name}: as expected")
        else:
            wrong += 1
            say(f"{name}: CHANGED; remove {target} and fetch it again")
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith assets`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
