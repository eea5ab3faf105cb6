"""The list of OpenLM arguments that DCLM's flags and a scale become: what runs, and what the reference records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from corpusmith.errors import InputError
from corpusmith.expdb.references import DatasetReference
from corpusmith.io import storage
from training.arguments.options import ExperimentOptions
from training.hyperparameters import Hyperparameters

WANDB_PROJECT = "dcnlp"
#: DCLM's validation sets: files below `--val-sets-dir`, and the data key of each.
VALIDATION_SETS: dict[str, tuple[tuple[str, ...], str]] = {
    "open_lm_val": (("shard_00000000.tar",), "json"),
    "c4_val": (tuple(f"shard-{number:07d}.tar" for number in range(11)), "txt"),
}
_DOWNSTREAM = (
    *("--squash-mask-left", "--target-mask-individual", "50400", "--target-mask-left", "50300"),
    *("--val-tok-ci", "--val-seq-ci", "--val-max-pop-ci", "300000"),
)


def trainer_arguments(
    options: ExperimentOptions, scale: Hyperparameters, dataset: DatasetReference | None, name: str, precision: str
) -> list[str]:
    """The arguments, in DCLM's order, ours last.

    Args:
        options: what the user asked for.
        scale: after all overrides.
        dataset: to train on; without one the arguments are those of a re-evaluation.
        name: of the run.
        precision: as `--precision` names it.

    Raises:
        InputError: flags that exclude each other, or a validation set that is missing.
    """
    arguments: list[Any] = [
        *("--workers", options.workers),
        *("--precision", precision),
        *("--global-batch-size", scale.global_bs),
        *("--log-every-n-steps", options.log_every),
        *("--grad-clip-norm", 1),
        *("--lr", scale.lr),
        *("--warmup", scale.warmup),
        *("--model", scale.model),
        *("--wd", scale.wd),
        *("--beta2", 0.95),
        *("--epochs", options.num_checkpoints),
        *("--resume", "latest"),
        *("--seed", scale.seed),
        *("--accum-freq", scale.acc),
        *("--model-norm", scale.norm),
        "--delete-previous-checkpoint",
        *("--lr-cooldown-end", scale.cd),
        *("--logs", options.logs),
        *("--attn-name", options.attn_name),
        "--log-logit-mean",
        *("--data-tolerate-error-p", options.data_tolerate_error_p),
        *("--data-tolerate-num-ckpts", options.data_tolerate_num_ckpts),
    ]
    if options.pretrained:
        arguments += ["--pretrained", options.pretrained]
        arguments += ["--load-pretrained-state"] if options.load_pretrained_state else []
    if options.multiple_data_passes:
        arguments += ["--multiple-data-passes"]
    if options.averagers:
        arguments += ["--averagers", options.averagers]
        arguments += ["--log-avg-model-training-loss", options.log_avg_model_training_loss]
    if dataset is not None:
        arguments += ["--train-num-samples", scale.tokens // options.num_checkpoints]
        arguments += ["--dataset-manifest", dataset.manifest_url, "--data-key", dataset.data_key, "--name", name]
        arguments += scale.fsdp_flags
    else:
        arguments += ["--name", name]
    arguments += _validation_arguments(options)
    if report_to := options.report_to or ("wandb" if options.report_to_wandb else ""):
        arguments += ["--report-to", report_to, "--wandb-project-name", WANDB_PROJECT]
    arguments += ["--qk-norm"] if scale.qk_norm else []
    arguments += ["--grad-checkpointing"] if scale.grad_checkpointing else []
    arguments += ["--z-loss", scale.z_loss] if scale.z_loss > 0 else []
    arguments += ["--remote-sync", options.remote_sync] if options.remote_sync else []
    arguments += ["--torchcompile"] if options.torchcompile else []
    return [str(argument) for argument in [*arguments, *_own_arguments(options)]]


def _validation_arguments(options: ExperimentOptions) -> list[Any]:
    """Which sets, with which keys, how often."""
    if options.downstream_eval and options.tokmult_eval:
        raise InputError("--downstream-eval and --tokmult-eval exclude each other")
    paths, keys = list(options.val_data), list(options.val_data_key)
    if options.do_eval and not paths:
        paths, keys = _standard_sets(options.val_sets_dir)
    if not paths:
        if options.downstream_eval or options.tokmult_eval:
            raise InputError("DCLM's sets for this are not published; name yours with --val-data")
        return []
    arguments: list[Any] = ["--val-data", *paths, "--val-frequency", options.val_frequency]
    arguments += ["--val-data-key", *keys] if keys else []
    return arguments + (list(_DOWNSTREAM) if options.downstream_eval else [])


def _standard_sets(folder: str) -> tuple[list[str], list[str]]:
    """Paths and keys of DCLM's sets, each shard a set of its own."""
    paths, keys = [], []
    for name, (files, key) in VALIDATION_SETS.items():
        for file in files:
            path = storage.join(folder, name, file)
            if not storage.exists(path):
                raise InputError(
                    f"--do-eval: {path} is missing; put DCLM's validation sets {', '.join(VALIDATION_SETS)} below "
                    "--val-sets-dir, or name your own with --val-data"
                )
            paths.append(path)
            keys.append(key)
    return paths, keys


def _own_arguments(options: ExperimentOptions) -> Sequence[Any]:
    """What OpenLM lacks, where it is not left at its default."""
    arguments: list[Any] = []
    if options.data_order != "global":
        arguments += ["--data-order", options.data_order]
    if options.lr_scheduler != "cosine":
        arguments += ["--lr-scheduler", options.lr_scheduler, "--lr-decay", options.lr_decay]
    for flag, value in (
        ("--lr-decay-steps", options.lr_decay_steps),
        ("--document-separator", options.document_separator),
        ("--save-every", options.save_every or None),
        ("--phase-plan", options.phase_plan),
    ):
        arguments += [] if value is None else [flag, value]
    arguments += ["--domain-weights", *options.domain_weights] if options.domain_weights else []
    return arguments
