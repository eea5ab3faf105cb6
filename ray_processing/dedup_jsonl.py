"""DCLM's `exact_dedup` as a function and a script: one of all equal units of some shards is kept, in place.

It behaves as DCLM's does where that works: a folder of shards in, the folder that holds the result out, a row per shard
in `stats/`, shards that lose nothing left alone. What is kept is reproducible (ties go by shard, page and unit), local
folders serve as well as S3, and a killed call is finished by the same call: which units are dropped is computed whole
before the first shard is replaced, and never from a half-replaced set. In a YAML, `exact_dedup` is a stage of its run
and needs nothing of this (`dedup.exact.stage`).
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
import json
import shutil
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage

if TYPE_CHECKING:
    from corpusmith.io.pages.shards import ShardRef
    from corpusmith.run.run import RunResult
    from dedup.exact.config import ExactConfig

STEP = "00-exact_dedup"
NAME = "exact_dedup"
NO_OP = "no_op"


def dedup_jsonl(
    input_dir: str,
    shard_files: Sequence[str] | None = None,
    base_output_path: str | None = None,
    working_dir: str | None = None,
    sync_to_input: bool = False,
    content_key: str = "text",
    normalize: str | None = None,
    selection_key: str | None = None,
    selection_normalize: str | None = None,
    selection_reverse: bool = False,
) -> str:
    """Drop repeated units of page shards and return the folder that holds the result.

    Args:
        input_dir: folder of the shards; it is changed unless every shard changes.
        shard_files: names relative to it (default: all page shards below it).
        base_output_path: folder whose `stats/` gets a row per shard (default `input_dir`).
        working_dir: where the result goes if every shard changes (default `<input_dir>_working`).
        sync_to_input: replace the shards in `input_dir` also where every one changes.
        content_key, normalize, selection_key, selection_normalize, selection_reverse: as in `dedup.exact.config`;
            a normalizer that is not known warns and counts as none.

    Raises:
        KeyError: a page has no content key or no selection key; nothing was changed.
        ValueError: a record cannot be read or compared; nothing was changed.
        InputError: no shards, or an interrupted call with other arguments has to be finished first.
    """
    from dedup.exact.config import ExactConfig

    config = ExactConfig(
        content_key=content_key,
        normalize=_known(normalize),
        selection_key=selection_key,
        selection_normalize=_known(selection_normalize),
        selection_reverse=selection_reverse,
    )
    source = input_dir.rstrip("/")
    target = working_dir.rstrip("/") if working_dir is not None else f"{source}_working"
    scratch = f"{target}_run"
    stats = storage.join((base_output_path or source).rstrip("/"), "stats")
    asked = {"config": config.deciding(), "shards": sorted(shard_files) if shard_files is not None else None}
    decided_url = storage.join(scratch, "decided.json")
    if not storage.exists(decided_url):
        decided = _decide(source, shard_files, scratch, config, stats)
        decided["asked"] = asked
        decided["result"] = target if decided["all_changed"] and not sync_to_input else source
        storage.write_json(decided_url, decided)
    decided = storage.read_json(decided_url)
    if decided["asked"] != asked:
        raise InputError(
            f"{scratch}: a dedup with other arguments was interrupted while it replaced shards; call it again with "
            f"{json.dumps(decided['asked'])} to finish it first"
        )
    result: str = decided["result"]
    _publish(decided, scratch, stats)
    storage.remove_tree(storage.join(scratch, "shards"))
    storage.remove_tree(scratch)
    return result


def _known(normalizer: str | None) -> str | None:
    """A normalizer's name; a warning and None for one that is not known, as with DCLM."""
    from dedup.groups.selection import SELECTION_NORMALIZERS

    if normalizer is None or normalizer in SELECTION_NORMALIZERS:
        return normalizer
    known = ", ".join(SELECTION_NORMALIZERS)
    warnings.warn(f"unknown normalizer {normalizer!r} counts as none (known: {known})", stacklevel=3)
    return None


