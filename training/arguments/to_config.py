"""From OpenLM's arguments to a run: its config, its validation, its start.

What an argument means is decided here and nowhere else; what is refused is refused by name before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from corpusmith.errors import InputError
from corpusmith.io import storage
from training.arguments.openlm import FSDP_FLAGS
from training.data.masking import TargetMask
from training.loop.train_loop import total_steps, train
from training.loop.validator import evaluate_only, make_validator
from training.models.config import ModelConfig, load_model_config, model_stem
from training.observers.observer import Observer, OutLog, TrainingBar, TrainLog
from training.observers.remote_sync import remote_copy
from training.observers.trackers import LossPlot, make_trackers, tracker_names
from training.optimization.averagers import parse_averagers
from training.optimization.recipe import Recipe, default_precision, tf32_matmul
from training.optimization.schedule import Schedule, constant_schedule, cosine_schedule, wsd_schedule
from training.optimization.step import StepConfig
from training.plan.config import TrainConfig
from training.plan.phase_plan import DataSource, Phase, PhasePlan, load_phase_plan
from training.state.checkpoint import RunProgress
from training.state.ranks import Ranks, process_group, read_ranks
from training.state.run_folder import OUT_LOG
from training.state.sharding import AMP, PURE_BF16, Sharding

#: The part of the steps that `wsd` decays over by default.
DECAY_SHARE = 10


def run(values: Mapping[str, Any], observers: Sequence[Observer] = ()) -> RunProgress:
    """Train as the arguments say, or evaluate where they name validation data only; every rank calls it.

    `observers` look on beside those that the arguments ask for.
    """
    ranks = read_ranks()
    with process_group(ranks), tf32_matmul():
        if not _training_sources(values) and values["phase_plan"] is None:
            precision = values["precision"] or default_precision(ranks.device)
            return evaluate_only(make_model_config(values), values, ranks, precision, make_mask(values))
        config = make_config(values, ranks)
        validator = make_validator(values, config, ranks)
        remote = values["remote_sync"] and storage.join(values["remote_sync"], config.name)
        with remote_copy(remote, config.folder, ranks, values["remote_sync_frequency"]) as syncs:
            return train(config, ranks, validator, [*make_observers(values), *syncs, *observers])


def make_observers(values: Mapping[str, Any]) -> list[Observer]:
    """What looks on at a run that these arguments describe."""
    trackers = make_trackers(
        values["report_to"],
        project=values["wandb_project_name"],
        notes=values["wandb_notes"],
        offline=values["wandb_offline"],
    )
    return [TrainLog(), OutLog(), TrainingBar(), LossPlot(), *trackers]


def make_config(values: Mapping[str, Any], ranks: Ranks) -> TrainConfig:
    """The loop's config.

    Raises:
        UserError: an argument that can't be used.
    """
    _refuse(values)
    model = make_model_config(values)
    plan, sequences = _plan(values, model)
    name = values["name"] or f"{model_stem(values['model'])}-lr_{values['lr']}-b_{values['global_batch_size']}"
    folder = storage.join(values["logs"], name)
    if values["resume"] is None and storage.exists(storage.join(folder, OUT_LOG)):
        raise InputError(f"{folder} holds a run; use --resume latest to go on with it, or another --name")
    precision = values["precision"] or default_precision(ranks.device)
    return TrainConfig(
        name=name,
        folder=folder,
        model=model,
        step=_step_config(values, ranks, precision),
        plan=plan,
        seed=values["seed"],
        order=values["data_order"],
        window_shards=values["window_shards"],
        sequences_per_epoch=sequences,
        workers=values["workers"],
        prefetch=values["prefetch"],
        mask=make_mask(values),
        pretrained=values["pretrained"],
        load_pretrained_state=values["load_pretrained_state"],
        average=tuple(_average(values)),
        resume=values["resume"],
        averagers=parse_averagers(values["averagers"]),
        log_average_every=values["log_avg_model_training_loss"],
        log_every=values["log_every_n_steps"],
        log_logit_mean=values["log_logit_mean"],
        sequence_log=not values["no_sequence_log"],
        save_every=values["save_every"],
        save_frequency=values["save_frequency"],
        tolerate_error_p=values["data_tolerate_error_p"],
        tolerate_num_checkpoints=values["data_tolerate_num_ckpts"],
        keep_checkpoints=not values["delete_previous_checkpoint"],
        max_loss_rise=values["max_loss_rise"],
        params=_params(values, model, name, precision, sequences),
    )


def make_model_config(values: Mapping[str, Any]) -> ModelConfig:
    """The model's config under the flags; what the file fixes wins."""
    return load_model_config(
        values["model"],
        model_norm=values["model_norm"],
        qk_norm=values["qk_norm"],
        positional_embedding_type=values["positional_embedding_type"],
        ffn_type=values["ffn_type"],
    )


