"""OpenLM's command line: its arguments, their defaults, and those that are ours. Loads no torch.

Names and defaults follow OpenLM, and `params.txt` records them all. `--config FILE` (YAML or JSON) replaces the whole
command line. Ours are in the last group: the order of the data, schedules beyond cosine, phase plans, rolling
checkpoints, weights and masks. Departs from OpenLM in the default of `--precision` where there is no CUDA device.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.command import make_parser
from corpusmith.config import load_yaml
from corpusmith.errors import ConfigError, InputError, did_you_mean
from training.plan.choices import ORDERS, PRECISION_NAMES, SCHEDULERS

FSDP_FLAGS = (
    *("fsdp", "fsdp_amp", "fsdp_pure_bf16", "fsdp_use_orig_params", "fsdp_limit_all_gathers"),
    *("fsdp_backward_prefetch", "fsdp_hybrid", "fsdp_hybrid_o2", "fsdp_cpu_offload", "fsdp_checkpoint"),
)
#: Accepted, so that OpenLM's command lines run; nothing of ours reads them.
WITHOUT_EFFECT: dict[str, Any] = {
    "optimizer": "adamw",
    "epochs_cooldown": int,
    "lr_cooldown_power": 1.0,
    "use_bn_sync": False,
    "torchscript": False,
    "trace": False,
    "distill_model": str,
    "distill_pretrained": str,
    "use_bnb_linear": str,
    "save_most_recent": False,
    "skip_scheduler": False,
    "disable_buffer": False,
    "ignore_parse_errors": False,
    "copy_codebase": False,
    "no_set_device_rank": False,
    "ddp_static_graph": False,
    "debug": False,
    "log_local": False,
    "experimental_meta_device": False,
    "preset_world_size": int,
    "dist_url": "env://",
    "dist_backend": "nccl",
    "failed": False,
    "shard_shuffle_seed": int,
}


@dataclass(frozen=True, slots=True)
class _Flag:
    """Type and default of an argument: a type alone means None; `many` takes several values."""

    default: Any
    kind: type
    many: bool = False


def _flag(value: Any) -> _Flag:
    """`_Flag` of a table entry: a default, a type (default None), or a list of one type (several values)."""
    if isinstance(value, list):
        return _Flag(None, value[0], many=True)
    if isinstance(value, type):
        return _Flag(None, value)
    return _Flag(value, type(value))


_GROUPS: dict[str, dict[str, Any]] = {
    "data": {
        "train_data": [str],
        "train_data_mix_weights": [float],
        "train_data_upsampling_factors": str,
        "dataset_manifest": [str],
        "dataset_type": "auto",
        "dataset_resampled": False,
        "data_key": "txt",
        "train_num_samples": int,
        "multiple_data_passes": False,
        "target_mask_left": int,
        "target_mask_individual": int,
        "squash_mask_left": False,
        "workers": 1,
        "val_data": [str],
        "val_data_key": [str],
        "val_num_samples": int,
        "val_frequency": 1,
        "val_iter_ci": 10000,
        "val_max_pop_ci": int,
        "val_seq_ci": False,
        "val_tok_ci": False,
        "global_val_batch_size": int,
        "data_tolerate_error_p": 0.09,
        "data_tolerate_num_ckpts": 0,
    },
    "model": {
        "model": "open_lm_1b",
        "model_norm": "default_layer_norm",
        "qk_norm": False,
        "positional_embedding_type": "rotary",
        "ffn_type": "swiglu",
        "attn_name": "auto",
        "attn_activation": str,
        "attn_seq_scalar": str,
        "attn_seq_scalar_alpha": float,
        "moe_freq": 0,
        "moe_num_experts": int,
        "moe_weight_parallelism": False,
        "moe_expert_model_parallelism": False,
        "moe_capacity_factor": 1.25,
        "moe_loss_weight": 0.1,
        "moe_top_k": 2,
        "pretrained": str,
        "load_pretrained_state": False,
        "average": [str],
        "average_coefficients": [float],
        "grad_checkpointing": False,
        "torchcompile": False,
    },
    "recipe": {
        "epochs": 32,
        "global_batch_size": 64,
        "accum_freq": 1,
        "lr": 5e-4,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "wd": 0.2,
        "warmup": 10000,
        "lr_scheduler": "cosine",
        "lr_cooldown_end": 0.0,
        "force_min_lr": 0.0,
        "grad_clip_norm": float,
        "z_loss_coefficient": 0.0,
        "precision": str,
        "averagers": str,
        "log_avg_model_training_loss": 0,
        "seed": 0,
    },
    "run": {
        "name": str,
        "logs": "./logs/",
        "resume": str,
        "save_frequency": 1,
        "delete_previous_checkpoint": False,
        "log_every_n_steps": 100,
        "log_logit_mean": False,
        "report_to": "",
        "wandb_project_name": "open-lm",
        "wandb_notes": "",
        "remote_sync": str,
        "remote_sync_frequency": 300,
        "remote_sync_protocol": "s3",
        "force_distributed": False,
        **dict.fromkeys(FSDP_FLAGS, False),
    },
    "ours": {
        "data_order": "global",
        "window_shards": 4,
        "lr_decay": "linear",
        "lr_decay_steps": int,
        "phase_plan": str,
        "domain_weights": [str],
        "document_separator": int,
        "save_every": 0,
        "max_loss_rise": 5.0,
        "no_sequence_log": False,
        "prefetch": 4,
        "fsdp_on_cpu": False,
        "wandb_offline": False,
    },
    "accepted without effect": WITHOUT_EFFECT,
}
#: Arguments that OpenLM does not have.
OWN_ARGUMENTS = tuple(_GROUPS["ours"])
_CHOICES: dict[str, Sequence[str]] = {
    "data_order": ORDERS,
    "precision": PRECISION_NAMES,
    "lr_scheduler": SCHEDULERS,
    "lr_decay": ("linear", "cosine", "1-sqrt"),
    "dataset_type": ("auto", "webdataset", "synthetic"),
}
_HELP = {
    "data_order": "global (default): one order for any number of processes; openlm: shards dealt out to readers",
    "window_shards": "shards that the global order shuffles together (default 4)",
    "lr_scheduler": "cosine, const, or wsd: warm-up, stable, then --lr-decay over --lr-decay-steps",
    "lr_decay": "shape of the decay of wsd (default linear)",
    "lr_decay_steps": "steps of the decay of wsd (default a tenth of all)",
    "phase_plan": "YAML of phases (data, length, learning rate, objective) in place of the data and recipe flags",
    "domain_weights": "factors of the loss by domain: NAME=FACTOR …",
    "document_separator": "token id that ends a document; tokens attend within their document",
    "save_every": "write a rolling checkpoint every so many steps too (default 0: none)",
    "max_loss_rise": "end the run when the loss is so many nats above its recent mean (default 5)",
    "no_sequence_log": "don't write which sequence was read at which step",
    "prefetch": "batches to read ahead (default 4)",
    "fsdp_on_cpu": "shard with gloo where there is no CUDA device; by default --fsdp counts with CUDA only",
    "train_num_samples": "tokens between two checkpoints",
    "epochs": "checkpoints to write, each after fresh data",
    "dataset_manifest": "manifest.jsonl of webdataset shards, or the index of another format; several are mixed",
    "train_data": "token shards, read over and over in the global order",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of `training.main`."""
    parser = make_parser(
        "training.main",
        "OpenLM's trainer: its command line, on today's PyTorch.",
        "torchrun --nproc-per-node 2 -m training.main -- --dataset-manifest tokens/manifest.jsonl --data-key json.gz "
        "--model tiny --train-num-samples 1000000 --epochs 2 --name demo --precision fp32",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML or JSON that replaces the whole command line")
    for title, entries in _GROUPS.items():
        group = parser.add_argument_group(title)
        for name, value in entries.items():
            _add(group, name, _flag(value))
    return parser


def _add(group: argparse._ArgumentGroup, name: str, flag: _Flag) -> None:
    options = [f"--{name.replace('_', '-')}"]
    if name == "z_loss_coefficient":
        options.append("--z-loss")
    help_text = _HELP.get(name, "" if flag.default in (None, False, "") else f"default {flag.default}")
    if flag.kind is bool:
        group.add_argument(*options, action="store_true", help=help_text)
    else:
        group.add_argument(
            *options,
            dest=name,
            type=flag.kind,
            default=flag.default,
            nargs="+" if flag.many else None,
            choices=_CHOICES.get(name),
            help=help_text,
        )


def parse_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command line by name, or those of the file that it names with `--config`.

    Raises:
        ConfigError: the file has an unknown key or a value of another type.
        InputError: `--config` beside other arguments.
    """
    values = vars(build_parser().parse_args(list(argv)))
    path = values.pop("config")
    if path is None:
        return values
    if any(argument.startswith("--") and not argument.startswith("--config") for argument in argv):
        raise InputError("--config replaces the whole command line; give no other arguments")
    return _from_file(path)


def _from_file(path: str) -> dict[str, Any]:
    """Arguments from a YAML or JSON file."""
    document = load_yaml(path)
    if not isinstance(document.data, Mapping):
        raise ConfigError(document.where(), "a config is a mapping of argument names to values")
    flags = {name: _flag(value) for entries in _GROUPS.values() for name, value in entries.items()}
    values = {name: flag.default for name, flag in flags.items()}
    for key, value in document.data.items():
        name = str(key).replace("-", "_")
        if name not in flags:
            raise ConfigError(document.where(key), f"unknown key{did_you_mean(name, flags)}")
        values[name] = _typed(value, flags[name], document.where(key))
        if name in _CHOICES and values[name] is not None and values[name] not in _CHOICES[name]:
            raise ConfigError(document.where(key), f"must be one of {', '.join(_CHOICES[name])}, got {value!r}")
    return values


def _typed(value: Any, flag: _Flag, where: str) -> Any:
    """A value of a config file, if it is of the argument's type; `3e-5` is a number, which YAML calls a string."""
    if value is None and flag.default is None:
        return None
    if flag.many:
        return [_typed(item, _Flag(None, flag.kind), where) for item in (value if isinstance(value, list) else [value])]
    if flag.kind is float and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    if type(value) is not flag.kind:
        raise ConfigError(where, f"must be of type {flag.kind.__name__}, got {value!r}")
    return value