def _decide(
    source: str, shard_files: Sequence[str] | None, scratch: str, config: ExactConfig, stats: str
) -> dict[str, Any]:
    """Write all shards anew into the scratch folder; what each lost, and how many rows its stats file has by now."""
    from corpusmith.run.ray.execution import Execution
    from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan
    from dedup.exact.stage import plan_stage

    place = RunPlace(
        root=storage.join(scratch, "run"),
        output=storage.join(scratch, "shards"),
        errors=storage.join(scratch, "errors"),
    )
    run = Run(place, RunPlan(inputs=_shards(source, shard_files), stages=[plan_stage(config, STEP)]))
    result = run.execute(Execution(), RunOptions(overwrite=True))
    _refuse_errors(result)
    shards = {}
    for record in result.records:
        row = record.details["steps"][0]
        changed = bool(row["units_removed"]) or record.counts.kept < record.counts.read
        shards[record.unit] = {
            "changed": changed,
            "pages_in": record.counts.read,
            "pages_out": record.counts.kept,
            "rows": len(_stats_rows(stats, record.unit)),
        }
    return {"shards": shards, "all_changed": all(shard["changed"] for shard in shards.values())}


def _shards(source: str, shard_files: Sequence[str] | None) -> list[ShardRef]:
    from corpusmith.io.pages.shards import list_shards

    found = list_shards(source)
    if shard_files is None:
        return found
    by_name = {shard.name: shard for shard in found}
    missing = [name for name in shard_files if name not in by_name]
    if missing or not shard_files:
        raise InputError(f"{source}: no shard {missing[0]!r}" if missing else "shard_files: the list is empty")
    return sorted((by_name[name] for name in dict.fromkeys(shard_files)), key=lambda shard: shard.name)


def _refuse_errors(result: RunResult) -> None:
    """Raise KeyError or ValueError for the first page that could not be compared."""
    for record in result.records:
        for step, examples in record.details["errors"].items():
            first = examples[0]
            message = f"{record.unit}: record {first['index']} ({step}): {first['error']}"
            raise (KeyError if "has no key" in first["error"] else ValueError)(message)


def _publish(decided: dict[str, Any], scratch: str, stats: str) -> None:
    """Put the changed shards and the stats rows in their places; the same again gives the same."""
    for name, shard in decided["shards"].items():
        if shard["changed"]:
            with (
                storage.open_read(storage.join(scratch, "shards", name)) as written,
                storage.atomic_write(storage.join(decided["result"], name)) as file,
            ):
                shutil.copyfileobj(written, file, 1 << 20)
        counts = {key: shard[key] if shard["changed"] else NO_OP for key in ("pages_in", "pages_out")}
        row = {"name": NAME, "content_key": decided["asked"]["config"]["content_key"], **counts}
        rows = [*_stats_rows(stats, name)[: shard["rows"]], json.dumps(row).encode()]
        storage.write_bytes(_stats_url(stats, name), b"\n".join(rows) + b"\n")


def _stats_url(stats: str, name: str) -> str:
    from ray_processing.pipeline.stats_views import shard_of

    return storage.join(stats, f"{shard_of(name)}_stats.jsonl")


def _stats_rows(stats: str, name: str) -> list[bytes]:
    url = _stats_url(stats, name)
    return storage.read_bytes(url).splitlines() if storage.exists(url) else []


def build_parser() -> argparse.ArgumentParser:
    """The flags of the script, DCLM's."""
    parser = make_parser(
        "dedup_jsonl.py",
        "Drop repeated pages or lines of the shards in a folder, in place.",
        "python ray_processing/dedup_jsonl.py --input processed_data --content_key url --normalize normalize_url",
    )
    parser.add_argument("--input", required=True, help="folder of page shards; it is changed")
    parser.add_argument("--content_key", default="text", help="what is compared (default text)")
    parser.add_argument("--selection_key", help="keep the unit on the page with the smallest value here")
    parser.add_argument("--normalize", help="what the content goes through before it is compared")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Dedup as the flags say, and tell where the result is."""
    from corpusmith.run.progress import say

    try:
        folder = dedup_jsonl(
            arguments.input,
            content_key=arguments.content_key,
            normalize=arguments.normalize,
            selection_key=arguments.selection_key,
        )
    except (KeyError, ValueError) as error:
        raise InputError(f"{error.args[0]}; nothing was changed") from error
    say(f"the result is in {folder}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the script."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
