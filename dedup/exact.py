"""Exact dedup as a global step: of all units with equal content in the whole dataset one is kept.

Follows DCLM's `exact_dedup` (units, normalizers, selection, shape of the content afterwards). Departs from it:
 - ties are broken by (shard, page, unit), so results are reproducible;
 - the step never touches its input, and a retry compares the input set again, never a half-published one;
 - a page without the content or selection key is set aside and does not fail the step.

Three phases of Ray tasks over files in the stage's scratch, in a folder named by the identity of the input; a file
that stands is not made again, and each is written whole or not at all, so any task may run twice:
 1. per shard, the 128-bit ids of its units are spilled by cell (a range of ids);
 2. per cell, the ids of all shards are sorted and grouped, the unit to keep is chosen, the others are spilled by
    shard, and each group is written to `groups/` for whoever wants to check;
 3. per shard, the pages are streamed again without the units that lost.
Memory: 24 bytes (and the selection value) a unit of a shard in phases 1 and 3, of a cell in phase 2.
"""

from __future__ import annotations

import functools
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from corpusmith.errors import InputError, did_you_mean
from corpusmith.io import storage
from corpusmith.io.shards import Page, Record, ShardRef, ShardWriter, open_shard_writer, read_records
from corpusmith.io.spill import group_by_cell, read_spill_cell, write_spill
from corpusmith.run.errors_file import READ_STEP, SetAside
from corpusmith.run.fingerprint import Tree, code_versions, inputs_identity
from corpusmith.run.ledger import Counts
from corpusmith.run.run import StagePlan, unit_per_shard_of_all
from corpusmith.run.runner import Runner
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from corpusmith.text.normalize import DEDUP_NORMALIZERS
from dedup.content_units import NUMBER_TAG, Normalizer, UnitReader, content_list

VERSION = 1
# A cell's rows stay near 64 MiB (32 bytes each as they are sorted) as long as units take 128 bytes of input or more.
INPUT_BYTES_PER_CELL = 256 << 20
SHOWN_OF_A_GROUP = 10_000
SAMPLES_PER_SHARD = 3
SAMPLE_CHARACTERS = 300
_WITHOUT_EFFECT = ("sync_to_input", "working_dir")

U64Array = npt.NDArray[np.uint64]
U32Array = npt.NDArray[np.uint32]
I64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactConfig:
    """What exact dedup compares and which copy it keeps.

    `content_key`: key that holds a string or a list of strings; `normalize`: a name in DEDUP_NORMALIZERS, applied
    before comparing; `selection_key`: the copy on the page with the smallest value here is kept (the largest with
    `selection_reverse`), after `selection_normalize`; without it the first one by shard, page and unit.
    `sync_to_input` and `working_dir` are accepted and have no effect. DCLM takes an unknown normalizer name for
    none; here it raises ValueError.
    """

    content_key: str = "text"
    normalize: str | None = None
    selection_key: str | None = None
    selection_normalize: str | None = None
    selection_reverse: bool = False
    sync_to_input: bool = False
    working_dir: str | None = None

    def __post_init__(self) -> None:
        for key in ("normalize", "selection_normalize"):
            name = getattr(self, key)
            if name is not None and name not in DEDUP_NORMALIZERS:
                known = ", ".join(DEDUP_NORMALIZERS)
                hint = did_you_mean(name, DEDUP_NORMALIZERS)
                raise ValueError(f"{key}: unknown normalizer {name!r}{hint} (known: {known})")

    def deciding(self) -> Tree:
        """The arguments that decide the result."""
        return {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}

    def unit_reader(self) -> UnitReader:
        """The reader of units that these arguments ask for."""
        return UnitReader(
            content_key=self.content_key,
            normalize=_normalizer(self.normalize),
            selection_key=self.selection_key,
            selection_normalize=_normalizer(self.selection_normalize),
        )


def _normalizer(name: str | None) -> Normalizer | None:
    return None if name is None else DEDUP_NORMALIZERS[name]


