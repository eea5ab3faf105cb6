"""A whole run: from a data set's reference and a scale to a trained model and its reference JSON.

Follows DCLM's `training.train`: the friendly name, the list of trainer arguments, the reference in `exp_data/models`,
or in `exp_data/failed_models` where training failed. Departs from it in that a failure ends with exit code 1 (or 2 for
a user's mistake), not 0; in that the trainer is called, not started; and in that partial references are written as the
checkpoints are, not by a process that looks every ten minutes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import corpusmith
from corpusmith.errors import ConfigError, CorpusmithError, InputError, RunFailed
from corpusmith.expdb import references as expdb
from corpusmith.expdb.references import DatasetReference, ModelReference
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.arguments.dclm import OPEN_LM_BACKEND
from training.arguments.openlm import parse_arguments
from training.arguments.options import ExperimentOptions
from training.arguments.to_config import make_config, run
from training.arguments.translate import trainer_arguments
from training.hyperparameters import Hyperparameters, apply_overrides, friendly_name, get_scale, hyperparameters_from
from training.loop.train_loop import total_steps
from training.loop.validator import validation_sets
from training.models.config import load_model_config
from training.observers.observer import Observer
from training.optimization.recipe import default_precision
from training.state.checkpoint import RunProgress, final_progress
from training.state.ranks import Ranks, process_group, read_ranks, wait_for_all
from training.state.run_folder import CHECKPOINTS, PARAMS_NAME

FAILED_FOLDER = "failed_models"

#: Trains as a list of OpenLM arguments says, with further observers; all ranks call it.
TrainFunction = Callable[[list[str], Sequence[Observer]], None]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A run whose inputs were read and whose name is known; nothing has been trained or written yet."""

    options: ExperimentOptions
    dataset: DatasetReference
    hyperparameters: Hyperparameters
    name: str
    arguments: list[str]

    @property
    def folder(self) -> str:
        """The run's folder on this machine."""
        return storage.join(self.options.logs, self.name)

    @property
    def published_folder(self) -> str:
        """The run's folder as the reference names it: the remote copy where there is one."""
        remote = self.options.remote_sync
        return self.folder if remote is None else storage.join(remote, self.name)

    @property
    def reference_url(self) -> str:
        """Where the model's reference JSON goes."""
        return storage.join(self.options.git_db, f"{self.name}.json")

    @property
    def failed_url(self) -> str:
        """Where the reference of a failed run goes."""
        return storage.join(storage.parent(self.options.git_db), FAILED_FOLDER, f"{self.name}.json")


def train_here(arguments: list[str], observers: Sequence[Observer]) -> None:
    """Our own trainer."""
    run(parse_arguments(arguments), observers)


