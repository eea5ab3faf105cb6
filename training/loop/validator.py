"""Validation as part of a run: which sets, how often, and the lines of `results.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson
from torch import nn

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.data.batch import BatchSpec
from training.data.masking import TargetMask
from training.data.openlm_order import read_sequences
from training.data.token_shards import TokenDataset, find_token_dataset
from training.loop.loader import find_sources
from training.loop.validation import (
    F64Array,
    Intervals,
    count_training_tokens,
    result_object,
    unigram_loss,
    validation_loss,
)
from training.models.config import ModelConfig, model_stem
from training.models.registry import build_model
from training.plan.config import TrainConfig
from training.state.checkpoint import RunProgress, load_average, load_into, load_weights
from training.state.ranks import Ranks
from training.state.run_folder import CHECKPOINTS, RESULTS_NAME


@dataclass(frozen=True, kw_only=True)
class Validator:
    """What the loop calls after each epoch: validates every `frequency` epochs and at the end.

    `training` are the shards whose unigram distribution the loss is compared with; `train_tokens_per_epoch` is what
    OpenLM reports as trained on.
    """

    sets: Sequence[TokenDataset]
    spec: BatchSpec
    ranks: Ranks
    folder: str
    model_name: str
    precision: str
    frequency: int = 1
    num_sequences: int | None = None
    intervals: Intervals = field(default_factory=Intervals)
    training: Sequence[TokenDataset] = ()
    train_tokens_per_epoch: int | None = None

    def __call__(self, model: nn.Module, progress: RunProgress) -> list[dict[str, Any]]:
        """The objects of `results.jsonl` where validation is due, else none."""
        if not self.sets or not (progress.is_final or progress.epoch % self.frequency == 0):
            return []
        per_epoch = self.train_tokens_per_epoch
        train_tokens = None if per_epoch is None else progress.epoch * per_epoch
        results = [self.evaluate(model, dataset, train_tokens) for dataset in self.sets]
        if self.ranks.leads:
            _append_results(storage.join(self.folder, CHECKPOINTS, RESULTS_NAME), results)
        return results

    def evaluate(
        self, model: nn.Module, dataset: TokenDataset, train_tokens: int | None, checkpoint: str | None = None
    ) -> dict[str, Any]:
        """The object of `results.jsonl` for one set; rank 0 adds the unigram loss and reports both.

        Args:
            model: left in eval mode.
            dataset: the validation set.
            train_tokens: what the model was trained on, as OpenLM reports it.
            checkpoint: URL of the model's weights, where they were not just trained.
        """
        found = validation_loss(
            model,
            dataset,
            self.spec,
            precision=self.precision,
            ranks=self.ranks,
            num_sequences=self.num_sequences,
            intervals=self.intervals,
        )
        result = result_object(
            found,
            dataset,
            model=self.model_name,
            ranks=self.ranks,
            train_tokens=train_tokens,
            checkpoint=checkpoint,
            intervals=self.intervals,
        )
        if self.ranks.leads:
            beside = ""
            if self.training:
                result["unigram_loss"] = unigram_loss(found.target_counts, self._training_counts)
                beside = f" (unigram {result['unigram_loss']:.4f})"
            say(f"validation loss {found.loss:.4f}{beside} on {dataset.path}")
        return result

    @cached_property
    def _training_counts(self) -> F64Array:
        """Counts of the ids in the first training tokens."""
        shards = [shard for found in self.training for shard in found.shards]
        sequences = (ids for _, ids in read_sequences(shards, self.spec))
        return count_training_tokens(sequences, self.spec.vocab_size)


def make_validator(values: Mapping[str, Any], config: TrainConfig, ranks: Ranks) -> Validator:
    """What validates as OpenLM's arguments ask.

    Raises:
        InputError: data that is missing, or arguments that don't fit.
    """
    phase = config.plan.phases[-1]
    sets = validation_sets(values, config.model)
    return Validator(
        sets=sets,
        spec=_spec(values, config.batch_spec(ranks), ranks),
        ranks=ranks,
        folder=config.folder,
        model_name=model_stem(values["model"]),
        precision=config.step.precision,
        frequency=values["val_frequency"],
        num_sequences=values["val_num_samples"],
        intervals=_intervals(values),
        training=find_sources(phase, config.batch_spec(ranks, phase)) if sets else [],
        train_tokens_per_epoch=config.sequences_per_epoch * config.model.seq_len or None,
    )


def evaluate_only(
    config: ModelConfig, values: Mapping[str, Any], ranks: Ranks, precision: str, mask: TargetMask | None
) -> RunProgress:
    """Validate the weights that `--average`, `--resume` or `--pretrained` name, without training.

    Args:
        config: of the model.
        values: OpenLM's arguments.
        ranks: this process among its peers; all call it.
        precision: as `--precision` names it.
        mask: which targets are ignored.

    Returns:
        A progress that holds nothing but the evaluation.

    Raises:
        InputError: no weights, or no data, are named.
    """
    sets = validation_sets(values, config)
    url = values["resume"] if values["resume"] not in (None, "latest") else values["pretrained"]
    if not sets or not (url or values["average"]):
        raise InputError(
            "nothing to do: give data to train on (--dataset-manifest), or --val-data with --pretrained or --average"
        )
    model = build_model(config)
    if values["average"]:
        count = len(values["average"])
        coefficients = values["average_coefficients"] or [1 / count] * count
        load_into(model, load_average(list(zip(values["average"], coefficients, strict=True))), values["average"][0])
    else:
        load_into(model, load_weights(url), url)
    folder = storage.join(values["logs"], values["name"] or model_stem(values["model"]))
    spec = BatchSpec(
        seq_len=config.seq_len,
        vocab_size=config.vocab_size,
        batch_size=max(1, values["global_batch_size"] // ranks.world_size),
        mask=mask,
    )
    validator = Validator(
        sets=sets,
        spec=_spec(values, spec, ranks),
        ranks=ranks,
        folder=folder,
        model_name=model_stem(values["model"]),
        precision=precision,
        num_sequences=values["val_num_samples"],
        intervals=_intervals(values),
    )
    model.to(ranks.device)
    results = [validator.evaluate(model, dataset, None, url) for dataset in sets]
    if ranks.leads:
        _append_results(storage.join(folder, CHECKPOINTS, RESULTS_NAME), results)
    return RunProgress(evaluation=results)


def validation_sets(values: Mapping[str, Any], model: ModelConfig) -> list[TokenDataset]:
    """The validation sets that OpenLM's arguments name, each with its own data key where keys are given.

    Raises:
        InputError: a missing set, or keys that don't fit.
    """
    paths = values["val_data"] or []
    keys: list[str | None] = list(values["val_data_key"] or []) or [None] * len(paths)
    if len(keys) == 1:
        keys *= len(paths)
    if len(keys) != len(paths):
        raise InputError(f"--val-data-key has {len(keys)} values for {len(paths)} of --val-data")
    if values["val_frequency"] < 1:
        raise InputError(f"--val-frequency must be at least 1, got {values['val_frequency']}")
    return [
        find_token_dataset(path, key, seq_len=model.seq_len, vocab_size=model.vocab_size)
        for path, key in zip(paths, keys, strict=True)
    ]


def _spec(values: Mapping[str, Any], spec: BatchSpec, ranks: Ranks) -> BatchSpec:
    size = values["global_val_batch_size"]
    return spec if size is None else replace(spec, batch_size=max(1, size // ranks.world_size))


def _intervals(values: Mapping[str, Any]) -> Intervals:
    return Intervals(
        sequences=values["val_seq_ci"],
        tokens=values["val_tok_ci"],
        resamples=values["val_iter_ci"],
        max_population=values["val_max_pop_ci"],
    )


def _append_results(url: str, results: list[dict[str, Any]]) -> None:
    """Add a line to `results.jsonl`: a list with one object per validation set."""
    storage.append_bytes(url, orjson.dumps(results) + b"\n")
