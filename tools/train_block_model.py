"""Train the model of the extractor `blocks` on annotated pages: `python tools/train_block_model.py --source FOLDER`.

Half of the hosts teach (`benchmarks/extraction.py` reports on the other half). A block is main text where the
annotation has its 4-word shingles. Where annotators chose strings only, trafilatura's text stands for the rest: what it
keeps is main text, and the annotators' strings, which count most, overrule it. `--crawl` adds pages of crawl archives
whose hosts are not among those reported on, labelled by trafilatura alone, at less weight. The threshold is chosen by
cross-validation over the hosts of the teaching half. Needs the extra `blocks` (LightGBM) and `extract` (trafilatura).

What small data asks for: extremely randomised trees, and constraints by which a block below a menu, a comment list and
the like is never likelier main text than the same block elsewhere.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks._extraction_gold import GoldPage, even, fold_of, is_teaching, load_pages, score_pages, words
from corpusmith.command import make_parser, run_command
from corpusmith.io import storage
from raw_sources.archives.http_message import CodingError, NotHttpError, TooLargeError, decoded_body, parse_response
from raw_sources.archives.open_archive import read_archive
from raw_sources.archives.warc import WarcRecord
from raw_sources.extractors.blocks.columns import B
from raw_sources.extractors.blocks.extractor import choose
from raw_sources.extractors.blocks.feature_names import FEATURE_NAMES
from raw_sources.extractors.blocks.features import block_features
from raw_sources.extractors.blocks.model import MODEL_FILE, BlockModel, dump_model
from raw_sources.extractors.blocks.scan import Blocks, scan_blocks
from raw_sources.extractors.blocks.tables import NEGATIVE
from raw_sources.extractors.blocks.text import PageText
from raw_sources.extractors.charset import decode_html
from raw_sources.ingest.inputs import list_units

EXAMPLE = "python tools/train_block_model.py --source annotated_pages"
FOLDS = 5
SHINGLE = 4
STRING_WEIGHT = 4.0
TEACHER_WEIGHT = 0.7
CRAWL_WEIGHT = 0.4
GOLD_WEIGHT = 1.5
PAGES_OF_HOST = 8
CRAWL_CHARACTERS = range(2000, 1_000_000)
LEAST_TEXT = 300
ROUNDS = 250
SEEDS = (1, 2, 3)
PARAMETERS = {
    "objective": "binary",
    "extra_trees": True,
    "num_leaves": 32,
    "learning_rate": 0.06,
    "min_data_in_leaf": 25,
    "feature_fraction": 0.35,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 8.0,
    "max_depth": 8,
    "max_bin": 127,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
PLATEAU = 0.002
THRESHOLDS = [round(0.3 + 0.05 * step, 3) for step in range(10)]


def constraints() -> list[int]:
    """-1 for the features with which the probability may only fall."""
    falling = {"own.link_density", *(f"below.{name}" for name in NEGATIVE)}
    return [-1 if name in falling else 0 for name in FEATURE_NAMES]


def labels(texts: list[str], gold: str) -> np.ndarray[Any, Any]:
    """Which blocks the gold text holds: by shingles, short ones as wholes beside blocks that it holds."""
    tokens = words(gold)
    known = Counter(tuple(tokens[at : at + SHINGLE]) for at in range(len(tokens) - SHINGLE + 1))
    joined = f" {' '.join(tokens)} "
    found = np.zeros(len(texts), np.float64)
    short: list[int] = []
    for index, text in enumerate(texts):
        own = words(text)
        if len(own) < SHINGLE:
            short.append(index)
            continue
        shingles = [tuple(own[at : at + SHINGLE]) for at in range(len(own) - SHINGLE + 1)]
        found[index] = sum(shingle in known for shingle in shingles) / len(shingles) >= 0.5
    for index in short:
        own = words(texts[index])
        near = found[max(0, index - 2) : index + 3]
        found[index] = bool(own) and f" {' '.join(own)} " in joined and bool(near.any())
    return found


class Lesson:
    """A page to learn from: its blocks, their features, labels and weights."""

    def __init__(self, page: GoldPage, teacher: str, weight: float) -> None:
        self.page = page
        self.blocks: Blocks = scan_blocks(page.html)
        self.features = block_features(self.blocks)
        self.text = PageText(self.blocks)
        texts = [self.text.text(index) for index in range(len(self.blocks.blocks))]
        self.weights = np.log1p(self.blocks.blocks[:, B.chars]) / 4.0
        self.labels = labels(texts, page.gold if page.gold is not None else teacher)
        if page.gold is None:
            self.weights *= TEACHER_WEIGHT
            self._apply_strings(texts)
        # a page of a thousand menu entries teaches little more than one of a hundred
        self.weights *= weight * 60.0 / max(20.0, float(self.weights.sum()) ** 0.75)

    def _apply_strings(self, texts: list[str]) -> None:
        """What annotators chose overrules the teacher; a wanted string only where one block alone holds it."""
        for strings, label in ((self.page.must_have, 1.0), (self.page.must_not_have, 0.0)):
            for string in map(even, strings):
                holders = [index for index, text in enumerate(texts) if string and string in even(text)]
                if label == 1.0 and len(holders) != 1:
                    continue
                for index in holders:
                    self.labels[index] = label
                    self.weights[index] = STRING_WEIGHT

    def extracted(self, scores: np.ndarray[Any, Any], threshold: float) -> str:
        """The text that these scores choose."""
        return self.text.plain(np.flatnonzero(choose(scores, threshold)).tolist())


def taught(page: GoldPage, weight: float, least: int = 0) -> Iterator[Lesson]:
    """The lesson of a page that has blocks, and from which trafilatura gets at least so much text."""
    from trafilatura import extract

    teacher = (extract(page.html, include_comments=False) or "") if page.gold is None else ""
    if page.gold is None and len(teacher) < least:
        return
    lesson = Lesson(page, teacher, weight if page.gold is None else weight * GOLD_WEIGHT)
    if len(lesson.features):
        yield lesson


def crawl_pages(folder: str, reported: set[str]) -> Iterator[GoldPage]:
    """The HTML pages of a folder of archives, each once, a few of a host, none of a host that is reported on."""
    seen: set[str] = set()
    of_host: Counter[str] = Counter()
    for unit in list_units([folder], ["archive"]):
        for found in read_archive(unit.members[0].url):
            record = found.item
            if not isinstance(record, WarcRecord) or record.block is None or record.type != "response":
                continue
            host = urlsplit(record.headers.get("WARC-Target-URI", "")).hostname or ""
            try:
                response = parse_response(record.block)
                if response.status != 200 or "html" not in response.media_type:
                    continue
                html = decode_html(decoded_body(response), response.charset)
            except (NotHttpError, CodingError, TooLargeError):
                continue
            of_host[host] += html not in seen
            if html in seen or host in reported or of_host[host] > PAGES_OF_HOST or len(html) not in CRAWL_CHARACTERS:
                continue
            seen.add(html)
            yield GoldPage(host=host, html=html, kind="segments", gold=None, must_have=(), must_not_have=())


def fit(lessons: list[Lesson]) -> list[Any]:
    """LightGBM's boosters, one for each seed."""
    import lightgbm

    data = lightgbm.Dataset(
        np.concatenate([lesson.features for lesson in lessons]),
        np.concatenate([lesson.labels for lesson in lessons]),
        weight=np.concatenate([lesson.weights for lesson in lessons]),
        free_raw_data=False,
    )
    given = {**PARAMETERS, "monotone_constraints": constraints()}
    return [lightgbm.train({**given, "seed": seed}, data, ROUNDS) for seed in SEEDS]


