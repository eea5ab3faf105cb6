"""One shard through the steps of a YAML, as code written for DCLM calls it: `process_single_file`.

Follows DCLM's function in full: the shard in memory, stats rows beside it, resuming by them, errors that end a step
only when every page raised. Departs from it where it lost work: a re-run goes on from the pages that were committed,
several workers keep the order of pages and never lose any, files are replaced as a whole, the row of the step that
emptied the shard is kept, numpy's scalars become plain numbers, and random draws come from shard, step and page.
Whole data sets go through `corpusmith process`, whose engine is `baselines.core.shard_processor`.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from typing import Any

import numpy as np

from baselines.core.constants import (
    COMMIT_KEY_NAME,
    GLOBAL_FUNCTIONS,
    PROCESS_END_KEY_NAME,
    PROCESS_SETUP_KEY_NAME,
    Page,
)
from baselines.core.factories import draws_random_numbers, get_aggregator, get_mapper, get_transform
from baselines.core.file_utils import delete_file, is_exists, makedirs_if_missing, read_jsonl, write_jsonl
from corpusmith.seeds import Part, seed_python

__all__ = [
    "COMMIT_COMMAND",
    "ERRORS_INDEX",
    "KEPT_INDEX",
    "REMOVED_INDEX",
    "SPLIT_INDEX",
    "apply_partial_func_parallel",
    "apply_partial_func_sequential",
    "commit",
    "process_single_file",
]


COMMIT_COMMAND = "commit"
ERRORS_INDEX = -1
REMOVED_INDEX = 0
KEPT_INDEX = 1
SPLIT_INDEX = 2

TIME_FORMAT = "%d/%m/%Y %H:%M:%S"
GRACEFUL_ENDING = [PROCESS_END_KEY_NAME, COMMIT_KEY_NAME]
GRACEFUL_ROWS = 4
CHUNKS_PER_WORKER = 4

Row = dict[str, Any]
Result = tuple[Any, float]

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)
if not logger.handlers:
    logger.addHandler(logging.StreamHandler())


def process_single_file(
    config_data: Mapping[str, Mapping[str, Any]],
    raw_data_dirpath: str,
    jsonl_relpath: str,
    source_name: str,
    base_output_path: str,
    workers: int = 1,
    overwrite: bool = False,
) -> tuple[str, str, int, int]:
    """Run the steps of a source over one shard, up to its end or to the next global function.

    Args:
        config_data: source name to `{"source": ..., "steps": [...]}`.
        raw_data_dirpath: folder of the shards, local or on S3.
        jsonl_relpath: the shard, relative to that folder.
        source_name: the entry of `config_data`.
        base_output_path: gets `processed_data/` and `stats/`.
        workers: processes that a step's pages are spread over; the result is the same for any number.
        overwrite: forget what the stats file says was done.

    Returns:
        Path of the output, path of the stats file, pages in the given input, pages after the last step.

    Raises:
        AssertionError: no such source; or a recorded step is another one than that of the YAML.
        RuntimeError: a step failed on all pages; nothing since the last commit is written.
        KeyError: a page lacks a key that `_aggregate` names.
        Exception: whatever a factory raises.
    """
    started, started_at = time.time(), datetime.now().strftime(TIME_FORMAT)
    if source_name not in config_data:
        raise AssertionError(f"Source {source_name} not found in YAML file.")
    steps = config_data[source_name]["steps"]
    input_path = os.path.join(raw_data_dirpath, jsonl_relpath)
    before = time.time()
    pages = list(read_jsonl(input_path))
    load_seconds = time.time() - before
    output_path, stats_output_path = _get_output_paths(base_output_path, jsonl_relpath)
    num_pages_in = len(pages)
    if num_pages_in == 0:
        return output_path, stats_output_path, 0, 0

    before = time.time()
    old_rows = _load_old_rows(stats_output_path, overwrite)
    stats_seconds = time.time() - before
    before = time.time()
    old_steps, committed = _resume(old_rows, output_path)
    setup = {
        "name": PROCESS_SETUP_KEY_NAME,
        "jsonl_load_secs": load_seconds + time.time() - before,
        "stats_load_secs": stats_seconds,
        "jsonl_path": jsonl_relpath,
        "source_name": source_name,
        "output_path": output_path,
        "stats_output_path": stats_output_path,
        "workers": workers,
        "first_run": not old_rows,
        "graceful_continuation": len(old_rows) >= GRACEFUL_ROWS
        and [row["name"] for row in old_rows[-2:]] == GRACEFUL_ENDING,
        "execution_start_time": started_at,
    }
    shard = _Shard(
        pages=pages if committed is None else committed,
        rows=[setup],
        output_path=output_path,
        stats_output_path=stats_output_path,
        relpath=jsonl_relpath,
    )
    shard.run(steps, old_steps, workers)
    shard.finish(time.time() - started)
    return output_path, stats_output_path, num_pages_in, len(shard.pages)


class _Shard:
    """The pages of a shard on their way through the steps, and the rows that are not written yet."""

    def __init__(
        self, *, pages: list[Page], rows: list[Row], output_path: str, stats_output_path: str, relpath: str
    ) -> None:
        self.pages = pages
        self.rows = rows
        self.executed = self.skipped = self.commits = 0
        self.uncommitted = self.stopped_at_global = False
        self._output_path = output_path
        self._stats_output_path = stats_output_path
        self._relpath = relpath

    def run(self, steps: Sequence[Any], old_steps: list[Row], workers: int) -> None:
        """Take the pages through the steps that the old rows do not record."""
        number = 0
        for index, step in enumerate(steps):
            if step == COMMIT_COMMAND:
                if self.uncommitted:
                    self.commit()
                    self.commits += 1
                continue
            if number < len(old_steps):
                recorded = old_steps[number]["name"]
                if recorded != step["func"]:
                    raise AssertionError(f"Step {step['func']} does not match step {recorded} in stats file.")
                number += 1
                self.skipped += 1
                continue
            if step["func"] in set(GLOBAL_FUNCTIONS):
                self.stopped_at_global = True
                return
            if not self.pages:
                return
            self._run_step(step, index, workers)

    def _run_step(self, step: Mapping[str, Any], index: int, workers: int) -> None:
        before = time.time()
        row, self.pages = _apply_step(self.pages, step, workers, (self._relpath, index))
        row["total_secs"] = time.time() - before
        row["workers"] = workers
        if self.pages:
            row.update(_aggregate(step, self.pages))
        self.rows.append(row)
        self.executed += 1
        self.uncommitted = True

    def finish(self, seconds: float) -> None:
        """Add the closing row; commit what no explicit commit has."""
        self.rows.append(
            {
                "name": PROCESS_END_KEY_NAME,
                "total_secs": seconds,
                "executed_steps": self.executed,
                "skipped_steps": self.skipped,
                "commit_steps": self.commits,
                "finished_processing": not self.stopped_at_global,
                "execution_end_time": datetime.now().strftime(TIME_FORMAT),
            }
        )
        if self.uncommitted:
            self.commit()

    def commit(self) -> None:
        """Write pages and pending rows."""
        commit(self.pages, self.rows, self._output_path, self._stats_output_path)
        self.uncommitted = False


def _apply_step(
    pages: list[Page], step: Mapping[str, Any], workers: int, seed_parts: tuple[Part, ...]
) -> tuple[Row, list[Page]]:
    """The step's row, without its wall time, and the pages after it; RuntimeError when it failed on all pages."""
    counters = {ERRORS_INDEX: 0, REMOVED_INDEX: 0, KEPT_INDEX: 0, SPLIT_INDEX: 0}
    execution_times: list[float] = []
    new_pages: list[Page] = []
    if workers == 1:
        apply_partial_func_sequential(counters, execution_times, new_pages, pages, step, seed_parts)
    else:
        apply_partial_func_parallel(counters, execution_times, new_pages, pages, step, workers, seed_parts)
    if counters[ERRORS_INDEX] == len(pages):
        raise RuntimeError(f"Step {step['func']} failed on all pages.")
    seconds = sum(execution_times)
    row: Row = {
        "name": step["func"],
        "pages_in": len(pages),
        "pages_out": len(new_pages),
        "secs": seconds,
        "secs/page": seconds / len(pages),
        "errors": counters[ERRORS_INDEX],
        "removed": counters[REMOVED_INDEX],
        "kept": counters[KEPT_INDEX],
        "split": counters[SPLIT_INDEX],
    }
    return row, new_pages


