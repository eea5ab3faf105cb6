"""Stand-ins for the task files that are not at hand: invented rows of the right shape, with the right categories."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from eval.tasks.suites import LANGUAGE_MODELING, MULTIPLE_CHOICE, Suite, load_suite

#: number of categories of the files that are split by category
CATEGORIES = {"world_knowledge/mmlu.jsonl": 57, "safety/bbq.jsonl": 11, "world_knowledge/jeopardy_all.jsonl": 5}
CHOICES = {"safety/bbq.jsonl": 3, "symbolic_problem_solving/bigbench_elementary_math_qa.jsonl": 5}
_WORDS = (
    *("river", "stone", "lamp", "green", "early", "seven", "paper", "cloud", "teacher", "market", "before", "under"),
    *("silver", "quiet", "letter"),
)


def write_stand_ins(folder: Path, suite: Suite, rows_per_part: int) -> list[str]:
    """Write a file for each missing task of `suite` below `folder`; returns the labels.

    `rows_per_part` is the number of rows of a file, or of each of its categories.
    """
    labels = []
    for task in suite.missing:
        name = task.data_url.removeprefix("local_data/")
        path = folder / name
        labels.append(task.label)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        draws = random.Random(name)
        lines = [orjson.dumps(row) for row in _rows(task.task_type, name, rows_per_part, draws)]
        path.write_bytes(b"\n".join(lines) + b"\n")
    return labels


def heavy_suite(*folders: Path) -> Suite:
    """The 53 tasks with their data from the given folders, the first before the others."""
    built_in = Path(__file__).resolve().parents[1] / "eval" / "heavy.yaml"
    return load_suite(str(built_in), [str(folder) for folder in folders])


def _rows(task_type: str, name: str, rows_per_part: int, draws: random.Random) -> Iterator[dict[str, Any]]:
    for category in range(CATEGORIES.get(name, 1)):
        for _ in range(rows_per_part):
            row = _row(task_type, CHOICES.get(name, 4), draws)
            yield row | ({"category": f"category {category:02}"} if name in CATEGORIES else {})


def _row(task_type: str, choices: int, draws: random.Random) -> dict[str, Any]:
    def text(words: int) -> str:
        return " ".join(draws.choice(_WORDS) for _ in range(words))

    if task_type == MULTIPLE_CHOICE:
        options = [text(draws.randint(1, 5)) for _ in range(choices)]
        return {"query": f"Question: {text(12)}?", "choices": options, "gold": draws.randrange(choices)}
    if task_type == LANGUAGE_MODELING:
        return {"context": text(40), "continuation": text(2)}
    raise ValueError(f"no stand-in for {task_type}")
