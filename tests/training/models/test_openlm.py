"""The model of section 4: keys, shapes, arithmetic, masks, cache and rotary tables."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from corpusmith.errors import InputError
from training.models.config import FFN_TYPES, NORMS, POSITIONAL_EMBEDDINGS, ModelConfig
from training.models.layers import LayerNorm, LlamaRotary, Rotary, inverse_frequencies, make_norm
from training.models.openlm import Transformer, strip_prefixes


def config(**changed: Any) -> ModelConfig:
    values: dict[str, Any] = {"hidden_dim": 24, "n_layers": 2, "n_heads": 3, "seq_len": 12, "vocab_size": 40}
    return ModelConfig(**(values | {"qk_norm": True, "model_norm": "gain_only_lp_layer_norm"} | changed))


def build(seed: int = 0, **changed: Any) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(config(**changed)).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:  # gains of one would hide a norm that forgets its gain
            torch.nn.init.normal_(weight, mean=1.0, std=0.1)
    return model


def tokens(batch: int = 2, length: int = 8, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 40, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_state_dict_has_the_keys_and_shapes_of_openlm() -> None:
    shapes = {key: tuple(value.shape) for key, value in build(n_layers=1).state_dict().items()}
    assert shapes == {
        "tok_embeddings.weight": (40, 24),
        "layers.0.attention.in_proj.weight": (72, 24),
        "layers.0.attention.out_proj.weight": (24, 24),
        "layers.0.attention.pos_embed.inv_freq": (4,),
        "layers.0.attention.q_norm.weight": (24,),
        "layers.0.attention.k_norm.weight": (24,),
        "layers.0.feed_forward.w12.weight": (512, 24),
        "layers.0.feed_forward.w3.weight": (24, 256),
        "layers.0.attention_norm.weight": (24,),
        "layers.0.ffn_norm.weight": (24,),
        "norm.weight": (24,),
        "output.weight": (40, 24),
    }


def test_state_dict_keys_of_the_variants() -> None:
    keys = set(build(n_layers=1, ffn_type="gelu").state_dict())
    aliases = {"_ff_w1.weight", "_ff_w2.weight", "feed_forward.0.weight", "feed_forward.2.weight"}
    assert {f"layers.0.{key}" for key in aliases} <= keys
    biased = set(build(n_layers=1, model_norm="lp_layer_norm", post_embed_norm=True).state_dict())
    assert {"norm.bias", "layers.0.attention.q_norm.bias", "post_embed_norm.weight"} <= biased
    geglu = build(n_layers=1, ffn_type="gemma_geglu").state_dict()
    assert geglu["layers.0.feed_forward.gate_proj.bias"].shape == (256,)
    bare = set(build(n_layers=1, qk_norm=False, positional_embedding_type="llama_rotary").state_dict())
    assert not any("q_norm" in key or "inv_freq" in key for key in bare)
    assert "norm.weight" not in build(model_norm="no_wb_layer_norm").state_dict()


def test_tied_weights_are_one_tensor_under_two_keys() -> None:
    model = build(weight_tying=True)
    assert model.tok_embeddings.weight is model.output.weight
    assert {"tok_embeddings.weight", "output.weight"} <= set(model.state_dict())


def test_initial_weights_are_cut_normals_of_the_stated_width() -> None:
    torch.manual_seed(0)
    model = Transformer(config(hidden_dim=96, n_heads=4, vocab_size=500))
    layers: Any = model.get_submodule("layers")
    for weight, std in [
        (model.tok_embeddings.weight, 1 / math.sqrt(96)),
        (model.output.weight, 1 / math.sqrt(96)),
        (layers[1].attention.in_proj.weight, 1 / math.sqrt(96)),
        (layers[1].attention.out_proj.weight, 1 / math.sqrt(96) / 2),
        (layers[0].feed_forward.w12.weight, 1 / math.sqrt(96)),
        (layers[0].feed_forward.w3.weight, 1 / math.sqrt(256) / math.sqrt(2)),
    ]:
        assert weight.std().item() == pytest.approx(std * 0.9866, rel=0.05)  # 0.9866: a normal cut at 3 sigma
        assert weight.abs().max().item() <= 3 * std + 1e-7


@pytest.mark.parametrize("name", NORMS)
def test_norms_against_their_formula(name: str) -> None:
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(2)) + 1
    norm = make_norm(name, 6)
    for weight in norm.parameters():
        torch.nn.init.normal_(weight)
    if name == "rms_norm":
        expected = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    else:
        centred = x - x.mean(-1, keepdim=True)
        expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    parameters = dict(norm.named_parameters())
    expected = expected * parameters.get("weight", 1) + parameters.get("bias", 0)
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=1e-5)
    assert len(parameters) == {"no_wb_layer_norm": 0, "default_layer_norm": 2, "lp_layer_norm": 2}.get(name, 1)


def test_a_low_precision_norm_gives_the_autocast_dtype_and_others_fp32() -> None:
    x = torch.randn(2, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert make_norm("gain_only_lp_layer_norm", 6)(x).dtype == torch.bfloat16
        assert make_norm("gain_only_layer_norm", 6)(x).dtype == torch.float32
    assert LayerNorm(6, weight=True, bias=False, low_precision=True)(x).dtype == torch.float32


def test_qk_norm_covers_the_full_width_before_the_heads_and_attention_is_plain_softmax() -> None:
    model = build(n_layers=1, positional_embedding_type="none")
    attention: Any = model.layers[0].attention
    x = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(3))
    q, k, v = (x @ attention.in_proj.weight.T).split(24, dim=-1)
    q, k = attention.q_norm(q), attention.k_norm(k)
    heads = [part.view(1, 5, 3, 8).transpose(1, 2) for part in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(2, 3) / math.sqrt(8)
    scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    expected = (scores.softmax(-1) @ heads[2]).transpose(1, 2).reshape(1, 5, 24) @ attention.out_proj.weight.T
    torch.testing.assert_close(attention(x, None, None)[0], expected, rtol=0, atol=1e-5)


def test_the_first_half_of_w12_is_the_gate() -> None:
    feed_forward: Any = build(n_layers=1).layers[0].feed_forward
    x = torch.randn(2, 24)
    gate, up = x @ feed_forward.w12.weight[:256].T, x @ feed_forward.w12.weight[256:].T
    expected = (F.silu(gate) * up) @ feed_forward.w3.weight.T
    torch.testing.assert_close(feed_forward(x), expected, rtol=0, atol=1e-5)


def test_logits_are_fp32_and_the_hidden_state_is_normed() -> None:
    model = build().to(torch.bfloat16)
    logits, hidden, cache = model(tokens())
    assert logits.dtype == torch.float32
    assert hidden.dtype == torch.bfloat16
    assert cache is None
    torch.testing.assert_close(model.output(hidden).float(), logits)


@pytest.mark.parametrize("ffn_type", FFN_TYPES)
@pytest.mark.parametrize("position", POSITIONAL_EMBEDDINGS)
def test_cached_decoding_equals_one_pass(position: str, ffn_type: str) -> None:
    model, ids = build(positional_embedding_type=position, ffn_type=ffn_type), tokens()
    whole = model(ids)[0]
    first, _, cache = model(ids[:, :5], use_cache=True)
    second, _, cache = model(ids[:, 5:7], past_key_values=cache, use_cache=True)
    third, _, cache = model(ids[:, 7:], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), whole, rtol=0, atol=1e-5)
    assert len(cache) == 2
    assert cache[0][0].shape == (2, 8, 3, 8)


def test_logits_of_the_last_positions_are_the_end_of_all() -> None:
    model, ids = build(), tokens()
    everything = model(ids)[0]
    last = model(ids, logits_to_keep=3)[0]
    assert last.shape == (2, 3, 40)
    assert torch.allclose(last, everything[:, -3:], atol=1e-6)


def test_a_later_token_never_changes_an_earlier_logit() -> None:
    model, ids = build(), tokens()
    changed = ids.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 40
    torch.testing.assert_close(model(ids)[0][:, :5], model(changed)[0][:, :5], rtol=0, atol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_under_the_mask(side: str) -> None:
    model, ids = build(), tokens()
    pad, zeros, ones = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3), torch.ones(2, 8)
    parts = (pad, ids) if side == "left" else (ids, pad)
    mask = torch.cat([zeros, ones] if side == "left" else [ones, zeros], dim=1)
    logits = model(torch.cat(parts, dim=1), attention_mask=mask)[0]
    assert logits.isfinite().all()
    own = logits[:, 3:] if side == "left" else logits[:, :8]
    torch.testing.assert_close(own, model(ids)[0], rtol=0, atol=1e-5)


def test_rotary_by_hand_at_position_two() -> None:
    rotary = Rotary(4, over_heads=False, exact=False)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    turned = rotary(x, x, offset=2)[0].flatten().tolist()
    a, b = 2.0, 2 * 10000 ** (-2 / 4)  # angles of the pairs (0, 2) and (1, 3)
    expected = [
        math.cos(a) - 3 * math.sin(a),
        2 * math.cos(b) - 4 * math.sin(b),
        3 * math.cos(a) + math.sin(a),
        4 * math.cos(b) + 2 * math.sin(b),
    ]
    assert turned == pytest.approx(expected, abs=1e-6)


def test_llama_rotary_is_rotary_with_interleaved_pairs() -> None:
    x = torch.randn(2, 6, 3, 8, generator=torch.Generator().manual_seed(4))
    halves = torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)
    interleaved = LlamaRotary(8, seq_len=12)(x, x, offset=3)[0]
    turned = Rotary(8, over_heads=False, exact=False)(halves, halves, offset=3)[0]
    back = torch.stack(turned.chunk(2, dim=-1), dim=-1).flatten(-2)
    torch.testing.assert_close(interleaved, back, rtol=0, atol=1e-6)


def test_head_rotary_turns_by_head_and_ignores_the_position() -> None:
    x = torch.randn(1, 1, 3, 8, generator=torch.Generator().manual_seed(5)).expand(1, 4, 3, 8)
    by_head = Rotary(8, over_heads=True, exact=False)(x, x, offset=2)[0]
    plain = Rotary(8, over_heads=False, exact=False)(x[:, 0].unsqueeze(2), x[:, 0].unsqueeze(2))[0]
    torch.testing.assert_close(by_head[:, 0], plain[:, :, 0], rtol=0, atol=1e-6)
    torch.testing.assert_close(by_head[:, 3], by_head[:, 0], rtol=0, atol=0)


def test_llama_rotary_has_twice_the_sequence_and_others_grow() -> None:
    model = build(positional_embedding_type="llama_rotary")
    assert model(tokens(length=24))[0].shape == (2, 24, 40)
    with pytest.raises(InputError, match="24 positions"):
        model(tokens(length=25))
    assert build()(tokens(length=50))[0].shape == (2, 50, 40)


def test_rotary_tables_come_from_the_loaded_buffer_unless_exact() -> None:
    rounded = inverse_frequencies(8).to(torch.bfloat16).float()
    for exact in (False, True):
        rotary = Rotary(8, over_heads=False, exact=exact)
        x = torch.ones(1, 1, 1, 8)
        before = rotary(x, x, offset=11)[0]  # builds the tables
        rotary.load_state_dict({"inv_freq": rounded})
        after = rotary(x, x, offset=11)[0]
        assert torch.equal(before, after) is exact


def test_a_cast_keeps_the_frequencies_in_fp32() -> None:
    model = build().to(torch.bfloat16)
    assert torch.equal(model.state_dict()["layers.0.attention.pos_embed.inv_freq"], inverse_frequencies(8))
    assert model.state_dict()["norm.weight"].dtype == torch.bfloat16


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        model = Transformer(config(), grad_checkpointing=again).train()
        model(tokens())[0].square().mean().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)


def test_prefixes_of_wrappers_are_stripped() -> None:
    value = torch.zeros(1)
    stripped = strip_prefixes({"module._orig_mod.norm.weight": value, "_orig_mod.output.weight": value})
    assert set(stripped) == {"norm.weight", "output.weight"}
