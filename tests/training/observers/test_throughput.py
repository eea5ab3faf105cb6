"""FLOPs by hand, peaks from data sheets, utilisation."""

from __future__ import annotations

import pytest
import torch

from training.models.config import ModelConfig, load_model_config
from training.observers.throughput import BF16_PEAKS, flops_per_token, peak_flops, utilisation


def test_flops_of_a_token_by_hand() -> None:
    # per layer: attention 4 * 6^2 = 144, SwiGLU 3 * 6 * 256 = 4608; head 6 * 10; scores 12 * 2 * 6 * 4
    config = ModelConfig(hidden_dim=6, n_layers=2, n_heads=1, seq_len=4, vocab_size=10)
    assert flops_per_token(config) == 6 * (2 * (144 + 4608) + 60) + 12 * 2 * 6 * 4
    assert flops_per_token(config, seq_len=8) - flops_per_token(config) == 12 * 2 * 6 * 4


@pytest.mark.parametrize(("name", "no_embed"), [("d=1024_l=24_h=8", 359973888), ("open_lm_7b_swiglutorch", 6682841088)])
def test_matrices_are_the_scales_params_without_embedding_and_norms(name: str, no_embed: int) -> None:
    config = load_model_config(name, model_norm="gain_only_lp_layer_norm", qk_norm=True)
    norms = (2 * config.n_layers + 1) * config.hidden_dim
    attention = 12 * config.n_layers * config.hidden_dim * config.seq_len
    assert flops_per_token(config) == 6 * (no_embed - norms) + attention


def test_peaks_of_the_data_sheets_go_by_the_most_special_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for name in ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA L40S", "NVIDIA L4", "NVIDIA A100-SXM4-80GB"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        found[name] = peak_flops(torch.device("cuda", 0)) / 1e12
    assert list(found.values()) == [989, 756, 362, 121, 312]
    assert peak_flops(torch.device("cuda", 0), "fp32") == 156e12
    parts = [part for part, _ in BF16_PEAKS]
    assert not [(a, b) for i, a in enumerate(parts) for b in parts[i + 1 :] if b.startswith(a)]  # none is hidden


def test_an_unknown_device_is_measured() -> None:
    assert 1e8 < peak_flops(torch.device("cpu"), "fp32") < 1e15


def test_utilisation_is_the_share_of_all_devices() -> None:
    assert utilisation(1000.0, 6, 12000.0, 2) == 0.25
