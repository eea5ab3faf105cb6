"""The architectures that the loop can train: a table of names, and what a model must offer.

A second architecture is a class with these methods and a line in the table, or a table entry made by a user's own
code; a model config chooses it by its key `architecture`. Nothing in the loop asks which one it has.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from torch import nn

from corpusmith.errors import ConfigError, did_you_mean
from training.models.config import ModelConfig

#: Name to `module:class`; the class takes the config and whether to recompute activations in the backward pass.
ARCHITECTURES: dict[str, str] = {"transformer": "training.models.openlm:Transformer"}


class TrainableModel(Protocol):
    """What the loop asks of a model beside being an `nn.Module`.

    `forward` takes ids (B, T), `documents` and `head` as `training.models.openlm.Transformer.forward` does.
    """

    config: ModelConfig

    def blocks(self) -> Sequence[nn.Module]:
        """The parts that are sharded and compiled one by one, in the order of the forward pass."""
        ...

    def tie_weights(self) -> None:
        """Make parameters that are one tensor the same object again, after a move from the meta device."""
        ...


def build_model(config: ModelConfig, grad_checkpointing: bool = False) -> nn.Module:
    """A model with initial weights drawn from torch's generator.

    Raises:
        ConfigError: no such architecture.
    """
    if config.architecture not in ARCHITECTURES:
        hint = did_you_mean(config.architecture, ARCHITECTURES) or f"; known: {', '.join(ARCHITECTURES)}"
        raise ConfigError("architecture", f"unknown value {config.architecture!r}{hint}")
    module, _, name = ARCHITECTURES[config.architecture].partition(":")
    factory: Callable[[ModelConfig, bool], nn.Module] = getattr(importlib.import_module(module), name)
    return factory(config, grad_checkpointing)


def blocks_of(model: nn.Module) -> Sequence[nn.Module]:
    """The model's blocks."""
    return cast(TrainableModel, model).blocks()
