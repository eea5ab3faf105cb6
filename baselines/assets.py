"""Word lists and models that are third-party data: where they come from, fetching them, and finding them for a run.

Nothing is fetched unless `corpusmith assets fetch` is called. A YAML names lists by DCLM's paths
(`baselines/mappers/banlists/…`); a file that stands there is used, else the one in the folder that `--assets` gives or
in the cache. `--assets sample` takes our own small lists of invented words and reserved example domains instead, and a
tiny quality model trained on twenty sentences of our own: for trying a config out, never for data. A folder may be a
URL (`s3://…`), so that all nodes of a cluster find the same files.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines.asset_table import ASSETS, BY_PATH, QUALITY_MODELS, ROOT, Asset
from baselines.mappers.enrichers.fasttext_models import PROJECT_ROOT, cache_folder, file_sha256
from baselines.ut1 import build_ut1_list
from corpusmith.command import make_parser, run_command
from corpusmith.errors import CorpusmithError, InputError, did_you_mean
from corpusmith.io import storage
from corpusmith.run.progress import say

SAMPLE = "sample"
SAMPLE_QUALITY_SETTINGS = {"dim": 10, "epoch": 50, "lr": 0.5, "minCount": 1, "wordNgrams": 1, "thread": 1}
CHECKSUMS = "checksums.json"


@dataclass(kw_only=True, slots=True)
class StepAssets:
    """The arguments that a step really runs with, and the files that it uses by the name that its YAML knows."""

    arguments: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


def find_asset(asset: Asset, folder: str | None) -> str | None:
    """The file of an asset: in `folder` (or of the samples), at DCLM's path, or in the cache; None if nowhere."""
    if folder == SAMPLE:
        return None if asset.sample is None else _sample_file(asset)
    places = (
        [] if folder is None else [storage.join(folder, asset.folder, asset.name), storage.join(folder, asset.name)]
    )
    places += [asset.path, str(PROJECT_ROOT / asset.path), os.path.join(cache_folder(), asset.folder, asset.name)]
    return next((place for place in places if storage.exists(place)), None)


def _sample_file(asset: Asset) -> str:
    """Our stand-in: the list itself, or the quality model trained on our lines (once per cache)."""
    source = str(PROJECT_ROOT / str(asset.sample))
    if asset.folder != QUALITY_MODELS:
        return source
    target = os.path.join(cache_folder(), "samples", f"sample_quality-{file_sha256(source)[:8]}.bin")
    if not os.path.isfile(target):
        from baselines.train_fasttext_classifier import train_classifier

        os.makedirs(os.path.dirname(target), exist_ok=True)
        partial = f"{target}.{os.getpid()}"
        train_classifier(source, SAMPLE_QUALITY_SETTINGS).save_model(partial)
        os.replace(partial, target)
    return target


def resolve_step(func: str, arguments: Mapping[str, Any], folder: str | None, where: str) -> StepAssets:
    """Find the files of a step of ours before it runs.

    Args:
        func: the step's function.
        arguments: its arguments in the YAML.
        folder: what `--assets` gives: a folder, `sample`, or None.
        where: the step's name, for the error.

    Raises:
        InputError: a file is missing; says how to get it.
    """
    found = StepAssets(arguments=dict(arguments))
    for key, value in arguments.items():
        if isinstance(value, str) and value.removeprefix("./") in BY_PATH:
            asset = BY_PATH[value.removeprefix("./")]
            found.files[value] = found.arguments[key] = _require(asset, folder, where)
        elif key == "banlist_from_fname" and isinstance(value, str) and not ("://" in value or os.path.isfile(value)):
            raise InputError(f"{where}: {key}: no such file: {value}")
    if func == "classify_fasttext_hq_prob_enricher":
        _resolve_quality_model(found, folder, where)
    elif func == "ken_lm_perplexity_enricher":
        _resolve_kenlm(found, folder, where)
    elif func.startswith("detect_lang_") and arguments.get("model") == "fasttext":
        _resolve_language_model(found, folder)
    _resolve_sentences(found, folder, where)
    return found


