"""Export to Hugging Face and import from it: equal logits on equal weights, and refusals by name."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from corpusmith.errors import InputError
from training.huggingface.export import (
    MODELLING_FILE,
    ExportOptions,
    choose_format,
    export_model,
    openlm_arguments,
    openlm_obstacles,
)
from training.huggingface.export import main as export_main
from training.huggingface.import_model import import_model
from training.huggingface.import_model import main as import_main
from training.huggingface.llama import llama_obstacles, rope_theta
from training.models.config import CONFIG_FOLDER, ModelConfig, load_model_config
from training.models.openlm import Transformer
from training.state.checkpoint import load_model, load_weights, write_model_config

transformers = pytest.importorskip("transformers")

LLAMA = ModelConfig(
    hidden_dim=64, n_layers=2, n_heads=4, seq_len=32, vocab_size=96, model_norm="rms_norm", ffn_type="swiglu_torch"
)
DCLM = replace(LLAMA, model_norm="gain_only_lp_layer_norm", qk_norm=True)


@pytest.fixture(autouse=True)
def modelling_files_are_cached_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    """A function that stores a model of random weights, gains included, as a run would, and gives its URL."""

    def write(config: ModelConfig, name: str = "run", rounded: bool = False) -> str:
        torch.manual_seed(0)
        model = Transformer(config)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if key.endswith(("norm.weight", "norm.bias")):
                    weight.add_(0.3 * torch.randn_like(weight))
            for key, buffer in model.named_buffers():
                if rounded and key.endswith("inv_freq"):
                    buffer.copy_(buffer.bfloat16().float())
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        write_model_config(str(folder), config)
        url = str(folder / "checkpoints" / "epoch_1.pt")
        torch.save({"epoch": 1, "state_dict": model.state_dict()}, url)
        return url

    return write


def ids(config: ModelConfig) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (2, 24), generator=torch.Generator().manual_seed(1))


def load_exported(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=True).eval()


def assert_same_logits(ours: torch.nn.Module, theirs: torch.nn.Module, config: ModelConfig) -> None:
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids(config)).logits, ours(ids(config))[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        replace(LLAMA, ffn_type="swiglu"),
        replace(LLAMA, positional_embedding_type="llama_rotary"),
        replace(LLAMA, weight_tying=True),
        replace(LLAMA, n_heads=2, n_layers=1),
    ],
    ids=["rotary", "swiglu", "llama_rotary", "tied", "two heads"],
)
def test_a_model_that_is_a_llama_gives_the_logits_of_the_stock_class(
    save: Callable[..., str], tmp_path: Path, config: Any
) -> None:
    url = save(config)
    assert export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"))) == "llama"
    exported = load_exported(tmp_path / "hf")
    assert type(exported) is transformers.LlamaForCausalLM
    assert not list((tmp_path / "hf").glob("*.py"))
    assert_same_logits(load_model(url), exported, config)
    back = import_model(str(tmp_path / "hf"), str(tmp_path / "back"))
    assert_same_logits(load_model(back), exported, config)


def test_the_built_in_llama_config_is_a_llama_by_its_kinds() -> None:
    assert llama_obstacles(load_model_config("llama2_7b"), {}) == []


@pytest.mark.parametrize(
    "config",
    [
        DCLM,
        replace(DCLM, model_norm="rms_norm"),
        replace(DCLM, model_norm="default_layer_norm", qk_norm=False, post_embed_norm=True),
        replace(DCLM, model_norm="no_wb_layer_norm", weight_tying=True),
    ],
    ids=["dclm", "rms with qk norm", "biases and post_embed_norm", "no gains, tied"],
)
def test_other_models_give_the_same_logits_through_our_modelling_file(
    save: Callable[..., str], tmp_path: Path, config: Any
) -> None:
    url = save(config, rounded=True)
    assert export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"))) == "openlm"
    exported = load_exported(tmp_path / "hf")
    assert type(exported).__module__.startswith("transformers_modules.")
    assert_same_logits(load_model(url), exported, config)
    back = import_model(str(tmp_path / "hf"), str(tmp_path / "back"))
    ours, again = load_weights(url), load_weights(back)
    assert set(ours) == set(again)
    assert all(torch.equal(ours[key], again[key]) for key in ours)
    assert load_model(back).config == config


@pytest.mark.parametrize("scale", ["d=1024_l=24_h=8", "open_lm_1b_swiglutorch", "open_lm_7b_swiglutorch"])
def test_the_modelling_file_has_the_parameters_of_dclms_scales(scale: str) -> None:
    from training.huggingface.modeling_openlm import OpenLMConfig, OpenLMForCausalLM

    config = load_model_config(scale, model_norm="gain_only_lp_layer_norm", qk_norm=True)
    with torch.device("meta"):
        ours, theirs = Transformer(config), OpenLMForCausalLM(OpenLMConfig(openlm_arguments(config)))
    assert {f"model.{key}": value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


def test_generation_with_a_cache_and_left_padding_equals_greedy_decoding_of_our_model(
    save: Callable[..., str], tmp_path: Path
) -> None:
    url = save(DCLM)
    export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf")))
    exported, ours = load_exported(tmp_path / "hf"), load_model(url)
    prompt = ids(DCLM)[:1, :8]
    expected = prompt
    for _ in range(6):
        expected = torch.cat([expected, ours(expected)[0][:, -1].argmax(-1, keepdim=True)], dim=1)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert exported.generate(prompt, **settings).tolist() == expected.tolist()
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.int64), prompt], dim=1)
    mask = (torch.arange(11) >= 3).long()[None]
    assert exported.generate(padded, attention_mask=mask, **settings)[:, 3:].tolist() == expected.tolist()


def test_the_modelling_files_loss_is_the_mean_cross_entropy_of_the_next_token(
    save: Callable[..., str], tmp_path: Path
) -> None:
    url = save(DCLM)
    export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf")))
    labels = ids(DCLM).clone()
    labels[:, :10] = -100
    logits = load_model(url)(ids(DCLM))[0]
    expected = torch.nn.functional.cross_entropy(logits[:, 9:-1].flatten(0, 1), labels[:, 10:].flatten())
    loss = load_exported(tmp_path / "hf")(ids(DCLM), labels=labels).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_lower_precision_leaves_the_rotary_frequencies_alone(save: Callable[..., str], tmp_path: Path) -> None:
    url = save(DCLM, rounded=True)
    expected = load_weights(url)["layers.0.attention.pos_embed.inv_freq"]
    export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"), dtype="bfloat16"))
    exported = load_exported(tmp_path / "hf")
    assert exported.model.output.weight.dtype == torch.bfloat16
    for model in (exported, exported.to(torch.float16)):  # a cast rounds the buffer, which then is not used
        assert torch.equal(model.model.layers[0].attention.pos_embed.frequencies(), expected)
    back = load_weights(import_model(str(tmp_path / "hf"), str(tmp_path / "back")))
    assert torch.equal(back["layers.0.attention.pos_embed.inv_freq"], expected)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"model_norm": "batch_norm"}, "unknown model_norm 'batch_norm'"),
        ({"positional_embedding_type": "head_rotary"}, "'head_rotary' is not supported"),
        ({"ffn_type": "gelu"}, "ffn_type 'gelu' is not supported"),
    ],
)
def test_the_modelling_file_refuses_other_kinds_by_name(changed: Any, named: str) -> None:
    from training.huggingface.modeling_openlm import OpenLMConfig, OpenLMForCausalLM

    with pytest.raises(ValueError, match=named):
        OpenLMForCausalLM(OpenLMConfig(openlm_arguments(DCLM) | changed))


def test_the_modelling_file_stands_alone() -> None:
    imported = set()
    for node in ast.walk(ast.parse(MODELLING_FILE.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported == {"__future__", "typing", "torch", "transformers"}


@pytest.mark.parametrize(
    ("config", "form", "named"),
    [
        (replace(DCLM, ffn_type="gelu"), "auto", "ffn_type 'gelu'"),
        (replace(DCLM, ffn_type="gemma_geglu"), "auto", "ffn_type 'gemma_geglu'"),
        (replace(LLAMA, positional_embedding_type="head_rotary"), "auto", "positional_embedding_type 'head_rotary'"),
        (replace(DCLM, positional_embedding_type="none"), "auto", "positional_embedding_type 'none'"),
        (replace(DCLM, positional_embedding_type="llama_rotary"), "auto", "'llama_rotary'.*model_norm"),
        (DCLM, "llama", "model_norm 'gain_only_lp_layer_norm'.*qk_norm.*--format openlm"),
        (replace(LLAMA, post_embed_norm=True), "llama", "post_embed_norm"),
    ],
)
def test_what_neither_form_can_express_is_refused_by_name(
    save: Callable[..., str], tmp_path: Path, config: Any, form: str, named: str
) -> None:
    url = save(config)
    with pytest.raises(InputError, match=named):
        export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"), form=form))
    assert not (tmp_path / "hf").exists()


def test_another_architecture_is_refused_by_name() -> None:
    other = replace(LLAMA, architecture="mine")
    with pytest.raises(InputError, match="does not know architecture 'mine'"):
        choose_format("auto", other, {}, "epoch_1.pt")


def test_frequencies_rounded_by_bf16_training_are_no_llama_but_are_exported_as_they_are(
    save: Callable[..., str], tmp_path: Path
) -> None:
    url = save(LLAMA, rounded=True)
    with pytest.raises(InputError, match="rounded by bf16"):
        export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"), form="llama"))
    assert export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf"))) == "openlm"
    assert_same_logits(load_model(url), load_exported(tmp_path / "hf"), LLAMA)


def write_llama(folder: Path, **changed: Any) -> Any:
    settings = {
        "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 96, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    }  # fmt: skip
    torch.manual_seed(3)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings | changed)).eval()
    model.save_pretrained(str(folder))
    return model


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"num_key_value_heads": 2},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"rope_parameters": LLAMA3, "num_key_value_heads": 1},
    ],
    ids=["plain", "grouped heads", "tied", "theta", "llama3 rope"],
)
def test_llamas_of_others_are_imported_with_equal_logits(tmp_path: Path, changed: Any) -> None:
    theirs = write_llama(tmp_path / "llama", **changed)
    url = import_model(str(tmp_path / "llama"), str(tmp_path / "ours"))
    ours = load_model(url)
    assert_same_logits(ours, theirs, ours.config)
    theta = rope_theta(ours.config, ours.state_dict())
    assert theta == {"default": theirs.config.rope_parameters["rope_theta"]}.get(
        theirs.config.rope_parameters["rope_type"]
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"intermediate_size": 512}, "intermediate_size 512"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps 1e-06"),
        ({"attention_bias": True}, "attention_bias"),
        ({"head_dim": 32}, "head_dim 32"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'dynamic'"),
    ],
)
def test_llamas_without_a_counterpart_are_refused_by_name(tmp_path: Path, changed: Any, named: str) -> None:
    write_llama(tmp_path / "llama", **changed)
    with pytest.raises(InputError, match=named):
        import_model(str(tmp_path / "llama"), str(tmp_path / "ours"))


def test_an_imported_model_carries_openlms_layout(tmp_path: Path) -> None:
    write_llama(tmp_path / "my_llama")
    url = import_model(str(tmp_path / "my_llama"), str(tmp_path / "ours"))
    assert url == str(tmp_path / "ours" / "checkpoints" / "epoch_0.pt")
    stored = torch.load(url, weights_only=True)
    assert (stored["epoch"], stored["name"]) == (0, "my_llama")
    params = (tmp_path / "ours" / "params.txt").read_text().splitlines()
    assert "model_norm: rms_norm" in params
    assert "qk_norm: False" in params


def test_openlms_own_config_json_is_read(tmp_path: Path, save: Callable[..., str]) -> None:
    export_model(ExportOptions(checkpoint=save(DCLM), output=str(tmp_path / "hf")))
    path = tmp_path / "hf" / "config.json"
    document = json.loads(path.read_text())
    arguments = document["params_args_dict"]
    del arguments["model_norm"], arguments["qk_norm"]
    arguments |= {"norm_type": "gain_only_lp_layer_norm", "apply_qk_norm": True, "moe_freq": 0, "moe_num_experts": None}
    path.write_text(json.dumps(document))
    assert load_model(import_model(str(tmp_path / "hf"), str(tmp_path / "ours"))).config == DCLM
    arguments["moe_freq"] = 2
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="moe_freq 2"):
        import_model(str(tmp_path / "hf"), str(tmp_path / "again"))


def test_the_tokenizer_goes_along(save: Callable[..., str], tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "tokenizers" / "EleutherAI_gpt-neox-20b.tokenizer.json"
    config = replace(DCLM, hidden_dim=16, n_layers=1, n_heads=2, vocab_size=50432)
    export_model(ExportOptions(checkpoint=save(config), output=str(tmp_path / "hf"), tokenizer=str(path)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "hf"))
    assert tokenizer("Hello world")["input_ids"] == [12092, 1533]
    assert tokenizer.eos_token_id == 0
    assert load_exported(tmp_path / "hf").generation_config.eos_token_id == 0
    with pytest.raises(InputError, match="50277 ids, the model only 96"):
        export_model(ExportOptions(checkpoint=save(DCLM, "small"), output=str(tmp_path / "x"), tokenizer=str(path)))


def test_the_scripts_tell_mistakes_in_one_line(
    save: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = save(DCLM)
    target = str(tmp_path / "hf")
    assert export_main(["--checkpoint", url, "--save_dir", target]) == 0
    assert "trust_remote_code" in capsys.readouterr().out
    assert export_main(["--checkpoint", url, "--save_dir", target]) == 2
    assert "not empty" in capsys.readouterr().err
    assert export_main(["--checkpoint", url]) == 2
    assert "--save_dir" in capsys.readouterr().err
    assert import_main(["--model", str(tmp_path / "none"), "--output", str(tmp_path / "o")]) == 2
    assert "config.json" in capsys.readouterr().err
    (tmp_path / "hf" / "model.safetensors").write_bytes(b"\x00" * 64)
    assert import_main(["--model", target, "--output", str(tmp_path / "o")]) == 2
    assert "not a safetensors file" in capsys.readouterr().err
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "gpt2"}')
    assert import_main(["--model", target, "--output", str(tmp_path / "o")]) == 2
    assert "'gpt2'" in capsys.readouterr().err


def test_uploading_happens_only_where_a_repository_is_named(
    save: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    class Hub:
        def __init__(self, token: Any) -> None:
            calls.append(token)

        def create_repo(self, repository: Any, private: Any, exist_ok: Any) -> None:
            calls.append((repository, private, exist_ok))

        def upload_folder(self, repo_id: Any, folder_path: Any) -> None:
            calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    url = save(DCLM)
    export_model(ExportOptions(checkpoint=url, output=str(tmp_path / "hf")))
    assert calls == []
    export_model(ExportOptions(checkpoint=url, repository="me/model", private=True, token="t"))
    names = ["config.json", "generation_config.json", "model.safetensors", "modeling_openlm.py"]
    assert calls == ["t", ("me/model", True, True), ("me/model", names)]


def test_every_built_in_config_is_exported_or_refused_by_name() -> None:
    for path in CONFIG_FOLDER.glob("*.json"):
        config = load_model_config(str(path), model_norm="gain_only_lp_layer_norm", qk_norm=True)
        assert openlm_obstacles(config) == (
            [f"positional_embedding_type {config.positional_embedding_type!r}"]
            if path.stem in ("open_lm_1b_old", "llama2_7b")
            else []
        )
