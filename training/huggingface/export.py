"""Export of a checkpoint to a folder that Hugging Face transformers reads; `tools/push_openlm_model_to_hf.py`'s engine.

A model that is a Llama by its config becomes one, for the stock class. Others, DCLM's own scales among them, come with
a modelling file of ours, for `trust_remote_code=True`. What neither can express is refused by name. Follows OpenLM's
flags and `config.json`; departs from it in writing a local folder (or any URL) and uploading only where a repository
is named.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError, missing_package
from corpusmith.io import storage
from corpusmith.run.progress import say
from corpusmith.text.tokenizers.load import HuggingFaceTokenizer, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from training.models.config import ModelConfig

FORMATS = ("auto", "llama", "openlm")
DTYPES = ("float32", "bfloat16", "float16")
MODELLING_FILE = Path(__file__).with_name("modeling_openlm.py")
MODELLING_NAME = "modeling_openlm"
MAX_SHARD_SIZE = "5GB"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What to export and how.

    `checkpoint` is an `epoch_n.pt`; `params` its `params.txt` and `model` its config, both by default those of its
    experiment. `tokenizer` is a `tokenizer.json` (or a name that finds one); None writes no tokenizer. `form` is one
    of FORMATS (`auto`: Llama where possible), `dtype` one of DTYPES. `repository` is a Hub repository to upload to.
    """

    checkpoint: str
    output: str | None = None
    params: str | None = None
    model: str | None = None
    tokenizer: str | None = None
    form: str = "auto"
    dtype: str = "float32"
    repository: str | None = None
    private: bool = False
    token: str | None = None


def export_model(options: ExportOptions) -> str:
    """Write the folder (and upload it where asked); returns `llama` or `openlm`, the format that was written.

    Raises:
        InputError: the model can't be expressed, the output exists, or the tokenizer has ids beyond the vocabulary.
    """
    if options.output is None and options.repository is None:
        raise InputError("say where the model goes: --save_dir DIR, or --repo_id OWNER/NAME to upload it")
    if options.output is not None and storage.list_files(options.output):
        raise InputError(f"{options.output} is not empty; choose another --save_dir or remove it")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        form = _write_folder(options, folder)
        if options.output is not None:
            _publish(folder, options.output)
        if options.repository is not None:
            _upload(options, folder)
    return form


def openlm_obstacles(config: ModelConfig) -> list[str]:
    """What the modelling file does not know, each with its name and value."""
    from training.huggingface.llama import OWN_ARCHITECTURE, SWIGLU

    found = []
    if config.architecture != OWN_ARCHITECTURE:
        found.append(f"architecture {config.architecture!r}")
    if config.positional_embedding_type != "rotary":
        found.append(f"positional_embedding_type {config.positional_embedding_type!r}")
    if config.ffn_type not in SWIGLU:
        found.append(f"ffn_type {config.ffn_type!r}")
    return found


def choose_format(form: str, config: ModelConfig, weights: dict[str, Tensor], where: str) -> str:
    """Choose between `llama` and `openlm`.

    Args:
        form: what was asked for, one of FORMATS.
        config: of the model.
        weights: of the model.
        where: names the model in errors.

    Raises:
        InputError: the model fits neither, or not the one asked for; the message names what does not fit.
    """
    from training.huggingface.llama import llama_obstacles

    if form not in FORMATS:
        raise InputError(f"unknown export format {form!r}; it must be one of {', '.join(FORMATS)}")
    against_llama, against_openlm = llama_obstacles(config, weights), openlm_obstacles(config)
    if form in ("auto", "llama") and not against_llama:
        return "llama"
    if form == "llama":
        raise InputError(f"{where} is no Llama: {'; '.join(against_llama)}; use --format openlm")
    if against_openlm:
        raise InputError(
            f"{where} can't be exported to Hugging Face: our modelling file does not know {'; '.join(against_openlm)}, "
            f"and as a Llama it fails on {'; '.join(against_llama) or 'nothing (use --format llama)'}"
        )
    return "openlm"


