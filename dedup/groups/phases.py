"""The phase that every dedup by groups shares: settling its cells; `rewrite` then writes the shards again."""

from __future__ import annotations

from corpusmith.run.ray.runner import Runner
from corpusmith.run.stage import Stage
from dedup.groups.groups import CellTask, settle_cell
from dedup.groups.layout import Layout


def cells_to_settle(layout: Layout, there: set[str]) -> list[int]:
    """The cells of which a file is missing among those that stand."""
    return [
        cell
        for cell in range(layout.cells)
        if not {layout.verdicts_url(cell), layout.groups_url(cell), layout.biggest_url(cell)} <= there
    ]


def has_units(layout: Layout, there: set[str], shard: int) -> bool:
    """Whether the units of a shard are spilled already."""
    return {layout.units_url(shard), layout.own_losers_url(shard)} <= there


def settle_cells(stage: Stage, runner: Runner, layout: Layout, cells: list[int], reverse: bool) -> list[str]:
    """Settle cells; a line for each that failed."""
    tasks = {f"cell-{cell:05d}": CellTask(layout=layout, cell=cell, reverse=reverse) for cell in cells}
    return stage.run_units(runner, settle_cell, tasks, label=f"{stage.place.name}: compare", unit="cells")
