"""A whole run: from a data set's reference and a scale to a trained model and its reference JSON.

Follows DCLM's `training.train`: the friendly name, the list of trainer arguments, the reference in `exp_data/models`,
or in `exp_data/failed_models` where training failed. Departs from it in that a failure ends with exit code 1 (or 2 for
a user's mistake), not 0; and in that the trainer is called, not started.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

import corpusmith
from corpusmith import expdb
from corpusmith.errors import ConfigError, CorpusmithError, InputError, RunFailed
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.checkpoint import CHECKPOINTS, PARAMS_NAME, TrainState
from training.distributed import Ranks, process_group, read_ranks, wait_for_all
from training.hyperparameters import DEFAULT_SEED, Hyperparameters, apply_overrides, friendly_name, get_scale
from training.loader import read_sequences
from training.loop import TrainConfig, total_steps, train
from training.model import Transformer
from training.model_config import load_model_config, model_stem
from training.params import DEFAULT_GIT_DB
from training.recipe import Recipe, tf32_matmul
from training.validation import (
    TokenShards,
    count_training_tokens,
    find_token_shards,
    result_object,
    unigram_loss,
    validation_loss,
)

FAILED_FOLDER = "failed_models"
RESULTS_NAME = "results.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentOptions:
    """What the user asked for; names as the flags of `training.params`, None where a flag was not given."""

    scale: str
    data_config: str
    logs: str
    git_db: str = DEFAULT_GIT_DB
    name_suffix: str = ""
    workers: int = 2
    precision: str | None = None
    num_checkpoints: int = 5
    seed: int = DEFAULT_SEED
    multiple_data_passes: bool = False
    pretrained: str | None = None
    torchcompile: bool = False
    log_every: int = 20
    data_tolerate_error_p: float = 0.09
    data_tolerate_num_ckpts: int = 0
    val_data: tuple[str, ...] = ()
    val_data_key: tuple[str, ...] = ()
    val_frequency: int = 5
    chinchilla_multiplier: float | None = None
    warmup: int | None = None
    lr: float | None = None
    wd: float | None = None
    cd: float | None = None
    global_bs: int | None = None
    acc: int | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A run whose inputs were read and whose name is known; nothing has been trained or written yet."""

    options: ExperimentOptions
    dataset: expdb.DatasetReference
    hyperparameters: Hyperparameters
    config: TrainConfig
    validation: list[TokenShards]
    arguments: list[str]

    @property
    def name(self) -> str:
        """The friendly name."""
        return self.config.name

    @property
    def reference_url(self) -> str:
        """Where the model's reference JSON goes."""
        return storage.join(self.options.git_db, f"{self.name}.json")

    @property
    def failed_url(self) -> str:
        """Where the reference of a failed run goes."""
        return storage.join(storage.parent(self.options.git_db), FAILED_FOLDER, f"{self.name}.json")


def run_experiment(options: ExperimentOptions) -> None:
    """Train, validate and write the model's reference; every rank calls it.

    A run that is finished says so and returns; one that was interrupted continues from its last checkpoint.

    Raises:
        UserError: inputs that can't be used.
        RunFailed: training failed; the traceback is in `failed_models`.
    """
    ranks = read_ranks()
    experiment = plan_experiment(options, ranks)
    if storage.exists(experiment.reference_url):
        if ranks.leads:
            say(f"{experiment.name} is already trained: {experiment.reference_url}")
        return
    with process_group(ranks):
        try:
            with tf32_matmul():
                state = train(experiment.config, ranks, _validator(experiment, ranks))
            if ranks.leads:
                _finish(experiment, state)
            wait_for_all(ranks)
        except Exception as error:  # the command line's boundary: whatever failed is recorded, then told in one line
            if ranks.leads:
                _record_failure(experiment)
            if isinstance(error, CorpusmithError):
                raise
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise RunFailed(f"training failed on rank {ranks.rank} ({reason}); see {experiment.failed_url}") from error


def plan_experiment(options: ExperimentOptions, ranks: Ranks) -> Experiment:
    """Read all inputs and derive the run; nothing is written.

    Raises:
        UserError: an input that is missing or doesn't fit.
    """
    dataset = expdb.load_dataset(options.data_config)
    if not dataset.tokenized or not dataset.manifest_url:
        raise InputError(f"{options.data_config} is not the reference of a tokenized data set with a manifest")
    if options.num_checkpoints < 1:
        raise InputError(f"--num-checkpoints must be at least 1, got {options.num_checkpoints}")
    scale = apply_overrides(
        get_scale(options.scale), seed=options.seed, chinchilla_multiplier=options.chinchilla_multiplier,
        warmup=options.warmup, lr=options.lr, wd=options.wd, cd=options.cd, global_bs=options.global_bs,
        acc=options.acc,
    )  # fmt: skip
    name = friendly_name(dataset.name, scale, options.name_suffix)
    precision = options.precision or ("amp_bfloat16" if ranks.device.type == "cuda" else "fp32")
    arguments = trainer_arguments(options, scale, dataset, name, precision)
    return Experiment(
        options=options,
        dataset=dataset,
        hyperparameters=scale,
        config=_train_config(options, scale, dataset, name, precision),
        validation=_validation_data(options),
        arguments=arguments,
    )