# --- the scratch folder of the three phases -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where the phases exchange their files; small and picklable, the names of the shards stand in a file.

    `folder`: scratch of one identity of the input; `groups`: the folder of the groups; `cells`: how many ranges of
    ids there are. Shards go by their number in the order of their names.
    """

    folder: str
    groups: str
    cells: int

    def units_url(self, shard: int) -> str:
        """What phase 1 writes of a shard: a batch per cell."""
        return storage.join(self.folder, "units", f"{shard:08d}.arrow")

    def lost_url(self, cell: int) -> str:
        """What phase 2 writes of a cell: a batch per shard."""
        return storage.join(self.folder, "lost", f"{cell:05d}.arrow")

    def groups_url(self, cell: int) -> str:
        """The groups of two or more units in a cell, a line each."""
        return storage.join(self.groups, f"cell-{cell:05d}.jsonl.zst")

    @property
    def names_url(self) -> str:
        """The names of the shards, in their order."""
        return storage.join(self.folder, "shards.json")


@functools.lru_cache(maxsize=2)
def _read_names(url: str) -> list[str]:
    names: list[str] = storage.read_json(url)
    return names


def shard_names(layout: Layout) -> list[str]:
    """The names of the input's shards in their order; read once per worker."""
    return _read_names(layout.names_url)


def prepare(layout: Layout, scratch: str, inputs: list[ShardRef]) -> None:
    """Begin with empty folders unless this very input was begun here before."""
    if not storage.exists(layout.names_url):
        storage.remove_tree(scratch)
        storage.remove_tree(layout.groups)
        storage.write_json(layout.names_url, [shard.name for shard in inputs])


# --- phase 1: the ids of a shard's units ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class HashTask:
    """A shard whose unit ids are to be spilled; `number` is its place among the shards."""

    layout: Layout
    config: ExactConfig
    shard: ShardRef
    number: int


