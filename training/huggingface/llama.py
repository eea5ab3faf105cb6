"""OpenLM weights as Llama's and back, where the two architectures agree.

They agree for RMS norms, no qk norm, SwiGLU, rotary embeddings and no norm after the embedding. Llama's rotary
frequencies follow from one number, `rope_theta`: a checkpoint whose `inv_freq` was rounded by bf16 training has none
that fits. Going back, grouped keys and values are repeated for each of their heads, which gives the same function.

Shape suffixes: D width of the model, F of the feed-forward block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corpusmith.errors import InputError
from training.models.config import ModelConfig
from training.models.layers import NORM_EPS, ROTARY_BASE, inverse_frequencies

SWIGLU = ("swiglu", "swiglu_torch")
#: The architecture that this module and the modelling file know.
OWN_ARCHITECTURE = "transformer"
#: Kinds of `rope_parameters` whose frequencies are fixed numbers, whatever the length of the text.
_FIXED_ROPES = ("default", "linear", "llama3")
_FREQUENCY = "layers.0.attention.pos_embed.inv_freq"
_PLAIN = {"tok_embeddings.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
_IN_LAYER = {
    "attention.out_proj.weight": "self_attn.o_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.w3.weight": "mlp.down_proj.weight",
}
_QKV = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight")
_GATE_UP = ("mlp.gate_proj.weight", "mlp.up_proj.weight")


def llama_obstacles(config: ModelConfig, weights: Mapping[str, Tensor]) -> list[str]:
    """What keeps a model from being a Llama, each with its name and value; empty where nothing does."""
    found = []
    if config.architecture != OWN_ARCHITECTURE:
        found.append(f"architecture {config.architecture!r} (only {OWN_ARCHITECTURE!r} can be one)")
    if config.model_norm != "rms_norm":
        found.append(f"model_norm {config.model_norm!r} (Llama has 'rms_norm')")
    if config.qk_norm:
        found.append("qk_norm over the full width (Llama has none)")
    if config.ffn_type not in SWIGLU:
        found.append(f"ffn_type {config.ffn_type!r} (Llama has SwiGLU)")
    if config.positional_embedding_type not in ("rotary", "llama_rotary"):
        found.append(f"positional_embedding_type {config.positional_embedding_type!r} (Llama has 'rotary')")
    elif rope_theta(config, weights) is None:
        found.append("rotary frequencies rounded by bf16 training (Llama derives them from rope_theta)")
    if config.post_embed_norm:
        found.append("post_embed_norm (Llama has none)")
    return found


def rope_theta(config: ModelConfig, weights: Mapping[str, Tensor]) -> float | None:
    """The base of the rotary frequencies, or None where no base gives the checkpoint's `inv_freq`."""
    stored = weights.get(_FREQUENCY)
    if config.positional_embedding_type == "llama_rotary" or config.rotary_table == "exact" or stored is None:
        return ROTARY_BASE
    exact = inverse_frequencies(config.head_dim)
    if len(stored) == 1 or torch.equal(stored.float(), exact):
        return ROTARY_BASE
    theta = float(stored[-1].double() ** (-config.head_dim / (config.head_dim - 2)))
    halves = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    for candidate in (float(f"{theta:.6g}"), theta):
        if torch.allclose(stored.float(), 1.0 / candidate**halves, rtol=1e-6, atol=0.0):
            return candidate
    return None