def run_experiment(options: ExperimentOptions, train: TrainFunction = train_here) -> None:
    """Train, validate and write the model's reference; every rank calls it.

    A run that is finished says so and returns; one that was interrupted continues from its last checkpoint.

    Raises:
        UserError: inputs that can't be used.
        RunFailed: training failed; the traceback is in `failed_models`.
    """
    ranks = read_ranks()
    if options.re_evaluate is not None:
        re_evaluate(options, ranks)
        return
    experiment = plan_experiment(options, ranks)
    if storage.exists(experiment.reference_url):
        if ranks.leads:
            say(f"{experiment.name} is already trained: {experiment.reference_url}")
        return
    foreign = options.backend == OPEN_LM_BACKEND  # it joins and leaves the other ranks by itself
    if ranks.world_size == 1 and torch.cuda.device_count() > 1:
        say(
            f"{torch.cuda.device_count()} devices are here and one is used; for all of them: torchrun --nproc-per-node "
            f"{torch.cuda.device_count()} -m training.train -- (the same flags)"
        )
    with contextlib.nullcontext() if foreign else process_group(ranks):
        try:
            if not options.skip_train:
                train(experiment.arguments, _partial_writers(experiment))
            if ranks.leads:
                _finish(experiment)
            if not foreign:
                wait_for_all(ranks)
        except Exception as error:  # the command line's boundary: any failure is recorded, then reported in one line
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
    dataset = read_dataset(options)
    if options.num_checkpoints < 1:
        raise InputError(f"--num-checkpoints must be at least 1, got {options.num_checkpoints}")
    if options.clean_exp and options.remote_sync is None:
        raise InputError("--clean-exp removes the local folder, so it needs --remote-sync")
    scale = apply_overrides(
        get_scale(options.scale),
        seed=options.seed,
        chinchilla_multiplier=options.chinchilla_multiplier,
        warmup=options.warmup,
        lr=options.lr,
        wd=options.wd,
        cd=options.cd,
        global_bs=options.global_bs,
        acc=options.acc,
    )
    model = load_model_config(scale.model, model_norm=scale.norm, qk_norm=scale.qk_norm)
    if model.vocab_size != scale.vocab_size:
        message = f"the scale says {scale.vocab_size}, the model config {scale.model} says {model.vocab_size}"
        raise ConfigError(f"{options.scale}: vocab_size", message)
    total_steps(scale.tokens // options.num_checkpoints // model.seq_len, options.num_checkpoints, scale.global_bs)
    name = friendly_name(dataset.name, scale, options.name_suffix)
    precision = options.precision or default_precision(ranks.device)
    arguments = trainer_arguments(options, scale, dataset, name, precision)
    # what can't run is refused before anything is written
    values = parse_arguments(arguments)
    make_config(values, ranks).check(ranks)
    validation_sets(values, model)
    return Experiment(options=options, dataset=dataset, hyperparameters=scale, name=name, arguments=arguments)


def read_dataset(options: ExperimentOptions) -> DatasetReference:
    """The data set's reference, with the flags that move its URLs applied.

    Raises:
        InputError: it is missing, is not tokenized, or a flag does not fit it.
    """
    dataset = expdb.load_dataset(options.data_config)
    if options.mirror is not None:
        mirrors = dataset.mirrors or {}
        if options.mirror not in mirrors:
            raise InputError(f"{options.data_config} has no mirror {options.mirror!r}; it has: {', '.join(mirrors)}")
        known = {entry.name for entry in dataclasses.fields(dataset)}
        dataset = dataclasses.replace(dataset, **{k: v for k, v in mirrors[options.mirror].items() if k in known})
    if not dataset.tokenized or not dataset.manifest_url:
        raise InputError(f"{options.data_config} is not the reference of a tokenized data set with a manifest")
    if options.manifest_prefix_override is not None and options.prefix_replacement is not None:
        raise InputError("--manifest-prefix-override and --prefix-replacement exclude each other")
    if options.manifest_prefix_override is not None:
        moved = storage.join(options.manifest_prefix_override, storage.basename(dataset.manifest_url))
        return dataclasses.replace(dataset, manifest_url=moved)
    if options.prefix_replacement is not None:
        old, separator, new = options.prefix_replacement.partition("=")
        if not separator:
            raise InputError(f"--prefix-replacement {options.prefix_replacement!r}: expected OLD=NEW")
        return dataclasses.replace(
            dataset,
            dataset_url=_replace_prefix(dataset.dataset_url, old, new),
            manifest_url=_replace_prefix(dataset.manifest_url, old, new),
        )
    return dataset


def _replace_prefix(url: str | None, old: str, new: str) -> str | None:
    return new + url[len(old) :] if url is not None and url.startswith(old) else url


def re_evaluate(options: ExperimentOptions, ranks: Ranks) -> None:
    """Validate a trained model and update its reference; every rank calls it.

    Raises:
        InputError: no validation data is named, or the reference or its checkpoint can't be read.
    """
    path = options.re_evaluate or ""
    reference = expdb.load_model_reference(path)
    scale = hyperparameters_from(reference.hyperparameters, where=path)
    checkpoint = reference.checkpoint_url
    if options.remote_sync_override is not None:
        names = [reference.name, CHECKPOINTS, storage.basename(checkpoint)]
        checkpoint = storage.join(options.remote_sync_override, *names)
    precision = options.precision or default_precision(ranks.device)
    arguments = trainer_arguments(options, scale, None, reference.name, precision)
    values = parse_arguments(arguments) | {"resume": checkpoint}
    with process_group(ranks):
        results = run(values).evaluation
        if ranks.leads:
            expdb.write_reference(dataclasses.replace(reference, results=results), path, overwrite=True)
            say(f"updated {path}")
        wait_for_all(ranks)


class _PartialWriter(Observer):
    """Writes the reference `<name>_partial_epoch_<n>.json` of each checkpoint but the final one."""

    def __init__(self, experiment: Experiment, folder: str) -> None:
        self._experiment, self._folder = experiment, folder

    def on_checkpoint(self, url: str, progress: RunProgress) -> None:
        if progress.is_final:
            return
        experiment = self._experiment
        reference = _reference(experiment, f"epoch_{progress.epoch}.pt", progress.evaluation)
        reference = dataclasses.replace(reference, name=f"{experiment.name}_partial_{progress.epoch}")
        target = storage.join(self._folder, f"{experiment.name}_partial_epoch_{progress.epoch}.json")
        expdb.write_reference(reference, target, overwrite=True)


def _partial_writers(experiment: Experiment) -> list[Observer]:
    folder = experiment.options.partial_model_dir
    return [] if folder is None else [_PartialWriter(experiment, folder)]


def _finish(experiment: Experiment) -> None:
    """Write the model's reference; what an earlier attempt left in `failed_models` goes."""
    options = experiment.options
    progress = final_progress(experiment.folder)
    reference = _reference(experiment, f"epoch_{progress.epoch}.pt", progress.evaluation)
    expdb.write_reference(reference, experiment.reference_url)
    if options.remote_sync is not None:
        copy = storage.join(experiment.published_folder, f"{experiment.name}.json")
        expdb.write_reference(reference, copy, overwrite=True)
    storage.remove(experiment.failed_url)
    if options.clean_exp:
        storage.remove_tree(experiment.folder)
    say(f"trained {experiment.name}: {experiment.reference_url}")


def _version(backend: str) -> str:
    """What trained the model."""
    if backend != OPEN_LM_BACKEND:
        return f"corpusmith-{corpusmith.__version__}"
    try:
        return importlib.metadata.version(OPEN_LM_BACKEND)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _record_failure(experiment: Experiment) -> None:
    """Write the reference of a failed run, the traceback in `error`."""
    reference = _reference(experiment, None, [], error=traceback.format_exc())
    expdb.write_reference(reference, experiment.failed_url, overwrite=True)


def _reference(
    experiment: Experiment, checkpoint: str | None, results: list[dict[str, Any]], error: str = ""
) -> ModelReference:
    folder = experiment.published_folder
    return ModelReference(
        name=experiment.name,
        dataset_name=experiment.dataset.name,
        dataset_uuid=experiment.dataset.uuid,
        hyperparameters=experiment.hyperparameters.to_json(),
        checkpoint_url="" if checkpoint is None else storage.join(folder, CHECKPOINTS, checkpoint),
        open_lm_version=_version(experiment.options.backend),
        open_lm_args=experiment.arguments,
        results=results,
        params_url=storage.join(folder, PARAMS_NAME),
        failed=bool(error),
        error=error,
    )