def hash_shard(task: HashTask) -> None:
    """Spill (id_high, id_low, page, unit [, selection]) of a shard's units by cell, in their order."""
    reader = task.config.unit_reader()
    ids, pages, units = bytearray(), array("I"), array("I")
    selections: list[bytes] = []
    for record in read_records(task.shard.url):
        found = "unreadable" if record.page is None else reader.read(record.page)
        if isinstance(found, str):
            continue
        count = len(found.ids)
        ids += b"".join(found.ids)
        pages.extend([record.index] * count)
        units.extend(range(count))
        if reader.selection_key is not None:
            selections.extend([found.selection] * count)
    halves = np.frombuffer(bytes(ids), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    columns: dict[str, Any] = {
        "id_high": halves[:, 0],
        "id_low": halves[:, 1],
        "page": np.array(pages, dtype=np.uint32),
        "unit": np.array(units, dtype=np.uint32),
    }
    if reader.selection_key is not None:
        columns["selection"] = pa.array(selections, pa.large_binary())
    cells = ((halves[:, 0] >> np.uint64(32)) * np.uint64(task.layout.cells)) >> np.uint64(32)
    batch = pa.record_batch(columns)
    grouped = group_by_cell(batch, pa.array(cells.astype(np.int64)), task.layout.cells)
    write_spill(task.layout.units_url(task.number), grouped)


# --- phase 2: the groups of a cell ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class CellTask:
    """A cell whose groups are to be settled."""

    layout: Layout
    cell: int
    reverse: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRows:
    """The units of a cell in the order (shard, page, unit), as arrays of shape (rows,).

    `rank` orders units by selection value, smallest kept; `is_number` tells the type of that value. Both are None
    without selection.
    """

    id_high: U64Array
    id_low: U64Array
    shard: U32Array
    page: U32Array
    unit: U32Array
    rank: I64Array | None = None
    is_number: BoolArray | None = None


def settle(rows: UnitRows) -> tuple[I64Array, I64Array, tuple[int, int] | None]:
    """Choose the unit to keep in each group of equal ids.

    Returns the rows that lose, for each of them the row that is kept in its stead (both by group, then by rank and
    position), and two rows of one group whose selection values are a number and a string, if there are any.
    """
    keys = (rows.id_low, rows.id_high)
    order = np.lexsort(keys if rows.rank is None else (rows.rank, *keys))  # stable: ties stay in their order
    high, low = rows.id_high[order], rows.id_low[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    clash = None
    if rows.is_number is not None:
        is_number = rows.is_number[order]
        clashes = np.flatnonzero(~is_first[1:] & (is_number[1:] != is_number[:-1]))
        if len(clashes):
            clash = int(order[clashes[0]]), int(order[clashes[0] + 1])
    lost = np.flatnonzero(~is_first)
    kept = np.flatnonzero(is_first)[np.cumsum(is_first)[lost] - 1]
    return order[lost], order[kept], clash


def _read_cell(task: CellTask, shards: int) -> UnitRows:
    batches = [read_spill_cell(task.layout.units_url(number), task.cell) for number in range(shards)]
    table = pa.Table.from_batches(batches)
    lengths = [batch.num_rows for batch in batches]
    rank = is_number = None
    if "selection" in table.column_names:
        selection = table.column("selection")
        rank = pc.rank(selection, tiebreaker="dense").to_numpy().astype(np.int64)
        rank = -rank if task.reverse else rank
        is_number = np.asarray(pc.equal(pc.binary_slice(selection, 0, 1), pa.scalar(NUMBER_TAG, pa.large_binary())))
    return UnitRows(
        id_high=table.column("id_high").to_numpy(),
        id_low=table.column("id_low").to_numpy(),
        shard=np.repeat(np.arange(shards, dtype=np.uint32), lengths),
        page=table.column("page").to_numpy(),
        unit=table.column("unit").to_numpy(),
        rank=rank,
        is_number=is_number,
    )


def settle_cell(task: CellTask) -> None:
    """Write the groups of a cell and, by shard, the units that lose (page, unit, and the page that is kept).

    Raises InputError where the selection values of one group are numbers and strings.
    """
    names = shard_names(task.layout)
    rows = _read_cell(task, len(names))
    lost, kept, clash = settle(rows)
    if clash is not None:
        number, string = sorted(clash, key=lambda row: not (rows.is_number is not None and rows.is_number[row]))
        raise InputError(
            f"two pages of equal content cannot be compared: the selection value is a number in "
            f"{names[rows.shard[number]]} (page {rows.page[number]}) and a string in "
            f"{names[rows.shard[string]]} (page {rows.page[string]}); make it one type in all pages"
        )
    with open_shard_writer(task.layout.groups_url(task.cell)) as writer:
        for group in _groups(rows, lost, kept, names):
            writer.write(group)
    order = np.lexsort((rows.unit[lost], rows.page[lost], rows.shard[lost]))
    lost, kept = lost[order], kept[order]
    batch = pa.record_batch(
        {
            "page": rows.page[lost],
            "unit": rows.unit[lost],
            "kept_shard": rows.shard[kept],
            "kept_page": rows.page[kept],
        }
    )
    write_spill(task.layout.lost_url(task.cell), group_by_cell(batch, pa.array(rows.shard[lost]), len(names)))


def _groups(rows: UnitRows, lost: I64Array, kept: I64Array, names: list[str]) -> Iterator[Page]:
    """A line for each group of two or more; of a huge group only the first units that were removed."""

    def place(row: int) -> dict[str, Any]:
        return {"shard": names[rows.shard[row]], "page": int(rows.page[row]), "unit": int(rows.unit[row])}

    starts = np.flatnonzero(np.diff(kept, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(kept)], strict=True):
        removed = np.sort(lost[start:end])  # rows stand in the order (shard, page, unit)
        yield {
            "kept": place(int(kept[start])),
            "removed": [place(int(row)) for row in removed[:SHOWN_OF_A_GROUP]],
            "removed_units": len(removed),
        }


# --- phase 3: the shards without what lost --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class DropTask:
    """A shard to be written without the units that lost."""

    layout: Layout
    config: ExactConfig
    shard: ShardRef
    number: int
    place: StagePlace
    identity: str
    step: str


class Losses:
    """What a shard loses, by page: from its own units (phase 1) and the losers of all cells (phase 2)."""

    def __init__(self, layout: Layout, shard: int) -> None:
        own, lost = [], []
        for cell in range(layout.cells):
            own.append(read_spill_cell(layout.units_url(shard), cell).select(["page"]))
            lost.append(read_spill_cell(layout.lost_url(cell), shard))
        pages = pa.Table.from_batches(own).column("page").to_numpy()
        table = pa.Table.from_batches(lost)
        lost_pages = table.column("page").to_numpy()
        order = np.lexsort((table.column("unit").to_numpy(), lost_pages))
        self._units = np.bincount(pages)
        lost_of_page = np.bincount(lost_pages, minlength=len(self._units))
        self._ends = np.cumsum(lost_of_page)
        self._starts = self._ends - lost_of_page
        self._lost_units = table.column("unit").to_numpy()[order]
        self._kept_shards = table.column("kept_shard").to_numpy()[order]
        self._kept_pages = table.column("kept_page").to_numpy()[order]
        left = self._units - lost_of_page
        self.units = len(order)
        self.strings_after = bool((left <= 1).all())

    def has_units(self, page: int) -> bool:
        """Whether the page had units when they were compared."""
        return page < len(self._units) and bool(self._units[page])

    def of_page(self, page: int) -> U32Array:
        """The numbers of the units that the page loses, ascending."""
        units: U32Array = self._lost_units[self._starts[page] : self._ends[page]]
        return units

    def kept_instead(self, page: int) -> tuple[int, int]:
        """(shard number, page) of the copy that is kept instead of the first unit that this page loses."""
        start = self._starts[page]
        return int(self._kept_shards[start]), int(self._kept_pages[start])


@dataclass(kw_only=True, slots=True)
class _Dropper:
    """Takes the records of one shard and keeps its books."""

    task: DropTask
    losses: Losses
    reader: UnitReader
    writer: ShardWriter
    aside: SetAside
    counts: Counts = field(default_factory=Counts)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def process(self, record: Record) -> None:
        """Keep a record, or what is left of it, or remove it, or set it aside."""
        self.counts.read += 1
        if record.page is None:
            self._set_aside(READ_STEP, record, record.error or "unreadable")
        elif not self.losses.has_units(record.index):
            problem = self.reader.read(record.page)
            if isinstance(problem, str):
                self._set_aside(self.task.step, record, problem)
            elif self.losses.units:
                self._remove(record.index, record.page, "", "the page has no unit")
            else:
                self._keep(record)
        elif self.losses.units:
            self._drop(record, record.page)
        else:
            self._keep(record)

    def _drop(self, record: Record, page: Page) -> None:
        key = self.task.config.content_key
        content = page[key]
        units = content_list(content) or []
        lost = set(self.losses.of_page(record.index).tolist())
        left = [unit for number, unit in enumerate(units) if number not in lost]
        if lost and (not left or len(self.samples) < SAMPLES_PER_SHARD):
            shard, original = self.losses.kept_instead(record.index)
            shown = f"duplicate of {shard_names(self.task.layout)[shard]}#{original}"
            if not left:
                self._remove(record.index, page, units[min(lost)], shown)
                return
            self._sample(record.index, page, units[min(lost)], shown)
        shaped: str | list[str] = left[0] if self.losses.strings_after else left
        if shaped == content:
            self._keep(record)
            return
        page[key] = shaped
        self.writer.write(page)
        self.counts.kept += 1

    def _keep(self, record: Record) -> None:
        self.writer.write_line(record.raw)
        self.counts.kept += 1

    def _remove(self, index: int, page: Page, unit: str, reason: str) -> None:
        self.counts.remove(self.task.step)
        self._sample(index, page, unit, reason)

    def _set_aside(self, step: str, record: Record, reason: str) -> None:
        self.counts.set_aside(step)
        self.aside.add(step, record, reason)

    def _sample(self, index: int, page: Page, unit: str, reason: str) -> None:
        if len(self.samples) < SAMPLES_PER_SHARD:
            url, text = page.get("url"), page.get("text")
            shown = text if isinstance(text, str) else unit
            self.samples.append(
                {
                    "index": index,
                    "url": url if isinstance(url, str) else None,
                    "text": shown[:SAMPLE_CHARACTERS],
                    "reason": reason,
                }
            )

    def details(self, seconds: float) -> dict[str, Any]:
        """What the report shows of this shard."""
        step, unreadable = self.task.step, self.counts.errored.get(READ_STEP, 0)
        row = {
            "step": step,
            "func": "exact_dedup",
            "arguments": self.task.config.deciding(),
            "pages_in": self.counts.read - unreadable,
            "pages_out": self.counts.kept,
            "removed": self.counts.removed.get(step, 0),
            "errors": self.counts.errored.get(step, 0),
            "units_removed": self.losses.units,
            "seconds": seconds,
        }
        samples = {step: self.samples} if self.samples else {}
        return {
            "steps": [row],
            "samples": samples,
            "errors": self.aside.examples,
            "bytes_in": self.task.shard.bytes,
            "seconds": seconds,
        }


def drop_from_shard(task: DropTask) -> None:
    """Write a shard without the units that lost, then its record.

    A shard that loses nothing keeps its lines as they are. In any other, a page left without unit is removed, also
    one that never had any (an empty list), and the content of all pages becomes strings where each has one unit
    left, lists otherwise.
    """
    started = time.perf_counter()
    losses = Losses(task.layout, task.number)
    name = task.shard.name
    with SetAside(task.place, name, [task.step]) as aside, open_shard_writer(task.place.output_url(name)) as writer:
        dropper = _Dropper(
            task=task, losses=losses, reader=task.config.unit_reader(), writer=writer, aside=aside
        )
        for record in read_records(task.shard.url):
            dropper.process(record)
    output = OutputFile(name=name, bytes=writer.bytes, checksum=writer.checksum, records=writer.records)
    details = dropper.details(time.perf_counter() - started)
    task.place.write_record(
        ShardRecord(unit=name, identity=task.identity, outputs=[output], counts=dropper.counts, details=details)
    )


# --- the stage ------------------------------------------------------------------------------------------------


def plan_stage(config: ExactConfig, step: str) -> StagePlan:
    """The stage of an exact dedup; `step` is the key under which the books name it, such as `04-exact_dedup`."""
    modules = ["dedup.exact", "dedup.content_units"]
    if config.normalize is not None or config.selection_normalize is not None:
        modules.append("corpusmith.text.normalize")

    def work(stage: Stage, runner: Runner) -> list[str]:
        return _work(stage, runner, config, step)

    return StagePlan(
        name="exact_dedup",
        fingerprint={"config": config.deciding(), "code": code_versions(modules)},
        work=work,
        units=unit_per_shard_of_all,
    )


def _layout(stage: Stage) -> Layout:
    cells = max(1, -(-sum(shard.bytes for shard in stage.inputs) // INPUT_BYTES_PER_CELL))
    return Layout(
        folder=storage.join(stage.place.scratch, inputs_identity(stage.inputs)[:16]),
        groups=storage.join(stage.place.folder, "groups"),
        cells=cells,
    )


def _standing(folder: str) -> set[str]:
    return {info.url for info in storage.list_files(folder)} if storage.is_dir(folder) else set()


def _work(stage: Stage, runner: Runner, config: ExactConfig, step: str) -> list[str]:
    """Do what the pending shards need of the three phases; a line for each task that failed.

    Which copy is kept depends on all shards, so a shard that cannot be read stops the step after phase 1.
    """
    reader = config.unit_reader()
    for normalize in (reader.normalize, reader.selection_normalize):
        if normalize is not None:
            normalize("é")  # a normalizer whose package is missing says so before anything starts
    layout, place = _layout(stage), stage.place
    prepare(layout, place.scratch, stage.inputs)
    pending = set(stage.pending())
    standing = _standing(layout.folder) | _standing(layout.groups)
    cells = [
        cell
        for cell in range(layout.cells)
        if layout.lost_url(cell) not in standing or layout.groups_url(cell) not in standing
    ]
    numbered = list(enumerate(stage.inputs))
    hashing = {
        shard.name: HashTask(layout=layout, config=config, shard=shard, number=number)
        for number, shard in numbered
        if layout.units_url(number) not in standing and (cells or shard.name in pending)
    }
    failures = stage.run_units(runner, hash_shard, hashing, label=f"{place.name}: hash")
    if failures:
        return failures
    settling = {
        f"cell-{cell:05d}": CellTask(layout=layout, cell=cell, reverse=config.selection_reverse) for cell in cells
    }
    failures = stage.run_units(runner, settle_cell, settling, label=f"{place.name}: compare", unit="cells")
    if failures:
        return failures
    dropping = {
        shard.name: DropTask(
            layout=layout,
            config=config,
            shard=shard,
            number=number,
            place=place,
            identity=stage.units[shard.name],
            step=step,
        )
        for number, shard in numbered
        if shard.name in pending
    }
    return stage.run_units(runner, drop_from_shard, dropping, label=f"{place.name}: drop")
