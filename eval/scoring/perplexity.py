"""Perplexity evaluations: the loss of a checkpoint on held-out token shards.

Follows DCLM: the trainer's validation loop with its target masks, and values that are mean losses in nats although the
keys say perplexity (the third key's spelling is DCLM's too). Departs from it in naming each set that is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.run.progress import say, track
from eval.tasks.perplexity_sets import PALOMA_SHARDS, VALIDATION_SHARDS, downstream_sets
from training.data.batch import BatchSpec
from training.data.masking import TargetMask
from training.data.token_shards import TokenDataset, find_token_dataset
from training.loop.validation import validation_loss
from training.models.openlm import Transformer
from training.state.ranks import Ranks

VALIDATION = "perplexity"
PALOMA = "paloma_perplexity"
DOWNSTREAM = "downstream_perpexity"

_MASK_LEFT, _MASK_INDIVIDUAL = 50300, 50400
_BATCH_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Which held-out sets are evaluated.

    `validation`: a data set's reference, a manifest or a shard in place of DCLM's validation shard, or None for that
    one; the others are DCLM's sets, looked for in the evaluation data.
    """

    validation: str | None = None
    data_key: str | None = None
    paloma: bool = False
    downstream: bool = False


def perplexities(module: Transformer, held_out: HeldOut, folders: Sequence[str], ranks: Ranks) -> dict[str, Any]:
    """Losses in nats per token by key of the evaluation JSON; sets without data are named and left out.

    Raises:
        InputError: a set that was given is no token data.
    """
    found: dict[str, Any] = {}
    wanted: dict[str, TokenDataset | None] = {}
    if held_out.validation is not None:
        wanted[VALIDATION] = find_token_dataset(held_out.validation, held_out.data_key)
    else:
        wanted[VALIDATION] = _find(VALIDATION, VALIDATION_SHARDS, "json", folders)
    if held_out.paloma:
        wanted[PALOMA] = _find(PALOMA, PALOMA_SHARDS, "json.gz", folders)
    for key, shards in wanted.items():
        if shards is None:
            _tell_missing(key, ranks)
        else:
            found[key] = _loss(module, shards, ranks)
    if held_out.downstream and (losses := _downstream(module, folders, ranks)):
        found[DOWNSTREAM] = losses
    return found


def _downstream(module: Transformer, folders: Sequence[str], ranks: Ranks) -> dict[str, float]:
    """Loss by set: the texts of the tasks, tokenized."""
    sets = downstream_sets()
    present = {name: _find(name, (path,), "txt", folders) for name, path in sets.items()}
    losses = {}
    with track(len(sets), DOWNSTREAM, "sets") as tracker:
        for name, shards in present.items():
            if shards is not None:
                losses[name] = _loss(module, shards, ranks)
            tracker.advance()
    missing = [name for name in sets if name not in losses]
    if missing:
        _tell_missing(f"{DOWNSTREAM}: {len(missing)} of {len(sets)} sets ({', '.join(missing)})", ranks)
    return losses


def _find(name: str, paths: Sequence[str], data_key: str, folders: Sequence[str]) -> TokenDataset | None:
    """The shards of a set below the first folder that has the first of them; None where none has."""
    for folder in folders:
        urls = [storage.join(folder, path) for path in paths]
        if storage.exists(urls[0]):
            missing = [url for url in urls if not storage.exists(url)]
            if missing:
                raise InputError(f"{name}: {missing[0]} is missing beside {urls[0]}")
            return TokenDataset(path=name, shards=[find_token_dataset(url, data_key).shards[0] for url in urls])
    return None


def _tell_missing(what: str, ranks: Ranks) -> None:
    """Name what is left out, once."""
    if ranks.leads:
        say(f"left out, no data: {what}; corpusmith assets list tells where it comes from")


def _loss(module: Transformer, shards: TokenDataset, ranks: Ranks) -> float:
    """Mean loss in nats per token, in single precision."""
    config = module.config
    masked = config.vocab_size > _MASK_INDIVIDUAL
    spec = BatchSpec(
        seq_len=config.seq_len,
        vocab_size=config.vocab_size,
        batch_size=max(1, _BATCH_TOKENS // config.seq_len),
        mask=TargetMask(left=_MASK_LEFT, individual=_MASK_INDIVIDUAL, squash=True) if masked else None,
    )
    return validation_loss(module, shards, spec, precision="fp32", ranks=ranks).loss
