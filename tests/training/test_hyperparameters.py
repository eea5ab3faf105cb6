"""Scales: the table and the arithmetic of section 2, and the friendly name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmith.errors import ConfigError, InputError
from training.hyperparameters import (
    apply_overrides,
    friendly_name,
    get_scale,
    hyperparameters_from,
)
from training.loop.train_loop import total_steps
from training.models.config import ModelConfig, load_model_config
from training.models.openlm import Transformer

DCLM_SCALES = {
    "411m_1x": (411616256, 359973888, 8232325120, 1, 2000, 3e-3, 0.033, 512, 8, 1e-4),
    "1b_1x_fast": (1439795200, 1336510464, 28795904000, 1, 5000, 3e-3, 0.033, 256, 1, 1e-4),
    "3b_1x_fast_3e-3_lr_1e-4_zloss": (2795932160, 2666826240, 55918643200, 1, 5000, 3e-3, 0.033, 256, 1, 1e-4),
    "7b_1x_fast_2e-3_lr_5e-6_zloss": (6889410560, 6682841088, 137788211200, 1, 5000, 2e-3, 0.05, 2048, 2, 5e-6),
    "7b_2x_fast_2e-3_lr_5e-6_zloss": (6889410560, 6682841088, 137788211200, 2, 5000, 2e-3, 0.05, 2048, 2, 5e-6),
}


@pytest.mark.parametrize("name", DCLM_SCALES)
def test_scales_of_dclm_have_these_values(name: Any) -> None:
    scale = get_scale(name)
    assert DCLM_SCALES[name] == (
        scale.params, scale.params_no_embed, scale.tokens, scale.chinchilla_multiplier, scale.warmup, scale.lr,
        scale.wd, scale.global_bs, scale.acc, scale.z_loss,
    )  # fmt: skip
    assert (scale.cd, scale.seed, scale.vocab_size) == (3e-5, 124, 50432)
    assert (scale.norm, scale.qk_norm, scale.grad_checkpointing) == ("gain_only_lp_layer_norm", True, False)
    assert scale.fsdp_flags[0] == "--fsdp"


#: About how many parameters, width, layers, heads, tied embedding.
PROXIES = {
    "proxy_10m": (10e6, 128, 12, 4, True),
    "proxy_62m": (62e6, 512, 11, 8, True),
    "proxy_160m": (160e6, 768, 12, 12, False),
    "proxy_350m": (350e6, 1024, 19, 16, False),
}


@pytest.mark.parametrize("name", PROXIES)
def test_the_proxy_ladder_has_these_shapes(name: Any) -> None:
    about, width, layers, heads, tied = PROXIES[name]
    scale = get_scale(name)
    config = load_model_config(scale.model)
    assert scale.params == pytest.approx(about, rel=0.05)
    assert (config.hidden_dim, config.n_layers, config.n_heads, config.weight_tying) == (width, layers, heads, tied)
    assert (config.vocab_size, config.seq_len) == (50432, 2048)
    assert total_steps(scale.tokens // 5 // 2048, 5, scale.global_bs) > 10 * scale.warmup / 5


@pytest.mark.parametrize(
    ("public", "scale", "tokens"),
    [
        ("400M-1x", "411m_1x", 8232325120),
        ("1B-1x", "1b_1x_fast", 28795904000),
        ("1b_5x", "1b_1x_fast", 143979520000),
        ("3b-1x", "3b_1x_fast_3e-3_lr_1e-4_zloss", 55918643200),
        ("7B-1x", "7b_1x_fast_2e-3_lr_5e-6_zloss", 137788211200),
        ("7B_2X", "7b_2x_fast_2e-3_lr_5e-6_zloss", 275576422400),
    ],
)
def test_scales_have_the_names_of_the_leaderboard(public: str, scale: str, tokens: int) -> None:
    found = apply_overrides(get_scale(public))
    assert found.tokens == tokens
    assert found.model == get_scale(scale).model


def test_1b_5x_has_the_published_name() -> None:
    assert "-mult=5p0-seed=124-tokens=143979520000" in friendly_name("d", apply_overrides(get_scale("1B-5x")))


def _trained_numbers(config: ModelConfig) -> int:
    """As OpenLM's scales count them: without the gains and biases of the q and k norms."""
    with torch.device("meta"):
        named = Transformer(config).named_parameters()
    return sum(weight.numel() for name, weight in named if ".q_norm." not in name and ".k_norm." not in name)


