"""Crawl archives to page shards: one WARC or WET file in, one shard of pages out, on Ray.

Follows DCLM's `process_common_crawl_w_ray.py` in what a page is; departs from it in local input and output, in any
charset, in counting every record that is no page, and in being a run like any other: atomic, continued after a kill by
the same command, with books that balance.

    <output_dir>/processed_data/<path of the archive>.jsonl.zst
    <output_dir>/errors/<step>/     records that could not be read or extracted, as bytes with file and offset
    <output_dir>/run/               records, ledger, events
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from corpusmith import expdb
from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.io import storage
from corpusmith.io.shards import ShardRef, ShardWriter, open_shard_writer
from corpusmith.run.fingerprint import SHARD_MODULES, code_versions
from corpusmith.run.ledger import Counts
from corpusmith.run.progress import say
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult, StagePlan
from corpusmith.run.runner import Execution, Runner, add_execution_arguments, execution_from
from corpusmith.run.stage import OutputFile, ShardRecord, Stage, StagePlace
from raw_sources.pages import EXTRACT_STEP, READ_STEP, Removed, SetAside, read_outcomes

VERSION = 1

ARCHIVE_SUFFIXES = (".warc.wet.gz", ".warc.wet", ".warc.gz", ".warc")
DATA_KEY = "jsonl.zst"
STAGE_NAME = "ingest"
DECIDING_MODULES = (
    *SHARD_MODULES,
    "raw_sources.archive_stream",
    "raw_sources.warc",
    "raw_sources.http_message",
    "raw_sources.extract",
    "raw_sources.pages",
    "raw_sources.ingest",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestTask:
    """One archive to be read, and where its shard goes."""

    archive: ShardRef
    shard_name: str
    place: StagePlace


def ingest(
    inputs: Sequence[str],
    output_dir: str,
    *,
    readable_name: str,
    exp_data_dir: str = "exp_data",
    execution: Execution | None = None,
    options: RunOptions | None = None,
) -> RunResult:
    """Write the pages of all archives below or at `inputs`, and the reference JSON of the data set that they make.

    Raises InputError for missing or clashing input and for a name that another data set has, ChangedError and
    RunFailed as `corpusmith.run.run` says.
    """
    options = options or RunOptions()
    archives = list_archives(inputs)
    names = shard_names(archives)
    data_url = storage.join(output_dir, "processed_data")
    reference = expdb.reference_path(exp_data_dir, "raw_sources", readable_name)
    expdb.refuse_foreign_reference(reference, f"{data_url}/", options.overwrite)

    def work(stage: Stage, runner: Runner) -> list[str]:
        pending = set(stage.pending())
        tasks = {
            archive.name: IngestTask(archive=archive, shard_name=names[archive.name], place=stage.place)
            for archive in stage.inputs
            if archive.name in pending
        }
        return stage.run_units(runner, ingest_archive, tasks, label="ingest", unit="archives")

    plan = RunPlan(
        inputs=archives,
        stages=[StagePlan(name=STAGE_NAME, fingerprint={"code": code_versions(DECIDING_MODULES)}, work=work)],
    )
    place = RunPlace(root=storage.join(output_dir, "run"), output=data_url, errors=storage.join(output_dir, "errors"))
    result = Run(place, plan).execute(execution or Execution(), options)
    if not result.was_finished or not storage.exists(reference):
        _write_reference(reference, readable_name, data_url, result)
    return result


def list_archives(inputs: Sequence[str]) -> list[ShardRef]:
    """The archives named, and all below the folders named, sorted by name.

    A name is the path relative to the folder given. InputError where an input does not exist, holds no archive, or
    gives a name that another gave.
    """
    found: dict[str, ShardRef] = {}
    for url in inputs:
        files = storage.list_files(url, ARCHIVE_SUFFIXES) if storage.is_dir(url) else [storage.stat(url)]
        if not files:
            raise InputError(f"{url}: no archives; their names end in {', '.join(ARCHIVE_SUFFIXES)}")
        for info in files:
            name = storage.relative(info.url, url) if storage.is_dir(url) else storage.basename(url)
            if name in found:
                raise InputError(f"{info.url} and {found[name].url} are both called {name}; rename one of them")
            found[name] = ShardRef(name=name, url=info.url, identity=f"{info.size}:{info.etag}", bytes=info.size)
    return [found[name] for name in sorted(found)]


def shard_names(archives: Sequence[ShardRef]) -> dict[str, str]:
    """The page shard of each archive by the archive's name: its path with another ending.

    `a.warc.gz` becomes `a.jsonl.zst`; archives that differ in their ending only keep it (`a.warc.gz.jsonl.zst`).
    """
    stems = {archive.name: _stem(archive.name) for archive in archives}
    shared = Counter(stems.values())
    names = {name: f"{stem if shared[stem] == 1 else name}.{DATA_KEY}" for name, stem in stems.items()}
    clashes = [shard for shard, number in Counter(names.values()).items() if number > 1]
    if clashes:
        raise InputError(f"several archives would become {clashes[0]}; ingest them into different folders")
    return names


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def ingest_archive(task: IngestTask) -> None:
    """Write one archive's shard, what was set aside, and the record; safe to run twice."""
    started = time.monotonic()
    counts = Counts()
    text_characters = 0
    for step in (READ_STEP, EXTRACT_STEP):
        storage.remove(task.place.error_url(step, task.archive.name))
    with contextlib.ExitStack() as files:
        shard = files.enter_context(open_shard_writer(task.place.output_url(task.shard_name)))
        aside: dict[str, ShardWriter] = {}
        for outcome in read_outcomes(task.archive.url):
            counts.read += 1
            if isinstance(outcome, Removed):
                counts.remove(outcome.step)
            elif isinstance(outcome, SetAside):
                if outcome.step not in aside:
                    url = task.place.error_url(outcome.step, task.archive.name)
                    aside[outcome.step] = files.enter_context(open_shard_writer(url))
                aside[outcome.step].write(_error_row(task.archive.name, outcome))
                counts.set_aside(outcome.step)
            else:
                shard.write(outcome)
                counts.kept += 1
                text_characters += len(outcome["text"])
    output = OutputFile(name=task.shard_name, bytes=shard.bytes, checksum=shard.checksum, records=shard.records)
    task.place.write_record(
        ShardRecord(
            unit=task.archive.name,
            identity=task.archive.identity,
            outputs=[output],
            counts=counts,
            details={"seconds": time.monotonic() - started, "text_characters": text_characters},
        )
    )


