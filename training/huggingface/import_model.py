"""Import of a Hugging Face folder as an OpenLM checkpoint: Llama models that fit, and OpenLM's (DCLM-7B's kind).

The result is an experiment folder without training: `params.txt`, `model_config.json`, `checkpoints/epoch_0.pt`.
Evaluation, fine-tuning (`--pretrained`) and export take it like any other. The weights are read from safetensors alone
and no code of the folder is run. Follows OpenLM's converter; departs from it in storing `epoch`, without which OpenLM
takes the file for a bare state dict.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError, missing_package
from corpusmith.io import storage
from corpusmith.run.progress import say
from training.models.config import ModelConfig, model_config_from
from training.state.params_txt import params_text
from training.state.run_folder import CHECKPOINTS, PARAMS_NAME

if TYPE_CHECKING:
    from torch import Tensor

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
_RENAMED = {"dim": "hidden_dim", "norm_type": "model_norm", "apply_qk_norm": "qk_norm"}
#: Keys that OpenLM's arguments share with our config; the others are ours alone.
_SHARED = {entry.name for entry in fields(ModelConfig)} - {"rotary_table", "architecture"}


def import_model(folder: str, output: str) -> str:
    """Read a local Hugging Face folder and write an experiment folder; returns the checkpoint's URL.

    Raises:
        InputError: the folder holds another architecture or no safetensors, or the output exists.
    """
    if storage.list_files(output):
        raise InputError(f"{output} is not empty; choose another --output or remove it")
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise InputError(f"{folder} is no local Hugging Face folder: it has no config.json; download the model first")
    config, weights = read_folder(folder)
    return _write_experiment(output, storage.basename(folder), config, weights)


def read_folder(folder: str) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Config and fp32 weights of a Hugging Face folder, under OpenLM's names."""
    path = storage.join(folder, "config.json")
    document = storage.read_json(path)
    kind = document.get("model_type") if isinstance(document, dict) else None
    if kind == "openlm":
        config = config_from_openlm(document.get("params_args_dict") or {}, path)
        return config, _from_openlm(_read_safetensors(folder))
    if kind != "llama":
        raise InputError(f"{path}: models of type {kind!r} can't be imported; only 'llama' and 'openlm' can")
    try:
        from transformers import LlamaConfig
    except ImportError as error:
        raise missing_package("transformers", "train") from error
    from training.huggingface.llama import config_from_llama, from_llama

    llama = LlamaConfig.from_pretrained(folder)
    config = config_from_llama(llama, path)
    return config, from_llama(llama, _read_safetensors(folder))


def config_from_openlm(arguments: Mapping[str, Any], where: str) -> ModelConfig:
    """Our config for a `params_args_dict`.

    Raises:
        InputError: a mixture of experts; ConfigError: a size that is missing or doesn't fit.
    """
    if arguments.get("moe_freq"):
        raise InputError(f"{where}: mixtures of experts (moe_freq {arguments['moe_freq']}) can't be imported")
    present = {key: value for key, value in arguments.items() if value is not None}
    known = {_RENAMED[key]: value for key, value in present.items() if key in _RENAMED}
    known |= {key: value for key, value in present.items() if key in _SHARED}
    defaults = {"post_embed_norm": False, "weight_tying": False}
    return model_config_from(defaults | known, where=f"{where}: params_args_dict")


def _from_openlm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenLM's own names; a tied head that the file leaves out comes back."""
    named = {key.removeprefix("model."): value for key, value in weights.items()}
    for one, other in (("output.weight", "tok_embeddings.weight"), ("tok_embeddings.weight", "output.weight")):
        if one not in named and other in named:
            named[one] = named[other]
    return named


def _read_safetensors(folder: str) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors, in fp32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = os.path.join(folder, INDEX_NAME)
    names = [SINGLE_NAME]
    if os.path.isfile(index):
        listed = storage.read_json(index).get("weight_map", {})
        names = sorted({os.path.basename(name) for name in listed.values()})
    weights: dict[str, Tensor] = {}
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise InputError(f"{folder} has no {name}; only safetensors are read")
        try:
            weights |= {key: value.float() for key, value in load_file(path).items()}
        except SafetensorError as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from error
    return weights


def _write_experiment(output: str, name: str, config: ModelConfig, weights: dict[str, Tensor]) -> str:
    """`params.txt`, `model_config.json` and the checkpoint, which is checked against the config first."""
    import torch

    from training.models.openlm import Transformer
    from training.state.checkpoint import load_into, save_file, write_model_config

    with torch.device("meta"):
        model = Transformer(config)
    model.to_empty(device="cpu").tie_weights()
    load_into(model, weights, name)
    params = {
        "ffn_type": config.ffn_type,
        "model": name,
        "model_norm": config.model_norm,
        "name": name,
        "positional_embedding_type": config.positional_embedding_type,
        "qk_norm": config.qk_norm,
        "seq_len": config.seq_len,
        "vocab_size": config.vocab_size,
    }
    storage.write_bytes(storage.join(output, PARAMS_NAME), params_text(params).encode())
    write_model_config(output, config)
    url = storage.join(output, CHECKPOINTS, "epoch_0.pt")
    content = {"epoch": 0, "name": name, "evaluation_metrics": [], "state_dict": model.state_dict()}
    save_file(url, content)
    return url


def build_parser() -> argparse.ArgumentParser:
    """The flags of the import."""
    parser = make_parser(
        "import_hf_model.py",
        "Turn a local Hugging Face folder (a Llama, or an OpenLM model) into a checkpoint of ours.",
        "python tools/import_hf_model.py --model exported --output logs/imported",
    )
    parser.add_argument("--model", required=True, metavar="DIR", help="folder with config.json and safetensors")
    parser.add_argument("--output", required=True, metavar="DIR", help="experiment folder or URL to write")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Import as the flags say."""
    say(f"imported {arguments.model}: {import_model(arguments.model, arguments.output)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