@pytest.mark.parametrize("name", [*DCLM_SCALES, *PROXIES, "tiny"])
def test_parameters_and_tokens_follow_from_the_model_config(name: Any) -> None:
    scale = get_scale(name)
    config = load_model_config(scale.model, model_norm=scale.norm, qk_norm=scale.qk_norm)
    assert _trained_numbers(config) == scale.params
    assert scale.params_no_embed == scale.params - config.vocab_size * config.hidden_dim
    assert scale.tokens == 20 * scale.params
    assert scale.vocab_size == config.vocab_size


@pytest.mark.parametrize(
    ("name", "argument", "sequences", "steps", "seen"),
    [
        ("411m_1x", 1646465024, 803938, 7850, 8231321600),
        ("1b_1x_fast", 5759180800, 2812100, 54923, 28795469824),
        ("3b_1x_fast_3e-3_lr_1e-4_zloss", 11183728640, 5460805, 106656, 55918460928),
        ("7b_1x_fast_2e-3_lr_5e-6_zloss", 27557642240, 13455880, 32851, 137787080704),
        ("7b_2x_fast_2e-3_lr_5e-6_zloss", 55115284480, 26911760, 65702, 275574161408),
    ],
)
def test_steps_of_five_checkpoints(name: str, argument: int, sequences: int, steps: int, seen: int) -> None:
    scale = apply_overrides(get_scale(name))
    assert scale.tokens // 5 == argument
    assert argument // 2048 == sequences
    assert total_steps(sequences, 5, scale.global_bs) == steps
    assert steps * scale.global_bs * 2048 == seen


def test_the_multiplier_replaces_the_one_of_the_scale_and_asking_twice_changes_nothing() -> None:
    for _ in range(2):
        scale = apply_overrides(get_scale("1b_1x_fast"), chinchilla_multiplier=5.0)
        assert scale.tokens == 143979520000
        assert apply_overrides(get_scale("7b_2x_fast_2e-3_lr_5e-6_zloss"), chinchilla_multiplier=1).tokens == (
            137788211200
        )


@pytest.mark.parametrize(
    ("dataset", "scale", "overrides", "name"),
    [
        ("dolma_v1_no_resample", "1b_1x_fast", {"chinchilla_multiplier": 5.0},
         "dolma_v1_no_resample-open_lm_1b_swiglutorch-warm=5000-lr=0p003-wd=0p033-cd=3e-05-bs=256-mult=5p0-seed=124-"
         "tokens=143979520000"),
        ("x", "411m_1x", {}, "x-d=1024_l=24_h=8-warm=2000-lr=0p003-wd=0p033-cd=3e-05-bs=512-mult=1-seed=124-"
         "tokens=8232325120"),
    ],
)  # fmt: skip
def test_friendly_name_is_the_published_one(dataset: str, scale: str, overrides: Any, name: str) -> None:
    assert friendly_name(dataset, apply_overrides(get_scale(scale), **overrides)) == name


def test_friendly_name_of_published_models(shared_data: Path) -> None:
    rebuilt = 0
    for path in sorted((shared_data / "exp_data_samples" / "models").glob("*tokens=*.json")):
        record = json.loads(path.read_text())
        name = friendly_name(record["dataset_name"], hyperparameters_from(record["hyperparameters"], where=str(path)))
        rebuilt += name == record["name"]
    assert rebuilt >= 3


def test_friendly_name_shows_an_unusual_norm_and_vocabulary_then_the_suffix() -> None:
    scale = hyperparameters_from(get_scale("411m_1x").to_json() | {"norm": "rms_norm", "vocab_size": 4096}, where="x")
    assert friendly_name("d", scale, "_again").endswith("-norm=rms_norm-vocab=4096_again")


def test_an_unknown_scale_names_the_nearest() -> None:
    with pytest.raises(InputError, match="411m_1x"):
        get_scale("411m")


@pytest.mark.parametrize("changed", [{"lrr": 1.0}, {"lr": "3e-3"}, {"warmup": 1.5}, {"qk_norm": 1}])
def test_a_scale_with_a_wrong_key_is_refused(changed: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(changed))):
        hyperparameters_from(get_scale("tiny").to_json() | changed, where="scale.json")
