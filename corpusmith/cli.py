"""The one console command: `corpusmith VERB …`; some verbs are two words (`dedup exact`).

Each verb is the `main` of the module that also serves the script of that name; it is imported when the verb is
called, so `corpusmith --help` is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from corpusmith import __version__
from corpusmith.errors import did_you_mean
from corpusmith.imports import resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """A verb: where its `main(argv) -> exit code` lives, and one line about it."""

    main: str
    about: str


VERBS: dict[str, Verb] = {
    "sample-crawl": Verb(
        main="raw_sources.sample_crawl.make:main", about="make a small seeded crawl (WARC files) without network"
    ),
    "common-crawl": Verb(
        main="raw_sources.common_crawl.command:main", about="list and sample Common Crawl's files, query its index"
    ),
    "ingest": Verb(main="raw_sources.ingest.run:main", about="make page shards of archives, tables and documents"),
    "process": Verb(main="ray_processing.process:main", about="filter, enrich and deduplicate pages as a YAML says"),
    "dedup bff": Verb(
        main="dedup.bff.command:main", about="remove text whose n-grams were seen before, by a Bloom filter"
    ),
    "dedup exact": Verb(
        main="dedup.exact.command:main", about="keep one of all pages, addresses or lines with equal content"
    ),
    "dedup minhash": Verb(main="dedup.minhash.command:main", about="keep one of each cluster of nearly equal pages"),
    "mappers": Verb(main="baselines.mapper_reference:main", about="list the mappers, or document one"),
    "explain": Verb(
        main="ray_processing.pipeline.explain:main", about="show what each mapper of a YAML does to some pages"
    ),
    "assets": Verb(main="corpusmith.assets:main", about="list, fetch and verify word lists, models and task data"),
    "train-tokenizer": Verb(
        main="ray_processing.tokens.train_tokenizer:main", about="train a byte-level BPE tokenizer on pages"
    ),
    "tokenize": Verb(
        main="ray_processing.tokenize_shuffle:main", about="tokenize, mix and globally shuffle into token shards"
    ),
    "detokenize": Verb(main="ray_processing.tokens.detokenize:main", about="turn token shards back into pages"),
    "trace": Verb(main="ray_processing.tokens.trace:main", about="follow pages into token shards, and sequences back"),
    "train": Verb(main="training.train:main", about="train a model of a fixed scale on a tokenized data set"),
    "eval": Verb(main="eval.eval_expdb:main", about="evaluate models of the experiment database"),
    "compare-evals": Verb(
        main="eval.compare_evals:main", about="confidence intervals of an evaluation, or of the difference of two"
    ),
    "mix bench": Verb(
        main="mixing.bench.command:main", about="compare searches for mixture weights on known objectives"
    ),
    "mix suggest": Verb(
        main="mixing.search.suggest:main", about="tell from finished runs which mixtures to measure next"
    ),
    "mix show": Verb(main="mixing.search.show:main", about="write the report of a search for mixture weights"),
    "expdb": Verb(main="corpusmith.expdb.command:main", about="tables and plots of the experiment database"),
    "report": Verb(main="corpusmith.report.command:main", about="write a run's self-contained HTML report"),
}


def usage() -> str:
    """The help text of the command itself."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.about}" for name, verb in VERBS.items())
    return (
        "usage: corpusmith VERB [options]\n\n"
        "Raw web crawl in; the pre-training set, the model trained on it and its scores out.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`corpusmith VERB --help` tells a verb's options.\n\n"
        "example:\n  corpusmith ingest --input crawl/ --output_dir pages --readable_name my_pages\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code (0 done, 1 failed, 2 the user's mistake)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"corpusmith {__version__}\n")
        return 0
    name = " ".join(arguments[:2]) if " ".join(arguments[:2]) in VERBS else arguments[0]
    if name not in VERBS:
        sys.stderr.write(f"error: {_no_verb(arguments)} (corpusmith --help lists them)\n")
        return 2
    code: int = resolve(VERBS[name].main)(arguments[len(name.split()) :])
    return code


def _no_verb(arguments: list[str]) -> str:
    """What is wrong with a verb that there is not."""
    name = arguments[0]
    family = [verb.split()[1] for verb in VERBS if verb.startswith(f"{name} ")]
    if not family:
        return f"no verb {name!r}{did_you_mean(name, VERBS)}"
    if len(arguments) == 1 or arguments[1].startswith("-"):
        return f"{name!r} needs one of: {', '.join(family)}"
    return f"no {name!r} called {arguments[1]!r}{did_you_mean(arguments[1], family)}"
