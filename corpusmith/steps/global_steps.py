"""The table of global steps: functions over all shards of a dataset at once, by the name that a YAML gives them.

Ours stand here as `"module:function"` strings and are imported when they are used. `GLOBAL_FUNCTIONS` is the one
mapping that users see (also as `ray_processing.GLOBAL_FUNCTIONS` and `baselines.core.constants.GLOBAL_FUNCTIONS`):
reading an entry resolves it, and users may put callables in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from corpusmith.imports import resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a global step takes, in bytes: memory of a worker and of what workers share, scratch on disk.

    `lines`: what `--plan` says of it.
    """

    lines: list[str]
    worker_memory: int
    shared_memory: int
    scratch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalStep:
    """A global step of ours: the dataclass of its arguments and the function that plans its stage.

    `needs`: what gives its Needs, from its arguments, shards with a sample of the pages, all shards (of which only the
    sizes count) and the number of workers; None for a step that needs no more than a local one. `function`: what users'
    code gets under the step's name, with DCLM's arguments; the plan where there is none.
    """

    config: str
    plan: str
    needs: str | None = None
    function: str | None = None


GLOBAL_STEPS: dict[str, GlobalStep] = {
    "bff": GlobalStep(
        config="dedup.bff.config:BffConfig", plan="dedup.bff.stage:plan_stage", needs="dedup.bff.plan:plan_needs"
    ),
    "exact_dedup": GlobalStep(
        config="dedup.exact.config:ExactConfig",
        plan="dedup.exact.stage:plan_stage",
        needs="dedup.exact.needs:plan_needs",
        function="ray_processing.dedup_jsonl:dedup_jsonl",
    ),
    "minhash_dedup": GlobalStep(
        config="dedup.minhash.config:MinhashConfig",
        plan="dedup.minhash.stage:plan_stage",
        needs="dedup.minhash.needs:plan_needs",
    ),
    "quantile_filter": GlobalStep(
        config="ray_processing.pipeline.quantile_filter:QuantileConfig",
        plan="ray_processing.pipeline.quantile_filter:plan_stage",
    ),
}


class _GlobalFunctions(MutableMapping[str, Callable[..., Any]]):
    """Names to callables; ours are resolved when read."""

    def __init__(self) -> None:
        self._entries: dict[str, GlobalStep | Callable[..., Any]] = dict(GLOBAL_STEPS)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        entry = self._entries[name]
        if isinstance(entry, GlobalStep):
            function: Callable[..., Any] = resolve(entry.function or entry.plan)
            return function
        return entry

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        self._entries[name] = function

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


GLOBAL_FUNCTIONS = _GlobalFunctions()
