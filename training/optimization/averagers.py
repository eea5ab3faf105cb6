"""Averages of the weights over the steps of a run: polynomial decay and exponential moving average.

Follows OpenLM's `--averagers`: a comma list of `method_parameter_frequency` (`poly_8_1`, `ema_0.99_1`, `none`), the
files and their keys. All floating entries of the state dict are averaged, buffers too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from corpusmith.errors import InputError
from training.state.ranks import Ranks
from training.state.sharding import like, whole

METHODS = ("poly", "ema")
DEFAULTS = {"poly": 0.0, "ema": 0.99}


def parse_averagers(text: str | None) -> tuple[str, ...]:
    """The names in a comma list; `none` and nothing give none.

    Raises:
        InputError: a name that is no `method_parameter_frequency`.
    """
    names = [] if not text or text == "none" else text.split(",")
    for name in names:
        _parse(name)
    return tuple(names)


def _parse(name: str) -> tuple[str, float, int]:
    """Method, parameter and frequency of a name; what is left out has OpenLM's default."""
    method, *numbers = name.split("_")
    try:
        if method not in METHODS or len(numbers) > 2:
            raise ValueError
        parameter = float(numbers[0]) if numbers else DEFAULTS[method]
        frequency = int(numbers[1]) if len(numbers) > 1 else 1
        if frequency < 1 or parameter < 0:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--averagers {name!r}: expected method_parameter_frequency with the method poly or ema, as poly_8_1"
        ) from None
    return method, parameter, frequency


@dataclass(kw_only=True)
class Averager:
    """One average; `average` has the keys of the state dict, its tensors distributed as the model's."""

    name: str
    method: str
    parameter: float
    frequency: int
    average: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    updates: int = 1

    @torch.no_grad()
    def step(self, model: nn.Module) -> None:
        """Take in the weights after an optimizer step, each `frequency`-th time."""
        self.steps += 1
        if self.steps % self.frequency:
            return
        poly = 1 - (self.parameter + 1) / (self.parameter + self.updates)
        keep = poly if self.method == "poly" else self.parameter
        self.updates += 1
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.average[key].mul_(keep).add_(value, alpha=1 - keep)
            else:
                self.average[key].copy_(value)

    def to_file(self, ranks: Ranks) -> dict[str, Any]:
        """What OpenLM's file of an averager holds; all ranks call it."""
        poly = self.method == "poly"
        return {
            "update_counter": self.updates,
            "step_counter": self.steps,
            "freq": self.frequency,
            "av_model_sd": {key: whole(value, ranks) for key, value in self.average.items()},
            "method": self.name,
            "eta": self.parameter if poly else DEFAULTS["poly"],
            "gamma": DEFAULTS["ema"] if poly else self.parameter,
            "suffix_steps": None,
            "power": None,
            "start": None,
        }

    @torch.no_grad()
    def load(self, stored: Mapping[str, Any]) -> None:
        """Go on from a file's content."""
        self.updates, self.steps = int(stored["update_counter"]), int(stored["step_counter"])
        for key, value in self.average.items():
            value.copy_(like(stored["av_model_sd"][key], value))

    @contextlib.contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again to the bit after it."""
        before = {key: value.detach().clone() for key, value in model.state_dict().items()}
        _copy(self.average, model)
        try:
            yield
        finally:
            _copy(before, model)


@torch.no_grad()
def _copy(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    for key, value in model.state_dict().items():
        value.copy_(weights[key])


def make_averagers(names: Sequence[str], model: nn.Module) -> list[Averager]:
    """Averagers that start from the model's present weights."""
    made = []
    for name in names:
        method, parameter, frequency = _parse(name)
        average = {key: value.detach().clone() for key, value in model.state_dict().items()}
        made.append(Averager(name=name, method=method, parameter=parameter, frequency=frequency, average=average))
    return made
