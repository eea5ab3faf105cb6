"""DCLM's published model references: their trainer arguments and hyperparameters are what ours would be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from corpusmith.expdb import references as expdb
from training.arguments.openlm import parse_arguments
from training.arguments.options import ExperimentOptions
from training.arguments.translate import trainer_arguments
from training.hyperparameters import apply_overrides, friendly_name, get_scale, hyperparameters_from


@pytest.fixture
def samples(shared_data: Path) -> Path:
    return shared_data / "exp_data_samples"


def test_openlms_command_lines_of_published_models_parse(samples: Path) -> None:
    paths = sorted((samples / "models").glob("*.json"))
    assert len(paths) == 5
    for path in paths:
        reference = expdb.load_model_reference(str(path))
        values, scale = parse_arguments(reference.open_lm_args), reference.hyperparameters
        assert (values["lr"], values["wd"], values["warmup"]) == (scale["lr"], scale["wd"], scale["warmup"])
        assert (values["global_batch_size"], values["accum_freq"]) == (scale["global_bs"], scale["acc"])
        assert values["train_num_samples"] == scale["tokens"] // values["epochs"]
        assert (values["qk_norm"], values["z_loss_coefficient"]) == (scale["qk_norm"], scale["z_loss"])


def test_a_published_reference_is_rebuilt_from_its_scale_and_flags(samples: Path) -> None:
    (path,) = (samples / "models").glob("dolma_v1*.json")
    published = expdb.load_model_reference(str(path))
    dataset = expdb.load_dataset(str(samples / "datasets" / "tokenized" / "dolma_v1_no_resample.json"))
    given = dict(zip(published.open_lm_args, published.open_lm_args[1:], strict=False))
    dataset = replace(dataset, manifest_url=given["--dataset-manifest"])  # the data set was moved since
    options = ExperimentOptions(
        scale="1b_1x_fast", data_config="", logs=given["--logs"], precision="amp_bfloat16", multiple_data_passes=True,
        chinchilla_multiplier=5.0, remote_sync=given["--remote-sync"],
    )  # fmt: skip
    scale = apply_overrides(get_scale("1b_1x_fast"), seed=124, chinchilla_multiplier=5.0)
    name = friendly_name(dataset.name, scale)
    assert name == published.name
    assert trainer_arguments(options, scale, dataset, name, "amp_bfloat16") == published.open_lm_args
    assert list(scale.to_json().items()) == list(published.hyperparameters.items())
    assert hyperparameters_from(published.hyperparameters, where=str(path)) == scale


def test_a_published_reference_is_written_back_as_it_was(samples: Path, tmp_path: Path) -> None:
    for path in (samples / "models").glob("*tokens=*.json"):
        expdb.write_reference(expdb.load_model_reference(str(path)), str(tmp_path / path.name))
        ours, theirs = json.loads((tmp_path / path.name).read_text()), json.loads(path.read_text())
        assert list(ours.items())[: len(theirs)] == list(theirs.items())