def make_mask(values: Mapping[str, Any]) -> TargetMask | None:
    """Which targets are ignored, where any are."""
    left, individual = values["target_mask_left"], values["target_mask_individual"]
    if left is None and individual is None and not values["squash_mask_left"]:
        return None
    return TargetMask(left=left, individual=individual, squash=values["squash_mask_left"])


def _refuse(values: Mapping[str, Any]) -> None:
    """What OpenLM has and we have not, by name."""
    if values["attn_name"] == "custom_attn":
        raise InputError("--attn-name custom_attn is not built; use auto, which is torch's scaled dot product")
    if values["moe_freq"]:
        raise InputError("--moe-freq: mixtures of experts are not built")
    if "mamba" in model_stem(values["model"]):
        raise InputError(f"--model {values['model']}: Mamba is not built")
    if values["lr_scheduler"] == "const-cooldown":
        raise InputError("--lr-scheduler const-cooldown never worked in OpenLM; use wsd with --lr-decay-steps")
    if values["train_data_upsampling_factors"] is not None:
        raise InputError("--train-data-upsampling-factors is not built; use --train-data-mix-weights")
    if values["epochs"] < 1:
        raise InputError(f"--num-checkpoints (--epochs) must be at least 1, got {values['epochs']}")
    if values["dataset_type"] == "synthetic":
        raise InputError("--dataset-type synthetic is not built; benchmarks/train.py times the step without data")
    if values["optimizer"] != "adamw":
        raise InputError(f"--optimizer {values['optimizer']}: only adamw is built")
    tracker_names(values["report_to"])


def _step_config(values: Mapping[str, Any], ranks: Ranks, precision: str) -> StepConfig:
    if precision == "amp" and values["fsdp"]:
        raise InputError("--precision amp does not go with --fsdp; use amp_bfloat16")
    recipe = Recipe(
        weight_decay=values["wd"],
        z_loss=values["z_loss_coefficient"],
        beta1=values["beta1"],
        beta2=values["beta2"],
        epsilon=values["eps"],
        clip_norm=values["grad_clip_norm"],
    )
    return StepConfig(
        recipe=recipe,
        accumulation=values["accum_freq"],
        precision=precision,
        grad_checkpointing=values["grad_checkpointing"],
        compile=values["torchcompile"],
        document_separator=values["document_separator"],
        sharding=_sharding(values, ranks),
    )


def _sharding(values: Mapping[str, Any], ranks: Ranks) -> Sharding | None:
    """How to shard, if at all: the scales ask for it always, and it makes sense with several CUDA devices."""
    if not values["fsdp"]:
        if any(values[name] for name in FSDP_FLAGS):
            raise InputError("--fsdp-… flags need --fsdp")
        return None
    if ranks.device.type != "cuda" and not values["fsdp_on_cpu"]:
        return None
    base = AMP if values["fsdp_amp"] else PURE_BF16 if values["fsdp_pure_bf16"] else Sharding()
    return Sharding(
        param_dtype=base.param_dtype,
        reduce_dtype=base.reduce_dtype,
        hybrid=values["fsdp_hybrid"] or values["fsdp_hybrid_o2"],
        cpu_offload=values["fsdp_cpu_offload"],
    )


