"""Entry of the trainer: `torchrun --nproc-per-node N -m training.train -- --scale S --data-config D --logs L`.

Works as one plain process too. Torch is imported after the flags are parsed, so that help is instant.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from corpusmith.command import run_command
from corpusmith.errors import InputError, missing_package
from training.arguments.dclm import OPEN_LM_BACKEND, build_parser

__all__ = ["build_parser", "main", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Train as the flags say; returns the exit code."""
    values = vars(arguments).copy()
    positional = values.pop("dataset")
    if values["re_evaluate"] is None:
        for name in ("scale", "logs"):
            if values[name] is None:
                raise InputError(f"--{name} is required")
        if (positional is None) == (values["data_config"] is None):
            raise InputError("give the data set's reference JSON once, with --data-config or as a bare argument")
    values["data_config"] = values["data_config"] or positional or ""
    values |= {name: values[name] or "" for name in ("scale",)} | {"logs": values["logs"] or "logs"}
    if importlib.util.find_spec("torch") is None:
        raise missing_package("torch", "train")
    from training.arguments.options import ExperimentOptions
    from training.experiment import run_experiment

    for name in ("val_data", "val_data_key", "domain_weights"):
        values[name] = tuple(values[name])
    if values["backend"] == OPEN_LM_BACKEND:
        from training.open_lm_backend import train_with_open_lm

        run_experiment(ExperimentOptions(**values), train_with_open_lm)
    else:
        run_experiment(ExperimentOptions(**values))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; a literal `--` in front, which torchrun passes through, is dropped."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_command(build_parser(), run, arguments[1:] if arguments[:1] == ["--"] else arguments)


if __name__ == "__main__":
    raise SystemExit(main())
