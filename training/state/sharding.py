"""Models over several processes: replicated (DDP) or sharded (FSDP2), and their state as a whole on rank 0.

Follows OpenLM's units (one per transformer block) and its `--fsdp-*` flags. Departs from it in using FSDP2, whose
parameters are distributed tensors under their own names; so a checkpoint of a sharded run and one of a single process
hold the same keys. Buffers stay in fp32 (OpenLM rounds the rotary frequencies to bf16).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.state.ranks import Ranks

_PARAMETERS = inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharding:
    """How FSDP2 shards: `param_dtype` for computing (None: as stored), `reduce_dtype` for gradients.

    `hybrid` shards within a machine and replicates over machines; `cpu_offload` keeps the shards in host memory.
    """

    param_dtype: str | None = None
    reduce_dtype: str | None = None
    hybrid: bool = False
    cpu_offload: bool = False


AMP = Sharding(param_dtype="bfloat16", reduce_dtype="float32")
PURE_BF16 = Sharding(param_dtype="bfloat16", reduce_dtype="bfloat16")


def spread_model(
    model: nn.Module, blocks: list[nn.Module] | tuple[nn.Module, ...], ranks: Ranks, sharding: Sharding | None
) -> nn.Module:
    """What to call in place of the model, so that gradients are the mean over ranks; the model itself for one process.

    Args:
        model: with `sharding` its own parameters become distributed tensors, in place.
        blocks: its parts that are sharded one by one.
        ranks: this process among its peers; all call it.
        sharding: how to shard; None replicates.
    """
    if ranks.world_size == 1:
        return model
    if sharding is None:
        return _replicate(model, ranks)
    policy = MixedPrecisionPolicy(
        param_dtype=_dtype(sharding.param_dtype), reduce_dtype=_dtype(sharding.reduce_dtype), cast_forward_inputs=False
    )
    offload = CPUOffloadPolicy(pin_memory=ranks.device.type == "cuda") if sharding.cpu_offload else OffloadPolicy()
    mesh = _mesh(ranks, sharding.hybrid)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy, offload_policy=offload)
    fully_shard(model, mesh=mesh, mp_policy=policy, offload_policy=offload)
    return model


def _replicate(model: nn.Module, ranks: Ranks) -> nn.Module:
    devices = [ranks.device] if ranks.device.type == "cuda" else None
    wrapper: Callable[..., nn.Module] = nn.parallel.DistributedDataParallel
    # the frequencies are the same everywhere; torch 2.13 renames the argument that says not to send them each step
    name = "forward_sync_buffers" if "forward_sync_buffers" in _PARAMETERS else "broadcast_buffers"
    return wrapper(model, device_ids=devices, **{name: False})


def _mesh(ranks: Ranks, hybrid: bool) -> DeviceMesh:
    """All ranks in one row; with `hybrid`, a row per machine."""
    local = torch.cuda.device_count() if ranks.device.type == "cuda" else ranks.world_size
    if not hybrid or ranks.world_size % local or local == ranks.world_size:
        return init_device_mesh(ranks.device.type, (ranks.world_size,))
    shape = (ranks.world_size // local, local)
    return init_device_mesh(ranks.device.type, shape, mesh_dim_names=("replicate", "shard"))


def _dtype(name: str | None) -> torch.dtype | None:
    return None if name is None else cast(torch.dtype, getattr(torch, name))


def gradient_sync(network: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """A block in which gradients are averaged over ranks only where `last` is true."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(last)
    elif not last and isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def whole(tensor: Tensor, ranks: Ranks) -> Tensor:
    """A tensor as a whole in host memory on rank 0; on other ranks of a sharded one a part; all ranks call it."""
    if isinstance(tensor, DTensor):
        gathered = tensor.full_tensor()
        return gathered.detach().cpu() if ranks.leads else gathered.detach()[:0]
    return tensor.detach()


def whole_state(model: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """The state dict with whole tensors (on rank 0)."""
    return {name: whole(value, ranks) for name, value in model.state_dict().items()}


def like(value: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, distributed as `target` is."""
    if not isinstance(target, DTensor):
        return value
    on_device = value.to(device=target.to_local().device, dtype=target.dtype)
    return distribute_tensor(on_device, target.device_mesh, target.placements, src_data_rank=None)


def whole_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> dict[str, Any]:
    """The optimizer's state with whole tensors: keyed by name where the model is sharded, as FSDP saves it."""
    state = optimizer.state_dict()
    sharded = any(isinstance(parameter, DTensor) for parameter in model.parameters())
    if not sharded:
        return state
    names = [name for name, _ in model.named_parameters()]
    return {
        "state": {
            names[index]: {key: whole(value, ranks) if torch.is_tensor(value) else value for key, value in part.items()}
            for index, part in state["state"].items()
        },
        "param_groups": [
            group | {"params": [names[index] for index in group["params"]]} for group in state["param_groups"]
        ],
    }


def load_whole_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Load an optimizer's state, keyed by index or by name, into the optimizer of a model, sharded or not.

    Raises:
        ValueError: the state is of another model.
    """
    named = list(model.named_parameters())
    indices = {name: index for index, (name, _) in enumerate(named)}

    def index_of(key: int | str) -> int:
        if isinstance(key, int):
            return key
        if key not in indices:
            raise ValueError(f"the optimizer's state has the parameter {key!r}, which the model lacks")
        return indices[key]

    state = {}
    for key, part in stored["state"].items():
        index = index_of(key)
        target = named[index][1]
        state[index] = {
            name: like(value, target)
            if torch.is_tensor(value) and value.shape == target.shape and value.dim()
            else value
            for name, value in part.items()
        }
    groups = [{**group, "params": [index_of(key) for key in group["params"]]} for group in stored["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
