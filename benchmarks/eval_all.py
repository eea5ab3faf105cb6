"""All 53 tasks in one run: for each task the items, the seconds and the score, with a tiny untrained model.

Tasks whose data is not in --source run on invented rows of the right shape, with the right categories; the table marks
them. With --quick, the first rows of each real file. `ours` is the CPU seconds of a task, `other` the milliseconds of
an item, `ratio` its accuracy.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks._bench import SHARED, Row, make_parser, run
from benchmarks._eval_data import heavy_suite, write_stand_ins
from corpusmith.errors import CorpusmithError, InputError
from eval.models.openlm import OpenLMModel
from eval.models.prompt_tokenizers import load_prompt_tokenizer
from eval.results.aggregation import aggregate
from eval.scoring.suite_run import evaluate
from eval.tasks.suites import Suite
from training.models.config import ModelConfig
from training.models.openlm import Transformer

STAND_IN_ROWS = 40
QUICK_ROWS = 20


def make_model() -> OpenLMModel:
    """Two layers of 64, GPT-NeoX's vocabulary, and weights large enough for opinions."""
    torch.manual_seed(0)
    network = Transformer(
        ModelConfig(hidden_dim=64, n_layers=2, n_heads=4, seq_len=2048, vocab_size=50432, qk_norm=True)
    )
    for name, weight in network.named_parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5 if name.startswith("output") else 0.1)
    return OpenLMModel(network)


def shortened(source: Path, folder: Path, rows: int) -> Path:
    """Copies of the task files with their first rows; of files with categories, rows from all over."""
    for path in source.rglob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        step = max(1, len(lines) // (5 * rows)) if path.name == "jeopardy_all.jsonl" else 1
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(lines[::step][: rows * (5 if step > 1 else 1)]))
    return folder


def measure(source: Path, quick: bool) -> list[Row]:
    """A row per task, then CORE and EXTENDED."""
    tokenizer_file = SHARED / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"
    if not source.is_dir() or not tokenizer_file.exists():
        raise InputError(f"needs task files in {source} and {tokenizer_file}")
    tokenizer, model = load_prompt_tokenizer(str(tokenizer_file)), make_model()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        real = shortened(source, Path(scratch) / "short", QUICK_ROWS) if quick else source
        stand_ins = Path(scratch) / "stand_ins"
        invented = set(write_stand_ins(stand_ins, heavy_suite(real), QUICK_ROWS // 4 if quick else STAND_IN_ROWS))
        suite = heavy_suite(real, stand_ins)
        icl: dict[str, float] = {}
        for task in suite.tasks:
            started = time.process_time()
            evaluation = evaluate(model, tokenizer, replace(suite, tasks=(task,)))
            seconds = time.process_time() - started
            icl |= evaluation.icl
            items = len(evaluation.results[task.label].items)
            name = f"{task.label}{' (invented rows)' if task.label in invented else ''}, {items} items"
            rows.append(_row(name, seconds, 1000 * seconds / items, evaluation.icl[task.label]))
            sys.stderr.write(f"{name}: {seconds:.1f} s, {100 * icl[task.label]:.2f} %\n")
    return [*rows, *_aggregates(icl, sum(row.ours for row in rows), suite)]


def _aggregates(icl: dict[str, float], seconds: float, suite: Suite) -> list[Row]:
    """CORE and EXTENDED, which must be numbers."""
    document = aggregate(icl)
    if len(icl) != 53 or not all(isinstance(document[name], float) for name in ("Core", "Extended")):
        raise CorpusmithError(f"{suite.name}: {len(icl)} of 53 tasks, missing {document['missing tasks']}")
    return [_row(f"{name}, {len(icl)} tasks", seconds, 0.0, document[name]) for name in ("Core", "Extended")]


def _row(name: str, seconds: float, milliseconds: float, score: float) -> Row:
    return Row(name=name, ours=seconds, other=milliseconds, unit="s | ms", ratio=score, goal="", met=None)


def main() -> int:
    """Print the rows; exit code 2 where there is nothing to measure."""
    parser = make_parser(__doc__ or "")
    parser.set_defaults(source=str(SHARED / "eval_data"))
    return run(parser, lambda arguments: measure(Path(arguments.source), arguments.quick))


if __name__ == "__main__":
    raise SystemExit(main())
