"""Tokenizers by name or file: `tokenizer.json`, tiktoken ranks, SentencePiece, behind one small protocol.

What may be named:

- a file: `tokenizer.json`, `NAME.tiktoken` (ranks), `tokenizer.model` (SentencePiece, or Llama 3's ranks), or the
  folder that holds one;
- a Hugging Face name (`EleutherAI/gpt-neox-20b`, or a preset: `gpt-neox-20b`, `gpt2`, `llama-3`): looked up in the
  folder that CORPUSMITH_TOKENIZERS names (by default ~/.cache/corpusmith/tokenizers), then in Hugging Face's own cache
  and, unless HF_HUB_OFFLINE is set, on the hub;
- `tiktoken:ENCODING` (`tiktoken:cl100k_base`), or `tiktoken:OWNER/NAME` for a rank file in that folder.

Text inside a document is always text: a page that spells out `<|endoftext|>` gets the tokens of those characters, not
the special id, and no special tokens are added. Lone surrogates, which no encoder takes, are read as U+FFFD.

End-of-text and pad ids follow DCLM for GPT-NeoX (end-of-text 0, pad = vocabulary size + 2 = 50256, which is in truth
the token of a run of 22 spaces); other tokenizers use their own special tokens, and the end-of-text token where they
have none for padding.

GPT-NeoX has two meanings. The name and the preset mean the `tokenizer.json`, whose added tokens stand for runs of
spaces; where only the rank file is at hand it is made again from that. The rank file itself (by its path, or
`tiktoken:EleutherAI/gpt-neox-20b`) gives other ids for runs of spaces. `Tokenizer.kind` says which one it is.
"""

from __future__ import annotations

import functools
import os
import socket
import urllib.parse

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.text.tokenizers.common import Tokenizer
from corpusmith.text.tokenizers.gpt_neox import rebuild
from corpusmith.text.tokenizers.huggingface import HuggingFaceTokenizer
from corpusmith.text.tokenizers.sentencepiece_model import SentencePieceTokenizer
from corpusmith.text.tokenizers.tiktoken_ranks import is_rank_file, named_encoding, rank_file_tokenizer

__all__ = ["GPT_NEOX", "HuggingFaceTokenizer", "Tokenizer", "cached_tokenizer", "load_tokenizer", "resolve_tokenizer"]


GPT_NEOX = "EleutherAI/gpt-neox-20b"
#: short names -> what they stand for
PRESETS = {
    "gpt-neox-20b": GPT_NEOX,
    "gpt2": "openai-community/gpt2",
    "gpt-2": "openai-community/gpt2",
    "llama-3": "meta-llama/Meta-Llama-3-8B",
    "llama3": "meta-llama/Meta-Llama-3-8B",
}
TOKENIZERS_VARIABLE = "CORPUSMITH_TOKENIZERS"
DEFAULT_FOLDER = "~/.cache/corpusmith/tokenizers"

_HUB_SECONDS = 5
_TIKTOKEN = "tiktoken:"
_REBUILT = "gpt-neox:"
_FILES = (".json", ".tiktoken", ".model")


def load_tokenizer(name_or_path: str) -> Tokenizer:
    """The tokenizer of a name or path (see the module), or of what `resolve_tokenizer` made of it.

    Raises:
        InputError: nothing is found, or the file is no tokenizer.
    """
    spec = resolve_tokenizer(name_or_path)
    if spec.startswith(_TIKTOKEN):
        return named_encoding(name_or_path, spec.removeprefix(_TIKTOKEN))
    content = storage.read_bytes(spec.removeprefix(_REBUILT))
    if spec.startswith(_REBUILT):
        return HuggingFaceTokenizer(name_or_path, rebuild(name_or_path, content))
    if spec.endswith(".json"):
        return HuggingFaceTokenizer(name_or_path, content)
    if spec.endswith(".tiktoken") or is_rank_file(content):
        return rank_file_tokenizer(name_or_path, content)
    return SentencePieceTokenizer(name_or_path, content)