def _plan(values: Mapping[str, Any], model: ModelConfig) -> tuple[PhasePlan, int]:
    """The phases, and the sequences between two checkpoints (0 for a plan from a file)."""
    if values["phase_plan"] is not None:
        return load_phase_plan(values["phase_plan"], model.seq_len), 0
    if values["train_num_samples"] is None:
        raise InputError("--train-num-samples is required: tokens between two checkpoints")
    sequences = values["train_num_samples"] // model.seq_len
    steps = total_steps(sequences, values["epochs"], values["global_batch_size"])
    phase = Phase(
        name="train",
        data=tuple(_training_sources(values)),
        steps=steps,
        global_batch_size=values["global_batch_size"],
        schedule=_schedule(values, steps),
        checkpoints=values["epochs"],
        multiple_passes=values["multiple_data_passes"] or values["train_data"] is not None,
        min_rate=values["force_min_lr"],
        domain_weights=_domain_weights(values["domain_weights"] or []),
    )
    return PhasePlan(phases=(phase,)), sequences


def _training_sources(values: Mapping[str, Any]) -> list[DataSource]:
    """The data to train on, with its weights."""
    if values["train_data"] and values["dataset_manifest"]:
        raise InputError("--train-data and --dataset-manifest exclude each other")
    urls = values["train_data"] or values["dataset_manifest"] or []
    weights = values["train_data_mix_weights"] or [1.0] * len(urls)
    if len(weights) != len(urls) or any(weight <= 0 for weight in weights):
        raise InputError(f"--train-data-mix-weights needs {len(urls)} values above 0, got {weights}")
    names = [storage.basename(storage.parent(url)) for url in urls] if len(urls) > 1 else [""]
    return [
        DataSource(url=url, weight=weight, data_key=values["data_key"], domain=name)
        for url, weight, name in zip(urls, weights, names, strict=False)
    ]


def _schedule(values: Mapping[str, Any], steps: int) -> Schedule:
    peak, warmup = values["lr"], values["warmup"]
    if values["lr_scheduler"] == "const":
        return constant_schedule(peak=peak, warmup=warmup, total=steps)
    if values["lr_scheduler"] == "cosine":
        return cosine_schedule(peak=peak, final=values["lr_cooldown_end"], warmup=warmup, total=steps)
    decay_steps = values["lr_decay_steps"] if values["lr_decay_steps"] is not None else steps // DECAY_SHARE
    return wsd_schedule(
        peak=peak,
        final=values["lr_cooldown_end"],
        warmup=warmup,
        decay_steps=decay_steps,
        total=steps,
        decay=values["lr_decay"],
    )


def _domain_weights(entries: list[str]) -> dict[str, float]:
    """`NAME=FACTOR` entries as a mapping."""
    found = {}
    for entry in entries:
        name, separator, factor = entry.rpartition("=")
        try:
            found[name] = float(factor)
        except ValueError:
            separator = ""
        if not separator or not name:
            raise InputError(f"--domain-weights {entry!r}: expected NAME=FACTOR")
    return found


def _average(values: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Checkpoints to start from the weighted sum of."""
    urls = values["average"] or []
    coefficients = values["average_coefficients"] or [1 / len(urls) for _ in urls]
    if len(coefficients) != len(urls):
        raise InputError(f"--average-coefficients needs {len(urls)} values, got {len(coefficients)}")
    return list(zip(urls, coefficients, strict=True))


def _params(values: Mapping[str, Any], model: ModelConfig, name: str, precision: str, sequences: int) -> dict[str, Any]:
    """The lines of `params.txt` that don't depend on this process."""
    return dict(values) | {
        "name": name,
        "model": model_stem(values["model"]),
        "model_norm": model.model_norm,
        "qk_norm": model.qk_norm,
        "positional_embedding_type": model.positional_embedding_type,
        "ffn_type": model.ffn_type,
        "attn_name": "torch_attn" if values["attn_name"] == "auto" else values["attn_name"],
        "precision": precision,
        "train_num_samples": sequences or values["train_num_samples"],
        "log_path": storage.join(values["logs"], name, OUT_LOG),
        "wandb": "wandb" in values["report_to"],
        "torch_version": torch.__version__,
    }