def _write_folder(options: ExportOptions, folder: Path) -> str:
    """Weights, config, modelling file and tokenizer."""
    try:
        import transformers
    except ImportError as error:
        raise missing_package("transformers", "train") from error
    from training.state.checkpoint import load_model

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = load_model(options.checkpoint, options.params, options.model)
    config, weights = model.config, dict(model.state_dict())
    form = choose_format(options.form, config, weights, options.checkpoint)
    network = _llama_network(config, weights) if form == "llama" else _openlm_network(config, weights, options)
    _cast(network, options.dtype)
    if options.tokenizer is not None:
        _write_tokenizer(options.tokenizer, network, folder)
    network.save_pretrained(str(folder), max_shard_size=MAX_SHARD_SIZE)
    if form == "openlm":
        shutil.copyfile(MODELLING_FILE, folder / f"{MODELLING_NAME}.py")
    return form


def _llama_network(config: ModelConfig, weights: dict[str, Tensor]) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.huggingface.llama import llama_arguments, to_llama

    llama = LlamaConfig(**llama_arguments(config, weights))
    with torch.device("meta"):
        network = LlamaForCausalLM(llama)
    network.load_state_dict(to_llama(config, weights), assign=True)
    network.tie_weights()
    return network


def _openlm_network(config: ModelConfig, weights: dict[str, Tensor], options: ExportOptions) -> Any:
    import torch

    from training.huggingface.modeling_openlm import OpenLMConfig, OpenLMForCausalLM
    from training.models.layers import inverse_frequencies

    named = {f"model.{key}": value for key, value in weights.items()}
    if config.rotary_table == "exact":
        exact = inverse_frequencies(config.head_dim)
        named |= {key: exact.clone() for key in named if key.endswith(".inv_freq")}
    frequencies = named["model.layers.0.attention.pos_embed.inv_freq"].tolist()
    arguments = openlm_arguments(config, options.model) | {"inv_freq": frequencies}
    with torch.device("meta"):
        network = OpenLMForCausalLM(OpenLMConfig(arguments))
    network.load_state_dict(named, assign=True)
    network.tie_weights()
    network.config.auto_map = {
        "AutoConfig": f"{MODELLING_NAME}.OpenLMConfig",
        "AutoModelForCausalLM": f"{MODELLING_NAME}.OpenLMForCausalLM",
    }
    return network


def openlm_arguments(config: ModelConfig, model: str | None = None) -> dict[str, Any]:
    """`params_args_dict` of OpenLM's class."""
    from training.models.config import model_stem
    from training.models.layers import NORM_EPS

    return {
        "apply_qk_norm": config.qk_norm,
        "attn_activation": None,
        "attn_name": "torch_attn",
        "attn_seq_scalar": None,
        "attn_seq_scalar_alpha": None,
        "dim": config.hidden_dim,
        "ffn_type": config.ffn_type,
        "model": None if model is None else model_stem(model),
        "model_norm": config.model_norm,
        "n_heads": config.n_heads,
        "n_layers": config.n_layers,
        "norm_eps": NORM_EPS,
        "positional_embedding_type": config.positional_embedding_type,
        "post_embed_norm": config.post_embed_norm,
        "qk_norm": config.qk_norm,
        "seq_len": config.seq_len,
        "vocab_size": config.vocab_size,
        "weight_tying": config.weight_tying,
    }


def _cast(network: Any, name: str) -> None:
    """Weights in the dtype asked for; rotary frequencies stay in fp32."""
    import torch

    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}; it must be one of {', '.join(DTYPES)}")
    for parameter in network.parameters():
        parameter.data = parameter.data.to(getattr(torch, name))
    network.config.dtype = name


