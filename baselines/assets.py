"""Word lists and models that are third-party data: finding them for a run.

`corpusmith assets fetch` fetches them (`corpusmith.assets`). A YAML names lists by DCLM's paths
(`baselines/mappers/banlists/…`); a file that stands there is used, else the one in the folder that `--assets` gives or
in the cache. `--assets sample` takes our own small lists of invented words and reserved example domains instead, and a
tiny quality model trained on twenty sentences of our own: for trying a config out, never for data. A folder may be a
URL (`s3://…`), so that all nodes of a cluster find the same files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baselines.asset_table import ASSETS, BY_PATH, QUALITY_MODELS, ROOT
from baselines.mappers.enrichers.fasttext_models import PROJECT_ROOT
from corpusmith.assets import Asset
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.cache import cache_folder, file_sha256

SAMPLE = "sample"
SAMPLE_QUALITY_SETTINGS = {"dim": 10, "epoch": 50, "lr": 0.5, "minCount": 1, "wordNgrams": 1, "thread": 1}


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