def _train_config(
    options: ExperimentOptions, scale: Hyperparameters, dataset: expdb.DatasetReference, name: str, precision: str
) -> TrainConfig:
    """The loop's config."""
    model = load_model_config(scale.model, model_norm=scale.norm, qk_norm=scale.qk_norm)
    if model.vocab_size != scale.vocab_size:
        message = f"the scale says {scale.vocab_size}, the model config {scale.model} says {model.vocab_size}"
        raise ConfigError(f"{options.scale}: vocab_size", message)
    sequences = scale.tokens // options.num_checkpoints // model.seq_len
    recipe = Recipe(
        learning_rate=scale.lr,
        final_learning_rate=scale.cd,
        warmup_steps=scale.warmup,
        total_steps=total_steps(sequences, options.num_checkpoints, scale.global_bs),
        weight_decay=scale.wd,
        z_loss=scale.z_loss,
    )
    return TrainConfig(
        name=name,
        folder=storage.join(options.logs, name),
        model=model,
        recipe=recipe,
        manifest_urls=[dataset.manifest_url or ""],
        data_key=dataset.data_key or "json.gz",
        global_batch_size=scale.global_bs,
        accumulation=scale.acc,
        sequences_per_epoch=sequences,
        num_checkpoints=options.num_checkpoints,
        seed=scale.seed,
        workers=options.workers,
        precision=precision,
        multiple_passes=options.multiple_data_passes,
        grad_checkpointing=scale.grad_checkpointing,
        compile=options.torchcompile,
        pretrained=options.pretrained,
        log_every=options.log_every,
        tolerate_error_p=options.data_tolerate_error_p,
        tolerate_num_checkpoints=options.data_tolerate_num_ckpts,
        params=_params(options, scale, dataset, precision, asdict(model), sequences),
    )


def _params(
    options: ExperimentOptions, scale: Hyperparameters, dataset: expdb.DatasetReference, precision: str,
    model: dict[str, Any], sequences: int,
) -> dict[str, Any]:  # fmt: skip
    """The lines of `params.txt` that the plan knows, under OpenLM's names."""
    return {
        "accum_freq": scale.acc,
        "attn_activation": None,
        "attn_name": "torch_attn",
        "attn_seq_scalar": None,
        "attn_seq_scalar_alpha": None,
        "beta1": 0.9,
        "beta2": 0.95,
        "data_key": dataset.data_key,
        "data_tolerate_error_p": options.data_tolerate_error_p,
        "data_tolerate_num_ckpts": options.data_tolerate_num_ckpts,
        "dataset_manifest": [dataset.manifest_url],
        "delete_previous_checkpoint": True,
        "epochs": options.num_checkpoints,
        "eps": 1e-8,
        "ffn_type": model["ffn_type"],
        "force_min_lr": 0.0,
        "global_batch_size": scale.global_bs,
        "grad_checkpointing": scale.grad_checkpointing,
        "grad_clip_norm": 1.0,
        "log_every_n_steps": options.log_every,
        "logs": options.logs,
        "lr": scale.lr,
        "lr_cooldown_end": scale.cd,
        "lr_scheduler": "cosine",
        "model": model_stem(scale.model),
        "model_norm": model["model_norm"],
        "multiple_data_passes": options.multiple_data_passes,
        "positional_embedding_type": model["positional_embedding_type"],
        "precision": precision,
        "pretrained": options.pretrained,
        "qk_norm": model["qk_norm"],
        "seed": scale.seed,
        "torchcompile": options.torchcompile,
        "train_num_samples": sequences,
        "val_data": list(options.val_data) or None,
        "val_frequency": options.val_frequency,
        "warmup": scale.warmup,
        "wd": scale.wd,
        "workers": options.workers,
        "z_loss_coefficient": scale.z_loss,
    }


