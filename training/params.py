"""The flags of `training.train`, and the `params.txt` that records a run's arguments.

Flags follow DCLM; `params.txt` follows OpenLM (`name: value`, sorted by name). Loads no torch. Departs from DCLM in
taking the data set's reference also as a bare positional, in `--val-data` in place of fixed validation sets, and in
the default of `--precision`, which is fp32 where there is no CUDA device (bf16 is emulated there, ten times slower).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from corpusmith.command import make_parser
from corpusmith.errors import ConfigError
from training.hyperparameters import DEFAULT_SEED

DEFAULT_GIT_DB = "exp_data/models"
PRECISION_NAMES = ("amp_bfloat16", "amp", "amp_bf16", "bf16", "fp16", "fp32")
_WORDS = {"None": None, "True": True, "False": False}


def build_parser() -> argparse.ArgumentParser:
    """All flags of the trainer."""
    parser = make_parser(
        "corpusmith train",
        "Train a model of one of DCLM's scales on a tokenized data set, alone or under torchrun.",
        "torchrun --nproc-per-node 2 -m training.train -- --scale tiny "
        "--data-config exp_data/datasets/tokenized/demo.json --logs logs",
    )
    _add_data_flags(parser)
    _add_run_flags(parser)
    _add_override_flags(parser)
    return parser


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("dataset", nargs="?", metavar="DATASET.json", help="the same as --data-config")
    group.add_argument("--data-config", metavar="DATASET.json", help="reference JSON of the tokenized data set")
    group.add_argument("--multiple-data-passes", action="store_true", help="read the data again where it runs out")
    group.add_argument("--workers", type=int, default=2, help="loader streams of each process (default 2)")
    group.add_argument(
        "--val-data", nargs="+", default=[], metavar="PATH",
        help="validation data: a tokenized data set's reference JSON, a manifest.jsonl or a .tar; several may be given",
    )  # fmt: skip
    group.add_argument(
        "--val-data-key", nargs="+", default=[], metavar="KEY",
        help="member extension of each --val-data: json.gz, json or txt (default: as its reference says, or json.gz)",
    )  # fmt: skip
    group.add_argument(
        "--val-frequency", type=int, default=5, help="validate every so many checkpoints, and at the end (default 5)"
    )


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--scale", required=True, help="stem of a file in training/configs/")
    group.add_argument("--logs", required=True, metavar="DIR", help="the run's folder becomes DIR/NAME")
    group.add_argument(
        "--git-db", default=DEFAULT_GIT_DB, metavar="DIR",
        help=f"folder of the model's reference JSON (default {DEFAULT_GIT_DB})",
    )  # fmt: skip
    group.add_argument("--name-suffix", default="", help="appended to the run's name as it is")
    group.add_argument(
        "--precision", choices=PRECISION_NAMES, help="default amp_bfloat16; fp32 where there is no CUDA device"
    )
    group.add_argument(
        "--num-checkpoints", type=int, default=5, help="checkpoints to write, each after fresh data (default 5)"
    )
    group.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"default {DEFAULT_SEED}")
    group.add_argument("--pretrained", metavar="CHECKPOINT", help="start from these weights, with a new optimizer")
    group.add_argument("--torchcompile", action="store_true", help="compile the model")
    group.add_argument(
        "--log-every", type=int, default=20, metavar="STEPS", help="log every so many steps (default 20)"
    )
    group.add_argument(
        "--data-tolerate-error-p", type=float, default=0.09,
        help="a checkpoint may miss this share of its steps (default 0.09)",
    )  # fmt: skip
    group.add_argument(
        "--data-tolerate-num-ckpts", type=int, default=0, help="checkpoints that may miss more (default 0)"
    )


def _add_override_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("in place of the scale's values")
    group.add_argument("--chinchilla-multiplier", type=float, help="replaces the scale's multiplier of its tokens")
    group.add_argument("--warmup", type=int, help="warmup steps")
    group.add_argument("--lr", type=float, help="highest learning rate")
    group.add_argument("--wd", type=float, help="weight decay")
    group.add_argument("--cd", type=float, help="learning rate at the end")
    group.add_argument("--global-bs", type=int, help="sequences per step, all processes together")
    group.add_argument("--acc", type=int, help="micro-batches per step of each process")


def params_text(values: Mapping[str, Any]) -> str:
    """The content of `params.txt`: one `name: value` per line, sorted by name."""
    return "".join(f"{name}: {values[name]}\n" for name in sorted(values))


def read_params_text(text: str, where: str) -> dict[str, Any]:
    """Read `params.txt` back: None, booleans, numbers (`3e-05` too) and strings; old names under the new ones.

    Raises:
        ConfigError: a line is not `name: value`; `where` is the file's name.
    """
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, separator, value = line.partition(":")
        if not line.strip():
            continue
        if not separator:
            raise ConfigError(f"{where}:{number}", f"expected 'name: value', got {line!r}")
        values[name.strip()] = _parse_value(value.strip())
    for old, new in (("batch_size", "per_gpu_batch_size"), ("val_batch_size", "per_gpu_val_batch_size")):
        if old in values:
            values.setdefault(new, values.pop(old))
    return values


def _parse_value(text: str) -> Any:
    """A value as `str()` wrote it."""
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