def _require(asset: Asset, folder: str | None, where: str) -> str:
    path = find_asset(asset, folder)
    if path is None:
        sample = ", or try it out with --assets sample" if asset.sample and folder != SAMPLE else ""
        raise InputError(
            f"{where}: {asset.path} is missing ({asset.about}; licence: {asset.licence}); "
            f"run: corpusmith assets fetch {asset.name}{sample}"
        )
    return path


def _resolve_quality_model(found: StepAssets, folder: str | None, where: str) -> None:
    name = found.arguments.get("model_filename", "model.bin")
    if "://" in name:
        found.files[name] = name
        return
    path = find_asset(ASSETS[name], folder) if name in ASSETS else None
    if path is None:
        path = find_asset(Asset(name=name, folder=QUALITY_MODELS, about="", source="", licence=""), _folder(folder))
    if path is None and name in ASSETS:
        path = _require(ASSETS[name], folder, where)
    if path is None:
        raise InputError(f"{where}: model_filename: no model {name} in {ROOT}{QUALITY_MODELS} or the cache")
    found.arguments["model_filename"] = path if "://" in path else os.path.abspath(path)
    found.files[name] = path


def _resolve_kenlm(found: StepAssets, folder: str | None, where: str) -> None:
    """Both files of the KenLM model, which must lie in one folder."""
    given = found.arguments.get("model_folder")
    for name in ("en.arpa.bin", "en.sp.model"):
        found.files[name] = _require(ASSETS[name], given or _folder(folder), where)
    folders = {storage.parent(path) for path in found.files.values()}
    if len(folders) > 1:
        raise InputError(f"{where}: en.arpa.bin and en.sp.model must lie in one folder, not in {sorted(folders)}")
    found.arguments["model_folder"] = folders.pop()


def _folder(folder: str | None) -> str | None:
    return None if folder == SAMPLE else folder


def _resolve_language_model(found: StepAssets, folder: str | None) -> None:
    from baselines.mappers.enrichers.language_id_enrichers import language_model_path

    given = found.arguments.get("model_path")
    path = None
    if given is None and folder not in (None, SAMPLE):
        path = find_asset(ASSETS["lid.176.bin"], folder) or find_asset(ASSETS["lid.176.ftz"], folder)
        if path is not None:
            found.arguments["model_path"] = path
    path = path or language_model_path(given, found.arguments.get("model_sha256"))
    found.files["lid.176"] = path


def _resolve_sentences(found: StepAssets, folder: str | None, where: str) -> None:
    """The English Punkt model must be there; the samples take an untrained one in its place."""
    if found.arguments.get("tokenizer") != "nltk" or found.arguments.get("tokenizer_lang") not in ("en", "english"):
        return
    if folder == SAMPLE:
        found.arguments["tokenizer_lang"] = SAMPLE
        found.files["punkt_tab"] = SAMPLE
        return
    from baselines.mappers.core_utils import split_sentences

    try:
        split_sentences("One. Two.", tokenizer="nltk", tokenizer_lang="english")
    except LookupError as error:
        raise InputError(f"{where}: {error}; put it into an NLTK data folder, or try --assets sample") from error