def apply_partial_func_sequential(
    counters: dict[int, int],
    execution_times: list[float],
    new_pages: list[Page],
    pages: Sequence[Page],
    step: Mapping[str, Any],
    seed_parts: tuple[Part, ...] = (),
) -> None:
    """Apply a step to pages in this process.

    Args:
        counters: pages by what became of them; added to.
        execution_times: seconds of each page; added to.
        new_pages: the pages that result; added to.
        pages: those that the step is applied to.
        step: as in the YAML.
        seed_parts: what, with the index of the page, seeds the generators before a mapper that may draw.
    """
    mapper = get_mapper(**step, _profile=True, _safe=True)
    results = _results(mapper, step["func"], pages, seed_parts, 0)
    _parse_func_results(results, counters, execution_times, new_pages)


def apply_partial_func_parallel(
    counters: dict[int, int],
    execution_times: list[float],
    new_pages: list[Page],
    pages: Sequence[Page],
    step: Mapping[str, Any],
    n_workers: int,
    seed_parts: tuple[Part, ...] = (),
) -> None:
    """Apply a step to pages in several processes, each with its own mapper; the result is that of one process.

    Args:
        counters: as in `apply_partial_func_sequential`, and so are all but
        execution_times: seconds of each page; added to.
        new_pages: the pages that result; added to.
        pages: those that the step is applied to.
        step: as in the YAML.
        n_workers: processes.
        seed_parts: what, with the index of the page, seeds the generators before a mapper that may draw.

    Raises:
        Exception: whatever a factory raises.
        concurrent.futures.process.BrokenProcessPool: a worker died.
    """
    size = max(1, -(-len(pages) // (n_workers * CHUNKS_PER_WORKER)))
    starts = range(0, len(pages), size)
    with ProcessPoolExecutor(max_workers=n_workers) as pool:
        chunks = pool.map(
            functools.partial(_worker, dict(step), seed_parts),
            [pages[start : start + size] for start in starts],
            starts,
        )
        for results in chunks:
            _parse_func_results(results, counters, execution_times, new_pages)


def _worker(step: dict[str, Any], seed_parts: tuple[Part, ...], pages: Sequence[Page], first: int) -> list[Result]:
    """What a process of `apply_partial_func_parallel` does with a run of pages, whose first has this index."""
    mapper = _worker_mapper(step)
    return _results(mapper, step["func"], pages, seed_parts, first)


_BUILT: list[tuple[dict[str, Any], Callable[..., Any]]] = []


def _worker_mapper(step: dict[str, Any]) -> Callable[..., Any]:
    """The mapper of a worker, which gets many runs of pages of one step; built once."""
    if not _BUILT or _BUILT[0][0] != step:
        _BUILT[:] = [(step, get_mapper(**step, _profile=True, _safe=True))]
    return _BUILT[0][1]


def _results(
    mapper: Callable[..., Any], func: str, pages: Sequence[Page], seed_parts: tuple[Part, ...], first: int
) -> list[Result]:
    """Each page's result (as text where it is no list: an error) with its seconds; generators are left as found."""
    drawing = draws_random_numbers(func)
    state = (random.getstate(), np.random.get_state()) if drawing else None
    results: list[Result] = []
    for index, page in enumerate(pages, first):
        if drawing:
            seed_python(*seed_parts, index)
        result, profile = mapper(page)
        shown = result if isinstance(result, list | str) else repr(result)
        results.append((shown, profile.execution_time))
    if state is not None:
        random.setstate(state[0])
        np.random.set_state(state[1])
    return results


def _parse_func_results(
    results: Iterable[Result], counters: dict[int, int], execution_times: list[float], new_pages: list[Page]
) -> None:
    """Count each result: lists are pages by their number, anything else is an error and its page is dropped."""
    for result, seconds in results:
        if isinstance(result, list):
            counters[min(len(result), SPLIT_INDEX)] += 1
            new_pages.extend(result)
        else:
            logger.error("%s", result)
            counters[ERRORS_INDEX] += 1
        execution_times.append(seconds)


def _aggregate(step: Mapping[str, Any], pages: Sequence[Page]) -> Row:
    """The step's aggregations by page key."""
    aggregated: Row = {}
    for key, how in (step.get("_aggregate") or {}).items():
        before = time.time()
        options = {"type": how} if isinstance(how, str) else dict(how)
        aggregator = get_aggregator(options.pop("type"))
        transform = options.pop("transform", None)
        values = [page[key] for page in pages]
        if transform is not None:
            function = get_transform(transform, **options)
            values = [function(value) for value in values]
        result = aggregator(values)
        if not isinstance(result, dict):
            raise AssertionError(f"the aggregator of {key} returned {type(result).__name__} instead of a dict")
        aggregated[key] = {**_plain(result), "_secs": time.time() - before}
    return aggregated


def _plain(value: Any) -> Any:
    """The value with plain numbers and lists in place of numpy's, in keys too."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value


def commit(pages: Sequence[Page], stats: list[Row], output_path: str, stats_output_path: str) -> None:
    """Replace the output by these pages, add the stats rows and a `commit` row to the stats file, empty `stats`.

    Rows that cannot be written leave both files as they were; each file is replaced as a whole.
    """
    started = time.time()
    json.dumps(stats)
    write_jsonl(pages, output_path)
    stats.append({"name": COMMIT_KEY_NAME, "secs": time.time() - started})
    old_rows = list(read_jsonl(stats_output_path)) if is_exists(stats_output_path) else []
    write_jsonl([*old_rows, *stats], stats_output_path)
    stats.clear()


def _get_output_paths(base_output_path: str, jsonl_relpath: str) -> tuple[str, str]:
    """Paths of the output and of the stats file of a shard; their local folders are made."""
    extension = os.path.splitext(jsonl_relpath)[1][1:]
    if extension in ("zstd", "zst", "gz"):
        extension = f"jsonl.{extension}"
    shard = jsonl_relpath.replace("_processed.jsonl", ".jsonl").split(".jsonl", 1)[0]
    output_path = os.path.join(base_output_path, "processed_data", f"{shard}_processed.{extension}")
    stats_output_path = os.path.join(base_output_path, "stats", f"{shard}_stats.jsonl")
    makedirs_if_missing(os.path.dirname(output_path))
    makedirs_if_missing(os.path.dirname(stats_output_path))
    return output_path, stats_output_path


def _load_old_rows(stats_output_path: str, overwrite: bool) -> list[Row]:
    """The rows of earlier runs; with `overwrite` their file is deleted."""
    if not is_exists(stats_output_path):
        return []
    if overwrite:
        delete_file(stats_output_path)
        return []
    return list(read_jsonl(stats_output_path))


def _resume(old_rows: Sequence[Row], output_path: str) -> tuple[list[Row], list[Page] | None]:
    """The rows of steps that are done, and the committed pages where those, not the given input, are to go on from."""
    old_steps = [row for row in old_rows if _is_step_stats(row)]
    if not old_steps or _last(old_rows, [COMMIT_KEY_NAME]) < _last(old_rows, set(GLOBAL_FUNCTIONS)):
        return old_steps, None
    if is_exists(output_path):
        return old_steps, list(read_jsonl(output_path))
    logger.warning("%s is gone: starting again from the first step", output_path)
    return [], None


def _is_step_stats(row: Row) -> bool:
    """Whether the row is of a step, local or global."""
    return row["name"] not in (PROCESS_SETUP_KEY_NAME, PROCESS_END_KEY_NAME, COMMIT_KEY_NAME)


def _last(rows: Sequence[Row], names: Iterable[str]) -> int:
    """The position of the last row with one of these names, or -1."""
    wanted = set(names)
    return max((index for index, row in enumerate(rows) if row["name"] in wanted), default=-1)
