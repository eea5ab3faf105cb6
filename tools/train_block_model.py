"""Train the model of the extractor `best` on annotated pages: `python tools/train_block_model.py --source HTML_FOLDER`.

Half of the hosts teach (`benchmarks/extraction.py` reports on the other half). A block is main text where the
annotation has its 4-word shingles. Where annotators chose strings only, trafilatura's text stands for the rest: what it
keeps is main text, and the annotators' strings, which count most, overrule it. Rounds and threshold are chosen by
cross-validation over hosts of the teaching half. Needs the extra `blocks` (LightGBM) and `extract` (trafilatura).
"""

from __future__ import annotations

if not __package__:
    import pathlib, sys; sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])  # fmt: skip  # noqa: E401, E702, I001

import argparse
import pathlib
import sys
from collections import Counter
from typing import Any

import numpy as np

from benchmarks._extraction_gold import GoldPage, even, fold_of, is_teaching, load_pages, score_pages, words
from corpusmith.io import storage
from raw_sources.best import choose
from raw_sources.block_features import block_features, with_scores
from raw_sources.block_kernels import B_CHARS
from raw_sources.block_model import MODEL_FILE, BlockModel, Trees, dump_model
from raw_sources.block_scan import Blocks, scan_blocks
from raw_sources.block_text import PageText

FOLDS = 5
SHINGLE = 4
STRING_WEIGHT = 4.0
TEACHER_WEIGHT = 0.7
PARAMETERS = {
    "objective": "binary", "num_leaves": 24, "learning_rate": 0.04, "min_data_in_leaf": 25, "feature_fraction": 0.35,
    "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 8.0, "max_depth": 8, "deterministic": True,
    "force_row_wise": True, "num_threads": 1, "verbose": -1, "seed": 7, "max_bin": 127,
}  # fmt: skip
THRESHOLDS = [round(0.2 + 0.025 * step, 3) for step in range(21)]


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

    def __init__(self, page: GoldPage, teacher: str | None) -> None:
        self.page = page
        self.blocks: Blocks = scan_blocks(page.html)
        self.features = block_features(self.blocks)
        self.text = PageText(self.blocks)
        texts = [self.text.text(index) for index in range(len(self.blocks.blocks))]
        chars = self.blocks.blocks[:, B_CHARS]
        self.weights = np.log1p(chars) / 4.0
        self.labels = labels(texts, page.gold if page.gold is not None else teacher or "")
        if page.gold is None:
            self.weights *= TEACHER_WEIGHT
            self._apply_strings(texts)
        self.weights *= 60.0 / max(20.0, float(self.weights.sum()) ** 0.75)

    def _apply_strings(self, texts: list[str]) -> None:
        """What annotators chose overrules the teacher, in the first block that holds it where several do."""
        for strings, label in ((self.page.must_have, 1.0), (self.page.must_not_have, 0.0)):
            for string in map(even, strings):
                holders = [index for index, text in enumerate(texts) if string and string in even(text)]
                for index in holders if label == 0.0 or len(holders) == 1 else holders[:0]:
                    self.labels[index] = label
                    self.weights[index] = STRING_WEIGHT

    def extracted(self, scores: np.ndarray[Any, Any], threshold: float) -> str:
        """The text that these scores choose."""
        return self.text.plain(np.flatnonzero(choose(scores, threshold)).tolist())


def teach(pages: list[GoldPage]) -> list[Lesson]:
    """Lessons of all pages that have blocks."""
    from trafilatura import extract

    lessons = [
        Lesson(page, extract(page.html, include_comments=False) if page.gold is None else None) for page in pages
    ]
    return [lesson for lesson in lessons if len(lesson.features)]


def fit(lessons: list[Lesson], features: list[Any], rounds: int) -> Any:
    """LightGBM's booster after some rounds."""
    import lightgbm

    data = lightgbm.Dataset(
        np.concatenate(features),
        np.concatenate([lesson.labels for lesson in lessons]),
        weight=np.concatenate([lesson.weights for lesson in lessons]),
    )
    return lightgbm.train(PARAMETERS, data, rounds)