# --- the command -------------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith assets`."""
    parser = make_parser(
        "corpusmith assets",
        "List, fetch and verify the word lists and models that configs need and others own.",
        "corpusmith assets fetch ldnoobw.txt",
    )
    parser.add_argument("action", choices=["list", "fetch", "verify"], help="what to do")
    parser.add_argument("names", nargs="*", help="names of assets (default: all; fetch wants them named)")
    parser.add_argument("--folder", help="where they lie (default: CORPUSMITH_ASSETS or ~/.cache/corpusmith/assets)")
    parser.add_argument("--from", dest="from_folder", help="fetch: take the files from this folder instead")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says."""
    folder = arguments.folder or cache_folder()
    unknown = [name for name in arguments.names if name not in ASSETS]
    if unknown:
        raise InputError(f"no asset {unknown[0]!r}{did_you_mean(unknown[0], ASSETS)} (corpusmith assets list)")
    chosen = [ASSETS[name] for name in arguments.names or ASSETS]
    if arguments.action == "list":
        return list_assets(chosen, folder)
    if arguments.action == "verify":
        return verify_assets(chosen, folder)
    if not arguments.names:
        raise InputError(f"name what to fetch: {', '.join(ASSETS)}")
    return fetch_assets(chosen, folder, arguments.from_folder)


def _target(asset: Asset, folder: str) -> str:
    return storage.join(folder, asset.folder, asset.name)


def _recorded(folder: str) -> dict[str, str]:
    """The checksums of what was fetched into a folder."""
    path = storage.join(folder, CHECKSUMS)
    found: dict[str, str] = storage.read_json(path) if storage.exists(path) else {}
    return found


def list_assets(chosen: Iterable[Asset], folder: str) -> int:
    """Say of each asset what it is, whose, and whether it is there."""
    say(f"folder: {folder}")
    for asset in chosen:
        place = _target(asset, folder)
        found = place if storage.exists(place) else find_asset(asset, None)
        say(f"\n{asset.name}\n  what:     {asset.about}\n  source:   {asset.source}\n  licence:  {asset.licence}")
        say(f"  sha256:   {asset.sha256 or _recorded(folder).get(asset.name, 'not known before it is fetched')}")
        say(f"  here:     {found or 'no'}")
    return 0


def fetch_assets(chosen: Iterable[Asset], folder: str, from_folder: str | None) -> int:
    """Copy each asset to the folder unless it is there; a failed one leaves the others."""
    failed = []
    for asset in chosen:
        target = _target(asset, folder)
        if storage.exists(target):
            say(f"{asset.name}: there already: {target}")
            continue
        try:
            source = _source(asset, from_folder)
            say(f"{asset.name}: from {source} (licence: {asset.licence})")
            _get(asset, source, target)
            digest = file_sha256(target)
            if asset.sha256 not in (None, digest):
                storage.remove(target)
                raise InputError(f"its content has another SHA-256 ({digest}) than {asset.sha256}; it was removed")
            storage.write_json(storage.join(folder, CHECKSUMS), {**_recorded(folder), asset.name: digest}, indent=2)
            say(f"{asset.name}: {target} ({storage.stat(target).size} bytes, sha256 {digest})")
        except CorpusmithError as error:
            failed.append(f"{asset.name}: {error}")
    if failed:
        raise CorpusmithError("; ".join(failed))
    return 0


def _source(asset: Asset, from_folder: str | None) -> str:
    if from_folder is None:
        if "://" not in asset.source:
            raise InputError(f"cannot be fetched by itself: {asset.source}")
        return asset.source
    published = asset.source.rsplit("/", 1)[-1]
    for name in (f"{asset.folder}/{asset.name}", asset.name, published):
        if storage.exists(place := storage.join(from_folder, name)):
            return place
    raise InputError(f"{from_folder} holds no {asset.name}")


def _get(asset: Asset, source: str, target: str) -> None:
    """Copy the file, or make it of UT1's archive."""
    if asset.ut1_files and storage.basename(source) != asset.name:
        build_ut1_list(source, asset.ut1_files, target)
    else:
        storage.copy_file(source, target)


def verify_assets(chosen: Iterable[Asset], folder: str) -> int:
    """Hold what is in the folder against the known or recorded checksums; 1 where one differs."""
    recorded, wrong = _recorded(folder), 0
    for asset in chosen:
        target = _target(asset, folder)
        expected = asset.sha256 or recorded.get(asset.name)
        if not storage.exists(target):
            say(f"{asset.name}: not there")
        elif expected is None:
            say(f"{asset.name}: no checksum is known; it was not fetched by this command")
        elif file_sha256(target) == expected:
            say(f"{asset.name}: as expected")
        else:
            wrong += 1
            say(f"{asset.name}: CHANGED; remove {target} and fetch it again")
    return 1 if wrong else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith assets`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