def _write_tokenizer(name: str, network: Any, folder: Path) -> None:
    """The tokenizer's files, and its end-of-text id in the model's config.

    Raises:
        InputError: a rank file, or ids beyond the model's vocabulary.
    """
    from transformers import PreTrainedTokenizerFast

    ours = load_tokenizer(name)
    if not isinstance(ours, HuggingFaceTokenizer):
        raise InputError(f"tokenizer {name}: Hugging Face needs a tokenizer.json, not a rank file")
    if ours.num_ids > network.config.vocab_size:
        raise InputError(f"tokenizer {name} has {ours.num_ids} ids, the model only {network.config.vocab_size}")
    end = ours.decode([ours.eot_id])
    with tempfile.NamedTemporaryFile(suffix=".json") as copy:
        copy.write(ours.content)
        copy.flush()
        make: Any = PreTrainedTokenizerFast
        theirs = make(tokenizer_file=copy.name, eos_token=end, bos_token=end, unk_token=end)
    theirs.model_max_length = network.config.max_position_embeddings
    theirs.save_pretrained(str(folder))
    network.config.eos_token_id = network.config.bos_token_id = ours.eot_id
    if network.generation_config is not None:
        network.generation_config.eos_token_id = network.generation_config.bos_token_id = ours.eot_id


def _publish(folder: Path, output: str) -> None:
    """Copy the folder to any URL, `config.json` last, so that what has one is complete."""
    files = sorted(folder.rglob("*"), key=lambda path: (path.name == "config.json", path))
    for path in files:
        if path.is_file():
            target = storage.join(output, path.relative_to(folder).as_posix())
            with path.open("rb") as source, storage.atomic_write(target) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def _upload(options: ExportOptions, folder: Path) -> None:
    """Create the repository where there is none, and upload the folder."""
    from huggingface_hub import HfApi

    api = HfApi(token=options.token)
    api.create_repo(options.repository or "", private=options.private, exist_ok=True)
    api.upload_folder(repo_id=options.repository or "", folder_path=str(folder))
    say(f"uploaded to {options.repository}")


def build_parser() -> argparse.ArgumentParser:
    """DCLM's flags, and `--format` and `--dtype`."""
    parser = make_parser(
        "push_openlm_model_to_hf.py",
        "Write a checkpoint as a folder for Hugging Face transformers; upload it where a repository is named.",
        "python tools/push_openlm_model_to_hf.py --checkpoint logs/run/checkpoints/epoch_5.pt --save_dir exported",
    )
    parser.add_argument("--checkpoint", required=True, help="an epoch_n.pt")
    parser.add_argument("--config", metavar="PARAMS", help="its params.txt (default: that of its experiment)")
    parser.add_argument("--model", help="name or path of a model config, in place of what the run says")
    parser.add_argument("--tokenizer", help="tokenizer.json to add (default: none)")
    parser.add_argument("--save_dir", metavar="DIR", help="folder or URL to write; must be empty")
    parser.add_argument("--format", choices=FORMATS, default="auto", help="default auto: Llama where the config allows")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights (default float32)")
    parser.add_argument("--repo_id", metavar="OWNER/NAME", help="upload to this Hub repository")
    parser.add_argument("--private", action="store_true", help="make the repository a private one")
    parser.add_argument("--hf_token", help="token for the upload (default: HF_TOKEN or the Hub's own login)")
    parser.add_argument("--force-xformers", action="store_true", help="accepted without effect")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Export as the flags say."""
    options = ExportOptions(
        checkpoint=arguments.checkpoint,
        output=arguments.save_dir,
        params=arguments.config,
        model=arguments.model,
        tokenizer=arguments.tokenizer,
        form=arguments.format,
        dtype=arguments.dtype,
        repository=arguments.repo_id,
        private=arguments.private,
        token=arguments.hf_token,
    )
    form = export_model(options)
    how = "any Llama class" if form == "llama" else "AutoModelForCausalLM with trust_remote_code=True"
    say(f"exported {arguments.checkpoint} as {form}; it loads with {how}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