def trainer_arguments(
    options: ExperimentOptions, scale: Hyperparameters, dataset: expdb.DatasetReference, name: str, precision: str
) -> list[str]:
    """The argument list that DCLM hands to OpenLM, recorded in the model's reference, in DCLM's order."""
    arguments: list[Any] = [
        "--workers", options.workers, "--precision", precision, "--global-batch-size", scale.global_bs,
        "--log-every-n-steps", options.log_every, "--grad-clip-norm", 1, "--lr", scale.lr, "--warmup", scale.warmup,
        "--model", scale.model, "--wd", scale.wd, "--beta2", 0.95, "--epochs", options.num_checkpoints,
        "--resume", "latest", "--seed", scale.seed, "--accum-freq", scale.acc, "--model-norm", scale.norm,
        "--delete-previous-checkpoint", "--lr-cooldown-end", scale.cd, "--logs", options.logs,
        "--attn-name", "auto", "--log-logit-mean", "--data-tolerate-error-p", options.data_tolerate_error_p,
        "--data-tolerate-num-ckpts", options.data_tolerate_num_ckpts,
    ]  # fmt: skip
    if options.pretrained:
        arguments += ["--pretrained", options.pretrained]
    if options.multiple_data_passes:
        arguments += ["--multiple-data-passes"]
    arguments += ["--train-num-samples", scale.tokens // options.num_checkpoints]
    arguments += ["--dataset-manifest", dataset.manifest_url, "--data-key", dataset.data_key, "--name", name]
    arguments += scale.fsdp_flags
    if options.val_data:
        arguments += ["--val-data", *options.val_data, "--val-frequency", options.val_frequency]
    if options.val_data_key:
        arguments += ["--val-data-key", *options.val_data_key]
    if scale.qk_norm:
        arguments += ["--qk-norm"]
    if scale.grad_checkpointing:
        arguments += ["--grad-checkpointing"]
    if scale.z_loss > 0:
        arguments += ["--z-loss", scale.z_loss]
    if options.torchcompile:
        arguments += ["--torchcompile"]
    return [str(argument) for argument in arguments]


def _validation_data(options: ExperimentOptions) -> list[TokenShards]:
    """The validation sets, each with its own data key where keys are given."""
    keys: list[str | None] = list(options.val_data_key) or [None] * len(options.val_data)
    if len(keys) == 1:
        keys *= len(options.val_data)
    if len(keys) != len(options.val_data):
        raise InputError(f"--val-data-key has {len(keys)} values for {len(options.val_data)} of --val-data")
    if options.val_frequency < 1:
        raise InputError(f"--val-frequency must be at least 1, got {options.val_frequency}")
    return [find_token_shards(path, key) for path, key in zip(options.val_data, keys, strict=True)]


def _validator(experiment: Experiment, ranks: Ranks) -> Callable[[Transformer, TrainState], list[dict[str, Any]]]:
    """What the loop calls after each epoch: validates at the asked frequency and at the end."""

    def validate(model: Transformer, state: TrainState) -> list[dict[str, Any]]:
        if not (state.is_final or state.epoch % experiment.options.val_frequency == 0):
            return []
        return [_validate_on(experiment, ranks, model, state, shards) for shards in experiment.validation]

    return validate


def _validate_on(
    experiment: Experiment, ranks: Ranks, model: Transformer, state: TrainState, shards: TokenShards
) -> dict[str, Any]:
    """Loss on one validation set; rank 0 adds the unigram loss, says both and appends them to `results.jsonl`."""
    config = experiment.config
    spec = config.batch_spec(ranks)
    found = validation_loss(model, shards, spec, precision=config.precision, ranks=ranks)
    train_tokens = state.epoch * config.sequences_per_epoch * config.model.seq_len
    result = result_object(
        found, shards, model=model_stem(experiment.hyperparameters.model), ranks=ranks, train_tokens=train_tokens
    )
    if ranks.leads:
        training = find_token_shards(experiment.dataset.manifest_url or "", config.data_key)
        counts = count_training_tokens(read_sequences(training.urls, spec), spec.vocab_size)
        result["unigram_loss"] = unigram_loss(found.target_counts, counts)
        say(f"validation loss {found.loss:.4f} (unigram {result['unigram_loss']:.4f})")
        _append_result(storage.join(config.folder, CHECKPOINTS, RESULTS_NAME), result)
    return result


def _append_result(url: str, result: dict[str, Any]) -> None:
    """Add a line to `results.jsonl`: a list with the object of one validation set."""
    before = storage.read_bytes(url) if storage.exists(url) else b""
    storage.write_bytes(url, before + orjson.dumps([result]) + b"\n")


def _finish(experiment: Experiment, state: TrainState) -> None:
    """Write the model's reference; what an earlier attempt left in `failed_models` goes."""
    folder = experiment.config.folder
    reference = _reference(
        experiment,
        checkpoint_url=storage.join(folder, CHECKPOINTS, f"epoch_{state.epoch}.pt"),
        results=state.evaluation,
    )
    expdb.write_reference(reference, experiment.reference_url)
    storage.remove(experiment.failed_url)
    say(f"trained {experiment.name}: {experiment.reference_url}")


def _record_failure(experiment: Experiment) -> None:
    """Write the reference of a failed run, the traceback in `error`."""
    reference = _reference(experiment, checkpoint_url="", results=[], error=traceback.format_exc())
    expdb.write_reference(reference, experiment.failed_url, overwrite=True)


def _reference(
    experiment: Experiment, *, checkpoint_url: str, results: list[dict[str, Any]], error: str = ""
) -> expdb.ModelReference:
    return expdb.ModelReference(
        name=experiment.name,
        dataset_name=experiment.dataset.name,
        dataset_uuid=experiment.dataset.uuid,
        hyperparameters=experiment.hyperparameters.to_json(),
        checkpoint_url=checkpoint_url,
        open_lm_version=f"corpusmith-{corpusmith.__version__}",
        open_lm_args=experiment.arguments,
        results=results,
        params_url=storage.join(experiment.config.folder, PARAMS_NAME),
        failed=bool(error),
        error=error,
    )