def _error_row(archive: str, aside: SetAside) -> dict[str, object]:
    return {
        "file": archive,
        "offset": aside.offset,
        "record_id": aside.record_id,
        "url": aside.target_uri,
        "step": aside.step,
        "reason": aside.reason,
        "raw_base64": base64.b64encode(aside.raw).decode("ascii"),
    }


def _write_reference(path: str, name: str, data_url: str, result: RunResult) -> None:
    commit, diff = expdb.git_state()
    reference = expdb.DatasetReference(
        name=name,
        dataset_url=f"{data_url}/",
        manifest_url=None,
        sources=[],
        tokenized=False,
        tokenizer=None,
        num_tokens=None,
        size=sum(file.bytes for record in result.records for file in record.outputs),
        dcnlp_commit_hash=commit,
        dcnlp_diff=diff,
        data_key=DATA_KEY,
    )
    expdb.write_reference(reference, path, overwrite=True)


def summary(result: RunResult) -> list[str]:
    """The run in a few lines: pages, and why the other records are none."""
    counts = result.stages[-1].counts()
    lines = [f"{counts.read} records of {len(result.records)} archives: {counts.kept} pages"]
    lines += [f"  not a page ({step}): {number}" for step, number in sorted(counts.removed.items())]
    lines += [f"  set aside ({step}): {number}" for step, number in sorted(counts.errored.items())]
    return lines


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith ingest`."""
    parser = make_parser(
        "corpusmith ingest",
        "Read WARC or WET archives and write shards of pages.",
        "corpusmith ingest --input crawl --output_dir pages --readable_name my_pages",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders of archives (searched recursively), or archives",
    )
    parser.add_argument("--output_dir", required=True, help="folder of the result: processed_data/, errors/, run/")
    parser.add_argument("--readable_name", required=True, help="name of the data set in the experiment database")
    parser.add_argument("--exp-data-dir", default="exp_data", help="experiment database (default: ./exp_data)")
    parser.add_argument("--overwrite", action="store_true", help="redo a finished or changed run")
    parser.add_argument("--ignore_failures", action="store_true", help="finish without archives that failed")
    add_execution_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Ingest as the parsed flags say, and tell what came of it."""
    result = ingest(
        arguments.input,
        arguments.output_dir,
        readable_name=arguments.readable_name,
        exp_data_dir=arguments.exp_data_dir,
        execution=execution_from(arguments),
        options=RunOptions(overwrite=arguments.overwrite, ignore_failures=arguments.ignore_failures),
    )
    if result.was_finished:
        say("already finished; nothing was recomputed")
    for line in summary(result):
        say(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `corpusmith ingest`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
