"""Ranks: who this process is among those that torchrun, MPI or Slurm started, and the few things ranks do together.

Follows DCLM's lookup of environment variables. Departs from OpenLM in its default backend: NCCL on CUDA, gloo without.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from corpusmith.errors import ConfigError, RunFailed

_LOCAL_RANK = ("LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
_RANK = ("RANK", "PMI_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
_WORLD_SIZE = ("WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
_HASH_BITS = 62  # fits a signed 64-bit tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process among its peers: rank over all machines, rank on this machine, number of processes, device."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


def read_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """The ranks that the launcher wrote into the environment; a single process where there is none."""
    variables = os.environ if environment is None else environment
    local_rank = _first_integer(variables, _LOCAL_RANK, 0)
    device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    return Ranks(
        rank=_first_integer(variables, _RANK, 0),
        local_rank=local_rank,
        world_size=_first_integer(variables, _WORLD_SIZE, 1),
        device=device,
    )


def _first_integer(variables: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    """The value of the first variable that is set."""
    for name in names:
        if name in variables:
            try:
                return int(variables[name])
            except ValueError:
                raise ConfigError(f"environment: {name}", f"must be an integer, got {variables[name]!r}") from None
    return default


@contextlib.contextmanager
def process_group(ranks: Ranks) -> Iterator[None]:
    """Join the other processes inside the block; nothing happens for one process, or where they are joined already."""
    if ranks.device.type == "cuda":
        torch.cuda.set_device(ranks.device)
    if ranks.world_size == 1 or dist.is_initialized():
        yield
        return
    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.world_size)
    try:
        yield
    finally:
        # a DDP wrapper that outlives its group aborts the process now and then ("terminate called without an active
        # exception", seen with gloo of torch 2.13); its reference cycles need the collector to go
        gc.collect()
        dist.destroy_process_group()


def sum_over_ranks(values: Tensor, ranks: Ranks) -> Tensor:
    """The sum of the tensors of all ranks, on this rank's device."""
    values = values.detach().to(ranks.device, copy=True)
    if ranks.world_size > 1:
        dist.all_reduce(values)
    return values


def true_everywhere(value: bool, ranks: Ranks) -> bool:
    """Whether all ranks say true."""
    if ranks.world_size == 1:
        return value
    flag = torch.tensor(int(value), device=ranks.device)
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


def check_equal(fingerprint: int, what: str, ranks: Ranks) -> None:
    """Refuse to go on where ranks differ.

    Args:
        fingerprint: 64 bits of what must be equal.
        what: names it in the error.
        ranks: this process among its peers; all call it.

    Raises:
        RunFailed: they differ.
    """
    short = fingerprint >> (64 - _HASH_BITS)
    extremes = torch.tensor([short, -short], device=ranks.device)
    if ranks.world_size > 1:
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
    if extremes[0].item() != -extremes[1].item():
        raise RunFailed(f"{what} differ between ranks; do all machines see the same files?")


def gather_json(document: Any, ranks: Ranks) -> list[Any]:
    """The JSON documents of all ranks, in order of rank, on every rank."""
    if ranks.world_size == 1:
        return [document]
    data = torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8).to(ranks.device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=ranks.device) for _ in range(ranks.world_size)]
    dist.all_gather(sizes, torch.tensor([len(data)], device=ranks.device))
    longest = int(max(size.item() for size in sizes))
    parts = [torch.zeros(longest, dtype=torch.uint8, device=ranks.device) for _ in sizes]
    dist.all_gather(parts, torch.nn.functional.pad(data, (0, longest - len(data))))
    return [
        json.loads(part[: int(size.item())].cpu().numpy().tobytes()) for part, size in zip(parts, sizes, strict=True)
    ]


def wait_for_all(ranks: Ranks) -> None:
    """Return when all ranks have come here."""
    if ranks.world_size > 1:
        true_everywhere(True, ranks)