@functools.lru_cache(maxsize=2)
def cached_tokenizer(name_or_path: str, content_hash: str) -> Tokenizer:
    """`load_tokenizer`, once per process; raises InputError where the file's content is not the one expected."""
    tokenizer = load_tokenizer(name_or_path)
    if tokenizer.content_hash != content_hash:
        found = tokenizer.content_hash
        raise InputError(f"tokenizer {name_or_path}: its content is {found}, the run was started with {content_hash}")
    return tokenizer


def resolve_tokenizer(name_or_path: str) -> str:
    """What a worker, wherever it stands, can load: the absolute URL of a file, maybe with how to read it before it.

    Raises:
        InputError: there is nothing; says what was tried.
    """
    if name_or_path.startswith(_REBUILT):
        return name_or_path
    if name_or_path.startswith(_TIKTOKEN):
        name = name_or_path.removeprefix(_TIKTOKEN)
        ranks = storage.join(_folder(), _canonical(name).replace("/", "_") + ".tiktoken")
        return ranks if _is_plain(name) and storage.exists(ranks) else name_or_path
    if name_or_path.endswith(_FILES):
        if storage.exists(name_or_path):
            return _absolute(name_or_path)
        raise _not_found(name_or_path, [name_or_path])
    tried = [storage.join(name_or_path.rstrip("/") or "/", f"tokenizer{suffix}") for suffix in (".json", ".model")]
    if _is_plain(name_or_path):
        name = _canonical(name_or_path)
        flat = name.replace("/", "_")
        names = [f"{flat}.tokenizer.json", f"{name}/tokenizer.json", f"{flat}.model", f"{flat}.tiktoken"]
        tried += [storage.join(_folder(), each) for each in names]
    for url in tried:
        if storage.exists(url):
            is_neox_ranks = url.endswith(".tiktoken") and _canonical(name_or_path) == GPT_NEOX
            return (_REBUILT if is_neox_ranks else "") + _absolute(url)
    reason = ""
    if "/" in _canonical(name_or_path) and _is_plain(name_or_path):
        found, reason = _from_hub(_canonical(name_or_path))
        if found is not None:
            return found
    raise _not_found(name_or_path, tried, reason)


def _canonical(name: str) -> str:
    return PRESETS.get(name, name)


def _is_plain(name: str) -> bool:
    """Whether a name may be one of the hub's: no place in it that leaves a folder."""
    return "://" not in name and not {"", ".", "..", "~"} & set(name.split("/")) and name.count("/") <= 1


def _folder() -> str:
    return os.path.expanduser(os.environ.get(TOKENIZERS_VARIABLE) or DEFAULT_FOLDER)


def _absolute(url: str) -> str:
    return url if "://" in url else os.path.abspath(url)


def _from_hub(name: str) -> tuple[str | None, str]:
    """The file of a name from Hugging Face's cache or the hub; None, and why, where it is not to be had."""
    import huggingface_hub
    from huggingface_hub import errors

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE") or not _hub_is_near()
    for file in ("tokenizer.json", "tokenizer.model"):
        try:
            return os.path.abspath(huggingface_hub.hf_hub_download(name, file, local_files_only=offline)), ""
        except errors.GatedRepoError:
            return None, "the hub has it, but its licence must be accepted there and HF_TOKEN be set"
        except errors.RepositoryNotFoundError:
            return None, "the hub has no such repository"
        except errors.LocalEntryNotFoundError:
            reason = "it is not in Hugging Face's cache, and the hub was not asked or did not answer"
        except errors.EntryNotFoundError:
            reason = "the hub's repository holds no tokenizer.json and no tokenizer.model"
        except (OSError, ValueError) as error:
            return None, f"the hub: {type(error).__name__}"
    return None, reason


def _hub_is_near() -> bool:
    """Whether the hub's host answers at all; its client would try for half a minute. With a proxy nobody can tell."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=_HUB_SECONDS):
            return True
    except OSError:
        return False


def _not_found(name: str, tried: list[str], reason: str = "") -> InputError:
    return InputError(
        f"tokenizer {name!r} not found; looked for {', '.join(tried)}{f' ({reason})' if reason else ''}; give the path "
        f"of a tokenizer.json, or put one into the folder that {TOKENIZERS_VARIABLE} names"
    )