def out_of_fold(lessons: list[Lesson], features: list[Any], rounds: list[int]) -> dict[int, list[Any]]:
    """Scores of each lesson by a booster that has not seen its host, after each number of rounds."""
    scores: dict[int, list[Any]] = {number: [None] * len(lessons) for number in rounds}
    folds = [fold_of(lesson.page, FOLDS) for lesson in lessons]
    for fold in range(FOLDS):
        seen = [place for place, other in enumerate(folds) if other != fold]
        booster = fit([lessons[place] for place in seen], [features[place] for place in seen], max(rounds))
        for place in set(range(len(lessons))).difference(seen):
            for number in rounds:
                scores[number][place] = booster.predict(features[place], num_iteration=number)
    return scores


def best_choice(lessons: list[Lesson], scores: dict[int, list[Any]]) -> tuple[int, float]:
    """The number of rounds and the threshold with the best mean of the three F1."""
    best = (0.0, 0, 0.5)
    pages = [lesson.page for lesson in lessons]
    for number, found in scores.items():
        for threshold in THRESHOLDS:
            texts = [lesson.extracted(each, threshold) for lesson, each in zip(lessons, found, strict=True)]
            result = score_pages(pages, texts)
            mean = sum(score.f1 for score in result.values()) / len(result)
            if mean > best[0]:
                best = (mean, number, threshold)
                shown = ", ".join(f"{kind} {score.f1:.4f}" for kind, score in result.items())
                sys.stdout.write(f"{number} rounds, threshold {threshold}: {shown}\n")
                sys.stdout.flush()
    return best[1], best[2]


def to_trees(booster: Any) -> Trees:
    """The booster's trees as arrays."""
    feature: list[int] = []
    value: list[float] = []
    left: list[int] = []
    right: list[int] = []
    roots: list[int] = []

    def add(node: dict[str, Any]) -> int:
        number = len(feature)
        is_leaf = "leaf_value" in node
        feature.append(-1 if is_leaf else int(node["split_feature"]))
        value.append(float(node["leaf_value"] if is_leaf else node["threshold"]))
        left.append(0)
        right.append(0)
        if not is_leaf:
            left[number] = add(node["left_child"])
            right[number] = add(node["right_child"])
        return number

    for tree in booster.dump_model()["tree_info"]:
        roots.append(add(tree["tree_structure"]))
    return Trees(
        feature=np.array(feature, np.int16),
        value=np.array(value, np.float32),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        roots=np.array(roots, np.int32),
    )


def main() -> int:
    """Train, choose and write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="folder of annotated pages (*.jsonl.zst)")
    parser.add_argument("--output", default=str(MODEL_FILE))
    parser.add_argument("--first_rounds", type=int, default=150)
    parser.add_argument("--rounds", type=int, nargs="+", default=[60, 120, 200])
    arguments = parser.parse_args()
    lessons = teach([page for page in load_pages(arguments.source) if is_teaching(page)])
    sys.stdout.write(f"{len(lessons)} pages, {sum(len(lesson.features) for lesson in lessons)} blocks\n")
    features = [lesson.features for lesson in lessons]
    first_scores = out_of_fold(lessons, features, [arguments.first_rounds])[arguments.first_rounds]
    best_choice(lessons, {arguments.first_rounds: first_scores})
    second = [
        with_scores(lesson.blocks, lesson.features, scores)
        for lesson, scores in zip(lessons, first_scores, strict=True)
    ]
    rounds, threshold = best_choice(lessons, out_of_fold(lessons, second, arguments.rounds))
    model = BlockModel(
        first=to_trees(fit(lessons, features, arguments.first_rounds)),
        second=to_trees(fit(lessons, second, rounds)),
        threshold=threshold,
    )
    origin = {
        "pages": len(lessons),
        "blocks": sum(map(len, features)),
        "first_rounds": arguments.first_rounds,
        "rounds": rounds,
        "parameters": PARAMETERS,
    }
    storage.write_json(str(pathlib.Path(arguments.output)), {"origin": origin, **dump_model(model)})
    sys.stdout.write(f"{arguments.output}: {rounds} rounds, threshold {threshold}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
