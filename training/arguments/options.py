"""What a user of `training.train` asked for."""

from __future__ import annotations

from dataclasses import dataclass

from training.arguments.dclm import DEFAULT_GIT_DB, OWN_BACKEND
from training.hyperparameters import DEFAULT_SEED


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentOptions:
    """Names as the flags of `training.arguments.dclm`, None where a flag was not given."""

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
    manifest_prefix_override: str | None = None
    prefix_replacement: str | None = None
    mirror: str | None = None
    pretrained: str | None = None
    load_pretrained_state: bool = False
    attn_name: str = "auto"
    torchcompile: bool = False
    averagers: str | None = None
    log_avg_model_training_loss: int = 0
    skip_train: bool = False
    remote_sync: str | None = None
    clean_exp: bool = False
    partial_model_dir: str | None = None
    report_to: str = ""
    report_to_wandb: bool = False
    backend: str = OWN_BACKEND
    log_every: int = 20
    data_tolerate_error_p: float = 0.09
    data_tolerate_num_ckpts: int = 0
    val_data: tuple[str, ...] = ()
    val_data_key: tuple[str, ...] = ()
    val_frequency: int = 5
    do_eval: bool = False
    downstream_eval: bool = False
    tokmult_eval: bool = False
    val_sets_dir: str = "eval_data/validation"
    re_evaluate: str | None = None
    remote_sync_override: str | None = None
    chinchilla_multiplier: float | None = None
    warmup: int | None = None
    lr: float | None = None
    wd: float | None = None
    cd: float | None = None
    global_bs: int | None = None
    acc: int | None = None
    data_order: str = "global"
    lr_scheduler: str = "cosine"
    lr_decay: str = "linear"
    lr_decay_steps: int | None = None
    domain_weights: tuple[str, ...] = ()
    document_separator: int | None = None
    save_every: int = 0
    phase_plan: str | None = None
