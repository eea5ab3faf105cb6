"""Crawl archives, tables and documents to page shards: a unit of input in, a shard of pages or several out, on Ray.

Follows DCLM's `process_common_crawl_w_ray.py` in what a page is; departs from it in local input and output, in any
charset, in counting every record that is no page, and in being a run like any other: atomic, continued after a kill by
the same command, with books that balance.

    <output_dir>/processed_data/<path of the input>.jsonl.zst
    <output_dir>/errors/<step>/     records that could not be read or extracted, as bytes with file and offset
    <output_dir>/stats/             records by type, status, media type, charset, language and failure
    <output_dir>/run/               records, ledger, events
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from corpusmith.command import make_parser, run_command
from corpusmith.errors import InputError
from corpusmith.expdb import references as expdb
from corpusmith.io import storage
from corpusmith.io.pages.shards import file_checksum
from corpusmith.run.deciding_code import code_versions
from corpusmith.run.fingerprint import Tree, asset_hashes
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import Execution, TaskSpec, add_execution_arguments, execution_from
from corpusmith.run.ray.runner import Runner
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult, StagePlan
from corpusmith.run.stage import Stage
from raw_sources.common_crawl.paths import BASE, reachable, read_paths
from raw_sources.extractors.registry import EXTRACTORS, PRESETS
from raw_sources.ingest.config import IngestConfig, load_ingest_config
from raw_sources.ingest.crawl_stats import summed
from raw_sources.ingest.inputs import KINDS, IngestUnit, list_units, listed_units, shard_stems
from raw_sources.ingest.record_ranges import list_record_units
from raw_sources.ingest.unit import IngestTask, ingest_unit

STAGE_NAME = "ingest"
PAGE_SECONDS = 30.0


def ingest(
    inputs: Sequence[str] | Sequence[IngestUnit],
    output_dir: str,
    *,
    readable_name: str,
    config: IngestConfig | None = None,
    exp_data_dir: str = "exp_data",
    execution: Execution | None = None,
    options: RunOptions | None = None,
    page_seconds: float | None = PAGE_SECONDS,
) -> RunResult:
    """Write the pages of all inputs, and the reference JSON of the data set that they make.

    `inputs` are files and folders, or units (`raw_sources.ingest.inputs`). `page_seconds`: CPU time after which a
    record is set aside. Raises InputError for missing or clashing input, a bad config and a name that another data set
    has, ChangedError and RunFailed as `corpusmith.run.run` says.
    """
    options, config = options or RunOptions(), config or IngestConfig()
    units = _units_of(inputs)
    stems = shard_stems(units)
    by_name = {unit.name: unit for unit in units}
    data_url = storage.join(output_dir, "processed_data")
    reference = expdb.reference_path(exp_data_dir, "raw_sources", readable_name)
    expdb.refuse_foreign_reference(reference, f"{data_url}/", options.overwrite)
    config.choice().open()

    def work(stage: Stage, runner: Runner) -> list[str]:
        tasks = {
            name: IngestTask(unit=by_name[name], stem=stems[name], config=config, place=stage.place)
            for name in stage.pending()
        }
        spec = TaskSpec[str](record_seconds=page_seconds)
        return stage.run_units(runner, ingest_unit, tasks, label="ingest", unit="inputs", spec=spec)

    plan = RunPlan(
        inputs=[unit.ref for unit in units],
        stages=[StagePlan(name=STAGE_NAME, fingerprint=fingerprint_of(config), work=work)],
    )
    place = RunPlace(root=storage.join(output_dir, "run"), output=data_url, errors=storage.join(output_dir, "errors"))
    result = Run(place, plan).execute(execution or Execution(), options)
    if not result.was_finished or not storage.exists(reference):
        _write_stats(storage.join(output_dir, "stats"), result)
        _write_reference(reference, readable_name, data_url, config, result)
    return result


def _units_of(inputs: Sequence[str] | Sequence[IngestUnit]) -> list[IngestUnit]:
    units = [unit for unit in inputs if isinstance(unit, IngestUnit)]
    paths = [path for path in inputs if isinstance(path, str)]
    return units + (list_units(paths, say=say) if paths else [])


def fingerprint_of(config: IngestConfig) -> Tree:
    """What defines the pages apart from the input; the lists that a config names by their content."""
    extractor = config.choice().extractor
    assets = asset_hashes([*config.blocked_domains, *config.blocked_urls])
    if extractor == "blocks":
        from raw_sources.extractors.blocks.model import MODEL_FILE

        assets[MODEL_FILE.name] = file_checksum(str(MODEL_FILE))
    code = code_versions(ingest_unit, EXTRACTORS[extractor])
    return {"config": config.fingerprint(), "assets": assets, "code": code}


def _write_stats(folder: str, result: RunResult) -> None:
    """The statistics of each unit and their sum: views of the records."""
    documents = {record.unit: record.details["crawl"] for record in result.records}
    for unit, document in documents.items():
        storage.write_json(storage.join(folder, f"{unit}.stats.json"), document, indent=2)
    storage.write_json(storage.join(folder, "total.json"), summed(documents.values()), indent=2)


def _write_reference(path: str, name: str, data_url: str, config: IngestConfig, result: RunResult) -> None:
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
        data_key=config.output,
    )
    expdb.write_reference(reference, path, overwrite=True)


def summary(result: RunResult) -> list[str]:
    """The run in a few lines: pages, and why the other records are none."""
    counts = result.stages[-1].counts()
    lines = [f"{counts.read} records of {len(result.records)} inputs: {counts.kept} pages"]
    lines += [f"  not a page ({step}): {number}" for step, number in sorted(counts.removed.items())]
    lines += [f"  set aside ({step}): {number}" for step, number in sorted(counts.errored.items())]
    late = sum(len(records) for records in result.stages[-1].quarantined().values())
    return lines + ([f"  of these, records that ended their worker (run/stages/*/poison.json): {late}"] if late else [])


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith ingest`."""
    parser = make_parser(
        "corpusmith ingest",
        "Read archives (WARC, WET, WAT, ARC, WACZ), tables of HTML or text (Parquet, JSON lines, CSV) or files of "
        "text, Markdown or HTML, and write shards of pages.",
        "corpusmith ingest --input crawl --output_dir pages --readable_name my_pages",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", nargs="+", metavar="PATH", help="folders (searched recursively), or files")
    source.add_argument("--paths_file", help="a list of files to read, one a line (Common Crawl's path lists, pools)")
    source.add_argument("--records", help="a table of single records: warc_filename, warc_record_offset, -_length")
    parser.add_argument("--base", default=BASE, help=f"where relative names in such lists stand (default {BASE})")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[], help="what to take of a mixed folder")
    parser.add_argument("--config", help="YAML of extractor, structure, output, shard_bytes, lists, columns, …")
    parser.add_argument("--extractor", choices=[*PRESETS, *EXTRACTORS], help="shorthand for that key of the config")
    parser.add_argument("--output_dir", required=True, help="folder of the result: processed_data/, errors/, run/")
    parser.add_argument("--readable_name", required=True, help="name of the data set in the experiment database")
    parser.add_argument("--exp-data-dir", default="exp_data", help="experiment database (default: ./exp_data)")
    parser.add_argument("--overwrite", action="store_true", help="redo a finished or changed run")
    parser.add_argument("--ignore_failures", action="store_true", help="finish without inputs that failed")
    parser.add_argument(
        "--page_seconds", type=float, default=PAGE_SECONDS, help=f"CPU time for a record (default {PAGE_SECONDS:g})"
    )
    add_execution_arguments(parser)
    return parser


