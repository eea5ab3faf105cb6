"""Run a YAML of local and global steps over page shards on Ray: `corpusmith process`, DCLM's `process.py`.

The result goes to `<output_dir>/<config name>/processed_data/`; beside it stand `run/` (records, ledger), `errors/`,
`report.html`, and DCLM's `stats/` and `global_stats.jsonl`. The same command again continues a killed run and reports a
finished one.
"""

from __future__ import annotations

if not __package__:
    import pathlib
    import sys

    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence

from baselines.assets import SAMPLE
from corpusmith.command import make_parser, run_command
from corpusmith.expdb.references import reference_path, refuse_foreign_reference
from corpusmith.io import storage
from corpusmith.io.pages.shards import ShardRef
from corpusmith.report.command import write_report
from corpusmith.run.ledger import Counts
from corpusmith.run.progress import say
from corpusmith.run.ray.execution import add_execution_arguments, execution_from
from corpusmith.run.run import Run, RunOptions, RunPlace, RunPlan, RunResult
from ray_processing.datasets import (
    list_shard_files,
    publish_reference,
    refuse_nested,
    resolve_source,
    split_list,
    untokenized_reference,
)
from ray_processing.pipeline.config import Pipeline, load_pipeline
from ray_processing.pipeline.forecast import check_possible, free_bytes, machine_bytes, make_forecast, report_forecast
from ray_processing.pipeline.stages import plan_stages
from ray_processing.pipeline.stats_views import GLOBAL_STATS, write_views


def build_parser() -> argparse.ArgumentParser:
    """The flags of `corpusmith process`."""
    parser = make_parser(
        "corpusmith process",
        "Filter, enrich, modify and deduplicate page shards as a YAML says.",
        "corpusmith process --raw_data_dirpath pages --config_path filters.yaml --output_dir out --readable_name mine",
    )
    parser.add_argument("--source_ref_paths", nargs="+", help="reference JSON of the input (instead of a folder)")
    parser.add_argument("--raw_data_dirpath", help="folder of the input page shards")
    parser.add_argument("--shard_list_file", help="text file with one relative shard path per line")
    parser.add_argument("--shard_list_filters", nargs="+", help="keep shards whose path holds any of these")
    parser.add_argument("--output_dir", required=True, help="folder of the results; a folder per config is made in it")
    parser.add_argument("--readable_name", required=True, help="name of the data set and of its reference JSON")
    parser.add_argument("--config_path", required=True, help="the YAML")
    parser.add_argument("--source_name", help="entry of the YAML (default: the only one)")
    parser.add_argument("--workers", type=int, default=1, help="accepted; shards are what is worked on in parallel")
    parser.add_argument("--num_shards", type=int, help="only the first N shards")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default 0)")
    parser.add_argument("--overwrite", action="store_true", help="redo the first stage that differs and all after it")
    parser.add_argument("--ignore_failures", action="store_true", help="go on although shards failed")
    parser.add_argument("--keep-stages", action="store_true", help="keep the shards between the stages")
    parser.add_argument("--assets", help="folder of word lists and models, or `sample` for our own small ones")
    parser.add_argument("--profile", action="store_true", help="measure each shard's I/O floor; the report compares")
    parser.add_argument("--plan", action="store_true", help="run a sample in this process and forecast; run nothing")
    parser.add_argument("--plan-fraction", type=float, default=0.1, help="share of the pages to sample (default 0.1)")
    parser.add_argument("--exp-data-dir", default="exp_data", help="folder of the reference JSONs (default exp_data)")
    add_execution_arguments(parser)
    return parser


def run_pipeline(arguments: argparse.Namespace) -> None:
    """Check the YAML, run its stages, write the reference JSON and the report."""
    pipeline = load_pipeline(arguments.config_path, arguments.source_name)
    source = resolve_source(arguments.source_ref_paths, arguments.raw_data_dirpath, arguments.exp_data_dir)
    shards = list_shard_files(
        source.url, arguments.num_shards, arguments.shard_list_file, split_list(arguments.shard_list_filters)
    )
    config_name = storage.basename(arguments.config_path).split(".")[0]
    base = storage.join(arguments.output_dir, config_name)
    dataset_url = storage.join(base, "processed_data") + "/"
    refuse_nested(dataset_url, [source.url])
    reference = reference_path(arguments.exp_data_dir, "untokenized", arguments.readable_name)
    refuse_foreign_reference(reference, dataset_url, arguments.overwrite)

    if arguments.plan:
        _plan(arguments, pipeline, shards, base)
        return
    stages = plan_stages(pipeline, arguments.seed, arguments.assets, profile=arguments.profile)
    if arguments.assets == SAMPLE:
        say("--assets sample: our own small lists stand in for the real ones; the result is for trying out only")
    place = RunPlace(root=storage.join(base, "run"), output=dataset_url, errors=storage.join(base, "errors"))
    common = {"seed": arguments.seed, "source_name": pipeline.source}
    run = Run(place, RunPlan(inputs=shards, stages=stages, common=common))
    options = RunOptions(
        overwrite=arguments.overwrite, keep_stages=arguments.keep_stages, ignore_failures=arguments.ignore_failures
    )
    result = run.execute(execution_from(arguments), options)
    if not result.was_finished or not storage.exists(reference):
        publish_reference(
            untokenized_reference(arguments.readable_name, dataset_url, source.sources),
            reference,
            overwrite=not result.was_finished,
        )
    if not result.was_finished or not storage.exists(storage.join(base, GLOBAL_STATS)):
        write_views(base, pipeline.source, stages, result.stages)
    report = storage.join(base, "report.html")
    if not result.was_finished or not storage.exists(report):
        write_report(base, arguments.exp_data_dir)
    _report(result, dataset_url, reference, report)


def _plan(arguments: argparse.Namespace, pipeline: Pipeline, shards: list[ShardRef], base: str) -> None:
    """Forecast the run; InputError where it cannot work."""
    execution = execution_from(arguments)
    forecast = make_forecast(
        pipeline,
        shards,
        execution,
        seed=arguments.seed,
        fraction=arguments.plan_fraction,
        assets=arguments.assets,
    )
    report_forecast(forecast)
    check_possible(forecast, arguments.output_dir, execution, free_bytes(base), machine_bytes())


def _report(result: RunResult, dataset_url: str, reference: str, report: str) -> None:
    first, last = result.stages[0].counts(), result.stages[-1].counts()
    removed: Counts = Counts()
    for stage in result.stages:
        removed.add(stage.counts())
    say("finished before; nothing was recomputed" if result.was_finished else "finished")
    say(
        f"  pages: {first.read} read + {removed.added} added by splits = {last.kept} kept + "
        f"{sum(removed.removed.values())} removed + {sum(removed.errored.values())} set aside"
    )
    say(f"  data:      {dataset_url}")
    say(f"  reference: {reference}")
    say(f"  report:    {report}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `corpusmith process` and of the script."""
    return run_command(build_parser(), run_pipeline, argv)


if __name__ == "__main__":
    raise SystemExit(main())