def to_llama(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of transformers' Llama; `llama_obstacles` must have found none."""
    named = {theirs: weights[ours] for ours, theirs in _PLAIN.items()}
    named["lm_head.weight"] = weights["output.weight"]
    for layer in range(config.n_layers):
        ours, theirs = f"layers.{layer}.", f"model.layers.{layer}."
        for key, name in _IN_LAYER.items():
            named[theirs + name] = weights[ours + key]
        q, k, v = weights[f"{ours}attention.in_proj.weight"].chunk(3)
        if config.positional_embedding_type == "llama_rotary":
            q, k = _halves_from_pairs(q, config.n_heads), _halves_from_pairs(k, config.n_heads)
        gate_up = weights[f"{ours}feed_forward.w12.weight"].chunk(2)
        for name, part in zip((*_QKV, *_GATE_UP), (q, k, v, *gate_up), strict=True):
            named[theirs + name] = part.clone()  # a view would keep its neighbours in the file
    return named


def _halves_from_pairs(weight_DD: Tensor, heads: int) -> Tensor:
    """Rows of each head from the order of pairs (2j, 2j + 1) to that of halves (j, j + d / 2)."""
    width = weight_DD.shape[1]
    return weight_DD.view(heads, -1, 2, width).transpose(1, 2).reshape(-1, width)


def llama_arguments(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of transformers' `LlamaConfig`."""
    return {
        "hidden_size": config.hidden_dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_heads,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.seq_len,
        "rms_norm_eps": NORM_EPS,
        "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta(config, weights)},
        "tie_word_embeddings": config.weight_tying,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def config_from_llama(llama: Any, where: str) -> ModelConfig:
    """Our config for a `LlamaConfig`.

    Raises:
        InputError: something that OpenLM's model can't do, by name.
    """
    config = ModelConfig(
        hidden_dim=llama.hidden_size,
        n_layers=llama.num_hidden_layers,
        n_heads=llama.num_attention_heads,
        seq_len=llama.max_position_embeddings,
        vocab_size=llama.vocab_size,
        weight_tying=bool(llama.tie_word_embeddings),
        model_norm="rms_norm",
        ffn_type="swiglu_torch",
    )
    kind = llama.rope_parameters["rope_type"]
    facts = [
        ("hidden_act", llama.hidden_act, llama.hidden_act == "silu"),
        ("rms_norm_eps", llama.rms_norm_eps, llama.rms_norm_eps == NORM_EPS),
        ("attention_bias", llama.attention_bias, not llama.attention_bias),
        ("mlp_bias", llama.mlp_bias, not llama.mlp_bias),
        ("head_dim", llama.head_dim, llama.head_dim == config.head_dim),
        ("intermediate_size", llama.intermediate_size, llama.intermediate_size == config.ffn_dim),
        ("rope_type", kind, kind in _FIXED_ROPES),
    ]
    wrong = [f"{key} {value!r}" for key, value, fits in facts if not fits]
    if wrong:
        raise InputError(
            f"{where} has no counterpart in OpenLM: {', '.join(wrong)} (OpenLM has silu, eps {NORM_EPS}, no biases, "
            f"heads of hidden_size / num_attention_heads, a feed-forward width of {config.ffn_dim} and rope types "
            f"{', '.join(_FIXED_ROPES)})"
        )
    return config


def from_llama(llama: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Llama's weights under OpenLM's names, for a config that `config_from_llama` took."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    frequencies = LlamaRotaryEmbedding(llama).inv_freq.float()
    groups = llama.num_attention_heads // llama.num_key_value_heads
    named = {ours: weights[theirs] for ours, theirs in _PLAIN.items()}
    named["output.weight"] = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    for layer in range(llama.num_hidden_layers):
        ours, theirs = f"layers.{layer}.", f"model.layers.{layer}."
        for key, name in _IN_LAYER.items():
            named[ours + key] = weights[theirs + name]
        q, k, v = (weights[theirs + name] for name in _QKV)
        k, v = _repeat_heads(k, llama.head_dim, groups), _repeat_heads(v, llama.head_dim, groups)
        named[f"{ours}attention.in_proj.weight"] = torch.cat([q, k, v])
        named[f"{ours}attention.pos_embed.inv_freq"] = frequencies.clone()
        named[f"{ours}feed_forward.w12.weight"] = torch.cat([weights[theirs + name] for name in _GATE_UP])
    return named


def _repeat_heads(weight: Tensor, head_dim: int, times: int) -> Tensor:
    """The rows of each head `times` times in a row."""
    heads = weight.view(-1, head_dim, weight.shape[1])
    return heads.repeat_interleave(times, dim=0).reshape(-1, weight.shape[1])