def out_of_fold(lessons: list[Lesson], others: list[Lesson]) -> list[Any]:
    """Scores of each lesson by boosters that have not seen its host."""
    scores: list[Any] = [None] * len(lessons)
    folds = [fold_of(lesson.page, FOLDS) for lesson in lessons]
    for fold in range(FOLDS):
        boosters = fit([lesson for lesson, other in zip(lessons, folds, strict=True) if other != fold] + others)
        for place, other in enumerate(folds):
            if other == fold:
                raw = sum(booster.predict(lessons[place].features, raw_score=True) for booster in boosters)
                scores[place] = 1.0 / (1.0 + np.exp(-raw / len(boosters)))
    return scores


def best_threshold(lessons: list[Lesson], scores: list[Any]) -> float:
    """The middle of the thresholds whose mean of the three F1 is near the best: the curve is flat, its peak chance."""
    means: dict[float, float] = {}
    pages = [lesson.page for lesson in lessons]
    for threshold in THRESHOLDS:
        texts = [lesson.extracted(found, threshold) for lesson, found in zip(lessons, scores, strict=True)]
        result = score_pages(pages, texts)
        means[threshold] = sum(score.f1 for score in result.values()) / len(result)
        shown = ", ".join(f"{kind} {score.f1:.4f}" for kind, score in result.items())
        sys.stdout.write(f"threshold {threshold}: {shown}\n")
        sys.stdout.flush()
    near = [threshold for threshold, mean in means.items() if mean >= max(means.values()) - PLATEAU]
    return near[len(near) // 2]


def to_model(boosters: list[Any], threshold: float) -> BlockModel:
    """The boosters' trees as arrays."""
    nodes: list[list[float]] = []
    roots: list[int] = []

    def add(node: dict[str, Any]) -> int:
        number = len(nodes)
        if "leaf_value" in node:
            nodes.append([-1, node["leaf_value"], 0, 0])
            return number
        nodes.append([node["split_feature"], node["threshold"], 0, 0])
        nodes[number][2], nodes[number][3] = add(node["left_child"]), add(node["right_child"])
        return number

    for booster in boosters:
        roots += [add(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]]
    feature, value, left, right = (np.array(column) for column in zip(*nodes, strict=True))
    return BlockModel(
        feature=feature.astype(np.int16),
        value=value.astype(np.float32),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        roots=np.array(roots, np.int32),
        boosters=len(boosters),
        threshold=threshold,
    )


def build_parser() -> argparse.ArgumentParser:
    """The flags of this script."""
    parser = make_parser("tools/train_block_model.py", __doc__ or "", EXAMPLE)
    parser.add_argument("--source", required=True, help="folder of annotated pages (*.jsonl.zst)")
    parser.add_argument("--crawl", help="folder of crawl archives")
    parser.add_argument("--threshold", type=float, help="take this one, without cross-validation")
    parser.add_argument("--output", default=str(MODEL_FILE))
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Train, choose and write the model."""
    pages = load_pages(arguments.source)
    lessons = [lesson for page in pages if is_teaching(page) for lesson in taught(page, 1.0)]
    others: list[Lesson] = []
    if arguments.crawl:
        reported = {page.host for page in pages if not is_teaching(page)}
        others = [
            lesson
            for page in crawl_pages(arguments.crawl, reported)
            for lesson in taught(page, CRAWL_WEIGHT, LEAST_TEXT)
        ]
    blocks = sum(len(lesson.features) for lesson in (*lessons, *others))
    sys.stdout.write(f"{len(lessons)} annotated pages, {len(others)} others, {blocks} blocks\n")
    threshold = arguments.threshold or best_threshold(lessons, out_of_fold(lessons, others))
    model = to_model(fit(lessons + others), threshold)
    origin = {"annotated_pages": len(lessons), "other_pages": len(others), "blocks": blocks, "parameters": PARAMETERS}
    storage.write_json(str(pathlib.Path(arguments.output)), {"origin": origin, **dump_model(model)})
    sys.stdout.write(f"{arguments.output}: {len(model.roots)} trees, threshold {threshold}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
