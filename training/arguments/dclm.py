"""The flags of `training.train`.

Follows DCLM. Loads no torch. Departs from it in taking the data set's reference also as a bare positional, in
`--val-data` beside fixed validation sets, in the default of `--precision`, which is fp32 where there is no CUDA device,
and in the last group of flags, which are ours.
"""

from __future__ import annotations

import argparse

from corpusmith.command import make_parser
from training.hyperparameters import DEFAULT_SEED
from training.plan.choices import ATTENTION_NAMES, ORDERS, PRECISION_NAMES, SCHEDULERS

DEFAULT_GIT_DB = "exp_data/models"
OWN_BACKEND, OPEN_LM_BACKEND = "corpusmith", "open_lm"
BACKENDS = (OWN_BACKEND, OPEN_LM_BACKEND)


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
    _add_validation_flags(parser)
    _add_override_flags(parser)
    _add_own_flags(parser)
    return parser


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("dataset", nargs="?", metavar="DATASET.json", help="the same as --data-config")
    add("--data-config", metavar="DATASET.json", help="reference JSON of the tokenized data set")
    add("--multiple-data-passes", action="store_true", help="read the data again where it runs out")
    add("--workers", type=int, default=2, help="loader workers of each process (default 2)")
    add("--manifest-prefix-override", metavar="URL", help="read the manifest, by its own file name, from this folder")
    add("--prefix-replacement", metavar="OLD=NEW", help="replace a leading OLD in the data set's URLs by NEW")
    add("--mirror", metavar="KEY", help="use the URLs that the reference has for this mirror")
    add(
        "--data-tolerate-error-p",
        type=float,
        default=0.09,
        help="a checkpoint may miss this share of its steps (default 0.09)",
    )
    add("--data-tolerate-num-ckpts", type=int, default=0, help="checkpoints that may miss more (default 0)")


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    add = group.add_argument
    add("--scale", help="stem of a file in training/configs/, or the leaderboard's name: 400M-1x, 1B-5x, 7B-2x …")
    add("--logs", metavar="DIR", help="the run's folder becomes DIR/NAME")
    add("--git-db", default=DEFAULT_GIT_DB, metavar="DIR", help="folder of the model's reference JSON")
    add("--name-suffix", default="", help="appended to the run's name as it is")
    add("--precision", choices=PRECISION_NAMES, help="default amp_bfloat16; fp32 where there is no CUDA device")
    add("--num-checkpoints", type=int, default=5, help="checkpoints to write, each after fresh data (default 5)")
    add("--seed", type=int, default=DEFAULT_SEED, help=f"default {DEFAULT_SEED}")
    add("--pretrained", metavar="CHECKPOINT", help="start from these weights, with a new optimizer")
    add("--load-pretrained-state", action="store_true", help="with --pretrained: optimizer and position too")
    add("--attn-name", choices=ATTENTION_NAMES, default="auto", help="all but custom_attn mean torch's own")
    add("--torchcompile", action="store_true", help="compile the model")
    add("--averagers", metavar="LIST", help="averages of the weights to keep: poly_8_1, ema_0.99_1 …")
    add("--log-avg-model-training-loss", type=int, default=0, metavar="STEPS", help="log their loss every so often")
    add("--skip-train", action="store_true", help="only write the model's reference of a run that is complete")
    add("--remote-sync", metavar="URL", help="copy the run's folder below this URL while it trains")
    add("--clean-exp", action="store_true", help="remove the local folder at the end; needs --remote-sync")
    add("--partial-model-dir", metavar="DIR", help="write a model reference there for each checkpoint")
    add("--report-to-wandb", action="store_true", help="the same as --report-to wandb")
    add("--report-to", default="", metavar="NAMES", help="tensorboard, wandb, both with a comma, or all")
    add("--backend", choices=BACKENDS, default=OWN_BACKEND, help="open_lm: the original package, where it is installed")
    add("--log-every", type=int, default=20, metavar="STEPS", help="log every so many steps (default 20)")


def _add_validation_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("validation")
    add = group.add_argument
    add(
        "--val-data",
        nargs="+",
        default=[],
        metavar="PATH",
        help="a tokenized data set's reference JSON, an index or a .tar; several may be given",
    )
    add(
        "--val-data-key",
        nargs="+",
        default=[],
        metavar="KEY",
        help="member extension of each --val-data: json.gz, json or txt (default: as its reference says, or json.gz)",
    )
    add("--val-frequency", type=int, default=5, help="every so many checkpoints, and at the end (default 5)")
    add("--do-eval", action="store_true", help="validate on DCLM's open_lm_val and c4_val in --val-sets-dir")
    add("--downstream-eval", action="store_true", help="mask the prompts of --val-data, with bootstrap intervals")
    add("--tokmult-eval", action="store_true", help="validate on --val-data as it stands")
    add("--val-sets-dir", default="eval_data/validation", metavar="DIR", help="folder of DCLM's validation sets")
    add("--re-evaluate", metavar="MODEL.json", help="no training: validate this model and update its reference")
    add("--remote-sync-override", metavar="URL", help="with --re-evaluate: where its checkpoints are, in place of")


def _add_override_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("in place of the scale's values")
    add = group.add_argument
    add("--chinchilla-multiplier", type=float, help="replaces the scale's multiplier of its tokens")
    add("--warmup", type=int, help="warmup steps")
    add("--lr", type=float, help="highest learning rate")
    add("--wd", type=float, help="weight decay")
    add("--cd", type=float, help="learning rate at the end")
    add("--global-bs", type=int, help="sequences per step, all processes together")
    add("--acc", type=int, help="micro-batches per step of each process")


def _add_own_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("beyond DCLM")
    add = group.add_argument
    add(
        "--data-order",
        choices=ORDERS,
        default=ORDERS[0],
        help="global (default): the same order for any number of processes; openlm: OpenLM's dealing out of shards",
    )
    add("--lr-scheduler", choices=SCHEDULERS[:3], default="cosine", help="cosine (default), const or wsd")
    add("--lr-decay", choices=("linear", "cosine", "1-sqrt"), default="linear", help="shape of the decay of wsd")
    add("--lr-decay-steps", type=int, help="steps of the decay of wsd (default a tenth)")
    add("--domain-weights", nargs="+", default=[], metavar="NAME=FACTOR", help="factors of the loss by domain")
    add("--document-separator", type=int, metavar="ID", help="tokens attend within documents, which end with this id")
    add("--save-every", type=int, default=0, metavar="STEPS", help="write a rolling checkpoint every so often too")
    add("--phase-plan", metavar="PLAN.yaml", help="phases (data, length, learning rate) in place of one data set")