def units_from(arguments: argparse.Namespace) -> list[IngestUnit]:
    """The units of work that the parsed flags name."""
    if arguments.records:
        return list_record_units(arguments.records, reachable(arguments.base))
    if arguments.paths_file:
        base = reachable(arguments.base)
        return listed_units(read_paths(arguments.paths_file, base), base)
    return list_units(arguments.input, arguments.kinds, say)


def config_from(arguments: argparse.Namespace) -> IngestConfig:
    """The config that the parsed flags name."""
    config = load_ingest_config(arguments.config) if arguments.config else IngestConfig()
    if not arguments.extractor:
        return config
    try:
        return dataclasses.replace(config, extractor=arguments.extractor)
    except ValueError as error:
        raise InputError(f"--extractor: {error}") from error


def run(arguments: argparse.Namespace) -> None:
    """Ingest as the parsed flags say, and tell what came of it."""
    if arguments.page_seconds <= 0:
        raise InputError(f"--page_seconds must be more than 0, got {arguments.page_seconds}")
    result = ingest(
        units_from(arguments),
        arguments.output_dir,
        readable_name=arguments.readable_name,
        config=config_from(arguments),
        exp_data_dir=arguments.exp_data_dir,
        execution=execution_from(arguments),
        options=RunOptions(overwrite=arguments.overwrite, ignore_failures=arguments.ignore_failures),
        page_seconds=arguments.page_seconds,
    )
    if result.was_finished:
        say("already finished; nothing was recomputed")
    for line in summary(result):
        say(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `corpusmith ingest`."""
    return run_command(build_parser(), run, argv)
